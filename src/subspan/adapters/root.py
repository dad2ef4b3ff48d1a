"""`Root`: what a module with one or several subspaces keeps, and how tensors go in and out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable
from typing import Literal, Protocol

import torch
from torch import nn

from subspan.adapters import buffers
from subspan.adapters.calls import ROOTS
from subspan.adapters.memory import place
from subspan.adapters.plain import HIDDEN, ROOT, SITE, Hidden, is_tie, own_buffers, own_parameters
from subspan.adapters.selection import Weight
from subspan.adapters.sites import dress
from subspan.adapters.tables import TableKeeper
from subspan.errors import InputError

Rest = Literal["freeze", "keep"]


class Attached(Protocol):
    """What a root asks of a subspace on its module; `subspan.adapters.handle.Handle` is one.

    Attributes:
        key: what the names of its θ and scales begin with.
        weights: the tensors in it.
        tables: what they are read from.
        before: the module's buffers before it came.
    """

    key: str
    weights: list[Weight]
    tables: TableKeeper
    before: buffers.Snapshot

    def parameters(self) -> list[nn.Parameter]:
        """Return what is trained."""

    def follow(self) -> None:
        """Bring the map to where θ is."""

    def header(self) -> str:
        """Return what fixes the subspace, as JSON."""

    def header_tensor(self) -> torch.Tensor:
        """Return `header()` as bytes."""


class Root:
    """The state of the module that `attach` was called on.

    Attributes:
        handles: of its subspaces, in the order they were attached.
        start: its buffers when the first of them was attached.
        skipped: whether the last state_dict loaded held no subspace, as those that `peft` writes.
        inside: whether a compiler is within a call of the module or of a part of it.
        asking: whether one follows a question for a device or dtype alone.
        swapping: modules in which the running call has put tensors in place of weights.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self.handles: list[Attached] = []
        self._frozen: list[Weight] = []
        self._parts: list[nn.Module] = []
        self.start: buffers.Snapshot = {}
        self.skipped = False
        self.inside = self.asking = False
        self.swapping: list[nn.Module] = []

    @classmethod
    def of(cls, module: nn.Module) -> Root:
        """Return the module's root state, made now if it has none."""
        if ROOT not in module.__dict__:
            new = cls(module)
            new.start = buffers.snapshot(module)
            module.__dict__[ROOT] = new
            hidden_of(module)
        root: Root = module.__dict__[ROOT]
        return root

    def weights(self) -> list[Weight]:
        """Return the module's tensors outside every subspace, ties counted once, in order."""
        found: dict[Hashable, Weight] = {}
        hidden = {site: w for w in self._frozen for site in w.sites}
        for path, module in self._module.named_modules():
            own = (
                {id(t) for t in module.__dict__[ROOT].numbers()} if ROOT in module.__dict__ else ()
            )
            hidden_here = {k: b for k, b in own_buffers(module).items() if (module, k) in hidden}
            for name, value in {**own_parameters(module), **hidden_here}.items():
                if value is None or id(value) in own:
                    continue
                known = hidden.get((module, name))
                one = value if known is None else known.value
                weight = found.setdefault(
                    place(one), Weight(one.requires_grad if known is None else known.trainable)
                )
                weight.sites.append((module, name))
                weight.names.append(f"{path}.{name}" if path else name)
        return list(found.values())

    def numbers(self) -> list[nn.Parameter]:
        """Return what is trained: θ and the scales of every subspace."""
        return [p for handle in self.handles for p in handle.parameters()]

    def number_names(self) -> list[str]:
        """Return the names under which θ and the scales stand among the module's parameters."""
        return [f"{h.key}_{kind}" for h in self.handles for kind in ("theta", "scales")]

    def compiling(self, within: bool) -> None:
        """Say to a compiler where a call of the module begins or ends."""
        self.inside = within
        for handle in self.handles:
            handle.tables.compiling(within)
        if self.swapping:
            self.take_out()

    def adopt(self) -> None:
        """Have every part of the module look plain within a call."""
        for part in self._module.modules():
            if "_orig_mod" in part._modules:  # what torch.compile wraps around one
                continue
            roots = part.__dict__.get(ROOTS, ())
            if self not in roots:
                part.__dict__[ROOTS] = (*roots, self)
                self._parts.append(part)
            dress(part)

    def _disown(self) -> None:
        for part in self._parts:
            roots = tuple(root for root in part.__dict__.get(ROOTS, ()) if root is not self)
            part.__dict__[ROOTS] = roots
            if not roots:
                del part.__dict__[ROOTS]
            dress(part)
        self._parts = []

    def check_entry(self, part: nn.Module) -> None:
        """Refuse a call of a part of the module alone, with other tensors in place of weights.

        It cannot be told whether they stand for the weights at θ = 0, as they do in a call of the
        whole module, or for the weights.
        """
        if part is self._module:
            return
        for handle in self.handles:
            for weight in handle.weights:
                for owner, name in weight.sites:
                    if own_buffers(owner).get(name) is not owner.__dict__[HIDDEN].tensors[name]:
                        raise InputError(
                            f"functional_call: expected the module that was attached, got a part "
                            f"of it with another tensor for {weight.name}, which lies in a "
                            "subspace. Call it on the attached module, or in its forward."
                        )

    def take_out(self, since: int = 0) -> list[str]:
        """Take out what a call has put in place of weights; return the names where it was another.

        Args:
            since: how many entries `swapping` had when the call began.
        """
        found = []
        for owner in self.swapping[since:]:
            hidden: Hidden | None = owner.__dict__.get(HIDDEN)
            if hidden is not None:
                sites = owner.__dict__.get(SITE, {})
                found += [
                    n for n, v in hidden.swapped.items() if n in sites and not is_tie(v, sites[n])
                ]
                hidden.swapped, hidden.originals, hidden.shown = {}, {}, {}
        del self.swapping[since:]
        return found

    def check_exit(self, since: int) -> None:
        """Refuse a call that has put tensors in place of weights and left them there."""
        for handle in self.handles:
            if handle.tables.shared:
                handle.tables.shared = {}
        if len(self.swapping) > since:
            for name in self.take_out(since):
                raise InputError(
                    f"{name}: expected a forward that puts back the weights of a subspace that it "
                    "replaces, got one that left another tensor there. Put it back, or use "
                    "torch.func.functional_call."
                )

    def hide(self, weights: list[Weight]) -> None:
        """Move tensors from the module's parameters to its buffers, asking for no gradient."""
        for weight in weights:
            for owner, name in weight.sites:
                hidden = hidden_of(owner)
                value = own_parameters(owner).pop(name, None)
                if value is not None:
                    value.grad, value.requires_grad = None, False
                    hidden.tensors[name] = own_buffers(owner)[name] = value

    def freeze(self, weights: list[Weight]) -> None:
        """Hide tensors that no subspace holds."""
        self.hide(weights)
        known = {id(w.value) for w in self._frozen}
        self._frozen += [w for w in weights if id(w.value) not in known]

    def claim(self, weights: list[Weight]) -> None:
        """Hide tensors for a subspace."""
        self.hide(weights)
        taken = {id(w.value) for w in weights}
        self._frozen = [w for w in self._frozen if id(w.value) not in taken]

    def check_leave(self, handle: Attached) -> None:
        """Refuse to give tensors back that are not where they were put; nothing is changed."""
        last = self.handles == [handle]
        for weight in [*handle.weights, *(self._frozen if last else [])]:
            for owner, name in weight.sites:
                buffers, parameters = own_buffers(owner), own_parameters(owner)
                kept = owner.__dict__[HIDDEN].tensors[name]
                if name not in buffers and parameters.get(name) is kept:
                    buffers[name] = parameters.pop(name)
                if not isinstance(buffers.get(name), nn.Parameter) or name in parameters:
                    raise InputError(
                        f"{weight.name}: expected the weight where attach put it, got none or "
                        "another. Take away what was done to it since: remove parametrisations, "
                        "or put the weight back."
                    )

    def release(self, handle: Attached, weights: list[Weight]) -> None:
        """Give a subspace's tensors back; the rest too where it was the last one."""
        self.handles.remove(handle)
        if self.handles and self._frozen:
            self._frozen += weights
            for owner, _ in (site for w in weights for site in w.sites):
                gather(owner)
        elif self.handles:
            self._restore(weights)
        else:
            del self._module.__dict__[ROOT]
            self._restore(weights + self._frozen)
            if not hidden_of(self._module).tensors:
                del self._module.__dict__[HIDDEN]
            self._disown()

    def put_back_buffers(self, handle: Attached) -> None:
        """Restore the buffers where `handle` is the last to leave, which others may still need."""
        if self.handles == [handle]:
            buffers.put_back(self._module, handle.before)
        for later in self.handles[self.handles.index(handle) + 1 :][:1]:
            later.before = handle.before  # it stands on what stood under this one

    def _restore(self, weights: list[Weight]) -> None:
        for weight in weights:
            for owner, name in weight.sites:
                value = own_buffers(owner).pop(name)
                assert isinstance(value, nn.Parameter)
                value.requires_grad = weight.trainable
                own_parameters(owner)[name] = value
                del owner.__dict__[HIDDEN].tensors[name]
        for owner in {o: None for w in weights for o, _ in w.sites}:
            own, hidden = own_parameters(owner), owner.__dict__[HIDDEN]
            order = [n for n in hidden.order if n in own]
            order += [n for n in own if n not in order]
            owner.__dict__["_parameters"] = {n: own[n] for n in order}
            if not hidden.tensors and owner is not self._module:
                del owner.__dict__[HIDDEN]
            dress(owner)
            gather(owner)

    def careful(self, fn: Callable[[torch.Tensor], torch.Tensor]) -> Callable[..., torch.Tensor]:
        """Return what moves tensors by `fn`, θ and the scales to no less than float32."""
        own = {id(t) for p in self.numbers() for t in (p, p.grad) if t is not None}

        def move(tensor: torch.Tensor) -> torch.Tensor:
            moved = fn(tensor)
            lower = id(tensor) in own and moved.dtype.itemsize < torch.float32.itemsize
            return tensor.to(moved.device, torch.float32) if lower else moved

        return move

    def moved(self) -> None:
        """Follow the module to another device: the maps, and the ties among hidden tensors."""
        for handle in self.handles:
            handle.follow()
        for weight in [*self._frozen, *(w for h in self.handles for w in h.weights)]:
            value = weight.value
            if not isinstance(value, nn.Parameter):
                value = nn.Parameter(value, requires_grad=False)
            for owner, name in weight.sites:
                other = own_buffers(owner)[name]
                if not isinstance(other, nn.Parameter) or place(other) != place(value):
                    own_buffers(owner)[name] = other = value
                owner.__dict__[HIDDEN].tensors[name] = other
        for kept in {id(s): s for s in (self.start, *(h.before for h in self.handles))}.values():
            buffers.follow(self._module, kept)

    def loads(self, part: nn.Module, prefix: str) -> bool:
        """Whether a part is given keys with this prefix because all of the module is loaded."""
        paths = [
            f"{path}." if path else ""
            for path, found in self._module.named_modules(remove_duplicate=False)
            if found is part
        ]
        return any(prefix.endswith(path) for path in paths)

    def write_headers(self, destination: dict[str, torch.Tensor], prefix: str) -> None:
        """Add to a state_dict which subspaces it belongs to."""
        for handle in self.handles:
            destination[f"{prefix}{handle.key}_header"] = handle.header_tensor()

    def check_headers(
        self, state_dict: dict[str, torch.Tensor], prefix: str, missing: list[str]
    ) -> None:
        """Refuse a state_dict of another subspace before anything is copied."""
        self.skipped = False
        for handle in self.handles:
            key = f"{prefix}{handle.key}_header"
            header = state_dict.pop(key, None)
            if header is None:
                missing.append(key)
                self.skipped = True
            elif bytes(header.cpu().tolist()) != bytes(handle.header_tensor().tolist()):
                raise InputError(
                    f"state_dict: expected the subspace {handle.header()}, got "
                    f"{bytes(header.cpu().tolist()).decode(errors='replace')}. "
                    "Attach the module with the same dim, map, seed and modules."
                )
        if self.skipped:
            warnings.warn(
                "state_dict: it holds no subspace, so θ stays as it is. Load θ by subspan.load, or "
                "under Trainer by subspan.adapters.huggingface.save_callback.",
                stacklevel=2,
            )


def hidden_of(owner: nn.Module) -> Hidden:
    """Return what a module hides, from now on if it hid nothing."""
    result: Hidden = owner.__dict__.setdefault(HIDDEN, Hidden(list(own_parameters(owner))))
    return result


def gather(owner: nn.Module) -> None:
    """Let a recurrent layer gather its weights anew, once none of them lies in a subspace."""
    if isinstance(owner, nn.RNNBase) and SITE not in owner.__dict__:
        owner._init_flat_weights()

"""`Root`: what a module with one or several subspaces keeps, and how tensors go in and out."""

from __future__ import annotations

import warnings
from collections.abc import Hashable
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

from subspan.adapters import buffers
from subspan.adapters.memory import place
from subspan.adapters.selection import Weight
from subspan.adapters.sites import ROOT, SITE, dress
from subspan.errors import InputError

if TYPE_CHECKING:
    from subspan.adapters.attach import Handle

Rest = Literal["freeze", "keep"]


class Root:
    """The state of the module that `attach` was called on.

    Attributes:
        handles: of its subspaces, in the order they were attached.
        start: its buffers when the first of them was attached.
        skipped: whether the last state_dict loaded held no subspace, as those that `peft` writes.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self.handles: list[Handle] = []
        self._frozen: list[Weight] = []
        self._orders: dict[nn.Module, list[str]] = {}
        self.start: buffers.Snapshot = {}
        self.skipped = False

    @classmethod
    def of(cls, module: nn.Module) -> Root:
        """Return the module's root state, made now if it has none."""
        if ROOT not in module.__dict__:
            new = cls(module)
            new.start = buffers.snapshot(module)
            module.__dict__[ROOT] = new
            dress(module)
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
            hidden_here = {k: b for k, b in module._buffers.items() if (module, k) in hidden}
            for name, value in {**module._parameters, **hidden_here}.items():
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

    def compiling(self, within: bool) -> None:
        """Say to a compiler where a call of the module begins or ends."""
        for handle in self.handles:
            handle.tables.compiling(within)

    def hide(self, weights: list[Weight]) -> None:
        """Move tensors from the module's parameters to its buffers, asking for no gradient."""
        for weight in weights:
            for owner, name in weight.sites:
                self._orders.setdefault(owner, list(owner._parameters))
                value = owner._parameters.pop(name, None)
                if value is not None:
                    value.grad, value.requires_grad = None, False
                    owner._buffers[name] = value

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

    def release(self, handle: Handle, weights: list[Weight]) -> None:
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
            dress(self._module)
            self._restore(weights + self._frozen)

    def put_back_buffers(self, handle: Handle) -> None:
        """Restore the buffers where `handle` is the last to leave, which others may still need."""
        if self.handles == [handle]:
            buffers.put_back(self._module, handle.before)
        for later in self.handles[self.handles.index(handle) + 1 :][:1]:
            later.before = handle.before  # it stands on what stood under this one

    def _restore(self, weights: list[Weight]) -> None:
        for weight in weights:
            for owner, name in weight.sites:
                value = owner._buffers.pop(name)
                assert isinstance(value, nn.Parameter)
                value.requires_grad = weight.trainable
                owner._parameters[name] = value
        for owner in {o: None for w in weights for o, _ in w.sites}:
            order = [n for n in self._orders[owner] if n in owner._parameters]
            order += [n for n in owner._parameters if n not in order]
            owner._parameters = {n: owner._parameters[n] for n in order}
            gather(owner)

    def moved(self) -> None:
        """Follow the module to another device: the maps, and the ties among hidden tensors."""
        for handle in self.handles:
            handle.follow()
        for weight in [*self._frozen, *(w for h in self.handles for w in h.weights)]:
            value = weight.value
            if not isinstance(value, nn.Parameter):
                value = nn.Parameter(value, requires_grad=False)
            for owner, name in weight.sites:
                other = owner._buffers[name]
                if not isinstance(other, nn.Parameter) or place(other) != place(value):
                    owner._buffers[name] = value
        for kept in {id(s): s for s in (self.start, *(h.before for h in self.handles))}.values():
            buffers.follow(self._module, kept)

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


def gather(owner: nn.Module) -> None:
    """Let a recurrent layer gather its weights anew, once none of them lies in a subspace."""
    if isinstance(owner, nn.RNNBase) and SITE not in owner.__dict__:
        owner._init_flat_weights()

"""`Root`: what a module with one or several subspaces keeps, and how tensors go in and out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from subspan.adapters.selection import Weight
from subspan.adapters.sites import ROOT, SITE, dress
from subspan.errors import InputError

if TYPE_CHECKING:
    from subspan.adapters.attach import Handle


class Root:
    """The state of the module that `attach` was called on.

    Attributes:
        handles: of its subspaces, in the order they were attached.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self.handles: list[Handle] = []
        self._frozen: list[Weight] = []
        self._orders: dict[nn.Module, list[str]] = {}
        # What `detach` puts back, e.g. the running statistics of BatchNorm.
        self.buffers: dict[str, torch.Tensor] = {}

    @classmethod
    def of(cls, module: nn.Module) -> Root:
        """Return the module's root state, made now if it has none."""
        if ROOT not in module.__dict__:
            new = cls(module)
            new.buffers = {n: b.detach().clone() for n, b in persistent_buffers(module)}
            module.__dict__[ROOT] = new
            dress(module)
        root: Root = module.__dict__[ROOT]
        return root

    def weights(self) -> list[Weight]:
        """Return the module's tensors outside every subspace, ties counted once, in order."""
        found: dict[int, Weight] = {}
        hidden = {id(w.value): w for w in self._frozen}
        for path, module in self._module.named_modules():
            own = (
                {id(t) for t in module.__dict__[ROOT].numbers()} if ROOT in module.__dict__ else ()
            )
            buffers = {k: b for k, b in module._buffers.items() if b is not None}
            hidden_here = {k: b for k, b in buffers.items() if id(b) in hidden}
            for name, value in {**module._parameters, **hidden_here}.items():
                if value is None or id(value) in own:
                    continue
                trainable = (
                    hidden[id(value)].trainable if name in hidden_here else value.requires_grad
                )
                weight = found.setdefault(id(value), Weight(trainable))
                weight.sites.append((module, name))
                weight.names.append(f"{path}.{name}" if path else name)
        return list(found.values())

    def numbers(self) -> list[nn.Parameter]:
        """Return what is trained: θ and the scales of every subspace."""
        return [p for handle in self.handles for p in handle.parameters()]

    def hide(self, weights: list[Weight]) -> None:
        """Move tensors from the module's parameters to its buffers, asking for no gradient."""
        for weight in weights:
            value = weight.value.requires_grad_(False)
            for owner, name in weight.sites:
                self._orders.setdefault(owner, list(owner._parameters))
                owner._parameters.pop(name, None)
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
        elif self.handles:
            self._restore(weights)
        else:
            self._restore(weights + self._frozen)
            del self._module.__dict__[ROOT]
            dress(self._module)

    def _restore(self, weights: list[Weight]) -> None:
        for weight in weights:
            value = weight.value
            if not isinstance(value, nn.Parameter):  # it was moved to another device or dtype
                value = nn.Parameter(value, requires_grad=False)
            value.requires_grad_(weight.trainable)
            for owner, name in weight.sites:
                owner._buffers.pop(name)
                owner._parameters[name] = value
        for owner in {o: None for w in weights for o, _ in w.sites}:
            order = [n for n in self._orders[owner] if n in owner._parameters]
            order += [n for n in owner._parameters if n not in order]
            owner._parameters = {n: owner._parameters[n] for n in order}
            if isinstance(owner, nn.RNNBase):
                owner._init_flat_weights()

    def moved(self) -> None:
        """Follow the module to another device: the maps, and the ties among hidden tensors."""
        for handle in self.handles:
            handle.follow()
        for weight in [*self._frozen, *(w for h in self.handles for w in h.weights)]:
            for owner, name in weight.sites[1:]:
                owner._buffers[name] = weight.value

    def write_headers(self, destination: dict[str, torch.Tensor], prefix: str) -> None:
        """Add to a state_dict which subspaces it belongs to."""
        for handle in self.handles:
            destination[f"{prefix}{handle.key}_header"] = handle.header_tensor()

    def check_headers(
        self, state_dict: dict[str, torch.Tensor], prefix: str, missing: list[str]
    ) -> None:
        """Refuse a state_dict of another subspace before anything is copied."""
        for handle in self.handles:
            key = f"{prefix}{handle.key}_header"
            header = state_dict.pop(key, None)
            if header is None:
                missing.append(key)
            elif bytes(header.cpu().tolist()) != bytes(handle.header_tensor().tolist()):
                raise InputError(
                    f"state_dict: expected the subspace {handle.header()}, got "
                    f"{bytes(header.cpu().tolist()).decode(errors='replace')}. "
                    "Attach the module with the same dim, map, seed and modules."
                )


def persistent_buffers(module: nn.Module) -> list[tuple[str, torch.Tensor]]:
    """Return the module's own buffers that stand in its state_dict, hidden tensors left out."""
    found = []
    for path, part in module.named_modules():
        for name, value in part._buffers.items():
            if (
                value is not None
                and name not in part._non_persistent_buffers_set
                and name not in part.__dict__.get(SITE, {})
                and not isinstance(value, nn.Parameter)
            ):
                found.append((f"{path}.{name}" if path else name, value))
    return found

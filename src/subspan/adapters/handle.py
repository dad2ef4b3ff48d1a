"""`Handle`: a subspace on a module, as a user holds it."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from subspan.adapters import buffers
from subspan.adapters.digests import base_digest, kept_digest
from subspan.adapters.guard import guard, written
from subspan.adapters.plain import ROOT, SITE, own_buffers, own_parameters
from subspan.adapters.root import Rest, Root
from subspan.adapters.selection import Weight, padding_row
from subspan.adapters.shift import shift
from subspan.adapters.sites import dress
from subspan.adapters.tables import TableKeeper, one_pass
from subspan.canonical import canonical_json, digest
from subspan.errors import InputError
from subspan.maps.sliced.base import SlicedMap


class Handle:
    """A subspace on a module: w = base + λ (A θ), with θ, and λ where wanted, to be trained.

    Made by `attach` and `load`; a module's handles are `handles(module)`.

    Attributes:
        module: the module.
        map: name of the map.
        dim: how many coordinates θ has: d, less the scales where `attach` counts them within d.
        ambient_dim: D, the number of weights in the subspace.
        seed: of the map.
        rest: what `attach` did with the other parameters.
        weights: the tensors in the subspace, in the order they lie in w ∈ R^D.
        tables: what the weights are read from at the present θ.
    """

    def __init__(
        self,
        module: nn.Module,
        weights: list[Weight],
        sliced: SlicedMap,
        seed: int,
        rest: Rest,
        key: str,
        options: dict[str, Any],
    ) -> None:
        self.module, self.weights, self.seed, self.rest = module, weights, seed, rest
        self.map, self.dim, self.ambient_dim = sliced.name, sliced.dim, sliced.ambient_dim
        self.key, self.options, self._sliced = key, options, sliced
        self.before: buffers.Snapshot = {}  # the module's buffers, which `detach` puts back
        self.shapes = [tuple(w.value.shape) for w in weights]
        sizes = [w.value.numel() for w in weights]
        self._still = [padding_row(w) for w in weights]
        self._starts = [sum(sizes[:i]) for i in range(len(sizes))]
        owners = list(dict.fromkeys(w.sites[0][0] for w in weights))
        self._layers = [owners.index(w.sites[0][0]) for w in weights]
        self.layer_count = len(owners)
        self.tables = TableKeeper()
        self._written: list[str] = []  # weights that somebody has written in place, to no effect

    @property
    def theta(self) -> nn.Parameter:
        """The coordinates θ, shape (d,), float32; 0 at first."""
        value = own_parameters(self._alive()).get(f"{self.key}_theta")
        if value is None:
            raise InputError(
                f"{self.key}_theta: expected the parameter that attach made, got none: it was "
                "taken away or parametrised. Write θ itself instead."
            )
        return value

    @property
    def scales(self) -> nn.Parameter | None:
        """The scales λ, one for each layer (module that owns weights), 1 at first; None without."""
        return own_parameters(self._alive()).get(f"{self.key}_scales")

    def parameters(self) -> list[nn.Parameter]:
        """Return what is trained: θ, and λ where there are scales."""
        return [p for p in (self.theta, self.scales) if p is not None]

    def weight(self, number: int, base: torch.Tensor) -> torch.Tensor:
        """Return weight `number` of the subspace at the present θ, for `base` its value at 0."""
        if self._written:
            raise written(self._written.pop())
        theta, scales = self.theta, self.scales
        with torch.autocast(base.device.type, enabled=False):
            table = self.tables.table(theta, self._sliced)
            scale = None if scales is None else scales[self._layers[number]]
            result = shift(
                base, table, scale, self._sliced, self._starts[number], self._still[number]
            )
        if not torch.compiler.is_compiling():
            result._subspan_tie = (id(self), number)  # type: ignore[attr-defined]
            guard(result, self.weights[number].name, self._written)
        return result

    def detach(self) -> nn.Module:
        """Take the subspace away: the module is as it was before `attach`, bit for bit.

        Its buffers are put back too, e.g. the running statistics of BatchNorm; where there are
        several subspaces, when the last one leaves. Returns the module.
        """
        root = Root.of(self._alive())
        root.check_leave(self)
        root.put_back_buffers(self)
        return self._leave()

    def merge(self) -> nn.Module:
        """Bake θ into the module's weights and take the subspace away. Returns the module."""
        Root.of(self._alive()).check_leave(self)
        with torch.no_grad(), one_pass():
            for number, weight in enumerate(self.weights):
                value = self.weight(number, weight.value)
                for owner, name in weight.sites:  # in a deep copy, tied views are tensors apart
                    own_buffers(owner)[name].copy_(value)
        return self._leave()

    def checksum(self) -> str:
        """Return the map's checksum, that of `subspan.maps.make(...)` with the same arguments."""
        return self._sliced.checksum()

    def base_digest(self) -> str:
        """Return a hash of what the subspace stands on, as it was when attached.

        That is its weights at θ = 0, those frozen beside it, and the buffers of the state_dict.
        Names, shapes, dtypes and bytes count.
        """
        return base_digest(self.module, self.weights, self._others(), self.rest)

    def kept_digest(self) -> str:
        """Return a hash of the parameters kept beside the subspace, as they are now."""
        return kept_digest(self._others(), self.rest)

    def _others(self) -> list[Weight]:
        others = [w for h in handles(self.module) if h is not self for w in h.weights]
        return others + Root.of(self.module).weights()

    def header(self) -> str:
        """Return what fixes the subspace, as JSON: map, dim, seed, checksum and tensors."""
        tensors = digest(
            [[w.name, list(s)] for w, s in zip(self.weights, self.shapes, strict=True)]
        )
        return canonical_json(
            {
                "map": self.map,
                "dim": self.dim,
                "seed": self.seed,
                "options": self.options,
                "checksum": self.checksum(),
                "tensors": tensors,
                "scales": self.scales is not None,
            }
        )

    def header_tensor(self) -> torch.Tensor:
        """Return `header()` as bytes, uint8, for a state_dict."""
        return torch.tensor(list(self.header().encode()), dtype=torch.uint8)

    def follow(self) -> None:
        """Bring the map to where θ is."""
        if not self.theta.is_meta:
            self._sliced = self._sliced.to(self.theta.device)

    def _alive(self) -> nn.Module:
        root = self.module.__dict__.get(ROOT)
        if root is None or self not in root.handles:
            raise InputError(
                "handle: expected a subspace that is attached, got one that was merged or "
                "detached. Attach the module again."
            )
        return self.module

    def _leave(self) -> nn.Module:
        module = self.module
        for number, weight in enumerate(self.weights):
            for owner, name in weight.sites:
                site = owner.__dict__[SITE]
                assert site[name] == (self, number)
                del site[name]
                if not site:
                    del owner.__dict__[SITE]
                dress(owner)
        for name in (f"{self.key}_theta", f"{self.key}_scales"):
            own_parameters(module).pop(name, None)
        self.tables = TableKeeper()
        Root.of(module).release(self, self.weights)
        return module

    def __repr__(self) -> str:
        name = type(self.module).__name__
        return (
            f"Handle({name}: D={self.ambient_dim}, dim={self.dim}, map={self.map!r}, "
            f"seed={self.seed}, tensors={len(self.weights)})"
        )


def handles(module: nn.Module) -> list[Handle]:
    """Return the subspaces attached to a module, e.g. to a copy of one that `attach` made."""
    root = module.__dict__.get(ROOT)
    return [] if root is None else list(root.handles)

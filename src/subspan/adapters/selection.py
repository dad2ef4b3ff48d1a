"""Which of a module's tensors go into a subspace: by name pattern, ties counted once."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from subspan.adapters.plain import own_buffers, own_parameters
from subspan.errors import InputError, invalid, unknown
from subspan.problems.own import refuse_hooks


@dataclass
class Weight:
    """One tensor of a module, at every place where it stands.

    Attributes:
        sites: (module that owns it, attribute); several where it is tied.
        names: its dotted names, in the order of `named_parameters`.
        trainable: whether it asks for gradients, or did before it was hidden.
    """

    trainable: bool
    sites: list[tuple[nn.Module, str]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)

    @property
    def value(self) -> torch.Tensor:
        """The tensor as it stands now; of a hidden one, the weights at θ = 0."""
        owner, name = self.sites[0]
        value: torch.Tensor | None = own_parameters(owner).get(name)
        if value is None:
            value = own_buffers(owner)[name]
        assert value is not None
        return value

    @property
    def name(self) -> str:
        """The first of its names."""
        return self.names[0]


def select(
    weights: Sequence[Weight], patterns: Sequence[str] | None, *, attached: bool = False
) -> tuple[list[Weight], list[Weight]]:
    """Split weights into those for the subspace and the rest, by patterns.

    A pattern is a shell pattern that matches a tensor's name or the name of a module above it;
    one that begins with `!` takes out again. Weights that ask for no gradient are never selected.
    `attached` says that the module has a subspace already, for the error where nothing is left.

    Raises:
        InputError: a pattern matches nothing, or nothing is left to train.
    """
    if isinstance(patterns, str):
        raise invalid("modules", expected="a list of name patterns", got=repr(patterns))
    if patterns is not None and not patterns:
        raise invalid(
            "modules", expected="a name pattern or more", got="none", remedy="Leave it out for all."
        )
    chosen = list(weights)
    if patterns is not None:
        wanted = [p for p in patterns if not p.startswith("!")]
        unwanted = [p[1:] for p in patterns if p.startswith("!")]
        known = sorted({prefix for w in weights for n in w.names for prefix in _prefixes(n)})
        for pattern in (*wanted, *unwanted):
            if not any(_matches(w, pattern) for w in weights):
                raise unknown("modules", pattern, known)
        chosen = [
            w
            for w in weights
            if (not wanted or any(_matches(w, p) for p in wanted))
            and not any(_matches(w, p) for p in unwanted)
        ]
    chosen = [w for w in chosen if w.trainable and w.value.numel()]
    if not chosen and attached:
        raise InputError(
            "module: expected a parameter to select outside the subspaces that it has, got none. "
            "Call handle.detach() first, or leave parameters out of the first by modules=[…]."
        )
    if not chosen:
        raise InputError(
            "module: expected at least one parameter with requires_grad=True to select, got none. "
            "Call requires_grad_(True) on what is to be trained."
        )
    for weight in chosen:
        check_weight(weight)
    kept = {id(w) for w in chosen}
    return chosen, [w for w in weights if id(w) not in kept]


def _prefixes(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[: i + 1]) for i in range(len(parts))]


def _matches(weight: Weight, pattern: str) -> bool:
    return any(
        fnmatch.fnmatchcase(prefix, pattern) for name in weight.names for prefix in _prefixes(name)
    )


def padding_row(weight: Weight) -> int | None:
    """Return the row that embeddings hold still, their `padding_idx`.

    None where the matrix is tied to something else, e.g. a head: through that the row has a
    gradient, and plain training moves it.
    """
    rows = {
        owner.padding_idx
        if isinstance(owner, (nn.Embedding, nn.EmbeddingBag)) and name == "weight"
        else None
        for owner, name in weight.sites
    }
    return next(iter(rows)) if len(rows) == 1 else None


def check_weight(weight: Weight) -> None:
    """Refuse a tensor that no subspace can hold.

    Raises:
        InputError: it is not of real floating point, has no values, or has a hook on its gradient.
    """
    value = weight.value
    if not value.dtype.is_floating_point:
        raise invalid(
            weight.name, expected="real floating-point weights", got=f"dtype {value.dtype}"
        )
    if value.is_meta:
        raise invalid(
            weight.name,
            expected="weights with values",
            got="a tensor on the meta device",
            remedy="Load the weights first.",
        )
    refuse_hooks(weight.name, value)

"""`Augmentation`: a user's `transform` of training inputs, held to what a trial can repeat."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from subspan.errors import InputError, invalid
from subspan.problems import structure
from subspan.problems.checks import refused, same
from subspan.problems.rows import whole_numbers
from subspan.problems.structure import Tensors
from subspan.streams import torch_generator, watched_global_rngs

Transform = Callable[[Any, torch.Generator], Any]
"""(inputs of a batch (B, ...), generator) → inputs (B, ...)."""

_TRIES = 16  # seeds with which a transform is tried before training
_GLOBAL = "Draw with the generator that it is given, e.g. torch.rand(n, generator=generator)."


class Augmentation:
    """Applies a transform to the batch of each trial, with a generator of the trial's own.

    Args:
        transform: as the user gave it.
        inputs: a few rows, as the module takes them.

    Attributes:
        example: what became of these rows.

    Raises:
        InputError: it cannot be called so, or returns other rows than it got in number or kind,
            NaN, rows of another shape each time, or others for the same generator.
    """

    def __init__(self, transform: Transform, inputs: Tensors) -> None:
        if not callable(transform):
            raise invalid(
                "transform",
                expected="a function of (inputs, generator)",
                got=repr(transform),
            )
        self._transform, self._shape = transform, ""
        for seed in range(_TRIES):
            with (
                watched_global_rngs() as moved,
                refused("transform", "a function of (inputs, generator)", "an error", "It"),
            ):
                found, again = (self._one(inputs, seed) for _ in range(2))
            if moved:
                raise _draws_elsewhere(moved[0])
            if not same(found, again):
                raise invalid(
                    "transform",
                    expected="the same rows for the same rows and generator",
                    got="others the second time",
                    remedy=_GLOBAL,
                )
            self.example = found

    def __call__(self, inputs: Tensors, seeds: Sequence[int]) -> Tensors:
        """Return the inputs (K, B, ...) of K trials, transformed, each by its own seed.

        Raises:
            InputError: a batch comes out as it must not.
        """
        before = torch.get_rng_state()
        found = [self._one(structure.row(inputs, k), seed) for k, seed in enumerate(seeds)]
        if not torch.equal(torch.get_rng_state(), before):
            raise _draws_elsewhere("PyTorch's")
        parts = zip(*map(structure.leaves, found), strict=True)
        return structure.rebuilt(inputs, iter([_stacked(part) for part in parts]))

    def _one(self, inputs: Tensors, seed: int) -> Tensors:
        generator = torch_generator(seed, "transform")
        with torch.no_grad():  # a copy: a transform may write into its inputs
            out = self._transform(structure.mapped(torch.clone, inputs), generator)
        return self._checked(out, inputs)

    def _checked(self, out: Any, inputs: Tensors) -> Tensors:
        tensors = torch.utils._pytree.tree_leaves(out)
        if not all(isinstance(t, torch.Tensor) for t in tensors) or structure.names(
            inputs
        ) != structure.names(out):
            raise _other("inputs as they came", f"{type(out).__name__}")
        for one, given in zip(structure.leaves(out), structure.leaves(inputs), strict=True):
            if not one.ndim or len(one) != len(given):
                raise _other(f"as many rows as it gets, {len(given)}", f"shape {tuple(one.shape)}")
            if whole_numbers(one) != whole_numbers(given) or one.is_complex() != given.is_complex():
                raise _other(f"numbers of their kind, {given.dtype}", str(one.dtype))
            if not whole_numbers(one) and not bool(torch.isfinite(one).all()):
                raise _other("finite numbers", "NaN or infinity")
        shape = structure.shown(out)
        self._shape = self._shape or shape
        if shape != self._shape:
            raise _other(f"rows of one shape, {self._shape}", shape)
        pairs = zip(structure.leaves(out), structure.leaves(inputs), strict=True)
        return structure.rebuilt(inputs, iter([a.to(b.device, b.dtype) for a, b in pairs]))


def _stacked(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return tensors (K, ...), images with their channels last in memory, as they came."""
    if parts[0].ndim != 4:
        return torch.stack(tuple(parts))
    return torch.stack([part.movedim(-3, -1) for part in parts]).movedim(-1, -3)


def _other(expected: str, got: str) -> InputError:
    return invalid("transform", expected=f"a function that returns {expected}", got=got)


def _draws_elsewhere(whose: str) -> InputError:
    return invalid(
        "transform",
        expected="one that draws from the generator that it is given alone",
        got=f"one that draws from {whose} global generator",
        remedy=_GLOBAL,
    )

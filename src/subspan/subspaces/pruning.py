"""From a score of every weight to a mask of exactly d: global or per layer, biases in or out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import torch

from subspan.errors import InputError, invalid, unknown
from subspan.maps.coordinate import CoordinateMap
from subspan.problems.base import AbstractProblem
from subspan.problems.layout import Layout
from subspan.problems.module import Problem

SCOPES = ("global", "layer")


def check_pruning(scope: object, biases: object) -> None:
    """Refuse an unknown scope, and what is neither True nor False.

    Raises:
        InputError: as said.
    """
    if scope not in SCOPES:
        raise unknown("scope", str(scope), list(SCOPES))
    if not isinstance(biases, bool):
        raise invalid("biases", expected="True or False", got=repr(biases))


def layout_of(problem: AbstractProblem, method: str) -> Layout:
    """Return where a problem's tensors lie.

    Raises:
        InputError: it is not a network.
    """
    if not isinstance(problem, Problem):
        raise InputError(
            f"method: expected a network for {method!r}, got the analytic problem "
            f"{problem.name!r}, which has no layers. Choose 'random' or 'burn-in'."
        )
    return problem.layout


def vector_positions(layout: Layout) -> torch.Tensor:
    """Return the positions of biases and norm parameters (tensors of one axis), increasing."""
    parts = [
        torch.arange(layout.slices[name].start, layout.slices[name].stop)
        for name, shape in zip(layout.names, layout.shapes, strict=True)
        if len(shape) < 2
    ]
    return torch.cat(parts) if parts else torch.empty(0, dtype=torch.int64)


def keep_highest(
    scores: torch.Tensor, keep: int, layout: Layout, *, scope: str, biases: bool
) -> torch.Tensor:
    """Return the positions of the `keep` weights with the highest scores.

    Ties go to the earlier position, so the count is exact.

    Args:
        scores: one per weight, shape (D,); −inf for weights that are gone already.
        keep: how many to keep, d.
        layout: of the weights.
        scope: `"global"`: the highest of all; `"layer"`: the same fraction of every tensor, by
            Webster's divisors: the total is exact, and no tensor gains where fewer are kept, so
            that what an earlier round pruned stays pruned.
        biases: True: biases and norm parameters compete with the weights (the official code);
            False: they are never pruned, and count towards d.

    Returns:
        Positions, increasing, int64, shape (keep,).

    Raises:
        InputError: the mask would keep everything or nothing, or fewer than the biases.
    """
    size = len(scores)
    if not 0 < keep < size:
        raise invalid(
            "dim",
            expected=f"a mask that keeps some of the {size} weights and prunes some",
            got=keep,
            remedy="" if keep != size else "For training of all weights use the null at d = D.",
        )
    scores = scores.detach().to("cpu", torch.float64)
    if (torch.isnan(scores) | torch.isposinf(scores)).any():
        raise invalid(
            "scores",
            expected="finite numbers",
            got="NaN or infinity",
            remedy="The search diverged: lower its learning rate.",
        )
    if biases:
        return _highest(scores, keep, layout.sizes, scope)
    always = vector_positions(layout)
    rest = keep - len(always)
    if rest < 1:
        raise invalid(
            "dim",
            expected=f"more than {len(always)}, the biases and norm parameters, which are kept",
            got=keep,
            remedy="Choose a larger d, or biases=True to prune them too.",
        )
    matrix = torch.ones(size, dtype=torch.bool)
    matrix[always] = False
    positions = matrix.nonzero()[:, 0]
    sizes = [n for n, shape in zip(layout.sizes, layout.shapes, strict=True) if len(shape) > 1]
    chosen = positions[_highest(scores[positions], rest, sizes, scope)]
    return torch.cat([chosen, always]).sort().values


def _highest(scores: torch.Tensor, keep: int, sizes: Sequence[int], scope: str) -> torch.Tensor:
    if scope == "global":
        return scores.argsort(descending=True, stable=True)[:keep].sort().values
    if scope != "layer":
        raise unknown("scope", scope, list(SCOPES))
    parts, start = [], 0
    for size, share in zip(sizes, _shares(sizes, keep), strict=True):
        order = scores[start : start + size].argsort(descending=True, stable=True)
        parts.append(start + order[:share].sort().values)
        start += size
    return torch.cat(parts)


def _shares(sizes: Sequence[int], keep: int) -> list[int]:
    """Split `keep` in proportion to the sizes, by the divisors 1, 3, 5, … (Webster; Sainte-Laguë).

    The n-th weight of a tensor of s stands at (2n − 1) / 2s; the first `keep` of all in that order
    are kept, ties going to the earlier tensor. So a smaller `keep` takes nothing that a larger one
    does not, and no tensor gives more than it has: its s-th weight stands below 1, the next above.
    """
    total = sum(sizes)
    filled = [i for i, size in enumerate(sizes) if size]
    shares = [(2 * keep * size + total) // (2 * total) for size in sizes]  # quotas, rounded

    def place(i: int, nth: int) -> tuple[Fraction, int]:
        return Fraction(2 * nth - 1, 2 * sizes[i]), i

    while sum(shares) > keep:
        shares[max(filled, key=lambda i: place(i, shares[i]))] -= 1
    while sum(shares) < keep:
        shares[min(filled, key=lambda i: place(i, shares[i] + 1))] += 1
    return shares


def mask_map(positions: torch.Tensor, problem: AbstractProblem) -> CoordinateMap:
    """Return the coordinate map of a mask, on the problem's device and in its dtype."""
    chosen = CoordinateMap(positions, problem.ambient_dim, dtype=problem.dtype)
    return chosen.to(problem.device)


def masked(weights: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Return w ⊙ mask, shape (D,): the kept weights as they are, zero elsewhere."""
    at = positions.to(weights.device)
    return torch.zeros_like(weights).index_copy_(0, at, weights[at])


def mask_bits(dim: int, ambient_dim: int) -> int:
    """Return the bits to store a mask of d out of D: ⌈log₂ C(D, d)⌉."""
    nats = math.lgamma(ambient_dim + 1) - math.lgamma(dim + 1) - math.lgamma(ambient_dim - dim + 1)
    return math.ceil(nats / math.log(2) - 1e-6)  # rounding of lgamma

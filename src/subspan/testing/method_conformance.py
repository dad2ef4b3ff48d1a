"""The laws of a `Method`, as one check."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Sequence

import torch

from subspan.canonical import canonical_json
from subspan.errors import InputError, invalid, whole
from subspan.maps.coordinate import CoordinateMap
from subspan.problems.base import AbstractProblem
from subspan.subspaces.angles import principal_angles
from subspan.subspaces.base import Draw, Method, Subspace
from subspan.subspaces.full_space import cache
from subspan.subspaces.pruning import mask_bits, masked
from subspan.testing.laws import law

Reference = Callable[[Draw], tuple[torch.Tensor, torch.Tensor]]
_TOLERANCE = 1e-6  # in float64: searches are trained in ensembles of another size


def check_method(
    make: Callable[[], Method],
    problem: AbstractProblem,
    dims: Sequence[int],
    *,
    nested: bool = False,
    mask: bool = False,
    through_init: bool = False,
    reference: Reference | None = None,
) -> None:
    """Raise `AssertionError` unless a method keeps the laws of `Method`.

    Args:
        make: returns the method; equal calls must give equal methods.
        problem: checked in float64. Each subspace is made dense: choose a small one.
        dims: training dimensions that the method can make, rising; two or more for `nested`.
        nested: whether subspaces of rising dims in one repeat are claimed to lie in each other.
        mask: whether it is claimed to keep d weights and to set all others to zero.
        through_init: whether the offset is claimed to be the initial weights; with `mask`, under
            the mask.
        reference: draw → its offset (D,) and a basis (D, d) found by other means, whose span the
            subspace's must be.

    Raises:
        InputError: an argument of this check is not what it must be.
    """
    sizes = _arguments(make, problem, dims, nested)
    problem = problem.to(dtype=torch.float64)
    method = make()
    _check_config(method, make())
    draws = [Draw(dim, 0, repeat) for dim in sizes for repeat in (0, 1)]
    made = _fresh(method, problem, draws)
    law(len(made) == len(draws), "one subspace per draw")
    again = _fresh(make(), problem, draws)
    other_seed = _fresh(make(), problem, [Draw(sizes[0], 1, 0)])[0]
    for draw, subspace, twin in zip(draws, made, again, strict=True):
        law(_identical(subspace, twin), "the same draw gives the same subspace, to the bit")
        _check_one(method, problem, draw, subspace)
        if mask:
            _check_mask(draw, subspace)
        if through_init:
            _check_start(problem.init(draw.init_seed), subspace, mask)
        if reference is not None:
            _check_reference(subspace, *reference(draw))
    law(not _identical(made[0], made[1]), "another repeat gives another subspace")
    law(not _identical(made[0], other_seed), "another seed gives another subspace")
    alone = _fresh(make(), problem, draws[-1:])[0]
    law(_same_span(alone, made[-1]), "a draw alone gives what it gives among others")
    if nested:
        for small, large in zip(made[::2], made[2::2], strict=False):
            _check_nested(small, large)
    _check_limit(method, problem, sizes[-1])


def _arguments(
    make: Callable[[], Method], problem: AbstractProblem, dims: Sequence[int], nested: bool
) -> list[int]:
    """Return the dims; refuse arguments with which the laws could not fail, or cannot be asked."""
    if isinstance(make, Method) or not callable(make):
        raise invalid("make", expected="a function that returns the method", got=repr(make))
    if not isinstance(problem, AbstractProblem):
        raise invalid("problem", expected="a problem", got=repr(problem))
    if not isinstance(dims, Iterable):
        raise invalid("dims", expected="a list of integers", got=repr(dims))
    sizes = [whole("dims", dim, low=1) for dim in dims]
    if not sizes or sizes != sorted(set(sizes)):
        raise invalid("dims", expected="one or more, rising", got=sizes)
    if nested and len(sizes) < 2:
        raise invalid("dims", expected="two or more where nested spans are claimed", got=sizes)
    return sizes


def _fresh(method: Method, problem: AbstractProblem, draws: Sequence[Draw]) -> list[Subspace]:
    """Make subspaces with nothing left over from earlier searches."""
    cache.clear()
    watched, seeds = _watched(problem)
    made = method.subspaces(watched, draws)
    strange = set(seeds) - {draw.init_seed for draw in draws}
    law(not strange, "initial weights are those of draw.init_seed, which pairs it with others")
    return made


def _watched(problem: AbstractProblem) -> tuple[AbstractProblem, list[int]]:
    """Return a copy of a problem, and a list of the seeds that its `init` is then asked for."""
    kind, seeds = type(problem), []

    def init(self: AbstractProblem, seed: int) -> torch.Tensor:
        seeds.append(seed)
        return kind.init(self, seed)

    twin = copy.copy(problem)
    own = type(kind.__name__, (kind,), {"init": init, "__slots__": ()})
    object.__setattr__(twin, "__class__", own)
    return twin, seeds


def _check_config(method: Method, twin: Method) -> None:
    config = method.config()
    try:
        back = json.loads(canonical_json(config))
    except (TypeError, ValueError) as error:
        raise AssertionError(f"law broken: config is plain JSON data ({error})") from error
    law(back == config, "config round-trips through JSON")
    law(isinstance(config.get("name"), str), 'config has a "name"')
    law(twin.config() == config, "equal methods have equal configs")
    try:
        again = type(method).from_config(json.loads(canonical_json(method.to_config())))
    except (TypeError, ValueError, KeyError) as error:
        text = f"law broken: from_config takes what to_config gives ({error})"
        raise AssertionError(text) from error
    law(again.config() == config, "from_config makes the method again of its to_config")


def _check_one(method: Method, problem: AbstractProblem, draw: Draw, subspace: Subspace) -> None:
    chosen, offset = subspace.map, subspace.offset
    size = problem.ambient_dim
    law(chosen.dim == draw.dim and chosen.ambient_dim == size, "the map is R^d → R^D")
    law(offset.shape == (size,), "the offset has shape (D,)")
    law(bool(torch.isfinite(offset).all()), "the offset is finite")
    law(chosen.dtype == offset.dtype == problem.dtype, "offset and map have the problem's dtype")
    law(int(torch.linalg.matrix_rank(chosen.dense())) == draw.dim, "the span has dimension d")
    told = method.search_steps(problem)
    law(subspace.search_steps == told, "search_steps says beforehand what a search costs")
    for name in ("search_steps", "search_bits"):
        told = getattr(subspace, name)
        count = isinstance(told, int) and not isinstance(told, bool) and told >= 0
        law(count, f"{name} is a count: an integer, 0 or more, not {told!r}")
    most = 32 * (draw.dim + 1) * size
    law(
        subspace.search_bits <= most,
        f"search_bits is at most 32 a number of offset and basis, {most}",
    )


def _check_mask(draw: Draw, subspace: Subspace) -> None:
    chosen = subspace.map
    if not isinstance(chosen, CoordinateMap):
        raise AssertionError("law broken: a mask has a coordinate map")
    law(len(chosen.indices.unique()) == draw.dim, "a mask keeps exactly d weights")
    pruned = torch.ones(len(subspace.offset), dtype=torch.bool)
    pruned[chosen.indices] = False
    law(not bool(subspace.offset[pruned].any()), "pruned weights are zero")
    most = mask_bits(draw.dim, len(subspace.offset)) + 32 * draw.dim
    law(
        subspace.search_bits <= most,
        f"search_bits is at most those of mask and kept weights, {most}",
    )


def _check_start(start: torch.Tensor, subspace: Subspace, mask: bool) -> None:
    if mask and isinstance(subspace.map, CoordinateMap):
        start = masked(start, subspace.map.indices)
    under = " under the mask" if mask else ""
    law(torch.equal(subspace.offset, start), f"the offset is the initial weights{under}")


def _check_nested(small: Subspace, large: Subspace) -> None:
    inside = float(principal_angles(small.map, large.map).max())
    law(inside < _TOLERANCE, f"spans are nested (off by {inside:.1e} rad)")
    basis = torch.linalg.qr(large.map.dense())[0]
    apart = small.offset - large.offset
    apart = apart - basis @ (basis.T @ apart)
    law(float(apart.norm()) < _TOLERANCE, "the larger one goes through the smaller's offset")


def _check_limit(method: Method, problem: AbstractProblem, largest: int) -> None:
    limit = method.max_dim(problem)
    law(largest <= limit <= problem.ambient_dim, "max_dim covers what it can make, up to D")
    if limit < problem.ambient_dim:
        try:
            method.subspaces(problem, [Draw(limit + 1, 0, 0)])
        except InputError:
            return
        raise AssertionError("law broken: a dimension above max_dim is refused by an InputError")


def _check_reference(subspace: Subspace, offset: torch.Tensor, basis: torch.Tensor) -> None:
    worst = float((subspace.offset - offset).abs().max())
    law(worst < _TOLERANCE, f"the offset is the reference's (off by {worst:.1e})")
    own = torch.linalg.qr(subspace.map.dense())[0]
    theirs = torch.linalg.qr(basis.to(own.dtype))[0]
    gap = float(torch.linalg.matrix_norm(own - theirs @ (theirs.T @ own), 2))
    law(own.shape == theirs.shape, "the dimension is the reference's")
    law(gap < _TOLERANCE, f"the span is the reference's (off by {gap:.1e})")


def _identical(one: Subspace, other: Subspace) -> bool:
    return one.map.checksum() == other.map.checksum() and torch.equal(one.offset, other.offset)


def _same_span(one: Subspace, other: Subspace) -> bool:
    if float((one.offset - other.offset).abs().max()) > _TOLERANCE:
        return False
    return float(principal_angles(one.map, other.map).max()) < 1e-3

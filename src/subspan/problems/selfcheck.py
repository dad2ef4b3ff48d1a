"""What a `Problem` tries when it is made: do its outputs, loss and gradient equal plain PyTorch's?

Plain PyTorch is a second module of the same make: weights are written into its parameters, and a
forward and a backward pass run on a few rows. The weights are others than the module's own, so that
whatever still reads its own is seen: weights read late (checkpointing, hooks on saved tensors,
functions that keep the module) or by another way than by attribute, and rows that stay still.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from subspan.errors import InputError, invalid
from subspan.problems import structure
from subspan.problems.stateless import WAYS, OfOutputs, Stateless, attributes, left_behind
from subspan.problems.structure import Tensors
from subspan.problems.traced import Loss

_SPREADS = (0.3, 0.01)  # of the noise on the weights, as a share of each tensor's size
_FLOOR = 0.1  # size of a tensor of zeros
_SHARE = 1e-2  # of the tolerance: differences below this share of the whole gradient are rounding
_ONE_AT_A_TIME = 20_000_000  # weights from which two at once are too many for a test


class _Found(NamedTuple):
    outputs: list[torch.Tensor]
    loss: torch.Tensor
    gradient: torch.Tensor


def tolerance(dtype: torch.dtype) -> float:
    """Return the relative difference that rounding explains, by far."""
    return 0.1 if dtype.itemsize < 4 else 1e-3 if dtype == torch.float32 else 1e-6


def choose(
    stateless: Stateless, reference: Stateless, x: Tensors, of_outputs: OfOutputs
) -> torch.Tensor:
    """Find the fastest way to run a module that agrees with plain PyTorch.

    Args:
        stateless: the module; its way and leftovers are set.
        reference: another module of the same make; its weights are overwritten.
        x: some rows.
        of_outputs: the loss of outputs on these rows.

    Returns:
        Weights at which it was tried, (D,).

    Raises:
        InputError: none of the ways agrees, the forward pass writes into its weights, or the loss
            has no gradient.
    """
    weights, expected, of_outputs = _reference(reference, x, of_outputs)
    if expected is None:
        return weights
    before, start = attributes(stateless.module), stateless.written().clone()
    worst, error = "", None
    for way in WAYS:
        stateless.way = way
        try:
            found = _found(stateless, weights, x, of_outputs)
        except Exception as failure:
            error = failure
            continue
        finally:
            if way == "swapped":
                stateless.leftovers = tuple(left_behind(before, stateless.module))
                _forget(stateless, before)
            stateless.write(start)
        worst = _difference(stateless, found, expected)
        if not worst:
            return weights
    raise invalid(
        "make_module",
        expected="a module whose outputs, loss and gradient follow from its parameters",
        got=f"others than plain PyTorch's on the same weights, most of all at {worst!r}"
        if worst
        else "one that fails with other weights than its own",
        remedy="Let forward read parameters from the module's attributes alone, in this and in no "
        "earlier call." + (f" It said: {error}" if error is not None and not worst else ""),
    ) from error


def refuse_late(plain: Stateless, weights: torch.Tensor, x: Tensors, of_outputs: OfOutputs) -> None:
    """Refuse a module whose gradient is NaN where plain PyTorch's is not.

    Args:
        plain: the module with its weights written into it.
        weights: (D,), finite.
        x: the rows.
        of_outputs: the loss of outputs on these rows.

    Raises:
        InputError: as said: the module's own weights, which are NaN, are read for these rows.
    """
    gradient = plain.written_loss(weights, x, of_outputs)[2]
    if bool(gradient.isnan().any()):
        return
    raise invalid(
        "make_module",
        expected="a module that reads its weights for all rows as for the first few",
        got=f"one that reads them late for some of these {structure.row_count(x)}",
        remedy="Switch off checkpointing, hooks on saved tensors and the like, or use them for "
        "every batch, whatever its rows and their number.",
    )


def batchable(
    stateless: Stateless,
    weights: torch.Tensor,
    batch: Tensors,
    loss: Loss,
    evaluate: Callable[[torch.Tensor, Tensors], Any],
) -> bool:
    """Return whether many weights run as one program and give what each gives alone.

    Args:
        stateless: the module.
        weights: (D,).
        batch: rows: (inputs, targets).
        loss: of (weights, batch).
        evaluate: of (weights (K, D), batch), as one program.
    """
    if stateless.way != "swapped":
        return False
    pair = torch.stack([weights, 0.9 * weights])
    pair = pair[:1] if len(weights) > _ONE_AT_A_TIME else pair
    batches = [_rolled(batch, k) for k in range(len(pair))]
    leaves = zip(*(structure.leaves(b) for b in batches), strict=True)
    stacked = structure.rebuilt(batch, iter([torch.stack(leaf) for leaf in leaves]))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            many = torch.func.vmap(torch.func.grad_and_value(loss))
            gradients, losses = many(pair, stacked)
            with torch.no_grad():
                evaluate(pair, batch)
    except Exception:  # whatever it is, a loop serves
        return False
    for row, own, value, gradient in zip(pair, batches, losses, gradients, strict=True):
        leaf = row.clone().requires_grad_()
        alone = loss(leaf, own)
        (expected,) = torch.autograd.grad(alone, leaf)
        pairs = ((value, gradient), (alone.detach(), expected))
        one, other = (_Found([], v.nan_to_num(), g.nan_to_num()) for v, g in pairs)
        if _difference(stateless, one, other):
            return False
    return True


def _rolled(batch: Tensors, by: int) -> Tensors:
    return structure.mapped(lambda t: t.roll(by, 0), batch)


def _reference(
    reference: Stateless, x: Tensors, of_outputs: OfOutputs
) -> tuple[torch.Tensor, _Found | None, OfOutputs]:
    """Plain PyTorch at weights where it is finite; None: nowhere. Outputs stand for a loss that is
    finite nowhere (labels that are all ignored)."""
    start = reference.written().clone()
    for of in (of_outputs, _size):
        for spread in _SPREADS:
            weights = _elsewhere(reference, start, spread)
            expected = _plain(reference, weights, x, of)
            if torch.isfinite(expected.gradient).all() and torch.isfinite(expected.loss):
                return weights, expected, of
    return weights, None, of_outputs


def _plain(reference: Stateless, weights: torch.Tensor, x: Tensors, of: OfOutputs) -> _Found:
    try:
        outputs, value, gradient = reference.written_loss(weights, x, of)
    except InputError:
        raise
    except Exception as error:
        raise invalid(
            "loss",
            expected="a loss that plain PyTorch differentiates by the weights",
            got="an error from backward()",
            remedy=f"It said: {next(iter(str(error).splitlines()), type(error).__name__)}",
        ) from error
    written = reference.written()
    for name, part in reference.layout.slices.items():
        if name not in reference.held and not torch.equal(written[part], weights[part]):
            raise invalid(
                "make_module",
                expected="a forward pass that leaves the weights as they are",
                got=f"one that writes into {name!r}",
                remedy="Leave out max_norm and the like.",
            )
    return _Found(_real(outputs), value, gradient)


def _found(stateless: Stateless, weights: torch.Tensor, x: Tensors, of: OfOutputs) -> _Found:
    leaf = weights.clone().requires_grad_()
    value = stateless.loss(leaf, x, of)
    (gradient,) = torch.autograd.grad(value, leaf)
    with torch.no_grad():
        outputs = stateless.outputs(weights, x)
    return _Found(_real(outputs), value.detach(), gradient)


def _elsewhere(reference: Stateless, start: torch.Tensor, spread: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    weights = start.clone()
    for part in reference.layout.slices.values():
        noise = torch.randn(weights[part].shape, generator=generator, dtype=torch.float32)
        size = _norm(weights[part]) / max(1, len(noise)) ** 0.5
        weights[part].add_(noise.to(weights.dtype), alpha=spread * (size or _FLOOR))
    return weights


def _difference(stateless: Stateless, found: _Found, expected: _Found) -> str:
    """Return the name of the parameter whose gradient differs most, or what else differs."""
    allowed = tolerance(expected.gradient.dtype)
    for one, other in zip(found.outputs, expected.outputs, strict=True):
        if one.shape != other.shape or not _near(one, other, allowed):
            return _worst(stateless, found, expected, allowed) or "its outputs"
    if not _near(found.loss, expected.loss, allowed, 1e-2):
        return "its loss"
    return _worst(stateless, found, expected, allowed)


def _worst(stateless: Stateless, found: _Found, expected: _Found, allowed: float) -> str:
    floor = _SHARE * _norm(expected.gradient) + torch.finfo(torch.float64).tiny
    shares = {}
    for name, part in stateless.layout.slices.items():
        gap = _norm(found.gradient[part] - expected.gradient[part])
        shares[name] = gap / (_norm(expected.gradient[part]) + floor)
    worst = max(shares, key=lambda name: math.inf if math.isnan(shares[name]) else shares[name])
    return "" if shares[worst] <= allowed else worst


def _norm(tensor: torch.Tensor) -> float:
    wide = torch.promote_types(tensor.dtype, torch.float32)
    return float(torch.linalg.vector_norm(tensor, dtype=wide))


def _near(one: torch.Tensor, other: torch.Tensor, allowed: float, least: float = 0.0) -> bool:
    if one.is_complex():
        one, other = torch.view_as_real(one), torch.view_as_real(other)
    size = float(other.double().abs().max()) if other.numel() else 0.0
    gap = float((one.double() - other.double()).abs().max()) if other.numel() else 0.0
    return not gap > allowed * max(size, least)


def _real(outputs: Any) -> list[torch.Tensor]:
    leaves = torch.utils._pytree.tree_leaves(outputs)
    return [t.detach() for t in leaves if isinstance(t, torch.Tensor)]


def _size(outputs: Any) -> torch.Tensor:
    leaves = torch.utils._pytree.tree_leaves(outputs)
    floats = [t for t in leaves if isinstance(t, torch.Tensor) and t.is_floating_point()]
    return torch.stack([t.square().sum() for t in floats]).sum()


def _forget(stateless: Stateless, before: dict[tuple[str, str], Any]) -> None:
    """Put back what stood where the first forward pass left tensors."""
    for path, key in stateless.leftovers:
        space = vars(stateless.module.get_submodule(path))
        if (path, key) not in before:
            del space[key]
            continue
        value = before[path, key]
        graph = isinstance(value, torch.Tensor) and value.grad_fn is not None
        space[key] = value.detach() if graph else value


def writes_into(call: Callable[[Tensors], Any], x: Tensors) -> bool:
    """Return whether a function writes into its inputs, of which it gets copies."""
    copies = structure.mapped(torch.clone, x)
    versions = [t._version for t in structure.leaves(copies)]
    call(copies)
    return versions != [t._version for t in structure.leaves(copies)]

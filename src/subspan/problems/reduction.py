"""`Reduction`: how the losses of parts of the data make the loss of the whole.

A loss that is the mean over rows is that of its parts, weighted by their rows. With class weights
or labels that do not count, PyTorch's mean is one over weights, and a part counts by the weights of
its targets; a sum is the sum of its parts. What couples rows (contrastive losses, the mean of the
hardest rows, correlations) is none of these, and must be taken of the whole at once.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import torch
from torch import nn

from subspan.errors import invalid
from subspan.problems import structure
from subspan.problems.labels import IGNORED
from subspan.problems.losses import OutputLoss
from subspan.problems.structure import Tensors
from subspan.streams import stream

Kind = Literal["mean", "weighted", "sum", "whole"]
ROWS = 128  # on which a loss is tried, about
_PER_CLASS = 2
_PARTS = 3
_NUMBERS = 20_000_000  # of outputs and targets at once, on which a loss is tried
_TOLERANCE = {torch.float64: 1e-9, torch.float32: 3e-6}
_WEIGHTED = (nn.CrossEntropyLoss, nn.NLLLoss)
_WEIGHTED_FUNCTIONS = (nn.functional.cross_entropy, nn.functional.nll_loss)
_FAILURES = (RuntimeError, ValueError, TypeError, LookupError, AssertionError)


@dataclass(frozen=True)
class Reduction:
    """How losses of parts of the rows add up to the loss of all of them.

    Args:
        kind: `"mean"` over rows; `"weighted"`: a mean over the weights of the targets; `"sum"`; or
            `"whole"`: they do not add up.
        class_weights: of a weighted mean, shape (classes,); None: all 1.
        ignored: the label of weight 0.
    """

    kind: Kind = "mean"
    class_weights: torch.Tensor | None = None
    ignored: int = IGNORED

    @property
    def adds_up(self) -> bool:
        """Whether the loss of the whole follows from those of its parts."""
        return self.kind != "whole"

    def weight(self, targets: Tensors) -> float:
        """Return what the loss of rows with these targets counts."""
        return float(self.counts(targets))

    def counts(self, targets: Tensors) -> torch.Tensor | float:
        """Return the same, () in float64 on the targets' device where it depends on them: a GPU
        need not be waited for."""
        if self.kind == "sum":
            return 1.0
        rows = float(structure.row_count(targets))
        if self.kind != "weighted" or not isinstance(targets, torch.Tensor):
            return rows
        if targets.is_floating_point():  # class probabilities: PyTorch's mean is over rows
            return rows
        counted = targets != self.ignored
        if self.class_weights is None:
            return counted.sum().double()
        weights = self.class_weights.detach().to(targets.device, torch.float64)
        if counted.device.type == "cpu":
            return weights[targets[counted]].sum()
        return torch.where(counted, weights[torch.where(counted, targets, 0)], 0.0).sum()

    def to(self, device: torch.device) -> Self:
        """Return the same for targets on a device."""
        weights = self.class_weights
        return dataclasses.replace(
            self, class_weights=None if weights is None else weights.detach().to(device)
        )

    def total(self, weights: Sequence[float | torch.Tensor]) -> float | torch.Tensor:
        """Return what the weighted losses of all parts are divided by."""
        return 1.0 if self.kind == "sum" else sum(weights)

    def shares(self, parts: list[Tensors]) -> list[float]:
        """Return the factors by which losses of parts with these targets add up to the whole's.

        A part that does not count has the factor 0: PyTorch's loss is NaN there.
        """
        weights = [self.weight(targets) for targets in parts]
        total = float(self.total(weights))
        return [weight / total if total else math.nan for weight in weights]


def declared(loss: str | OutputLoss) -> Reduction | None:
    """Return the weighted mean that a loss of PyTorch's declares; None where it declares none."""
    if loss == "cross_entropy":
        return Reduction("weighted")
    if isinstance(loss, functools.partial) and loss.func in _WEIGHTED_FUNCTIONS and not loss.args:
        held = loss.keywords
    elif type(loss) in _WEIGHTED:
        held = {name: getattr(loss, name) for name in ("weight", "ignore_index", "reduction")}
    elif loss in _WEIGHTED_FUNCTIONS:
        held = {}
    else:
        return None
    if held.get("reduction", "mean") != "mean":
        return None
    return Reduction("weighted", held.get("weight"), held.get("ignore_index", IGNORED))


def find(
    loss: str | OutputLoss,
    function: OutputLoss,
    outputs: Callable[[Tensors], Any],
    data: tuple[Tensors, Tensors],
) -> Reduction:
    """Find how a loss adds up, by trying it on uneven parts of some 128 rows, and of the targets of
    all rows with the outputs of these, in float64.

    Args:
        loss: as the user gave it. The losses by name are not tried.
        function: the loss as a function of (outputs, targets).
        outputs: the outputs (n, ...) of inputs, at weights that tell rows apart.
        data: inputs and targets of all rows.
    """
    said = declared(loss)
    if isinstance(loss, str):
        return said or Reduction("mean")
    rows = _chosen(data[1])
    if len(rows) < _PARTS:
        return said or Reduction("whole")
    x, y = (structure.mapped(lambda t: t[rows.to(t.device)], part) for part in data)
    with torch.no_grad():
        out = outputs(x)
        if said is not None and _adds_up(said, function, out, y):
            return said
        if not all(leaf.ndim for leaf in structure.leaves(out)):  # a number for all rows together
            return Reduction("whole")
        again = _recycled(out, data[1])
        for candidate in (Reduction("mean"), Reduction("sum"), Reduction("weighted")):
            if all(_adds_up(candidate, function, *pair) for pair in ((out, y), again)):
                return candidate
    return Reduction("whole")


def _recycled(out: Any, targets: Tensors) -> tuple[Any, Tensors]:
    """Return the targets of all rows, or as many as memory permits, with the outputs of a few again
    and again: a rare class, mask or weight may be in none of the few."""
    few, count = structure.row_count(out), structure.row_count(targets)
    leaves = (*structure.leaves(out), *structure.leaves(targets))
    size = sum(leaf[:1].numel() for leaf in leaves)
    rows = torch.linspace(0, count - 1, min(count, max(few, _NUMBERS // max(1, size)))).long()
    y = structure.mapped(lambda t: t[rows.to(t.device)], targets)
    again = torch.arange(len(rows)) % few
    return structure.mapped(lambda t: t[again.to(t.device)], out), y


def _adds_up(candidate: Reduction, function: OutputLoss, out: Any, y: Tensors) -> bool:
    """Whether uneven parts add up to the whole, in float64 where the loss takes it."""
    try:
        wide = structure.mapped(_doubled, out), structure.mapped(_doubled, y)
        return _equal(candidate, function, wide, _TOLERANCE[torch.float64])
    except _FAILURES:  # e.g. class weights in float32
        pass
    try:
        return _equal(candidate, function, (out, y), _TOLERANCE[torch.float32])
    except _FAILURES:
        return False


def _equal(
    candidate: Reduction, function: OutputLoss, rows: tuple[Any, Tensors], tolerance: float
) -> bool:
    count = structure.row_count(rows[1])
    whole = float(function(*rows))
    for first in {1, count // 5, count // 2} - {0}:
        cuts = (first, max(1, (count - first) // 3))
        sizes = (*cuts, count - sum(cuts))
        cut = [leaf.split(sizes) for leaf in structure.leaves(rows)]
        parts = [structure.rebuilt(rows, iter(part)) for part in zip(*cut, strict=True)]
        shares = candidate.shares([part[1] for part in parts])
        pairs = [(s, p) for s, p in zip(shares, parts, strict=True) if s]
        losses = [share * float(function(*part)) for share, part in pairs]
        scale = max(abs(whole), sum(map(abs, losses)), 1e-30)
        if not abs(sum(losses) - whole) <= tolerance * scale:
            return False
    return True


def _chosen(targets: Tensors) -> torch.Tensor:
    """Return some 128 rows, shuffled: a few of every label, and others from all over the data."""
    first = structure.leaves(targets)[0]
    count, found = len(first), []
    if not first.is_floating_point() and first.ndim:
        flat = first.reshape(count, -1).cpu()
        lowest = flat.min(1).values  # where one label of a row does not count, this is it
        for labels in (flat[:, 0], lowest):
            kinds = labels.unique()[: ROWS // (2 * _PER_CLASS)]
            found += [(labels == kind).nonzero()[:_PER_CLASS, 0] for kind in kinds]
    spread = torch.linspace(0, count - 1, min(count, ROWS // 4)).round().long()
    rows = torch.cat([*found, spread]).unique()
    order = stream(0, "reduction").permutation(len(rows))
    return rows[torch.from_numpy(order)]


def _doubled(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


def joined(parts: list[Any]) -> Any:
    """Return outputs (K, n, ...) of all rows from those of parts, in order."""
    leaves = list(zip(*map(structure.leaves, parts), strict=True))
    if any(leaf[0].ndim < 2 for leaf in leaves):
        raise invalid(
            "eval_rows",
            expected="all rows at once: the module returns a number for all rows it gets",
            got=f"{len(parts)} parts",
            remedy="Pass eval_rows=, the number of rows, or return a number for each row.",
        )
    return structure.rebuilt(parts[0], iter([torch.cat(leaf, 1) for leaf in leaves]))

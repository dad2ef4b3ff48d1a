"""Metrics of a `Problem` beside loss and accuracy, of outputs and targets in chunks of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from subspan import metrics
from subspan.canonical import digest
from subspan.errors import invalid, unknown
from subspan.metrics import Metric
from subspan.printable import shown
from subspan.problems import structure
from subspan.problems.identity import identity_of
from subspan.problems.losses import loss_name
from subspan.problems.reduction import joined
from subspan.problems.rows import Data

if TYPE_CHECKING:
    from subspan.problems.labels import Labels

OwnMetric = Callable[[Any, Any], torch.Tensor | float]
"""Of outputs and targets of all rows of a split: one number."""


@dataclass(frozen=True)
class OfAllRows:
    """A user's own metric. It sees a whole split at once, since only some are means over rows."""

    name: str
    function: OwnMetric

    @property
    def identity(self) -> Any:
        """What tells it from others."""
        return [loss_name(self.function), digest(identity_of(self.function, "metrics"))]

    def __call__(self, outputs: Any, targets: Any) -> float:
        """Return the metric.

        Raises:
            TypeError: it is not one number: the trial has failed, as one whose function raises.
        """
        value = self.function(outputs, targets)
        try:
            return float(torch.as_tensor(value))
        except (TypeError, ValueError, RuntimeError, OverflowError):
            got = f"shape {tuple(value.shape)}" if hasattr(value, "shape") else shown(value)
            raise TypeError(f"metric {self.name}: expected one number, got {got}.") from None


@dataclass(frozen=True)
class Registered:
    """A registered metric, of sums over chunks."""

    metric: Metric

    @property
    def name(self) -> str:
        """Its name."""
        return self.metric.name

    @property
    def identity(self) -> Any:
        """What tells it from others."""
        return "registered"


def own_metrics(
    given: Mapping[str, OwnMetric] | Iterable[str] | None,
) -> dict[str, Registered | OfAllRows]:
    """Return the metrics that a problem is given: names, or functions by name.

    Raises:
        InputError: a name that is no name, is not registered, or is loss or accuracy itself.
    """
    if given is None:
        return {}
    pairs = given.items() if isinstance(given, Mapping) else [(name, None) for name in given]
    found: dict[str, Registered | OfAllRows] = {}
    for name, function in pairs:
        metric, split = metrics.parse(name)
        if split != "train" or ":" in name or metric in ("loss", "accuracy"):
            raise invalid(
                "metrics", expected="names without a split, other than loss and accuracy", got=name
            )
        if function is not None and not callable(function):
            raise invalid(f"metric {name}", expected="a function", got=repr(function))
        found[metric] = (
            Registered(metrics.known(metric)) if function is None else OfAllRows(name, function)
        )
    return found


def metric_for(
    own: Mapping[str, Registered | OfAllRows], name: str, labels: Labels
) -> Registered | OfAllRows:
    """Return a metric of one's own or a registered one that fits the problem's targets.

    Raises:
        InputError: there is none.
    """
    if name in own and isinstance(own[name], OfAllRows):
        return own[name]
    found = metrics.find(name)
    if found is None:
        raise unknown("goal metric", name, [*own, *metrics.METRICS])
    if found.classes and not labels.classes:
        raise invalid("goal", expected="a metric that fits targets which are no labels", got=name)
    if found.values and labels.classes:
        raise invalid("goal", expected="a metric that fits targets which are labels", got=name)
    return Registered(found)


@torch.no_grad()
def measure(
    outputs_of: Callable[[torch.Tensor, Any], Any],
    data: Data,
    weights: torch.Tensor,
    wanted: Sequence[Registered | OfAllRows],
    labels: Labels,
    rows_at_once: int | None,
) -> list[dict[str, float]]:
    """Return metrics by name for each row of weights (K, D), one after another.

    `outputs_of` gives the outputs of one row's weights on inputs; `data` are a split's.
    Labels of many to a row count each for itself; those that the loss leaves out are left out.
    """
    x, y = data
    count = structure.row_count(y)
    summed = [one.metric for one in wanted if isinstance(one, Registered)]
    whole = [one for one in wanted if isinstance(one, OfAllRows)]
    values: list[dict[str, float]] = []
    totals: dict[str, list[Any]] = {metric.name: [] for metric in summed}
    for row in weights:
        sums: dict[str, Any] = {}
        seen, outs = 0, []
        for xs, ys in structure.chunks((x, y), rows_at_once or count):
            outputs = outputs_of(row, xs)
            flat = _flat(outputs, ys, labels)
            seen += structure.row_count(flat[1])
            for metric in summed:
                assert metric.sums is not None
                sums[metric.name] = sums.get(metric.name, 0) + metric.sums(*flat)
            if whole:
                outs.append(structure.mapped(lambda t: t[None], outputs))
        for name, total in sums.items():
            totals[name].append(total)
        values.append({})
        if whole:
            every = structure.row(joined(outs), 0)
            values[-1] = {one.name: one(every, y) for one in whole}
    for metric in summed if values else ():  # one look at the device for all trials
        for found, total in zip(values, torch.stack(totals[metric.name]).cpu(), strict=True):
            found[metric.name] = metric.value(total, seen)
    return values


def _flat(outputs: Any, targets: Any, labels: Labels) -> tuple[Any, Any]:
    """Return outputs (n, classes) and labels (n,) that count; others as they are."""
    if not labels.classes:
        return outputs, targets
    outputs = outputs.movedim(labels.axis, -1).reshape(-1, labels.classes)
    targets = targets.reshape(-1)
    if not labels.gaps:
        return outputs.contiguous(), targets
    counted = targets != labels.ignored
    return outputs[counted], targets[counted]

"""Metrics of a `Problem` beside loss and accuracy, of outputs and targets in chunks of rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from subspan import metrics
from subspan.errors import invalid, unknown
from subspan.metrics import Metric
from subspan.problems import structure

if TYPE_CHECKING:
    from subspan.problems.labels import Labels
    from subspan.problems.module import Problem

OwnMetric = Callable[[Any, Any], torch.Tensor]
"""Of outputs and targets of some rows: the metric's mean over these rows, shape ()."""


@dataclass(frozen=True)
class MeanOverRows:
    """A user's own metric: a mean over rows, so that chunks are weighted by theirs."""

    name: str
    function: OwnMetric

    def sums(self, outputs: Any, targets: Any) -> torch.Tensor:
        """Return the sum over rows, shape (1,)."""
        value = torch.as_tensor(self.function(outputs, targets))
        if value.numel() != 1:
            raise invalid(
                f"metric {self.name}", expected="one number", got=f"shape {tuple(value.shape)}"
            )
        return value.reshape(1).double() * structure.row_count(targets)

    def value(self, sums: torch.Tensor, rows: int) -> float:
        """Return the mean."""
        return float(sums[0]) / rows


def own_metrics(
    given: Mapping[str, OwnMetric] | Iterable[str] | None,
) -> dict[str, Metric | MeanOverRows]:
    """Return the metrics that a problem is given: names, or functions by name.

    Raises:
        InputError: a name that is no name, is not registered, or is loss or accuracy itself.
    """
    if given is None:
        return {}
    pairs = given.items() if isinstance(given, Mapping) else [(name, None) for name in given]
    found: dict[str, Metric | MeanOverRows] = {}
    for name, function in pairs:
        metric, split = metrics.parse(name)
        if split != "train" or ":" in name or metric in ("loss", "accuracy"):
            raise invalid(
                "metrics", expected="names without a split, other than loss and accuracy", got=name
            )
        if function is not None and not callable(function):
            raise invalid(f"metric {name}", expected="a function", got=repr(function))
        found[metric] = metrics.known(metric) if function is None else MeanOverRows(name, function)
    return found


def metric_for(
    own: Mapping[str, Metric | MeanOverRows], name: str, labels: Labels
) -> Metric | MeanOverRows:
    """Return a metric of one's own or a registered one that fits the problem's targets.

    Raises:
        InputError: there is none.
    """
    found = own.get(name) or metrics.find(name)
    if found is None:
        raise unknown("goal metric", name, [*own, *metrics.METRICS])
    needs_classes = isinstance(found, Metric) and found.classes
    if needs_classes and not labels.classes:
        raise invalid("goal", expected="a metric that fits targets which are no labels", got=name)
    return found


@torch.no_grad()
def measure(
    problem: Problem,
    weights: torch.Tensor,
    split: str,
    wanted: Sequence[Metric | MeanOverRows],
    labels: Labels,
    rows_at_once: int | None,
) -> list[dict[str, float]]:
    """Return metrics by name for each row of weights (K, D), one after another.

    Labels of many to a row count each for itself; those that the loss leaves out are left out.
    """
    x, y = problem.batch(None, split)
    count = structure.row_count(y)
    values = []
    for row in weights:
        totals: dict[str, Any] = {}
        seen = 0
        for xs, ys in structure.chunks((x, y), rows_at_once or count):
            outputs = problem.outputs(row, xs)
            flat = _flat(outputs, ys, labels)
            seen += structure.row_count(flat[1])
            for metric in wanted:
                pair = (outputs, ys) if isinstance(metric, MeanOverRows) else flat
                assert metric.sums is not None
                totals[metric.name] = totals.get(metric.name, 0) + metric.sums(*pair).cpu()
        values.append(
            {
                m.name: m.value(totals[m.name], count if isinstance(m, MeanOverRows) else seen)
                for m in wanted
            }
        )
    return values


def _flat(outputs: Any, targets: Any, labels: Labels) -> tuple[Any, Any]:
    """Return outputs (n, classes) and labels (n,) that count; others as they are."""
    if not labels.classes:
        return outputs, targets
    outputs = outputs.movedim(labels.axis, -1).reshape(-1, labels.classes)
    targets = targets.reshape(-1)
    counted = targets != labels.ignored
    return outputs[counted], targets[counted]

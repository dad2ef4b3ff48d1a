"""Metrics by name: which way is better and, for a `Problem`, what they are of outputs and targets.

A metric of a whole split is computed in chunks of rows: each chunk gives a vector of sums, the
sums of all chunks are added, and the value is a function of them. A name that is not registered is
a metric too, of whoever reports it; which way it goes, a goal's sign or `register` says.

To add a metric, enter it at the end of this file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from subspan.errors import InputError, invalid, unknown
from subspan.printable import shown

__all__ = ["METRICS", "Metric", "find", "known", "parse", "qualified", "register"]

if TYPE_CHECKING:
    import torch

    Sums = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

Direction = Literal["lower", "higher"]
NAME = r"[A-Za-z_][\w.@/-]*"
LONGEST = 1000  # characters of a goal or a metric's name: what is longer is no text of ours


@dataclass(frozen=True)
class Metric:
    """A number that says how well outputs fit targets.

    Args:
        name: as in goals and records.
        direction: `"lower"` or `"higher"` is better.
        least: the least value that it can take.
        most: the most.
        sums: of outputs and targets (rows first) of a chunk, shape (m,), float64, under `vmap`
            too; None where nobody but the maker of a record knows how it comes about.
        value: the metric of the sums (m,) over all rows, and the number of rows. Mean over rows
            by default.
        classes: whether it needs outputs (n, classes) and whole targets (n,).
        values: whether it needs targets that are numbers, as many as the outputs, not labels.
    """

    name: str
    direction: Direction
    least: float = -math.inf
    most: float = math.inf
    sums: Sums | None = None
    value: Callable[[Any, int], float] = lambda sums, rows: float(sums[0]) / rows
    classes: bool = False
    values: bool = False

    @property
    def higher(self) -> bool:
        """Whether more is better."""
        return self.direction == "higher"


METRICS: dict[str, Metric] = {}


def register(
    name: str, direction: Direction, *, least: float = -math.inf, most: float = math.inf
) -> Metric:
    """Say which way a metric of one's own goes, so that `best` and tables know.

    Args:
        name: letters, digits and `_ . @ / -`, a letter first.
        direction: `"lower"` or `"higher"` is better.
        least: the least value that it can take.
        most: the most.

    Raises:
        InputError: the name is no such name or goes the other way already.
    """
    if not isinstance(name, str) or not re.fullmatch(NAME, name):
        raise invalid("metric", expected="a name of letters, digits and _.@/-", got=repr(name))
    if direction not in ("lower", "higher"):
        raise invalid("direction", expected="'lower' or 'higher'", got=repr(direction))
    known = METRICS.get(name)
    if known is not None:
        if known.direction != direction:
            raise invalid(
                "direction", expected=f"{known.direction!r}, as registered", got=repr(direction)
            )
        return known
    return _add(Metric(name, direction, least, most))


def find(name: str) -> Metric | None:
    """Return the registered metric of a name, `top3_accuracy` for every number; None if unknown."""
    if name not in METRICS and (match := re.fullmatch(r"top([1-9]\d*)_accuracy", name)):
        return _top(name, int(match[1]))
    return METRICS.get(name)


def known(name: str) -> Metric:
    """Return the registered metric of a name.

    Raises:
        InputError: there is none.
    """
    metric = find(name)
    if metric is None:
        own = f"If it is your own, say first: subspan.metrics.register({name!r}, 'higher')."
        raise InputError(f"{unknown('metric', name, list(METRICS))} {own}")
    return metric


def qualified(metric: str, split: str) -> str:
    """Return the one name of a metric on a split, `"val:accuracy"`."""
    return f"{split}:{metric}"


def parse(text: str) -> tuple[str, str]:
    """Return (metric, split) of `"[split:]metric"`; the split is `train` where it is left out.

    Raises:
        InputError: the text is not of that form.
    """
    known = len(str(text)) <= LONGEST
    match = re.fullmatch(rf"\s*(?:({NAME})\s*:)?\s*({NAME})\s*", str(text)) if known else None
    if match is None:
        raise invalid(
            "metric", expected="'metric' or 'split:metric', as val:accuracy", got=shown(text)
        )
    return match[2], match[1] or "train"


def _add(metric: Metric) -> Metric:
    METRICS[metric.name] = metric
    return metric


def _hits(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return (outputs.argmax(1) == targets).sum()[None].double()


def _top(name: str, k: int) -> Metric:
    def sums(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        best = outputs.topk(min(k, outputs.shape[1]), dim=1).indices
        return (best == targets[:, None]).sum()[None].double()

    return Metric(name, "higher", 0.0, 1.0, sums, classes=True)


def _confusion(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Rows of each class that were hit, that there are, and that were named: (3 · classes,)."""
    import torch

    classes = torch.arange(outputs.shape[1], device=outputs.device)
    named, true = outputs.argmax(1)[:, None] == classes, targets[:, None] == classes
    return torch.cat([(named & true).sum(0), true.sum(0), named.sum(0)]).double()


def _balanced(sums: torch.Tensor, rows: int) -> float:
    hits, true, _ = sums.reshape(3, -1)
    return float((hits[true > 0] / true[true > 0]).mean())


def _f1(sums: torch.Tensor, rows: int) -> float:
    hits, true, named = sums.reshape(3, -1)
    there = true + named > 0
    return float((2 * hits[there] / (true + named)[there]).mean())


def _nats(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    import torch

    each = torch.nn.functional.cross_entropy(outputs.double(), targets, reduction="none")
    return torch.stack([each.sum(), each.new_tensor(float(each.numel()))])


def _perplexity(sums: torch.Tensor, rows: int) -> float:
    mean = float(sums[0] / sums[1])
    return math.exp(mean) if mean < 700 else math.inf


def _columns(values: torch.Tensor) -> torch.Tensor:
    return values.double().reshape(len(values), -1)


def _squares(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    import torch

    seen, true = _columns(outputs.reshape(targets.shape)), _columns(targets)
    return torch.cat([(seen - true).square().sum(0), true.sum(0), true.square().sum(0)])


def _r2(sums: torch.Tensor, rows: int) -> float:
    missed, total, squares = sums.reshape(3, -1)
    return float((1 - missed / (squares - total.square() / rows)).mean())


def _absolute(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return _columns(outputs.reshape(targets.shape) - targets).abs().mean(1).sum()[None]


for _metric in (
    Metric("loss", "lower"),  # the problem's own
    Metric("accuracy", "higher", 0.0, 1.0, _hits, classes=True),
    Metric("error", "lower", 0.0, 1.0, _hits, lambda s, rows: 1 - float(s[0]) / rows, True),
    _top("top5_accuracy", 5),
    Metric("balanced_accuracy", "higher", 0.0, 1.0, _confusion, _balanced, True),  # mean recall
    Metric("f1", "higher", 0.0, 1.0, _confusion, _f1, True),  # mean over classes ("macro")
    Metric("perplexity", "lower", 0.0, math.inf, _nats, _perplexity, classes=True),
    Metric("r2", "higher", -math.inf, 1.0, _squares, _r2, values=True),  # mean over columns
    Metric("mean_absolute_error", "lower", 0.0, math.inf, _absolute, values=True),
):
    _add(_metric)

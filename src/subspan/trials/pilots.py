"""`specs_at`: the learning rate at each d, chosen by pilot trials, at `lr="auto"`.

On a grid of the search scale (`LrScale`) in steps of about 2, in three rounds, for every d and
every method the same number of trials: every second point; the two next to the best; and the three
best a second time. Pilots have a seed of their own, so that no trial that is measured had a part in
the choice, and share their draws, so that it is not a draw's luck that tells learning rates apart.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from subspan import metrics
from subspan.errors import invalid
from subspan.goals import Goal, best_for, left, parse_goal
from subspan.spec import AUTO, FINAL_LOSS, LrChoice, TrainSpec, choice_of
from subspan.streams import derive
from subspan.subspaces.base import Method
from subspan.training.outcome import Outcome
from subspan.trials.cost import trainings
from subspan.trials.function import FunctionTrainable, LoopSpec
from subspan.trials.lr_scale import LrScale
from subspan.trials.trial import TrialRecord

Spec = TrainSpec | LoopSpec

_AS_WELL = 1.1  # a loss, or an error, of at most a tenth more
_FINALISTS = 3


class Runner(Protocol):
    """Runs trials of a problem or function, or looks them up; `TrialRunner` is one."""

    problem: Any

    def run_each(
        self, method: Method | None, plan: Sequence[tuple[tuple[int, int], Any]], *, seed: int
    ) -> Sequence[TrialRecord]:
        """Run each (dim, repeat) with a spec of its own."""


def specs_at(
    runner: Runner,
    method: Method | None,
    dims: Sequence[int],
    spec: Spec,
    *,
    seed: int,
    goal: Goal | str | None = None,
) -> dict[int, Spec]:
    """Return how to train at each dim: `spec`, with the best learning rate where it is `"auto"`.

    Args:
        runner: trains the pilots, or finds them in its store.
        method: how subspaces are chosen; None for a function.
        dims: training dimensions. At 0, where nothing is trained, no learning rate is best.
        spec: how to train.
        seed: of the measured trials.
        goal: what is to be served, by the best value of its metric over a trial; None: the goal
            that `spec` stops at, or the training loss at the end.

    Raises:
        InputError: a function that declares no range, or reports no training loss without a goal.
    """
    if spec.lr != AUTO:
        return dict.fromkeys(dims, spec)
    aim = parse_goal(goal) if goal is not None else spec.stop_at
    assert not isinstance(aim, str)
    by = FINAL_LOSS if aim is None else str(aim)
    scale = _scale(runner.problem, spec)
    steps = max(1, round(math.log2(scale.high / scale.low)))
    rhos = np.geomspace(scale.low, scale.high, steps + 1)
    searches = {dim: _Search(dim, [_rounded(r * scale.unit(dim)) for r in rhos]) for dim in dims}
    own = derive(seed, "learning rate")
    pilot = spec.replace(stop_at=None, lr_choice=LrChoice(by))

    def train(asked: dict[int, list[int]], repeat: int) -> None:
        plan = [(dim, place) for dim, places in asked.items() for place in places]
        works = [((d, repeat), pilot.replace(lr=searches[d].lrs[place])) for d, place in plan]
        done = runner.run_each(method, works, seed=own)
        _refuse_silent(done, aim)
        for (dim, place), record in zip(plan, done, strict=True):
            searches[dim].tell(place, record, aim)

    active = {dim: search for dim, search in searches.items() if dim}
    if active:
        train({dim: search.every_second() for dim, search in active.items()}, 0)
        train({dim: search.beside_the_best() for dim, search in active.items()}, 0)
        train({dim: search.finalists() for dim, search in active.items()}, 1)
    return {
        dim: spec.replace(lr=lr, lr_choice=choice)
        for dim, search in searches.items()
        for lr, choice in [search.found(by, runner.problem, spec, aim)]
    }


class ChosenLr(NamedTuple):
    """The learning rate that trials at a dim were trained at, and how it was chosen."""

    dim: int
    lr: float
    choice: LrChoice


def chosen_lrs(records: Sequence[TrialRecord]) -> tuple[ChosenLr, ...]:
    """Return the learning rates that were chosen, by dim; empty where all were given."""
    found = {}
    for record in records:
        spec = record.shared["spec"]
        choice = choice_of(spec.get("lr_choice"))
        if choice is not None and not choice.is_pilot and record.dim:
            found[record.dim] = ChosenLr(record.dim, spec["lr"], choice)
    return tuple(found[dim] for dim in sorted(found))


def said_of(chosen: Sequence[ChosenLr]) -> str:
    """Say what was chosen and what that cost, in a sentence; nothing where nothing was."""
    if not chosen:
        return ""
    by = ", ".join(dict.fromkeys(one.choice.by for one in chosen))
    lrs, edges = [one.lr for one in chosen], [one for one in chosen if one.choice.at_edge]
    pilots, cost = (sum(getattr(one.choice, n) for one in chosen) for n in ("pilots", "trainings"))
    text = (
        f"Learning rate: the best for {by} at each d, {min(lrs):.2g} to {max(lrs):.2g}, "
        f"by {pilots} pilot trials ({cost:.1f} full trainings)."
    )
    if edges:
        at = ", ".join(f"{one.dim:,} ({one.choice.at_edge})" for one in edges)
        text += f" At an end of those tried at d = {at}: beyond it training may get better."
    return text


def lrs_to_json(chosen: Mapping[str, Sequence[ChosenLr]]) -> dict[str, Any]:
    """Return the learning rates that were chosen, by label, as a field of plain JSON data.

    Empty where all were given.
    """
    rows = {
        label: [{"dim": one.dim, "lr": one.lr, **dataclasses.asdict(one.choice)} for one in own]
        for label, own in chosen.items()
        if own
    }
    return {"learning_rates": rows} if rows else {}


class _Search:
    """The search at one dim, over places of a grid of learning rates, rising."""

    def __init__(self, dim: int, lrs: list[float]) -> None:
        self.dim, self.lrs = dim, lrs
        self._left: dict[int, list[float]] = {}
        self._records: list[TrialRecord] = []

    def tell(self, place: int, record: TrialRecord, aim: Goal | None) -> None:
        self._left.setdefault(place, []).append(_left(record, aim))
        self._records.append(record)

    def every_second(self) -> list[int]:
        last = len(self.lrs) - 1
        return sorted({*range(0, last + 1, 2), last})

    def beside_the_best(self) -> list[int]:
        """Return the two places not tried that are nearest to the best: always as many."""
        best = self._ranked()[0]
        rest = [i for i in range(len(self.lrs)) if i not in self._left]
        return sorted(rest, key=lambda i: (abs(i - best), i))[:2]

    def finalists(self) -> list[int]:
        return sorted(self._ranked()[:_FINALISTS])

    def found(self, by: str, problem: Any, spec: Spec, aim: Goal | None) -> tuple[float, LrChoice]:
        """Return the best of those tried twice, and how flat it is about it."""
        if not self._records:
            lr = self.lrs[len(self.lrs) // 2]
            return lr, LrChoice(by, lr, lr)
        twice = {i for i, left in self._left.items() if len(left) > 1}
        best = next(i for i in self._ranked() if i in twice)
        tried = sorted(self._left)
        at = tried.index(best)
        low = high = at
        while low > 0 and self._as_well(tried[low - 1], best, aim):
            low -= 1
        while high < len(tried) - 1 and self._as_well(tried[high + 1], best, aim):
            high += 1
        last = len(self.lrs) - 1
        cost = trainings(problem, spec, self._records) or 0.0
        return self.lrs[best], LrChoice(
            by,
            self.lrs[tried[low]],
            self.lrs[tried[high]],
            "low" if best == 0 else "high" if best == last else None,
            len(self._records),
            float(f"{cost:.4g}"),
        )

    def _mean(self, place: int) -> float:
        left = self._left[place]
        return sum(left) / len(left)

    def _ranked(self) -> list[int]:
        """Return the places tried, the best first; of equals, the one amid them."""
        mean = {i: self._mean(i) for i in self._left}
        least = min(mean.values())
        equal = sorted(i for i, left in mean.items() if left == least)
        middle = equal[len(equal) // 2]
        return sorted(mean, key=lambda i: (mean[i], abs(i - middle), i))

    def _as_well(self, place: int, best: int, aim: Goal | None) -> bool:
        there, least = self._mean(place), self._mean(best)
        return there <= (least * _AS_WELL if _from_ideal(aim) and least > 0 else least)


def _left(record: TrialRecord, aim: Goal | None) -> float:
    """Return what is left to gain: smaller is better; ∞ where a trial says nothing."""
    if aim is None:
        value = record.final_train_loss if record.outcome is Outcome.FINISHED else math.nan
        return value if math.isfinite(value) else math.inf
    value = best_for(aim, record.values(aim.metric, aim.split))
    return left(aim, value) if math.isfinite(value) else math.inf


def _from_ideal(aim: Goal | None) -> bool:
    """Whether what is left is measured from the best that the metric can be, so that 0 is none."""
    if aim is None or aim.metric == "loss":
        return True
    known = metrics.find(aim.metric)
    return known is not None and math.isfinite(known.most if aim.higher else known.least)


def _refuse_silent(records: Sequence[TrialRecord], aim: Goal | None) -> None:
    """Refuse trials that do not report what the learning rate is to serve.

    Raises:
        InputError: they ended well without it.
    """
    told = [r for r in records if r.outcome not in (Outcome.DIVERGED, Outcome.FAILED)]
    name, split = ("loss", "train") if aim is None else (aim.metric, aim.split)
    if told and all(math.isnan(v) for r in told for v in r.values(name, split)):
        seen = sorted({metric for record in told for metric in record.metrics})
        raise invalid(
            "goal",
            expected="one that the learning rate is to serve, of a metric that trials report",
            got=f"none, and no {split} {name} among {', '.join(seen) or 'nothing'}"
            if aim is None
            else f"{str(aim)!r}, and they report {', '.join(seen) or 'nothing'}",
        )


def _scale(problem: Any, spec: Spec) -> LrScale:
    """Return where the learning rate is looked for.

    Raises:
        InputError: it is a function that does not declare it.
    """
    if not isinstance(problem, FunctionTrainable):
        assert isinstance(spec, TrainSpec)
        return LrScale.of(problem, spec.optimizer)
    if problem.lr_range is None:
        raise invalid(
            "lr",
            expected="a function that declares in which range to search",
            got=repr(AUTO),
            remedy="Write @subspan.trainable(..., lr=(1e-4, 1e-1)).",
        )
    return LrScale.declared(*problem.lr_range)


def _rounded(lr: float) -> float:
    """Three significant digits: enough for a learning rate, and the same on every machine."""
    return float(f"{lr:.3g}")

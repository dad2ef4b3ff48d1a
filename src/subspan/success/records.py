"""From trial records to success counts: one experiment at a time, each draw counted once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from subspan.canonical import canonical_json
from subspan.errors import invalid
from subspan.goals import Goal
from subspan.spec import shared
from subspan.training.outcome import Outcome
from subspan.trials.columns import Curves
from subspan.trials.trial import TrialRecord


class Tally(NamedTuple):
    """What the draws at one dim say about one goal."""

    dim: int
    successes: int
    failures: int
    undetermined: int


@dataclass(frozen=True)
class Experiment:
    """What all trials of a success curve share: problem, method and how they are trained.

    `spec` is without `stop_at`: stopping early truncates a trial and changes nothing before.
    """

    problem: dict[str, Any]
    method: dict[str, Any]
    spec: dict[str, Any]
    ambient_dim: int
    seeds: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON data."""
        return {**self.__dict__, "seeds": list(self.seeds)}


def experiment(trials: Sequence[TrialRecord], *, lr: Any = None) -> Experiment:
    """Return what the trials share.

    Args:
        trials: records.
        lr: if given, stands for the learning rates, which may then differ: `"auto"`.

    Raises:
        InputError: there are none, or they mix problems, methods or training specs.
    """
    if not trials:
        raise invalid("trials", expected="at least one record", got="none")
    fields: dict[str, dict[str, dict[str, Any]]] = {"problem": {}, "method": {}, "spec": {}}
    met: set[tuple[int, int, int]] = set()  # records of a store share what they have in common
    for record in trials:
        common = record.shared
        same = id(common["problem"]), id(common["method"]), id(common["spec"])
        if same in met:
            continue
        met.add(same)
        for name, seen in fields.items():
            value = common[name]
            if name == "spec":
                value = shared(value) | ({} if lr is None else {"lr": lr})
            seen.setdefault(canonical_json(value), value)
    for name, seen in fields.items():
        if len(seen) > 1:
            raise invalid(
                "trials",
                expected=f"records of one {name}",
                got=f"{len(seen)}: {' and '.join(sorted(seen)[:2])}",
                remedy=f"Group the records by {name} first.",
            )
    problem, method, spec = (next(iter(seen.values())) for seen in fields.values())
    seeds = tuple(sorted({record.draw[1] for record in trials}))
    return Experiment(problem, method, spec, trials[0].ambient_dim, seeds)


def tally(
    trials: Sequence[TrialRecord], goal: Goal, bests: Sequence[float] | None = None
) -> list[Tally]:
    """Count successes, failures and undetermined draws per dim, in order of dim.

    Two records of one draw (same dim, seed and repeat, stopped at different goals) are the same
    training seen for a longer or shorter time, and count once.

    Args:
        trials: records.
        goal: what counts as success.
        bests: what `Curves.bests_for` says of them, where that is known.
    """
    seen: dict[tuple[int, int, int], bool | None] = {}
    bests = Curves(trials).bests_for(goal) if bests is None else bests
    for record, best in zip(trials, bests, strict=True):
        draw, met = record.draw, record.meets_at(goal, best)
        seen[draw] = met if seen.get(draw) is None else seen[draw] or bool(met)
    rows: dict[int, list[int]] = {}
    for (dim, _, _), met in seen.items():
        row = rows.setdefault(dim, [0, 0, 0])
        row[2 if met is None else 0 if met else 1] += 1
    return [Tally(dim, *rows[dim]) for dim in sorted(rows)]


def may_need_none(counts: Sequence[tuple[int, int, int]], delta: float) -> bool:
    """Whether d = 1 suffices, of (dim, successes, total) by dim, so that d = 0 is to be tried."""
    dim, successes, total = counts[0]
    return dim == 1 and successes >= (1 - delta) * total


def refuse_missing_metric(
    records: Sequence[TrialRecord], goal: Goal, bests: Sequence[float] | None = None
) -> None:
    """A metric that a trial does not report is not a failure to reach the goal.

    Args:
        records: of trials.
        goal: what is asked of them.
        bests: what `Curves.bests_for` says of them, where that is known.

    Raises:
        InputError: a trial that neither failed nor diverged has none.
    """
    bests = Curves(records).bests_for(goal) if bests is None else bests
    ended = (Outcome.DIVERGED, Outcome.FAILED)
    told = [best for r, best in zip(records, bests, strict=True) if r.outcome not in ended]
    silent = sum(map(math.isnan, told))
    if silent:
        some = "" if silent == len(told) else f" in {silent} of {len(told)} trials"
        seen = sorted({name for record in records for name in record.metrics})
        raise invalid(
            "goal",
            expected="one that the problem can meet",
            got=f"{str(goal)!r}, but it reports no {goal.split} {goal.metric}{some}",
            remedy=f"It reports {', '.join(seen) or 'nothing'}.",
        )

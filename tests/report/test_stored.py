"""What a store's experiments count, held against the library's own functions, record by record."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "success"))
from synthetic import SPEC, FakeRunner, fake_problem, grid, record

import subspan as ss
from subspan.errors import InputError
from subspan.goals import parse_goal
from subspan.report.columns import Columns
from subspan.report.levels import goal_of, levels_of
from subspan.report.stored import experiment, experiments, tells
from subspan.success import ThresholdEstimate
from subspan.success.curves import shape_probability
from subspan.trials.trial import Outcome

DIMS = [16, 32, 64, 128, 256]
STOP = SPEC.replace(stop_at="loss<=0.5")


def bare(estimate: ThresholdEstimate | None) -> ThresholdEstimate:
    """An estimate without the trials, which the page does without."""
    assert estimate is not None
    return dataclasses.replace(estimate, records=())


def mixed() -> list:
    """A grid that trained to the end, beside trials that were to stop at loss<=0.5."""
    stopped = [
        record(
            dim,
            100 + i,
            (2.3, 0.4) if i % 2 else (2.3, 0.9),
            spec=STOP,
            outcome=Outcome.STOPPED if i % 2 else Outcome.FINISHED,
        )
        for dim in DIMS
        for i in range(4)
    ]
    failed = [record(64, 200, (2.3,), outcome=Outcome.FAILED)]
    return [*grid(DIMS, 6), *stopped, *failed]


def test_trials_that_differ_in_where_they_stop_are_one_experiment() -> None:
    other = record(16, 0, method="burn-in")
    found = experiments([*mixed(), other])
    assert [len(s.records) for s in found] == [len(mixed()), 1]
    assert found[0].goals_asked() == (parse_goal("loss<=0.5"),)
    assert experiment(mixed(), found[0].id).id == found[0].id
    with pytest.raises(InputError, match="id: expected one of"):
        experiment(mixed(), "nothing")


def test_the_learning_rate_alone_makes_a_family() -> None:
    a, b = experiments([record(16), record(16, spec=SPEC.replace(lr=0.5))])
    assert a.id != b.id
    assert a.family == b.family
    assert (a.lr, b.lr) == (0.05, 0.5)
    (c,) = experiments([record(16, spec=SPEC.replace(batch_size=64))])
    assert c.family != a.family


@pytest.mark.parametrize(
    ("stop", "goal", "told"),
    [
        (None, "loss<=0.1", True),
        ("loss<=0.5", "loss<=0.5", True),
        ("loss<=0.5", "loss<=0.6", True),
        ("loss<=0.5", "loss<=0.4", False),
        ("accuracy>=0.9", "accuracy>=0.8", True),
        ("accuracy>=0.9", "accuracy>=0.95", False),
        ("accuracy>=0.9", "loss<=1", False),
        ("test:accuracy>=0.9", "accuracy>=0.8", False),
    ],
)
def test_which_trials_tell_depends_on_where_they_were_to_stop(
    stop: str | None, goal: str, told: bool
) -> None:
    assert tells(stop, parse_goal(goal)) is told


def test_trials_that_were_to_stop_before_are_left_out_even_where_they_did_not() -> None:
    (stored,) = experiments(mixed())
    harder = stored.telling("loss<=0.1")
    assert {r.trial.repeat for r in harder} == {*range(6), 200}  # none of 100…, stopped or not
    assert stored.telling("loss<=1") == mixed()


def test_a_trial_that_failed_is_a_miss_as_in_a_surface() -> None:
    (stored,) = experiments(mixed())
    cells = {c.dim: c for c in stored.surface(["loss<=2.5"]).cells}
    assert (cells[64].successes, cells[64].trials) == (11, 11)  # it had reached 2.3 before
    cells = {c.dim: c for c in stored.surface(["loss<=1"]).cells}
    assert cells[64].trials == cells[128].trials + 1
    assert cells[64].successes < cells[64].trials


@pytest.mark.parametrize("goal", ["loss<=1", "loss<=0.5", "loss<=0.1", "test:accuracy>=0.7"])
def test_columns_count_what_the_surface_counts(goal: str) -> None:
    (stored,) = experiments(mixed())
    wanted = parse_goal(goal)
    columns = Columns.of(stored, f"{wanted.split}:{wanted.metric}", higher=bool(wanted.higher))
    cells = columns.cells(wanted)
    surface = ss.success_surface(stored.telling(wanted), wanted)
    assert [(c.dim, c.successes, c.trials) for c in surface.cells] == [
        tuple(map(int, row)) for row in zip(*cells, strict=True)
    ]
    assert all(c.undetermined == 0 for c in surface.cells)
    assert bare(columns.estimate(wanted, {})) == bare(stored.estimate(wanted))


def test_a_draw_seen_twice_counts_once() -> None:
    spec = SPEC.replace(stop_at="loss<=0.6")
    twice = [
        *grid(DIMS, 4),
        *(record(d, 0, (2.3, 0.55), spec=spec, outcome=Outcome.STOPPED) for d in DIMS),
    ]
    (stored,) = experiments(twice)
    cells = Columns.of(stored, "train:loss", higher=False).cells(parse_goal("loss<=0.6"))
    assert cells.totals.tolist() == [4] * len(DIMS)
    surface = ss.success_surface(twice, "loss<=0.6")
    assert cells.wins.tolist() == [c.successes for c in surface.cells]


def test_a_measured_threshold_is_told_again_as_it_was() -> None:
    runner = FakeRunner(lambda d: float(shape_probability("logistic", np.log(d / 60) * 6)))
    estimate = ss.threshold(
        fake_problem(), "random", "loss<=0.1", runner=runner, seed=3, design="binary"
    )
    (stored,) = experiments(estimate.records)
    again = stored.estimate("loss<=0.1")
    assert (again.value, again.low, again.high) == (estimate.value, estimate.low, estimate.high)
    columns = Columns.of(stored, "train:loss", higher=False)
    assert bare(columns.estimate(parse_goal("loss<=0.1"), {})) == bare(again)


def test_a_grid_that_stops_at_the_goal_is_no_design() -> None:
    spec = SPEC.replace(stop_at="loss<=0.1")

    def trials(apart: int) -> list:
        """Half of those at d = 32 meet the goal; at the next dim the repeats begin anew or not."""
        final = {16: (0.3, 0.3), 32: (0.3, 0.05), 64: (0.05, 0.05)}
        return [
            record(dim, apart * i + r, (2.3, losses[r % 2]), spec=spec)
            for i, (dim, losses) in enumerate(final.items())
            for r in range(50)
        ]

    for apart, designed in ((0, False), (50, True)):
        (stored,) = experiments(trials(apart))
        assert stored.designed("loss<=0.1") is designed
        assert not stored.designed("loss<=1")  # at which none was to stop
        found = stored.estimate("loss<=0.1")
        assert found.low == 33
        assert found.high < 64 if designed else found.high == 64
        columns = Columns.of(stored, "train:loss", higher=False)
        assert bare(columns.estimate(parse_goal("loss<=0.1"), {})) == bare(found)


def test_the_offset_alone_is_told_as_zero() -> None:
    trials = [record(d, i, (0.05, 0.01)) for d in (1, 2, 4) for i in range(8)]
    (stored,) = experiments(trials)
    goal = parse_goal("loss<=0.1")
    found = Columns.of(stored, "train:loss", higher=False).estimate(goal, {})
    assert found is not None
    assert (found.value, found.low) == (0, 0)
    assert bare(found) == bare(stored.estimate(goal))


@pytest.mark.parametrize(
    ("metric", "values", "asked"),
    [
        ("train:loss", np.geomspace(2.3, 0.01, 200), 0.1),
        ("train:accuracy", np.linspace(0.1, 1.0, 200), 0.9),
        ("val:reward", np.linspace(-20, 30, 200), 12.5),
    ],
)
def test_levels_are_round_few_and_hold_what_was_asked(
    metric: str, values: np.ndarray, asked: float
) -> None:
    levels = levels_of(metric, values, 9, asked=[asked])
    assert levels == sorted(set(levels))
    assert asked in levels
    assert 5 <= len(levels) <= 10
    assert min(levels) >= values.min() - 1e-9
    assert max(levels) <= values.max() + 1e-9
    higher = metric != "train:loss"
    goals = [goal_of(metric, level, higher=higher) for level in levels]
    assert [g.level for g in goals] == levels


def test_levels_of_nothing_are_those_asked() -> None:
    assert levels_of("train:loss", np.array([np.nan]), 9, asked=[0.1]) == [0.1]

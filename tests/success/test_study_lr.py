"""A study that searches the learning rate is the joint design of `threshold`, by ask and tell."""

import math

import numpy as np
import pytest

import subspan as ss
from subspan.errors import InputError
from subspan.goals import parse_goal
from subspan.report.stored import experiments
from subspan.success.noted import noted

GOAL, ENDS = "val:accuracy>=0.9", (1e-4, 1e-1)


def accuracy(dim, lr, seed):
    """P(z ≥ 0) = 0.9 at d = 200 and lr = 1e-2, on the scale of the logit."""
    noise = 0.1 * np.random.default_rng([seed, 5]).standard_normal()
    off = -0.4 * abs(math.log(lr / 1e-2)) if lr < 1e-2 else -1.2 * math.log(lr / 1e-2)
    z = math.log(0.9 / 0.1) + 0.128 + 1.1 * math.log(dim / 200) + off + noise
    return 1 / (1 + math.exp(-z))


def told(study, trials):
    for trial in trials:
        value = accuracy(trial.dim, trial.lr, trial.seed)
        stopped = value >= study.enough
        study.tell(trial, {"val:accuracy": value}, steps=5 if stopped else 10, stopped=stopped)


def study_of(store=None, **options):
    return ss.ThresholdStudy(GOAL, max_dim=5000, lr=ENDS, max_trials=6, store=store, **options)


def test_it_asks_and_finds_what_threshold_does(tmp_path):
    @ss.trainable(name="study", max_dim=5000, lr=ENDS)
    def mine(trial):
        value = accuracy(trial.dim, trial.lr, trial.seed)
        trial.report({"val:accuracy": value}, step=5)
        if value < enough:
            trial.report({"val:accuracy": value}, step=10)

    rounds = []
    with study_of(tmp_path / "a.db") as study:
        enough = study.enough
        while not study.done:
            rounds.append(study.ask(2))
            told(study, rounds[-1])
        assert study.ask(2) == []
        found = study.estimate
        (kept,) = noted(study.store)
        assert (kept.estimate.value, kept.stop_at) == (found.value, None)
        assert all(one.found_by([kept]) is kept for one in experiments(study.store))
    wanted = ss.threshold(mine, goal=GOAL, max_trials=6, width=2, workers=1, executor="inline")
    asked = [(t.dim, t.lr, t.repeat) for part in rounds for t in part]
    trials = [r.trial for r in wanted.records]
    assert sorted(asked) == sorted((t.dim, t.spec["lr"], t.repeat) for t in trials)
    assert found.estimate == wanted.estimate
    assert (found.learning_rate, found.trainings) == (wanted.learning_rate, wanted.trainings)
    assert found.at_best_lr

    # Killed after a round, with a trial out and one given back: it goes on as if nothing had been.
    with study_of(tmp_path / "b.db") as study:
        told(study, study.ask(2))
        out, back = study.ask(2)
        study.give_back(back)
    with study_of(tmp_path / "b.db") as study:
        assert [out, *study.ask(1)] == rounds[1]
        told(study, rounds[1])
        assert study.ask(2) == rounds[2]


def test_trials_under_way_are_reckoned_with():
    study = study_of()
    one, two = study.ask(2)
    assert study_of().ask(2) == [one, two]
    again = study_of()
    assert [*again.ask(1), *again.ask(1)] == [one, two]
    assert (one.dim, one.lr) != (two.dim, two.lr)
    assert all(ENDS[0] <= t.lr <= ENDS[1] for t in (one, two))


def test_a_trial_counts_for_its_own_learning_rate_alone(tmp_path):
    with study_of(tmp_path / "a.db") as study:
        (trial,) = study.ask()
        for changes in ({"lr": 0.05}, {"lr": None}, {"dim": trial.dim + 1}):
            with pytest.raises(InputError, match="trial: expected one that `ask` gave"):
                study.tell(ss.success.study.AskedTrial(**{**trial.__dict__, **changes}), {})
        study.tell(trial, {"val:accuracy": 0.7})
        (record,) = study.estimate.records
        assert record.trial.spec["lr"] == trial.lr
    # A study at one rate, of the same name, goes its own way in the same store.
    with ss.ThresholdStudy(GOAL, max_dim=5000, lr=0.01, store=tmp_path / "a.db") as other:
        assert other.ask()[0].repeat == 0
        assert other.enough is None


@pytest.mark.parametrize(
    ("goal", "lr", "named"),
    [
        (GOAL, (0.1, 0.01), "low < high"),
        (GOAL, (0.1,), "low < high"),
        (GOAL, "auto", "lr"),
        ("reward>=10", ENDS, "goal"),
    ],
)
def test_what_cannot_be_searched_is_refused(goal, lr, named):
    with pytest.raises(InputError, match=named):
        ss.ThresholdStudy(goal, max_dim=100, lr=lr)


@pytest.mark.slow
def test_a_goal_met_untrained_is_found_at_zero():
    study = ss.ThresholdStudy(parse_goal(GOAL), max_dim=50, lr=ENDS, max_trials=30)
    for _ in range(30):
        trials = study.ask(4)
        if not trials:
            break
        for trial in trials:
            study.tell(trial, {"val:accuracy": 0.999}, stopped=True)
    assert study.done
    assert study.estimate.value == 0

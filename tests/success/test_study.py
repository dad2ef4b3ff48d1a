import subprocess
import sys

import pytest

import subspan as ss
from subspan.errors import InputError

GOAL = "val:accuracy>=0.9"


def finish(study, needed, rounds=100, n=4):
    for _ in range(rounds):
        trials = study.ask(n)
        if not trials:
            break
        for trial in trials:
            study.tell(trial, {"val:accuracy": float(trial.dim >= needed)})
    assert study.done
    return study.estimate


def test_ask_and_tell_find_the_threshold():
    with ss.ThresholdStudy(GOAL, max_dim=1000) as study:
        estimate = finish(study, 60)
        assert study.ask(3) == []
    assert estimate.status == "ok"
    assert estimate.low <= 60 <= estimate.high
    assert len({r.trial.repeat for r in estimate.records}) == len(estimate.records)


def test_trials_of_a_round_differ_and_are_not_given_twice():
    study = ss.ThresholdStudy(GOAL, max_dim=1000)
    one, two = study.ask(4), study.ask(4)
    trials = [*one, *two]
    assert [t.repeat for t in trials] == list(range(8))
    assert len({t.seed for t in trials}) == 8
    assert len({t.dim for t in trials}) > 4


def test_a_goal_that_is_met_untrained():
    estimate = finish(ss.ThresholdStudy(GOAL, max_dim=100), 0)
    assert estimate.value == 0
    assert finish(ss.ThresholdStudy(GOAL, max_dim=100), 1).value == 1


def test_a_study_goes_on_where_it_was_left(tmp_path):
    path = tmp_path / "study.db"
    with ss.ThresholdStudy(GOAL, max_dim=1000, store=path) as study:
        for trial in study.ask(4):
            study.tell(trial, {"val:accuracy": float(trial.dim >= 60)})
        (open_one,) = study.ask(1)
    with ss.ThresholdStudy(GOAL, max_dim=1000, store=path) as study:
        assert study.estimate.trials == 4
        assert open_one.repeat not in [t.repeat for t in study.ask(2)]  # it may still be told
        study.tell(open_one, {"val:accuracy": 0.0})
        assert study.estimate.trials == 5
    with (
        ss.ThresholdStudy(GOAL, max_dim=1000, store=path, seed=1) as other,
        pytest.raises(InputError, match="at least one trial"),
    ):
        other.estimate  # noqa: B018


def test_a_lease_that_ran_out_is_asked_of_another(tmp_path):
    path = tmp_path / "study.db"
    with ss.ThresholdStudy(GOAL, max_dim=1000, store=path, lease=1e-6) as gone:
        lost = gone.ask(1)
    with ss.ThresholdStudy(GOAL, max_dim=1000, store=path) as study:
        assert study.ask(1) == lost


ASK = """
import sys, subspan as ss
with ss.ThresholdStudy("val:accuracy>=0.9", max_dim=1000, store=sys.argv[1]) as study:
    print("ready", flush=True)
    sys.stdin.readline()
    print(*[t.repeat for _ in range(10) for t in study.ask(1)])
"""


def test_processes_that_ask_of_one_store_do_not_get_the_same_trial(tmp_path):
    path = str(tmp_path / "study.db")
    askers = [
        subprocess.Popen(
            [sys.executable, "-c", ASK, path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for asker in askers:
        assert asker.stdout.readline() == "ready\n"
    for asker in askers:
        asker.stdin.write("\n")
        asker.stdin.flush()
    given = [asker.communicate()[0].split() for asker in askers]
    assert sorted(int(repeat) for own in given for repeat in own) == list(range(20))


def test_what_is_told_is_checked():
    study = ss.ThresholdStudy(GOAL, max_dim=1000)
    (trial,) = study.ask()
    with pytest.raises(InputError, match="'val:accuracy' among them"):
        study.tell(trial, {"accuracy": 0.5})
    study.tell(trial, {"val:accuracy": float("nan")})
    assert study.estimate.counts[0].successes == 0
    with pytest.raises(InputError, match="max_dim"):
        ss.ThresholdStudy(GOAL, max_dim=0)
    with pytest.raises(InputError, match="ratio"):
        ss.ThresholdStudy(GOAL, max_dim=10, ratio=0.5)


def test_two_goals_on_one_store_do_not_count_for_each_other(tmp_path):
    path = tmp_path / "study.db"
    with ss.ThresholdStudy(GOAL, max_dim=1000, store=path) as study:
        one = finish(study, 60)
    with ss.ThresholdStudy("loss<=0.1", max_dim=1000, store=path) as study:
        assert not study.done
        with pytest.raises(InputError, match="at least one trial"):
            study.estimate  # noqa: B018
        for _ in range(100):
            for trial in study.ask(4):
                study.tell(trial, {"loss": 1.0 if trial.dim < 30 else 0.05})
            if study.done:
                break
        other = study.estimate
    assert other.low <= 30 <= other.high
    assert not {r.key for r in one.records} & {r.key for r in other.records}
    with ss.ThresholdStudy(GOAL, max_dim=1000, store=path) as study:
        assert study.estimate.counts == one.counts


def test_a_trial_of_another_study_is_refused_and_harms_nothing(tmp_path):
    big = ss.ThresholdStudy("r>=1", max_dim=1000).ask(1)[0]
    with ss.ThresholdStudy("r>=1", max_dim=10, store=tmp_path / "study.db") as study:
        for foreign in (big, "x", None):
            with pytest.raises(InputError, match="trial: expected one that `ask` gave"):
                study.tell(foreign, {"r": 1})
        (trial,) = study.ask()
        with pytest.raises(InputError, match="metrics: expected a mapping"):
            study.tell(trial, None)
        study.tell(trial, {"r": 1})
        study.tell(trial, {"r": 1})  # said twice
        with pytest.raises(InputError, match="told before with other metrics"):
            study.tell(trial, {"r": 0})
        assert study.estimate.trials == 1


def test_a_trial_that_is_given_back_is_asked_again():
    study = ss.ThresholdStudy(GOAL, max_dim=1000)
    one, two = study.ask(2)
    study.give_back(one)
    assert study.ask(1) == [one]
    study.tell(two, {"val:accuracy": 0.0})

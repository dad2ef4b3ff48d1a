import time

import numpy as np
import pytest
import torch
from torch import nn

from subspan.errors import InputError
from subspan.problems import Problem, load
from subspan.spec import TrainSpec
from subspan.subspaces import LotterySubspace, RandomAffine, full_space
from subspan.trials import problem_trainable, runner
from subspan.trials.function import trainable
from subspan.trials.problem_trainable import by_dim, by_repeat, ensemble_size
from subspan.trials.run import run
from subspan.trials.runner import TrialRunner, TrialsFailed
from subspan.trials.stores.sql import Store

SPEC = TrainSpec(steps=10, batch_size=32)


def results(records):
    return [(r.key, r.outcome, repr(r.curve), r.theta_norm) for r in records]


def test_records_do_not_depend_on_workers_or_order():
    problem = load("digits-mlp", subset=200)
    alone = run(problem, "random", [4, 30], repeats=3, spec=SPEC, workers=1)
    spread = run(problem, "random", [30, 4], repeats=3, spec=SPEC, workers=2)
    assert results(alone) == results([*spread[3:], *spread[:3]])
    assert [(r.dim, r.trial.repeat) for r in alone] == [(d, r) for d in (4, 30) for r in range(3)]
    assert alone[0].provenance["threads"] == spread[0].provenance["threads"] == 1


def test_jobs_keep_a_repeat_in_one_piece_where_a_search_serves_its_dims():
    pairs = [(dim, repeat) for dim in (8, 4) for repeat in (0, 1, 2)]
    assert by_dim(pairs, 4) == [[(4, 0), (4, 1), (4, 2), (8, 0)], [(8, 1), (8, 2)]]
    whole = [[(4, 0), (8, 0)], [(4, 1), (8, 1)], [(4, 2), (8, 2)]]
    assert by_repeat(pairs, 1) == by_repeat(pairs, 3) == whole
    assert by_repeat(pairs, 4) == [whole[0] + whole[1], whole[2]]
    uneven = by_repeat([*pairs, (9, 0)], 4)  # like repeats are neighbours
    assert uneven == [whole[1] + whole[2], [*whole[0], (9, 0)]]


def test_where_all_is_in_the_store_nothing_is_tried_out(monkeypatch, tmp_path):
    """Whether trials can be batched is tried with `vmap`, two seconds of imports alone."""
    problem = load("digits-mlp", subset=200)
    first = run(problem, "random", [4], 2, SPEC, store=tmp_path / "runs.db", workers=1)

    def tried(problem):
        raise AssertionError("nothing is to be trained")

    monkeypatch.setattr(problem_trainable, "ensemble_size", tried)
    again = run(problem, "random", [4], 2, SPEC, store=tmp_path / "runs.db", workers=1)
    assert results(again) == results(first)


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("kept", [2**30, 0])
def test_one_search_serves_all_dims_of_a_repeat(workers, kept, monkeypatch, tmp_path):
    """Also over several workers, one trial at a time, and with nothing kept between ensembles."""
    problem = load("digits-mlp", subset=200)
    method, log = LotterySubspace(12, 1), tmp_path / "log"
    plain = run(problem, method, [2, 4, 8], 3, SPEC, workers=1)
    searched = full_space.FullSpace.train

    def counted(self, problem, starts, *rest, **options):
        with log.open("a") as file:
            file.write("search\n" * len(starts))
        return searched(self, problem, starts, *rest, **options)

    monkeypatch.setattr(full_space.FullSpace, "train", counted)
    monkeypatch.setattr(full_space.cache, "limit", kept)
    monkeypatch.setattr(problem_trainable, "_ENSEMBLE_WEIGHTS", problem.ambient_dim)
    full_space.cache.clear()
    spread = run(problem, method, [2, 4, 8], 3, SPEC, workers=workers)
    assert log.read_text().count("search") == 3
    assert {r.provenance["ensemble_size"] for r in spread} == {1}
    assert results(spread) == results(plain)


class Picky(RandomAffine):
    """Refuses d = 4 at once, and takes its time over others."""

    def subspaces(self, problem, draws):
        if any(draw.dim == 4 for draw in draws):
            raise InputError("picky: no 4")
        time.sleep(0.5)
        return super().subspaces(problem, draws)


def test_a_refusal_leaves_no_job_behind_that_is_taken_for_a_later_one():
    problem, method = load("digits-mlp", subset=200), Picky()
    with TrialRunner(problem, workers=2) as trials:
        with pytest.raises(InputError, match="no 4"):
            trials.run(method, [(4, 0), (5, 0)], spec=SPEC, seed=0)
        for dim in (6, 7):
            records = trials.run(method, [(dim, 0), (dim, 1)], spec=SPEC, seed=0)
            assert [(r.dim, r.trial.repeat) for r in records] == [(dim, 0), (dim, 1)]


def test_numpy_integers_are_integers():
    problem = load("digits-mlp", subset=200)
    written = run(problem, "random", np.geomspace(4, 30, 2).astype(int), 1, SPEC, np.int64(3))
    plain = run(problem, "random", [4, 30], 1, SPEC, 3, workers=1)
    assert results(written) == results(plain)


def test_records_say_what_their_seed_stands_for():
    problem = load("digits-mlp", subset=200)
    one, other = run(problem, "random", [4], 2, SPEC, workers=1)
    (again,) = run(problem, "random", [4], 1, SPEC, workers=1)
    assert one.provenance["subspace"] == again.provenance["subspace"]
    assert one.provenance["subspace"] != other.provenance["subspace"]
    assert one.provenance["subspan"]


def test_a_problem_of_ones_own_with_closures_runs_in_workers():
    x = torch.linspace(-1, 1, 60).reshape(20, 3)
    problem = Problem(lambda: nn.Linear(3, 2), (x, (x[:, 0] > 0).long()), name="mine")
    records = run(problem, RandomAffine("gaussian"), [1, 8], repeats=2, spec=SPEC, workers=2)
    assert len(records) == 4


def test_the_store_is_looked_up_first(tmp_path):
    problem = load("digits-mlp", subset=200)
    path = tmp_path / "runs.db"
    run(problem, "random", [4], repeats=2, spec=SPEC, store=path, workers=1)
    events = []
    run(
        problem, "random", [4, 5], repeats=2, spec=SPEC, store=path, workers=1,
        progress=lambda *event: events.append(event),
    )  # fmt: skip
    assert events[0] == (2, 4, "found in the store")
    assert len(events) == 3
    with Store(path) as store:
        assert len(store) == 4


def test_seed_and_repeat_change_the_trial():
    problem = load("digits-mlp", subset=200)
    a = run(problem, "random", [4], repeats=2, spec=SPEC, seed=0, workers=1)
    b = run(problem, "random", [4], repeats=1, spec=SPEC, seed=1, workers=1)
    assert len({r.final_train_loss for r in [*a, *b]}) == 3


def test_runner_keeps_its_workers_and_learns_methods():
    problem = load("digits-mlp", subset=200)
    with TrialRunner(problem, workers=2) as runner:
        one = runner.run(RandomAffine(), [(4, 0), (5, 0)], spec=SPEC, seed=0)
        two = runner.run(RandomAffine("gaussian"), [(4, 0), (5, 0)], spec=SPEC, seed=0)
        assert runner.width == 2 * ensemble_size(problem)
    assert one[0].final_train_loss != two[0].final_train_loss


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dims": [-1]}, "dim: expected a training dimension in 0 … 2410"),
        ({"dims": [2411]}, "got 2411"),
        ({"dims": []}, "at least one"),
        ({"dims": [8.5]}, r"dims: expected an integer, got 8\.5"),
        ({"dims": [True]}, "dims: expected an integer, got True"),
        ({"dims": 8}, "dims: expected a list of integers, got 8"),
        ({"seed": 2**70}, "at most 63 bits"),
        ({"repeats": 0}, "repeats: expected an integer, 1 or more, got 0"),
        ({"workers": 0}, "workers"),
        ({"method": "randon"}, "Did you mean 'random'"),
        ({"method": "burn-in"}, "'burn-in:STEPS'"),
        ({"method": "burn-in:-3"}, "burn-in steps: expected an integer, 0 or more, got -3"),
        ({"seed": 0.5}, "seed"),
    ],
)
def test_bad_input(change, message):
    arguments = {"method": "random", "dims": [4], "repeats": 1, "spec": SPEC, "workers": 1}
    with pytest.raises(InputError, match=message):
        run(load("digits-mlp", subset=200), **{**arguments, **change})


def test_bad_input_in_a_worker_is_the_same_error():
    problem = load("digits-mlp", subset=200)
    with pytest.raises(InputError, match="'exact' on an analytic problem only"):
        run(problem, "random", [4, 5], repeats=8, spec=TrainSpec("exact"), workers=2)


def test_nothing_to_do_is_done_at_once(tmp_path):
    problem = load("digits-mlp", subset=200)
    path = tmp_path / "runs.db"
    first = run(problem, "random", [4, 5], repeats=2, spec=SPEC, store=path, workers=2)
    again = run(problem, "random", [4, 5], repeats=2, spec=SPEC, store=path, workers=2)
    assert results(first) == results(again)


def test_a_problem_by_name_is_refused():
    with pytest.raises(InputError, match=r"problem: expected a problem, got 'digits-mlp'.*load"):
        run("digits-mlp", "random", [4], repeats=1)


@pytest.mark.parametrize(("seconds", "transactions"), [(0.0, 6), (1e9, 2)])
def test_records_of_quick_trials_are_stored_together(seconds, transactions, tmp_path, monkeypatch):
    stored, told, add_all = [], [], Store.add_all

    def counting(self, records):
        add_all(self, records)
        stored.append(len(records))

    def progress(done, total, message):
        told.append(sum(stored) - done)

    monkeypatch.setattr(Store, "add_all", counting)
    monkeypatch.setattr(runner, "_TOGETHER", seconds)
    quick = trainable(name="quick", max_dim=9)(lambda trial: {"loss": 1.0})
    path = tmp_path / "s.db"
    run(quick, dims=[1], repeats=6, store=path, executor="inline", progress=progress)
    assert (len(stored), sum(stored)) == (transactions, 6)
    assert min(told) >= 0  # none is reported before it is stored


def test_what_was_done_is_stored_when_a_sweep_is_interrupted_or_a_trial_fails(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(runner, "_TOGETHER", 1e9)

    @trainable(name="stopped", max_dim=9)
    def stopped(trial):
        if trial.dim == 4:
            raise KeyboardInterrupt
        return {"loss": 1.0}

    with pytest.raises(KeyboardInterrupt):
        run(stopped, dims=[1, 2, 3, 4], repeats=1, store=tmp_path / "s.db", executor="inline")
    with Store(tmp_path / "s.db") as store:
        assert sorted(record.dim for record in store.records()) == [1, 2, 3]

    @trainable(name="fails", max_dim=9)
    def fails(trial):
        trial.report(loss=1.0)
        if trial.dim in (3, 4):
            raise RuntimeError("no")

    with pytest.raises(TrialsFailed, match="1 failed"):
        run(
            fails, dims=[1, 2, 3, 4], repeats=1, store=tmp_path / "f.db", executor="inline",
            max_failures=0,
        )  # fmt: skip
    with Store(tmp_path / "f.db") as store:  # it ended at the first, as if none had waited
        assert sorted(record.dim for record in store.records()) == [1, 2, 3]

"""Memory of workers: planned before they start, with a made-up machine; measured on this one."""

import os
import re

import pytest
import torch

import subspan as ss
from subspan.errors import InputError
from subspan.trials import workers
from subspan.trials.executors.forked import Workers
from subspan.trials.executors.inline import Inline
from subspan.trials.executors.machine import Memory
from subspan.trials.footprint import training_bytes
from subspan.trials.problem_trainable import ProblemTrainable
from subspan.trials.progress import Notice
from subspan.trials.runner import TrialRunner
from subspan.trials.workers import find_room

MiB = 2**20
SPEC = ss.TrainSpec(steps=2, batch_size=16, lr=0.01)


@pytest.fixture
def machine(monkeypatch):
    """Sets what the machine has of memory, in MiB."""

    def has(free, total=None):
        memory = None if free is None else Memory(free * MiB, (total or 100_000) * MiB)
        monkeypatch.setattr(workers, "available_memory", lambda: memory)

    return has


def told_and_records(count, dims=(2, 3), **options):
    said = []
    with TrialRunner(
        ss.problems.load("digits-mlp", subset=64),
        workers=count,
        progress=lambda done, planned, message: said.append(message),
        **options,
    ) as runner:
        plan = [(dim, repeat) for dim in dims for repeat in range(10)]
        records = runner.run(ss.RandomAffine(), plan, spec=SPEC, seed=0)
        return [m for m in said if isinstance(m, Notice)], records, runner._executor.workers, said


def test_fewer_workers_start_than_fit_and_it_is_said_before_the_first_training(machine):
    machine(100)
    notices, records, count, said = told_and_records(8)
    assert 1 < count < 8
    found = [n for n in notices if "start" in str(n)]
    assert len(found) == 1
    assert re.fullmatch(
        rf"workers: {count} of 8 start: each needs about \d+ MiB, 100 MiB are free.", str(found[0])
    )
    assert said.index(found[0]) == len(notices) - 1  # nothing but notices before it
    assert len(records) == 20


def test_where_one_does_not_fit_what_is_free_one_starts_and_is_warned_of(machine):
    machine(5)
    notices, records, count, _ = told_and_records(3)
    assert count == 1
    assert "5 MiB are free: one worker starts, and the machine may swap" in str(notices[-1])
    assert "batch_size" in str(notices[-1])
    assert len(records) == 20


@pytest.mark.parametrize("count", [1, 2])
def test_a_training_beyond_the_machine_is_refused_before_it_starts(count, machine):
    machine(2, total=3)
    with pytest.raises(InputError, match=r"memory: expected a training that fits the 3 MiB"):
        told_and_records(count)


@pytest.mark.parametrize("free", [None, 50_000])
def test_nothing_is_said_where_all_fit_or_nothing_is_known(free, machine):
    machine(free)
    notices, _, count, _ = told_and_records(2)
    assert (notices, count) == ([], 2)


def test_ten_thousand_workers_are_not_started(machine):
    machine(100)
    notices, _, count, _ = told_and_records(10_000)
    assert count < 8
    assert "10,000 workers for 20 trials" in str(notices[0])
    assert f"{count} of 20 start" in str(notices[1])


def test_what_a_process_of_its_own_takes_is_counted(machine):
    machine(1000)
    here, forked, spawned = (
        find_room(executor, 10 * MiB).each
        for executor in (Inline(), Workers(2, "fork"), Workers(2, "spawn"))
    )
    assert 10 * MiB == here < forked < spawned


@ss.trainable(name="nobody can tell", max_dim=10)
def function(trial):
    return {"loss": float(trial.dim)}


def test_a_users_function_counts_as_its_process(machine):
    machine(60)
    said = []
    ss.run(function, dims=[1, 2, 3, 4], repeats=1, workers=4, progress=lambda *a: said.append(a[2]))
    told = [text for text in map(str, said) if "start:" in text]
    assert told == ["workers: 2 of 4 start: each needs about 24 MiB, 60 MiB are free."]


def images(size, rows=64):
    """A convolution of 16 channels on random images of one."""
    return ss.Problem(
        lambda: torch.nn.Sequential(
            torch.nn.Conv2d(1, 16, 3, padding=1),
            torch.nn.ReLU(),
            torch.nn.Flatten(),
            torch.nn.Linear(16 * size * size, 10),
        ),
        (torch.randn(rows, 1, size, size), torch.arange(rows) % 10),
        name=f"images {size}",
    )


def test_the_estimate_grows_with_rows_trials_and_images():
    small, large = images(8), images(32)
    assert training_bytes(large, 1, 64) > 4 * training_bytes(small, 1, 64)
    assert training_bytes(large, 1, 64) > training_bytes(large, 1, 16)
    digits = ss.problems.load("digits-mlp", subset=64)
    assert training_bytes(digits, 32, 16) == 32 * training_bytes(digits, 1, 16)


def test_activations_are_counted_to_the_byte():
    """A linear layer of 1 → 1,000 outputs: 4,000 bytes a row in the loss, known in advance."""
    rows = 50
    problem = ss.Problem(
        lambda: torch.nn.Linear(1, 1000),
        (torch.randn(rows, 1), torch.randn(rows, 1000)),
        loss="mse",
        name="wide",
    )
    each = [training_bytes(problem, 1, n) for n in (20, 30, 40)]
    assert each[2] - each[1] == each[1] - each[0]  # a line
    assert each[1] - each[0] >= 2 * 10 * 4000  # outputs, and their gradient


def private_bytes():
    with open("/proc/self/smaps_rollup") as lines:
        return sum(
            int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_Dirty")
        )


def train_and_look(share, pairs, spec):
    before = private_bytes()
    assert all(r.outcome == "finished" for r in share().train(pairs, spec, 0))
    return private_bytes() - before


@pytest.mark.skipif(not os.path.exists("/proc/self/smaps_rollup"), reason="Linux's file")
def test_the_estimate_holds_what_a_worker_was_seen_to_take():
    problem = images(64, rows=256)
    spec = ss.TrainSpec(steps=2, batch_size=256, lr=0.01)
    trainable = ProblemTrainable(problem, ss.RandomAffine(map="partition"))
    estimate = trainable.training_bytes(spec)
    with Workers(1, "fork") as executor:
        share = executor.share(trainable)
        future = executor.submit(train_and_look, share, [(2, 0)], spec)
        list(executor.completed([future]))
        seen = future.result()
    assert seen > 100 * MiB  # else nothing is tried
    assert seen / 2 < estimate < 3 * seen

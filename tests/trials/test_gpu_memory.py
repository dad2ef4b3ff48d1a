"""Ensembles as wide as memory permits: by what is free, and by halves where it ends."""

from types import SimpleNamespace

import pytest
import torch

import subspan as ss
from subspan.problems import Problem, load
from subspan.spec import TrainSpec
from subspan.subspaces import RandomAffine
from subspan.training.outcome import Outcome
from subspan.trials import gpu_memory, problem_trainable
from subspan.trials.problem_trainable import ProblemTrainable, ensemble_size

SPEC = TrainSpec(lr=0.05, steps=6, batch_size=32)


def told(records):
    return [(r.trial.key, r.outcome, r.curve, r.theta_norm, r.provenance["subspace"])
            for r in records]  # fmt: skip


@pytest.fixture
def four_fit(monkeypatch):
    """Let memory end at more than four trials at once; return how many were tried, in order."""
    tried, train = [], problem_trainable.train

    def limited(problem, subspaces, *rest, **options):
        tried.append(len(subspaces))
        if len(subspaces) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return train(problem, subspaces, *rest, **options)

    monkeypatch.setattr(problem_trainable, "train", limited)
    return tried


def test_where_memory_ends_half_as_many_go_on_and_later_pieces_begin_there(four_fit):
    problem = load("digits-mlp", subset=200)
    pairs = [(dim, repeat) for dim in (3, 9) for repeat in range(10)]
    trainable = ProblemTrainable(problem, RandomAffine())
    assert trainable.width == 32
    records = trainable.train(pairs, SPEC, 0)
    assert four_fit == [20, 10, 5, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2]  # ten twos
    assert trainable.width == 2
    assert {r.provenance["ensemble_size"] for r in records} == {2}
    four_fit.clear()
    later = trainable.train([(5, repeat) for repeat in range(3)], SPEC, 0)
    assert four_fit == [2, 1]
    assert trainable.split(pairs, 1)[0] == [(3, 0), (3, 1)]
    assert all(r.outcome is Outcome.FINISHED for r in [*records, *later])


def test_records_are_those_of_a_machine_with_memory(four_fit, monkeypatch):
    problem = load("digits-mlp", subset=200)
    arguments = (problem, "random", [0, 3, 9], 4, SPEC)
    narrow = ss.run(*arguments, workers=1, executor="inline")
    assert max(four_fit) > 4
    monkeypatch.undo()
    assert told(narrow) == told(ss.run(*arguments, workers=1, executor="inline"))


def test_what_does_not_fit_alone_fails_and_says_so(monkeypatch):
    def never(*arguments, **options):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(problem_trainable, "train", never)
    trainable = ProblemTrainable(load("digits-mlp", subset=200), RandomAffine())
    records = trainable.train([(3, 0), (3, 1), (3, 2)], SPEC, 0)
    assert [r.outcome for r in records] == [Outcome.FAILED] * 3
    assert all(r.reason.startswith("out of memory") for r in records)


def test_subspaces_that_do_not_fit_narrow_it_too(monkeypatch):
    problem, made, subspaces = load("digits-mlp", subset=200), [], RandomAffine.subspaces

    def limited(self, problem, draws):
        made.append(len(draws))
        if len(draws) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return subspaces(self, problem, draws)

    monkeypatch.setattr(RandomAffine, "subspaces", limited)
    trainable = ProblemTrainable(problem, RandomAffine())
    records = trainable.train([(3, repeat) for repeat in range(6)], SPEC, 0)
    assert made == [6, 3, 3]
    assert trainable.width == 3
    assert all(r.outcome is Outcome.FINISHED for r in records)


def test_a_warm_up_that_does_not_fit_is_no_end(monkeypatch):
    def never(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    problem = load("digits-mlp", subset=200)
    monkeypatch.setattr(Problem, "warm_up", never)
    trainable = ProblemTrainable(problem, RandomAffine())
    trainable.warm_up([[(3, repeat) for repeat in range(12)]], SPEC)
    assert trainable.width == 6


class Memory:
    """What `torch.cuda` tells of a GPU, in bytes: `step` at the peak of what is tried."""

    def __init__(self, free, reserved=0, allocated=0, step=0):
        self.free, self.reserved, self.allocated, self.step = free, reserved, allocated, step
        self.reset = False

    def patch(self, monkeypatch):
        answers = {
            "mem_get_info": lambda device: (self.free, 10 * self.free),
            "memory_reserved": lambda device: self.reserved,
            "memory_allocated": lambda device: self.allocated,
            "reset_peak_memory_stats": lambda device: setattr(self, "reset", True),
            "max_memory_allocated": lambda device: self.allocated + self.step * self.reset,
        }
        for name, answer in answers.items():
            monkeypatch.setattr(torch.cuda, name, answer)


def test_the_width_is_what_is_free_over_what_a_trial_takes(monkeypatch):
    problem = load("digits-mlp", subset=200)
    vectors = 6 * problem.ambient_dim * 4
    each = 10**6 + vectors
    Memory(0, step=2 * 10**6).patch(monkeypatch)
    assert gpu_memory.bytes_a_trial(problem) == each
    for free, reserved, allocated, fits in (
        (0, 0, 0, 1),
        (each, 0, 0, 1),
        (10 * each, 0, 0, 8),  # four fifths
        (6 * each, 9 * each, 5 * each, 8),  # what PyTorch keeps and does not use is free
        (1000 * each, 0, 0, 800),
    ):
        Memory(free, reserved, allocated, 2 * 10**6).patch(monkeypatch)
        assert gpu_memory.fitting(problem) == fits


def test_where_two_do_not_fit_one_is_tried(monkeypatch):
    def never(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    Memory(10**9).patch(monkeypatch)
    problem = load("digits-mlp", subset=200)
    monkeypatch.setattr(problem, "evaluate_many", never)
    monkeypatch.setattr(problem, "convolving", lambda way: problem)
    assert gpu_memory.fitting(problem) == 1


@pytest.mark.parametrize(("fits", "width"), [(1, 1), (7, 7), (500, 32)])
def test_a_gpu_takes_what_fits_and_never_more_than_the_largest_ensemble(monkeypatch, fits, width):
    monkeypatch.setattr(problem_trainable, "fitting", lambda problem: fits)
    assert ensemble_size(SimpleNamespace(device=torch.device("cuda"), ambient_dim=10**9)) == width


def test_what_is_tried_is_a_step_and_an_evaluation_of_two(monkeypatch):
    seen = []
    problem = load("digits-mlp", subset=200)
    grads, evaluate_many = Problem.grads, Problem.evaluate_many
    monkeypatch.setattr(
        Problem,
        "grads",
        lambda self, w, b: (seen.append((len(w), *b[1].shape)), grads(self, w, b))[1],
    )
    monkeypatch.setattr(
        Problem, "evaluate_many", lambda self, w: (seen.append(len(w)), evaluate_many(self, w))[1]
    )
    Memory(0).patch(monkeypatch)
    gpu_memory.bytes_a_trial(problem)
    assert seen == [(2, 2, problem.default_spec.batch_size), 2]
    assert problem.convolutions is None  # it is chosen by a step of training

"""What trains trials keeps the laws, and the suite fails where one is broken."""

import itertools

import pytest
import torch

import subspan as ss
from subspan.testing import check_trainable
from subspan.trials.function import FunctionTrainable, LoopSpec
from subspan.trials.problem_trainable import ProblemTrainable

DIGITS = ss.problems.load("digits-mlp", subset=80)


@pytest.mark.parametrize("method", ["random", "burn-in:3", "lottery-subspace:snapshots=8,every=1"])
def test_a_problem_with_a_method(method):
    spec = ss.TrainSpec(steps=4, batch_size=16, dtype="float64")
    check_trainable(lambda: ProblemTrainable(DIGITS, ss.parse_method(method)), spec, (2, 5))


def loss(trial):
    noise = torch.rand(())
    for step in range(min(trial.dim, 3)):
        trial.report({"loss": float(noise) / (1 + step + trial.dim)}, step=step + 1)
    return {"val:accuracy": float(noise)}


def of(function):
    return lambda: ss.trainable(name="mine", max_dim=50)(function)


def test_a_function():
    check_trainable(of(loss), LoopSpec(), (2, 5))


calls = itertools.count()


def drifts(trial):
    return {"loss": next(calls)}


def trains_at_zero(trial):
    trial.report({"loss": 1.0}, step=4)


def fails(trial):
    raise ValueError("no data")


class Forgets(FunctionTrainable):
    def split(self, pairs, workers):
        return super().split(pairs, workers)[1:]


class Mixes(FunctionTrainable):
    def train(self, pairs, spec, seed):
        return super().train(sorted(pairs), spec, seed)


class Unbounded(FunctionTrainable):
    def trial(self, pair, spec, seed):
        return super().trial((min(pair[0], 50), pair[1]), spec, seed)


@pytest.mark.parametrize(
    ("make", "law"),
    [
        (of(drifts), "the same trials give the same records"),
        (of(trains_at_zero), "nothing is trained"),
        (of(fails), r"does not fail \(ValueError: no data\)"),
        (lambda: Forgets(loss, "mine", 50, "1", None), "every trial"),
        (lambda: Mixes(loss, "mine", 50, "1", None), "another order"),
        (lambda: Unbounded(loss, "mine", 50, "1", None), "is an InputError"),
    ],
)
def test_the_suite_fails_on_a_broken_law(make, law):
    with pytest.raises(AssertionError, match=law):
        check_trainable(make, LoopSpec(), (2, 5))

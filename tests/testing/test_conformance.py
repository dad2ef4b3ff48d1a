"""The shipped suites must fail on a wrong answer."""

import pytest
import torch

from subspan import maps
from subspan.problems import load
from subspan.testing import check_map, check_problem, check_store
from subspan.trials.stores.sql import Store


class Wrong(maps.PartitionMap):
    """A partition whose adjoint, checksum or columns can be spoilt."""

    flaw = ""

    def _adjoint(self, v):
        return super()._adjoint(v) * (1.5 if self.flaw == "adjoint" else 1)

    def _forward(self, theta):
        return super()._forward(theta) * (2.0 if self.flaw == "norm" else 1)

    def checksum(self):
        spoilt = {"checksum": "0" * 32, "digits": "same"}
        return spoilt.get(self.flaw) or super().checksum()

    def __call__(self, theta):
        if self.flaw == "memory":  # autograd keeps the matrix
            return theta @ self.dense().T
        return super().__call__(theta)


@pytest.mark.parametrize(
    ("flaw", "law"),
    [
        ("adjoint", "Aᵀ"),
        ("norm", "Aᵀ"),
        ("checksum", "another seed"),
        ("digits", "32 hex digits"),
        ("memory", "autograd stores nothing"),
    ],
)
def test_check_map_fails_on_a_wrong_map(flaw, law):
    kind = type("Spoilt", (Wrong,), {"flaw": flaw})
    with pytest.raises(AssertionError, match=law):
        check_map(lambda d, D, seed: kind(d, D, seed, dtype=torch.float64), 5, 50)


def test_check_map_fails_on_false_claims():
    def make(d, D, seed):
        return maps.make("gaussian", dim=d, ambient_dim=D, seed=seed, dtype=torch.float64)

    with pytest.raises(AssertionError, match="orthonormal"):
        check_map(make, 5, 50, orthonormal=True)


def test_check_problem_fails_on_a_wrong_gradient(monkeypatch):
    problem = load("digits-mlp", subset=100)
    right = type(problem).grads

    def wrong(self, weights, batch):
        losses, gradients = right(self, weights, batch)
        return losses, gradients * 1.01

    monkeypatch.setattr(type(problem), "grads", wrong)
    with pytest.raises(AssertionError, match="loop of autograd"):
        check_problem(problem)


def test_check_store_fails_on_a_forgetful_store():
    with pytest.raises(AssertionError, match="after opening again"):
        check_store(lambda: Store(None))

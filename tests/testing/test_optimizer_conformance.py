"""Every optimiser of the table keeps the laws, and the suite fails where a fact is not true."""

import dataclasses

import pytest
import torch

from subspan import optimizers, problems
from subspan.optimizers import OPTIMIZERS, OptimizerFacts
from subspan.testing import check_optimizer
from subspan.training.optimizers import Optimizer


@pytest.fixture(scope="module")
def problem():
    return problems.load("digits-mlp", subset=80)


@pytest.mark.parametrize("name", [n for n, facts in OPTIMIZERS.items() if not facts.exact])
def test_optimizers_keep_the_laws(name, problem):
    check_optimizer(name, problem, lr=0.02)


def test_the_exact_one_keeps_the_laws_on_a_quadratic():
    check_optimizer("exact", problems.load("quadratic"))


class Signs(Optimizer):
    """θ ← θ − lr · sign(g), with one law broken."""

    flaw = ""

    def __init__(self, theta, spec):
        self._before = torch.zeros_like(theta)
        self.spec = spec

    def step(self, theta, gradient, lr):
        self._before = 0.5 * self._before + gradient
        step = lr * self._before.sign()
        if self.flaw == "neighbours":
            step = step * gradient.abs().max()
        if self.flaw == "lr":
            step = 0.02 * self._before.sign()
        if self.flaw == "up":
            step = -step
        theta.sub_(step)

    def keep(self, positions):
        self._before = self._before[positions]
        if self.flaw == "keep":
            self._before = -100 * self._before


@pytest.mark.parametrize(
    ("flaw", "facts", "law"),
    [
        ("", {}, None),
        ("keep", {}, "keep leaves"),
        ("neighbours", {}, "keep leaves|alone"),
        ("lr", {}, "has_lr"),
        ("up", {}, "the loss falls"),
        ("", {"has_lr": False}, "has_lr"),
        ("", {"full_batch": True}, None),
        ("", {"exact": True}, "gradient is 0"),
    ],
)
def test_one_of_ones_own(flaw, facts, law, problem, monkeypatch):
    kind = type("Flawed", (Signs,), {"flaw": flaw})
    monkeypatch.setitem(OPTIMIZERS, "signs", OptimizerFacts(kind, **facts))
    if law is None:
        check_optimizer("signs", problem, lr=0.02)
        return
    with pytest.raises(AssertionError, match=law):
        check_optimizer("signs", problem, lr=0.02)


@pytest.mark.parametrize(("name", "change", "law"), [
    ("lbfgs", {"has_lr": True}, "has_lr"),
    ("lbfgs", {"full_batch": False, "steps": 7}, None),
    ("sgd", {"kind": "search"}, None),
])  # fmt: skip
def test_a_fact_that_is_not_true_is_found(name, change, law, problem, monkeypatch):
    monkeypatch.setitem(OPTIMIZERS, name, dataclasses.replace(OPTIMIZERS[name], **change))
    if name == "sgd":
        with pytest.raises(TypeError):
            check_optimizer(name, problem)
    elif law is None:
        check_optimizer(name, problem, lr=0.02)  # it takes no batches, whatever the spec says
    else:
        with pytest.raises(AssertionError, match=law):
            check_optimizer(name, problem, lr=0.02)


def test_facts_are_found_by_name_or_refused():
    assert optimizers.find("adam").kind == "steps"
    with pytest.raises(Exception, match="Did you mean 'adam'"):
        optimizers.find("adan")

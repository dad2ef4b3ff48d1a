"""Losses of parts make the loss of the whole, which is PyTorch's, whatever mean it is."""

import functools
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from subspan.errors import InputError
from subspan.problems import Problem
from subspan.problems.reduction import Reduction
from subspan.streams import normals
from subspan.theory.curvature import gauss_newton, hessian, losses_and_gradients
from subspan.theory.linearize import linearize
from subspan.theory.path import mean_loss

N = 1000
X = torch.from_numpy(normals(0, "rows", count=N * 5)).reshape(N, 5).float()
Y = (torch.arange(N) > 700).long()  # sorted, so that parts differ in their classes
REAL = torch.sin(3 * X[:, :1]) + (torch.arange(N) > 700).float()[:, None]
WEIGHTS = torch.tensor([1.0, 9.0])


def contrastive(out, y):
    """InfoNCE: every row against every other one."""
    near = out @ out.T + torch.where(y[:, None] == y, 0.1, 0.0)
    return F.cross_entropy(near, torch.arange(len(out)))


def hardest(out, y):
    return F.cross_entropy(out, y, reduction="none").topk(max(1, len(y) // 3)).values.mean()


def lambda_of_weights(out, y):
    return F.cross_entropy(out, y, weight=WEIGHTS.to(out))


LABELS = {
    "class weights": (nn.CrossEntropyLoss(WEIGHTS), "weighted"),
    "smoothed": (nn.CrossEntropyLoss(WEIGHTS, label_smoothing=0.2), "weighted"),
    "ignored": (nn.CrossEntropyLoss(ignore_index=1), "weighted"),
    "weights in a partial": (functools.partial(F.cross_entropy, weight=WEIGHTS), "weighted"),
    "weights in a function": (lambda_of_weights, "whole"),
    "sum": (nn.CrossEntropyLoss(reduction="sum"), "sum"),
    "mean": (nn.CrossEntropyLoss(label_smoothing=0.1), "mean"),
    "mean of a function": (lambda out, y: 2 * F.cross_entropy(out, y), "mean"),
    "contrastive": (contrastive, "whole"),
    "hardest rows": (hardest, "whole"),
}
NUMBERS = {
    "squares": (nn.MSELoss(), "mean"),
    "sum of squares": (nn.MSELoss(reduction="sum"), "sum"),
    "root": (lambda out, y: F.mse_loss(out, y).sqrt(), "whole"),
}
CASES = {
    **{name: (*case, Y, 2) for name, case in LABELS.items()},
    **{name: (*case, REAL, 1) for name, case in NUMBERS.items()},
    "named": ("cross_entropy", "weighted", Y, 2),
}


@pytest.fixture(params=CASES, scope="module")
def case(request):
    loss, kind, y, width = CASES[request.param]
    problem = Problem(lambda: nn.Linear(5, width), (X, y), loss=loss, eval_rows=300)
    w = problem.init(0)
    function = F.cross_entropy if loss == "cross_entropy" else loss

    def whole(v, x=X, y=y):
        weight, bias = v[: 5 * width].reshape(width, 5), v[5 * width :]
        return function(x.to(v) @ weight.T + bias, y.to(v) if y.is_floating_point() else y)

    return problem, w, whole, kind, y


def test_the_kind_is_found(case):
    declared = {"mean": ("mean", "weighted"), "weighted": ("weighted",)}
    assert case[0].reduction.kind in declared.get(case[3], (case[3],))


def test_evaluation_in_parts_is_the_whole(case):
    problem, w, whole, _, y = case
    assert problem.evaluate(w).loss == pytest.approx(float(whole(w)), rel=2e-6)
    other = problem.init(1)
    both = problem.evaluate_many(torch.stack([w, other]))
    assert [e.loss for e in both] == pytest.approx([float(whole(v)) for v in (w, other)], rel=2e-6)
    if not y.is_floating_point():
        right = (X @ w[:10].reshape(2, 5).T + w[10:]).argmax(1) == y
        ignored = problem._labels.ignored
        counted = right[y != ignored] if ignored >= 0 else right
        assert problem.evaluate(w).accuracy == pytest.approx(float(counted.float().mean()))


def test_the_order_of_rows_does_not_count(case):
    problem, w, _, _, y = case
    order = torch.arange(N) * 7 % N
    rows = (X[order], y[order])
    shuffled = Problem(lambda: nn.Linear(5, len(w) // 6), rows, loss=problem._loss, eval_rows=300)
    assert shuffled.evaluate(w).loss == pytest.approx(problem.evaluate(w).loss, rel=3e-6)


def test_gradients_and_curvature_in_parts_are_the_wholes(case, monkeypatch):
    problem, w, whole, _, _ = case
    monkeypatch.setattr("subspan.theory.curvature.CHUNK_ROWS", 300)
    expected = torch.autograd.functional.hessian(whole, w)
    v = torch.from_numpy(normals(1, "v", count=len(w))).float()
    found = hessian(problem, w)(v)
    assert torch.linalg.norm(found - expected @ v) <= 1e-4 * torch.linalg.norm(expected @ v)
    found = gauss_newton(problem, w)(v)  # outputs are linear in w: the same matrix
    assert torch.linalg.norm(found - expected @ v) <= 1e-4 * torch.linalg.norm(expected @ v)
    loss, gradient = losses_and_gradients(problem, w[None], None)
    leaf = w.clone().requires_grad_()
    (plain,) = torch.autograd.grad(whole(leaf), leaf)
    assert torch.linalg.norm(gradient[0] - plain) <= 1e-5 * torch.linalg.norm(plain)
    assert float(loss[0]) == pytest.approx(float(whole(w)), rel=2e-6)
    assert mean_loss(problem, w, None) == pytest.approx(float(whole(w)), rel=2e-6)


def test_a_linearised_network_is_evaluated_in_parts(case, monkeypatch):
    problem, w, whole, _, _ = case
    monkeypatch.setattr(sys.modules["subspan.theory.linearize"], "_EVAL_ROWS", 300)
    other = problem.init(1)
    found = linearize(problem, w).evaluate(other).loss
    assert found == pytest.approx(float(whole(other)), rel=1e-5)


def test_parts_of_a_loss_that_does_not_add_up_are_refused():
    problem = Problem(lambda: nn.Linear(5, 2), (X, Y), loss=hardest)
    w = problem.init(0)
    with pytest.raises(ValueError, match=r"chunk_rows: .*do not add up"):
        hessian(problem, w, chunk_rows=100)(w)


def test_parts_where_nothing_counts_are_left_out():
    y = torch.where(torch.arange(N) < 400, -100, Y)
    problem = Problem(lambda: nn.Linear(5, 2), (X, y), eval_rows=100)
    w = problem.init(0)
    expected = F.cross_entropy(problem.outputs(w, X), y)
    assert problem.evaluate(w).loss == pytest.approx(float(expected), rel=2e-6)


def test_tokens_that_do_not_count_are_not_averaged():
    x = X[:, :4].reshape(N, 4, 1)
    y = (x[..., 0] > 0).long()
    y[(torch.arange(N)[:, None] + torch.arange(4)) % 4 < (torch.arange(N) * 4 // N)[:, None]] = -100
    for loss in ("cross_entropy", nn.CrossEntropyLoss(label_smoothing=0.0)):
        problem = Problem(lambda: nn.Linear(1, 2), (x, y), loss=loss, eval_rows=100)
        w = problem.init(0)
        out = x @ w[:2].reshape(2, 1).T + w[2:]
        expected = F.cross_entropy(out.reshape(-1, 2), y.reshape(-1))
        assert problem.evaluate(w).loss == pytest.approx(float(expected), rel=2e-6)


RARE = [
    (torch.arange(N) // 5, 200, lambda w: lambda out, y: F.cross_entropy(out, y, weight=w(out))),
    (
        (REAL, ((torch.arange(N) - 500).abs() > 3).long()),
        1,
        lambda _: lambda out, y: ((out - y[0])[:, 0].square() * y[1]).sum() / y[1].sum(),
    ),
]


@pytest.mark.parametrize(("y", "width", "make"), RARE, ids=["one class of 200", "a mask"])
def test_what_counts_in_rare_rows_alone(y, width, make):
    """The weight of class 150, a mask of seven rows: in none of the few rows tried."""
    loss = make(lambda out: (1.0 + 99 * (torch.arange(200) == 150)).to(out))
    problem = Problem(lambda: nn.Linear(5, width), (X, y), loss=loss)
    w = problem.init(0)
    whole = loss(X @ w[: 5 * width].reshape(width, 5).T + w[5 * width :], y)
    assert problem.evaluate(w).loss == pytest.approx(float(whole), rel=2e-6)


def test_a_number_for_all_rows_cannot_be_joined():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(5, 2)

        def forward(self, x):
            out = self.linear(x)
            return out, out.square().mean()

    def loss(out, y):
        return F.cross_entropy(out[0], y) + out[1]

    problem = Problem(Net, (X, Y), loss=loss)
    with pytest.raises(InputError, match=r"eval_rows: expected all rows at once.*Pass eval_rows="):
        problem.evaluate(problem.init(0))
    whole = Problem(Net, (X, Y), loss=loss, eval_rows=N)
    w = whole.init(0)
    out = X @ w[:10].reshape(2, 5).T + w[10:]
    expected = F.cross_entropy(out, Y) + out.square().mean()
    assert whole.evaluate(w).loss == pytest.approx(float(expected), rel=2e-6)


def test_class_weights_move_with_the_problem():
    problem = Problem(lambda: nn.Linear(5, 2), (X, Y), loss=nn.CrossEntropyLoss(WEIGHTS))
    double = problem.to(dtype=torch.float64)
    w = double.init(0)
    expected = F.cross_entropy(
        X.double() @ w[:10].reshape(2, 5).T + w[10:], Y, weight=WEIGHTS.double()
    )
    assert double.evaluate(w).loss == pytest.approx(float(expected), rel=1e-12)
    assert problem._function.weight.dtype == torch.float32


def test_weights_of_parts():
    assert Reduction("mean").shares([Y[:1], Y[:3]]) == [0.25, 0.75]
    assert Reduction("sum").shares([Y[:1], Y[:3]]) == [1.0, 1.0]
    labels = [torch.tensor([0, 1]), torch.tensor([1, -100])]
    assert Reduction("weighted", WEIGHTS).shares(labels) == [10 / 19, 9 / 19]

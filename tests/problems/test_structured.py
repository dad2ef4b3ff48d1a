"""Inputs, outputs and targets that are several tensors, and labels of any shape."""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import pytest
import torch
from plain import assert_equals_plain
from torch import nn
from torch.nn.functional import cross_entropy, gaussian_nll_loss, mse_loss

from subspan import LossBelow, RandomAffine, TrainSpec, run
from subspan.errors import InputError
from subspan.problems import Problem
from subspan.testing import check_problem
from subspan.theory.curvature import gauss_newton, hessian
from subspan.theory.linearize import linearize

X = torch.linspace(-1, 1, 20 * 6).reshape(20, 6).sin()
Z = torch.linspace(-2, 1, 20 * 4).reshape(20, 4).cos()
Y = torch.arange(20) % 3
IDS = (torch.arange(20)[:, None] * torch.tensor([1, 3, 5, 7])) % 9
TAGS = torch.where(IDS == 0, -100, IDS % 3)


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.head = nn.Linear(6, 5), nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, first, second):
        return self.head(torch.tanh(self.a(first) * self.b(second)))


class Returns(nn.Module):
    """Returns its outputs as some structure."""

    def __init__(self, structure, training_only=False, outputs=3):
        super().__init__()
        self.a, self.structure, self.training_only = nn.Linear(6, outputs), structure, training_only

    def forward(self, x):
        out = self.a(x)
        return out if self.training_only and not self.training else self.structure(out)


class Tagger(nn.Module):
    def __init__(self, classes=3, last=True):
        super().__init__()
        self.embedding, self.head, self.last = nn.Embedding(9, 5), nn.Linear(5, classes), last

    def forward(self, ids):
        out = self.head(torch.tanh(self.embedding(ids)))
        return out if self.last else out.movedim(-1, 1)


@dataclass
class Output:
    logits: torch.Tensor
    extra: str = ""


@dataclass
class Plain:
    scores: torch.Tensor


INPUTS = {"tuple": (X, Z), "dict": {"second": Z, "first": X}, "list": [X, Z]}


@pytest.mark.parametrize("inputs", INPUTS.values(), ids=INPUTS)
@pytest.mark.parametrize("vectorize", [None, False])
def test_several_inputs(inputs, vectorize):
    test = (
        {k: v[:5] for k, v in inputs.items()} if isinstance(inputs, dict) else (X[:5], Z[:5]),
        Y[:5],
    )
    problem = Problem(TwoInputs, (inputs, Y), test, vectorize=vectorize)
    assert problem.vectorized is (vectorize is None)
    assert_equals_plain(problem, TwoInputs)
    check_problem(problem, rows=8)
    for batch_size in (None, 7):
        spec = TrainSpec(steps=3, batch_size=batch_size, lr=0.1)
        trials = run(problem, RandomAffine(), dims=[5], repeats=2, spec=spec, seed=0)
        assert all(np.isfinite(t.final_train_loss) for t in trials)
    strong = TrainSpec("levenberg_marquardt", steps=2, batch_size=None)
    assert run(problem, RandomAffine(), dims=[5], repeats=1, spec=strong, seed=0)


def test_a_problem_says_how_many_rows_it_has():
    problem = Problem(TwoInputs, ({"first": X, "second": Z}, Y))
    assert repr(problem) == "<Problem problem: D = 78, 20 train rows, cpu>"


def test_theory_takes_several_inputs():
    problem = Problem(TwoInputs, ((X, Z), Y)).to(dtype=torch.float64)
    w = problem.init(0)
    generator = torch.Generator().manual_seed(0)
    v = torch.randn(len(w), generator=generator, dtype=torch.float64)

    def gradient(at):
        leaf = at.clone().requires_grad_()
        return torch.autograd.grad(problem.loss(leaf, problem.batch()), leaf)[0]

    step = 1e-5
    expected = (gradient(w + step * v) - gradient(w - step * v)) / (2 * step)
    torch.testing.assert_close(hessian(problem, w)(v), expected, atol=1e-7, rtol=1e-5)
    assert torch.isfinite(gauss_newton(problem, w)(v)).all()
    tangent = linearize(problem, w)
    assert tangent.evaluate(w).loss == pytest.approx(problem.evaluate(w).loss)
    assert tangent.evaluate(w).accuracy == problem.evaluate(w).accuracy


def test_other_names_of_inputs_are_another_problem_and_splits_must_agree():
    swapped = Problem(TwoInputs, ({"first": X, "second": Z}, Y)).identity
    assert Problem(TwoInputs, ((X, Z), Y)).identity != swapped
    with pytest.raises(InputError, match=r"test inputs: expected .*, as in train"):
        Problem(TwoInputs, ((X, Z), Y), ({"first": X, "second": Z}, Y))
    with pytest.raises(InputError, match="as many targets"):
        Problem(TwoInputs, ((X, Z[:19]), Y))


@pytest.mark.parametrize(
    "structure",
    [Output, lambda out: {"loss": None, "logits": out}, lambda out: type("O", (), {"logits": out})],
    ids=["dataclass", "dict", "object"],
)
def test_logits_are_what_counts_of_an_output(structure):
    problem = Problem(lambda: Returns(structure), (X, Y))
    assert_equals_plain(problem, lambda: nn.Linear(6, 3))
    assert problem.evaluate(problem.init(0)).accuracy >= 0


@pytest.mark.parametrize(
    ("structure", "select"),
    [
        (lambda out: (out, 1), lambda out: out[0]),
        (lambda out: {"out": out}, lambda out: out["out"]),
        (Plain, lambda out: out.scores),
    ],
)
def test_outputs_say_what_counts(structure, select):
    def make():
        return Returns(structure)

    with pytest.raises(InputError, match=r"a module that returns a tensor, .*outputs=lambda out"):
        Problem(make, (X, Y))
    problem = Problem(make, (X, Y), outputs=select)
    assert_equals_plain(problem, make, select=select)
    assert problem.identity != Problem(lambda: nn.Linear(6, 3), (X, Y)).identity
    assert problem.outputs(problem.init(0), X).shape == (20, 3)


def test_a_loss_of_ones_own_gets_all_of_the_output():
    def make():
        return Returns(lambda out: (out, out.square()))

    def loss(out, y):
        return cross_entropy(out[0], y) + 0.1 * out[1].mean()

    problem = Problem(make, (X, Y), loss=loss)
    assert_equals_plain(problem, make, loss)
    assert np.isnan(problem.evaluate(problem.init(0)).accuracy)


@dataclass
class Record:
    scores: torch.Tensor
    nothing: None = None


class Named(NamedTuple):
    scores: torch.Tensor
    squares: torch.Tensor


RECORDS = {"dataclass": Record, "named tuple": lambda out: Named(out, out.square())}


@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
def test_records_are_evaluated_in_parts_as_they_are(record):
    def make():
        return Returns(record)

    def loss(out, y):  # its parts do not add up
        return cross_entropy(out.scores, y, weight=torch.tensor([1.0, 9.0, 3.0]).to(out.scores))

    problem = Problem(make, (X, Y.sort().values), loss=loss, eval_rows=8)
    assert_equals_plain(problem, make, loss)


LINEAR = {
    "tuple": (lambda out: (out, 2 * out), lambda out: out[0] + out[1]),
    "mapping": (lambda out: {"a": out, "b": None}, lambda out: 3 * out["a"]),
    "dataclass": (Record, lambda out: 3 * out.scores),
    "named tuple": (lambda out: Named(out, 2 * out), lambda out: out.scores + out.squares),
}


@pytest.mark.parametrize(("structure", "scores"), LINEAR.values(), ids=LINEAR)
def test_theory_of_outputs_that_are_structures(structure, scores):
    """A linear network is its own tangent, and its Gauss–Newton matrix the Hessian."""
    problem = Problem(
        lambda: Returns(structure), (X, Y), loss=lambda out, y: cross_entropy(scores(out), y)
    ).to(dtype=torch.float64)
    w, v = problem.init(0), problem.init(1)
    z = X.double() @ (w + v)[:18].view(3, 6).T + (w + v)[18:]
    tangent = linearize(problem, w)
    expected = float(cross_entropy(3 * z, Y))
    assert tangent.evaluate(w + v).loss == pytest.approx(expected, rel=1e-9)
    both = tangent.evaluate_many(torch.stack([w, w + v]))
    assert both[1].loss == pytest.approx(expected, rel=1e-9)

    def plain(at):
        return cross_entropy(3 * (X.double() @ at[:18].view(3, 6).T + at[18:]), Y)

    curved = torch.autograd.functional.hvp(plain, w, v)[1]
    torch.testing.assert_close(gauss_newton(problem, w)(v), curved)
    torch.testing.assert_close(hessian(problem, w)(v), curved)


def test_levenberg_marquardt_takes_outputs_that_are_structures():
    """On a linear network it finds the least squares."""
    x = torch.randn(20, 6, generator=torch.Generator().manual_seed(0))
    target = torch.cos(3 * x[:, :3])

    def loss(out, y):
        return mse_loss(out.scores, y)

    problem = Problem(lambda: Returns(Record), (x, target), loss=loss)
    spec = TrainSpec(optimizer="levenberg_marquardt", dtype="float64")
    method = RandomAffine(map="orthonormal")
    (trial,) = run(problem, method, dims=[21], repeats=1, spec=spec, seed=0)
    rows = torch.cat([x, torch.ones(20, 1)], 1).double()
    best = rows @ torch.linalg.pinv(rows) @ target.double()
    assert trial.best_train_loss == pytest.approx(float(mse_loss(best, target.double())), rel=1e-6)


def test_a_tuple_in_training_mode_only():
    def make():
        return Returns(lambda out: (out, out), training_only=True)

    assert_equals_plain(Problem(make, (X, Y)), make)


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("classes", [3, 5])
def test_labels_of_tokens(last, classes):
    def make():
        return Tagger(classes, last)

    def loss(out, y):
        return cross_entropy(out.movedim(-1, 1) if last else out, y)

    problem = Problem(make, (IDS, TAGS))
    assert_equals_plain(problem, make, loss, rows=12)
    w = problem.init(0)
    with torch.no_grad():
        out = problem.outputs(w, IDS)
    right = (out.argmax(-1 if last else 1) == TAGS).sum() / (TAGS != -100).sum()
    assert problem.evaluate(w).accuracy == pytest.approx(float(right))


def test_labels_that_could_lie_along_two_axes_are_refused():
    with pytest.raises(InputError, match=r"which fit both\. Give a loss of your own"):
        Problem(lambda: Tagger(4), (IDS, TAGS))
    with pytest.raises(InputError, match="train labels: expected integers in 0 … 2"):
        Problem(lambda: Tagger(3), (IDS, TAGS + 1))


def test_ignored_rows():
    labels = torch.where(Y == 2, -100, Y)

    def make():
        return nn.Linear(6, 3)

    problem = Problem(make, (X, labels))
    assert_equals_plain(problem, make, rows=8)
    counted = labels >= 0
    w = problem.init(0)
    hits = (problem.outputs(w, X).argmax(1) == labels)[counted]
    assert problem.evaluate(w).accuracy == pytest.approx(float(hits.double().mean()))
    other = nn.CrossEntropyLoss(ignore_index=2)
    same = Problem(make, (X, Y), loss=other)
    assert same.evaluate(w).accuracy == problem.evaluate(w).accuracy
    assert same.evaluate(w).loss == pytest.approx(problem.evaluate(w).loss)


def test_targets_of_several_tensors():
    def loss(out, y):
        return mse_loss(out[:, :1], y["value"]) + cross_entropy(out[:, 1:], y["label"])

    data = (X, {"value": Z[:, :1], "label": Y})
    problem = Problem(lambda: nn.Linear(6, 4), data, loss=loss)
    assert_equals_plain(problem, lambda: nn.Linear(6, 4), loss)
    check_problem(problem, rows=8)
    with pytest.raises(InputError, match="train targets: expected one tensor for cross_entropy"):
        Problem(lambda: nn.Linear(6, 4), data)


@pytest.mark.parametrize(
    "labels", [["cat"] * 20, np.array(["cat"] * 20), np.array(["cat"] * 20, dtype=object)]
)
def test_names_for_labels_are_refused_with_the_remedy(labels):
    with pytest.raises(InputError, match=r"train targets: .* got text.*return_inverse=True"):
        Problem(lambda: nn.Linear(6, 3), (X, labels))


@pytest.mark.parametrize(
    "loss",
    [
        nn.MSELoss(),
        nn.L1Loss(),
        nn.SmoothL1Loss(),
        nn.HuberLoss(),
        mse_loss,
        lambda out, y: (out - y).square().mean(),
    ],
    ids=["MSE", "L1", "SmoothL1", "Huber", "mse_loss", "lambda"],
)
def test_outputs_held_against_the_targets_of_all_rows_are_refused(loss):
    column = X[:, :1]
    flat = partial(Returns, torch.ravel, outputs=1)
    for make, targets in ((lambda: nn.Linear(6, 1), column[:, 0]), (flat, column)):
        with pytest.raises(InputError, match="train targets: expected shape"):
            Problem(make, (X, targets), loss=loss)
    right = Problem(lambda: nn.Linear(6, 1), (X, column), loss=loss)
    assert_equals_plain(right, lambda: nn.Linear(6, 1), loss)


def test_counts_held_against_the_outputs_of_all_rows_are_refused():
    loss = nn.PoissonNLLLoss()
    with pytest.raises(InputError, match="which the loss holds against the outputs of all rows"):
        Problem(lambda: nn.Linear(6, 1), (X, Y), loss=loss)
    right = Problem(lambda: nn.Linear(6, 1), (X, Y[:, None]), loss=loss)
    assert_equals_plain(right, lambda: nn.Linear(6, 1), loss)


def test_a_loss_that_takes_the_shapes_as_they_are_is_not_refused():
    def loss(out, y):
        return (out[:, 0] - y).square().mean()

    problem = Problem(lambda: nn.Linear(6, 1), (X, X[:, 0]), loss=loss)
    assert_equals_plain(problem, lambda: nn.Linear(6, 1), loss)


def test_losses_below_zero_have_goals():
    def loss(out, y):
        return gaussian_nll_loss(out[:, 0], y[:, 0], (4 * out[:, 1] - 5).exp())

    problem = Problem(lambda: nn.Linear(6, 2), (X, 0.01 * X[:, :1]), loss=loss)
    goal = LossBelow(-1.0)
    assert str(goal) == "loss<=-1"
    spec = TrainSpec(steps=300, batch_size=None, lr=0.05, eval_every=20, stop_at=goal)
    (trial,) = run(problem, RandomAffine(), dims=[14], repeats=1, spec=spec, seed=0)
    assert trial.best_train_loss <= -1.0
    assert trial.outcome == "stopped"


@pytest.mark.parametrize(
    "loss",
    [
        lambda out, t: nn.functional.cross_entropy(out.reshape(-1, 3), t.reshape(-1)),
        lambda out, t: nn.functional.cross_entropy(out.transpose(1, 2), t),
    ],
    ids=["rows of tokens", "transposed"],
)
def test_a_loss_of_ones_own_gets_the_tokens_outputs_as_they_are(loss):
    x, y = torch.arange(24).reshape(6, 4).sin()[..., None], torch.arange(24).reshape(6, 4) % 3
    problem = Problem(lambda: nn.Linear(1, 3), train=(x, y), loss=loss, name="tokens")
    w = problem.init(0)
    weight, bias = w[:3, None], w[3:]
    expected = nn.functional.cross_entropy((x @ weight.T + bias).reshape(-1, 3), y.reshape(-1))
    assert problem.evaluate(w).loss == pytest.approx(float(expected), rel=1e-5)
    assert problem.evaluate(w).accuracy == pytest.approx(
        float(((x @ weight.T + bias).argmax(-1) == y).float().mean())
    )

"""What a `Problem` refuses, and what tells two of a user's own problems apart."""

import copy
import functools
from itertools import combinations

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, dropout, mse_loss

from subspan.errors import InputError
from subspan.problems import Problem
from subspan.problems.losses import loss_name
from subspan.testing import check_problem
from subspan.trials.function import trainable


def rows(n=20, width=6, classes=3):
    x = torch.linspace(-1, 1, n * width).reshape(n, width).sin()
    return x, torch.arange(n) % classes


def linear():
    return nn.Linear(6, 3)


def one_output():
    return nn.Linear(6, 1)


def batch_norm():
    return nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))


class Calls(nn.Module):
    """A linear layer whose outputs go through a function that `repr` does not show."""

    def __init__(self, function, constant=1.0):
        super().__init__()
        self.linear, self.function = nn.Linear(6, 3), function
        self.register_buffer("constant", torch.tensor(constant))

    def forward(self, x):
        return self.function(self.linear(x))


class Recurrent(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.lstm, self.head = nn.LSTM(3, 4, batch_first=True, **options), nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention, self.head = nn.MultiheadAttention(6, 2, dropout=0.5), nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.attention(x, x, x)[0])


class HalfFrozen(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
        self[0].requires_grad_(False)


class CallableLoss:
    __hash__ = None  # as of a dataclass

    def __call__(self, outputs, targets):
        return cross_entropy(outputs, targets)


def branching(out):
    return out if out.sum() > 0 else 2 * out


# ---- identity


def zeros(seed):
    return {"weight": torch.zeros(3, 6), "bias": torch.zeros(3)}


DIFFERENT = {
    "losses that are lambdas": [
        lambda: Problem(linear, rows(), loss=lambda out, y: cross_entropy(out, y)),
        lambda: Problem(linear, rows(), loss=lambda out, y: 2 * cross_entropy(out, y)),
    ],
    "forward": [
        lambda: Problem(lambda: Calls(torch.relu), rows()),
        lambda: Problem(lambda: Calls(torch.sin), rows()),
    ],
    "constant": [
        lambda: Problem(lambda: Calls(torch.sin, 1.0), rows()),
        lambda: Problem(lambda: Calls(torch.sin, 9.0), rows()),
    ],
    "initialisation": [
        lambda: Problem(linear, rows()),
        lambda: Problem(linear, rows(), init=zeros),
    ],
    "loss module": [
        lambda: Problem(linear, rows(), loss=nn.CrossEntropyLoss(label_smoothing=0.1)),
        lambda: Problem(linear, rows(), loss=nn.CrossEntropyLoss(label_smoothing=0.9)),
    ],
    "frozen": [
        lambda: Problem(HalfFrozen, rows()),
        lambda: Problem(lambda: HalfFrozen().requires_grad_(), rows()),
    ],
    "evaluation batches of BatchNorm": [
        lambda: Problem(batch_norm, rows()),
        lambda: Problem(batch_norm, rows(), eval_rows=10),
    ],
}


@pytest.mark.parametrize("makers", DIFFERENT.values(), ids=DIFFERENT)
def test_identity_tells_code_and_constants_apart(makers):
    for make in makers:
        assert make().identity == make().identity
    for one, other in combinations(makers, 2):
        assert one().identity != other().identity


def test_evaluation_batches_without_batch_norm_are_no_part_of_the_identity():
    assert Problem(linear, rows(), eval_rows=10).identity == Problem(linear, rows()).identity


def test_identity_of_a_users_problem_is_pinned():
    """A store finds a user's trials by it. Data and weights here are the same on every machine."""
    x = torch.arange(120.0).reshape(20, 6) / 128
    identity = Problem(linear, (x, Y), init=zeros, name="mine").identity
    assert identity == {
        "name": "mine",
        "kind": "module",
        "loss": "cross_entropy",
        "module": "65f4357672cae31515a95ab8ae12338f",
        "constants": "4f53cda18c2baa0c0354bb5f9a3ecbe5",
        "init": "8070dacd73eeaf8a3e775e7a7a9725a9",
        "init_holds": "da4270c059debde37b760c85bb1f0dc4",
        "loss_at_init": "1.099e+00",
        "data": "53968fe02c9e8a3fb2d7177fa608abdb",
    }


def test_an_identity_given_is_taken_as_it_is():
    assert Problem(linear, rows(), identity={"name": "mine"}).identity == {"name": "mine"}


@pytest.mark.parametrize(
    ("loss", "name"),
    [
        ("mse", "mse"),
        (mse_loss, "mse_loss"),
        (functools.partial(cross_entropy, label_smoothing=0.1), "cross_entropy"),
        (functools.partial(functools.partial(CallableLoss())), "CallableLoss"),
        (CallableLoss(), "CallableLoss"),
        (nn.CrossEntropyLoss(), "CrossEntropyLoss CrossEntropyLoss()"),
    ],
)
def test_a_loss_has_the_same_name_in_every_run(loss, name):
    assert loss_name(loss) == name


def test_addresses_are_no_part_of_the_identity():
    def make():
        module = nn.Linear(6, 3)
        module.extra_repr = lambda: repr(CallableLoss())
        return module

    kept = [CallableLoss(), CallableLoss()]
    assert repr(kept[0]) != repr(kept[1])
    one, other = (Problem(make, rows(), loss=loss).identity for loss in kept)
    assert one == other


# ---- data, module and loss fit each other

X, Y = rows()


@pytest.mark.parametrize("name", ["", "a\0b", "\ud800", None])
def test_names_that_no_store_can_hold_are_refused(name):
    with pytest.raises(InputError, match="name: expected a text"):
        Problem(linear, rows(), name=name)
    with pytest.raises(InputError, match="name"):
        Problem(linear, rows(), identity={"name": name})
    with pytest.raises(InputError, match="name: expected a text"):
        trainable(name=name, max_dim=3)


@pytest.mark.parametrize(
    ("make", "train", "test", "loss", "message"),
    [
        (one_output, (X, X[:, 0]), None, "mse",
         r"train targets: expected shape \(2, 1\) in 2 rows.*, got shape \(2,\)"),
        (linear, (X, X[:, :2]), None, "mse", r"expected shape \(2, 3\).*, got shape \(2, 2\)"),
        (one_output, (X, X[:, :1]), (X, X[:, 0]), "mse", "test targets: expected shape"),
        (linear, (X, Y), None, "mse", "train targets: expected floating-point numbers for mse"),
        (linear, (X, Y), (X, X[:, :3].softmax(1)), "cross_entropy",
         "test targets: expected integers, as in train, got floating-point numbers"),
        (linear, (X, Y), (X[:, :5], Y), "cross_entropy",
         r"test: expected inputs that the module takes, got rows of shape \(5,\). The module said"),
        (linear, (X, Y[:, None]), None, "cross_entropy",
         r"train labels: expected shape \(n,\).*, got shape \(20, 1\)"),
        (linear, (X, torch.stack([Y, Y], 1)), None, cross_entropy,
         r"targets \(2, 2\). It said: 0D or 1D target tensor expected"),
        (linear, (X, torch.stack([Y, Y], 1)), None, "cross_entropy",
         r"outputs \(n, ..., classes\) for integer labels of shape \(n, 2\)"),
        (linear, (X, Y), None, lambda out, y: cross_entropy(out, y, reduction="none"),
         r"loss: expected .* a tensor of shape \(\), got shape \(2,\)"),
        (linear, (X, Y), None, lambda out, y: 1.0, "loss: expected .*, got float"),
        (linear, (X, Y), None, nn.CrossEntropyLoss(torch.ones(4)),
         r"got an error on outputs \(2, 3\) and targets \(2,\). It said: weight tensor"),
        (linear, (X, Y), None, lambda out, y: out.missing(y), "It said: .*no attribute 'missing'"),
        (lambda: Calls(lambda out: (out, 1)), (X, Y), None, "cross_entropy",
         r"a module that returns a tensor.*, got tuple. .* outputs=lambda out: out\[0\]"),
        (lambda: Calls(lambda out: out[0]), (X, Y), None, "cross_entropy",
         r"outputs \(n, classes\) for integer labels .*, got outputs of shape \(3,\)"),
        (lambda: Calls(lambda out: {}[0]), (X, Y), None, "cross_entropy", "The module said: 0"),
        (lambda: Calls(lambda out: dropout(out, 0.5, True)), (X, Y), None, "cross_entropy",
         "got others the second time. The loss must be a function of the weights"),
        (linear, (X, Y), None, lambda out, y: out.sum() * torch.rand(()), "switch off dropout"),
        (linear, (X, torch.tensor(1)), None, "cross_entropy", "as many targets"),
        (linear, (torch.cat([X] * 4), torch.full((80,), float("nan"))), None, mse_loss,
         "train targets: .* NaN or infinity in 80 of 80 rows"),
        (linear, (X, torch.where(X[:, 0] > 0, X[:, 0], torch.inf)), None, mse_loss,
         "in 10 of 20 rows"),
        (lambda: linear().requires_grad_(False), (X, Y), None, "cross_entropy",
         r"parameters to train, got frozen ones alone \(requires_grad=False\)"),
        (batch_norm, (X, Y), (X[:1], Y[:1]), "cross_entropy", "test: .*more than 1 value"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(make, train, test, loss, message):
    with pytest.raises(InputError, match=message):
        Problem(make, train, test, loss)


def test_the_checks_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    Problem(lambda: nn.Sequential(linear(), nn.Dropout(0.5)), rows(), dropout="off")
    assert torch.equal(torch.get_rng_state(), before)


def test_a_loss_of_nan_is_the_same_twice():
    problem = Problem(linear, rows(), loss=lambda out, y: out.sum() * float("nan"))
    assert problem.identity["loss_at_init"] == "nan"


@pytest.mark.parametrize(
    ("make", "where"), [(Attention, "attention"), (lambda: nn.Sequential(Attention()), "0")]
)
def test_dropout_that_is_an_attribute_counts(make, where):
    with pytest.raises(InputError, match=rf"no active dropout, got it in {where}.*dropout='off'"):
        Problem(make, rows())
    problem = Problem(make, rows(), dropout="off")
    w = problem.init(0)
    assert problem.evaluate(w) == problem.evaluate(w)


def test_dropout_of_a_recurrent_module_counts():
    x = torch.linspace(-1, 1, 60).reshape(5, 4, 3)
    with pytest.raises(InputError, match="no active dropout, got it in lstm"):
        Problem(lambda: Recurrent(num_layers=2, dropout=0.5), (x, torch.arange(5) % 2))


@pytest.mark.parametrize("n", [3, 20])
def test_class_probabilities_are_targets_too(n):
    x, y = rows(n)[0], torch.linspace(0, 1, n * 3).reshape(n, 3).softmax(1)
    problem = Problem(linear, (x, y))
    w = problem.init(0)
    expected = cross_entropy(problem.outputs(w, x), y)
    assert problem.evaluate(w).loss == pytest.approx(float(expected), rel=1e-6)


# ---- frozen parameters


def test_frozen_parameters_are_constants():
    problem = Problem(HalfFrozen, rows())
    assert problem.layout.names == ("2.weight", "2.bias")
    assert problem.ambient_dim == 18
    frozen = problem.module[0].weight.clone()
    assert torch.equal(Problem(HalfFrozen, rows()).module[0].weight, frozen)
    w = problem.init(1)
    head = problem.layout.split(w)
    hidden = torch.tanh(X @ frozen.T + problem.module[0].bias)
    torch.testing.assert_close(problem.outputs(w, X), hidden @ head["2.weight"].T + head["2.bias"])
    check_problem(problem, rows=8)


def test_a_module_returned_twice_is_refused_and_left_alone():
    """Each seed would start from the same weights."""
    module = batch_norm()
    before = copy.deepcopy(module.state_dict())
    with pytest.raises(InputError, match=r"a fresh module, got the same one .*fine_tuning"):
        Problem(lambda: module, rows())
    problem = Problem(lambda: module, rows(), init=lambda seed: dict(module.named_parameters()))
    problem.grads(problem.init(0)[None], problem.batch(torch.arange(5)[None]))
    assert module.training
    after = module.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert module[1].running_mean is not None
    assert all(p.grad is None for p in module.parameters())


def test_a_module_that_is_initialised_anew_at_each_call_is_fresh_enough():
    module = linear()

    def make():
        module.reset_parameters()
        return module

    problem = Problem(make, rows())
    assert not torch.equal(problem.init(0), problem.init(1))


# ---- where training starts


@pytest.mark.parametrize("vectorize", [True, False])
def test_batch_norm_refuses_a_batch_of_one_row(vectorize):
    problem = Problem(batch_norm, rows(), vectorize=vectorize)
    w = problem.init(0)[None].repeat(2, 1)
    with pytest.raises(InputError, match=r"batch_size: expected two rows or more .*BatchNorm"):
        problem.grads(w, problem.batch(torch.tensor([[0], [1]])))
    uneven = Problem(batch_norm, rows(), eval_rows=19, vectorize=vectorize)
    with pytest.raises(InputError, match="eval_rows if it leaves the last row alone"):
        uneven.evaluate_many(w)


@pytest.mark.parametrize(
    ("make", "x"),
    [
        (lambda: Calls(branching), X[:5]),
        (Recurrent, torch.linspace(-1, 1, 60).reshape(5, 4, 3).sin()),
    ],
    ids=["data-dependent", "LSTM"],
)
def test_a_module_that_cannot_be_batched_runs_trial_by_trial(make, x):
    data = (x, torch.arange(5) % 2)
    with pytest.raises(InputError, match=r"torch.func.vmap .*Pass vectorize=False"):
        Problem(make, data, vectorize=True)
    problem = Problem(make, data)
    assert not problem.vectorized
    check_problem(problem, rows=3, trials=2)


def test_errors_that_batching_does_not_cause_stay_as_they_are():
    def fails_on_three_rows(out):
        if len(out) == 3:
            raise RuntimeError("three")
        return out

    problem = Problem(lambda: Calls(fails_on_three_rows), rows())
    with pytest.raises(RuntimeError, match=r"^three$"):
        problem.grads(problem.init(0)[None], problem.batch(torch.tensor([[0, 1, 2]])))

"""Modules that read their weights in unusual ways: as plain PyTorch has them, or refused."""

import warnings

import pytest
import torch
from plain import assert_equals_plain, loss_and_gradient
from torch import nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy, embedding, linear
from torch.utils.checkpoint import checkpoint

from subspan import RandomAffine, TrainSpec, run
from subspan.errors import InputError
from subspan.problems import Problem

X = torch.linspace(-1, 1, 20 * 6).reshape(20, 6).sin()
Y = torch.arange(20) % 3
IDS = (torch.arange(20)[:, None] * torch.tensor([1, 3, 5, 7])) % 9
IMAGES = torch.linspace(-2, 2, 12 * 2 * 8 * 8).reshape(12, 2, 8, 8).sin()


class Checkpointed(nn.Module):
    def __init__(self, reentrant):
        super().__init__()
        self.first, self.body, self.reentrant = nn.Linear(6, 8), nn.Linear(8, 8), reentrant
        self.head = nn.Linear(8, 3)

    def block(self, h):
        return torch.tanh(self.body(h))

    def forward(self, x):
        h = checkpoint(self.block, self.first(x), use_reentrant=self.reentrant)
        return self.head(checkpoint(self.block, h, use_reentrant=self.reentrant))


class CheckpointedConv(nn.Module):
    def __init__(self, reentrant):
        super().__init__()
        self.a, self.b, self.reentrant = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 3), reentrant
        self.head = nn.Linear(64, 3)

    def forward(self, x):
        h = torch.tanh(self.a(x))
        h = checkpoint(lambda v: torch.tanh(self.b(v)), h, use_reentrant=self.reentrant)
        return self.head(h.flatten(1))


class LateProduct(torch.autograd.Function):
    """Keeps the module, and reads its weight in backward."""

    @staticmethod
    def forward(ctx, x, weight, module):
        ctx.module = module
        ctx.save_for_backward(x)
        return x @ weight.T

    @staticmethod
    def backward(ctx, grad):
        return grad @ ctx.module.weight, grad.T @ ctx.saved_tensors[0], None


class Late(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.weight = nn.Linear(6, 5), nn.Parameter(torch.randn(3, 5))

    def forward(self, x):
        return LateProduct.apply(torch.tanh(self.first(x)), self.weight, self)


class SavedHooks(nn.Module):
    """Packs a saved weight as its name, and unpacks it from the module."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, x):
        h = torch.tanh(self.a(x))
        weight = self.b.weight

        def pack(t):
            return "b" if t.shape[-2:] in (weight.shape, weight.T.shape) else t

        def unpack(t):
            return self.b.weight.T if isinstance(t, str) else t

        with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
            return h @ self.b.weight.T + self.b.bias


class Listed(nn.Module):
    """Reads its weights from a plain list and a dict."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 5), nn.Linear(5, 3)
        self.weights = [self.a.weight, self.b.weight]
        self.biases = {"a": self.a.bias}

    def forward(self, x):
        h = torch.tanh(linear(x, self.weights[0], self.biases["a"]))
        return linear(h, self.weights[1]) + self.b.bias


class Closure(nn.Module):
    """Reads its weights in a function made with it, which no copy can follow."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 5), nn.Linear(5, 3)
        weight = self.a.weight
        self.project = lambda x: x @ weight.T

    def forward(self, x):
        return self.b(torch.tanh(self.project(x) + self.a.bias))


class Hyper(nn.Module):
    """Calls functional_call on its own part."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, x):
        weights = {"weight": 2 * self.b.weight, "bias": self.b.bias}
        return functional_call(self.b, weights, torch.tanh(self.a(x)))


class View(nn.Module):
    """Keeps a transposed view of its weight."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 5), nn.Linear(5, 3)
        self.turned = self.a.weight.detach().T

    def forward(self, x):
        return self.b(torch.tanh(x @ self.turned + self.a.bias))


class TwoNames(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Linear(6, 6)
        self.net = nn.Sequential(self.body, nn.Tanh(), self.body, nn.Linear(6, 3))

    def forward(self, x):
        return self.net(x) + self.body(x)[:, :3]


class Scaled(nn.Module):
    """0-dim parameters."""

    def __init__(self):
        super().__init__()
        self.a, self.scale = nn.Linear(6, 3), nn.Parameter(torch.tensor(2.0))

    def forward(self, x):
        return self.a(x) * self.scale.exp()


class Bag(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.embedding, self.head = nn.Embedding(9, 5, **options), nn.Linear(5, 3)

    def forward(self, ids):
        return self.head(torch.tanh(self.embedding(ids)).sum(1))


class FunctionalSparse(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.head = nn.Parameter(torch.randn(9, 5)), nn.Linear(5, 3)

    def forward(self, ids):
        return self.head(embedding(ids, self.table, sparse=True).sum(1))


class FunctionalMaxNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.head = nn.Parameter(torch.randn(9, 5)), nn.Linear(5, 3)

    def forward(self, ids):
        return self.head(embedding(ids, self.table, max_norm=0.5).sum(1))


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.rnn, self.head = kind(3, 4, batch_first=True), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.rnn(x.unflatten(1, (2, 3)))[0][:, -1])


def weight_norm():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.Sequential(nn.utils.weight_norm(nn.Linear(6, 5)), nn.Tanh(), nn.Linear(5, 3))


def pruned():
    from torch.nn.utils import prune

    module = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))
    prune.l1_unstructured(module[0], "weight", 10)
    return module


def parametrized():
    first = nn.utils.parametrizations.weight_norm(nn.Linear(6, 5))
    return nn.Sequential(first, nn.Tanh(), nn.Linear(5, 3))


def lazy():
    return nn.Sequential(nn.LazyLinear(5), nn.Tanh(), nn.LazyLinear(3))


def in_place():
    return nn.Sequential(nn.ReLU(inplace=True), nn.Linear(6, 3))


RIGHT = {
    "checkpoint": (lambda: Checkpointed(False), X),
    "reentrant checkpoint": (lambda: Checkpointed(True), X),
    "conv, checkpoint": (lambda: CheckpointedConv(False), IMAGES),
    "conv, reentrant checkpoint": (lambda: CheckpointedConv(True), IMAGES),
    "custom function": (Late, X),
    "saved-tensor hooks": (SavedHooks, X),
    "list and dict": (Listed, X),
    "closure": (Closure, X),
    "functional_call": (Hyper, X),
    "one part, two names": (TwoNames, X),
    "weight_norm": (weight_norm, X),
    "prune": (pruned, X),
    "parametrisation": (parametrized, X),
    "0-dim": (Scaled, X),
    "sparse embedding": (lambda: Bag(sparse=True), IDS),
    "sparse function": (FunctionalSparse, IDS),
    "padding": (lambda: Bag(padding_idx=1), IDS),
    "LSTM": (lambda: Recurrent(nn.LSTM), X),
    "GRU": (lambda: Recurrent(nn.GRU), X),
    "RNN": (lambda: Recurrent(nn.RNN), X),
    "writes into its inputs": (in_place, X),
    "float64": (lambda: Scaled().double(), X),
    "bfloat16": (lambda: nn.Linear(6, 3).bfloat16(), X),
}


@pytest.mark.filterwarnings("ignore:.*requires_grad=True. Gradients will be None")
@pytest.mark.parametrize(("make", "x"), RIGHT.values(), ids=RIGHT)
def test_right(make, x):
    before, y = x.clone(), Y[: len(x)]
    problem = Problem(make, (x, y))
    assert_equals_plain(problem, make)
    spec = TrainSpec(steps=2, batch_size=None, lr=0.1)
    first = run(problem, RandomAffine(), dims=[4], repeats=2, spec=spec, seed=0)
    assert all(trial.outcome == "finished" for trial in first)
    assert torch.equal(x, before)
    # No run depends on an earlier one, in whatever dtype.
    wide = problem.to(dtype=torch.float64)
    w = torch.stack([wide.init(0), wide.init(1)])
    losses, _ = wide.grads(w, wide.batch(torch.arange(12).reshape(2, 6)))
    assert losses.dtype == torch.float64
    again = run(problem, RandomAffine(), dims=[4], repeats=2, spec=spec, seed=0)
    assert [t.final_train_loss for t in again] == [t.final_train_loss for t in first]


@pytest.mark.filterwarnings("ignore:.*requires_grad=True. Gradients will be None")
@pytest.mark.parametrize(
    ("make", "x", "vectorized"),
    [
        (lambda: Scaled(), X, True),
        (TwoNames, X, True),
        (lambda: Bag(sparse=True, padding_idx=1), IDS, True),
        (weight_norm, X, True),
        (lambda: Checkpointed(False), X, False),
        (lambda: Recurrent(nn.LSTM), X, False),
        (Listed, X, False),
    ],
)
def test_the_fast_path_is_taken_where_it_is_right(make, x, vectorized):
    assert Problem(make, (x, Y)).vectorized is vectorized


REFUSED = {
    "max_norm": (lambda: Bag(max_norm=0.5), IDS, "Embedding with max_norm"),
    "max_norm of a function": (FunctionalMaxNorm, IDS, "writes into 'table'"),
    "complex": (lambda: nn.Linear(6, 3, dtype=torch.complex64), X, "weight: expected real"),
}


@pytest.mark.parametrize(("make", "x", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(make, x, message):
    with pytest.raises(InputError, match=message):
        Problem(make, (x, Y))


def test_a_view_of_a_weight_kept_by_the_module_is_right_or_refused():
    """The view follows the weight where one is written into the other. Blank rows do not tell."""
    assert_equals_plain(Problem(View, (X, Y)), View)
    blank = torch.cat([torch.zeros(10, 6), X[10:]])
    problem = Problem(View, (blank, Y))
    assert_equals_plain(problem, View)
    with pytest.raises(InputError, match="view of a weight"):
        problem.to(dtype=torch.float64)


def test_the_padding_row_stays_where_it_is():
    problem = Problem(lambda: Bag(padding_idx=1), (IDS, Y))
    assert problem.ambient_dim == 9 * 5 + 18
    w = problem.init(0)
    moved = w + 1.0
    row = problem.layout.slices["embedding.weight"]
    module = Bag(padding_idx=1)
    with torch.no_grad():
        for p, part in zip(module.parameters(), problem.layout.split(moved).values(), strict=True):
            p.copy_(part)
        module.embedding.weight[1] = 0.0
        expected = cross_entropy(module(IDS), Y)
    assert (IDS == 1).any()
    assert problem.evaluate(moved).loss == pytest.approx(float(expected), rel=1e-5)
    _, gradient = problem.grads(moved[None], problem.batch(torch.arange(20)[None]))
    assert not gradient[0][row].view(9, 5)[1].any()


def test_a_padding_row_that_differs_between_seeds_is_refused():
    def make():
        module = Bag(padding_idx=1)
        nn.init.normal_(module.embedding.weight)
        return module

    with pytest.raises(InputError, match=r"the same padding row of 'embedding\.weight'"):
        Problem(make, (IDS, Y)).init(1)


def test_lazy_layers_take_their_shape_from_the_data():
    problem = Problem(lazy, (X, Y))
    assert problem.ambient_dim == 6 * 5 + 5 + 18
    assert not torch.equal(problem.init(0), problem.init(1))

    def eager():
        return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))

    assert_equals_plain(problem, eager)


class LateForSome(Checkpointed):
    """Checkpoints where there are many rows, or for one row in the middle."""

    def __init__(self, when):
        super().__init__(False)
        self.when = when

    def forward(self, x):
        h = self.first(x)
        return self.head(super().block(h) if not self.when(x) else self.late(h))

    def late(self, h):
        return checkpoint(self.block, h, use_reentrant=False)


LATE = {"many rows": lambda x: len(x) > 10, "one row": lambda x: bool((x[:, 0].abs() < 0.01).any())}


@pytest.mark.parametrize("when", LATE.values(), ids=LATE)
def test_weights_that_are_read_late_for_some_rows_are_refused(when):
    problem = Problem(lambda: LateForSome(when), (X, Y), vectorize=False)
    w = problem.init(0)[None]
    few = torch.arange(12, 18)
    assert not when(X[few])
    gradient = problem.grads(w, problem.batch(few[None]))[1][0]
    _, expected = loss_and_gradient(lambda: LateForSome(when), w[0], X[few], Y[few], cross_entropy)
    torch.testing.assert_close(gradient, expected)
    assert when(X)
    for one in (problem, problem.to(dtype=torch.float64)):
        batch = one.batch(torch.arange(20)[None])
        with pytest.raises(InputError, match=r"reads them late for some of these 20\. Switch off"):
            one.grads(w.to(one.dtype), batch)


def test_a_gradient_that_is_nan_in_plain_pytorch_is_so_here():
    def loss(out, y):
        return (out - out.detach()).abs().sqrt().mean()

    problem = Problem(lambda: nn.Linear(6, 3), (X, Y.float()), loss=loss)
    w = problem.init(0)[None]
    for _ in range(2):
        assert problem.grads(w, problem.batch(torch.arange(20)[None]))[1].isnan().any()


def test_a_lazy_batch_norm():
    def make(lazy=True):
        norm = nn.LazyBatchNorm1d() if lazy else nn.BatchNorm1d(5)
        return nn.Sequential(nn.LazyLinear(5) if lazy else nn.Linear(6, 5), norm, nn.Linear(5, 3))

    assert_equals_plain(Problem(make, (X, Y)), lambda: make(lazy=False), train=True)


class Slope(nn.Module):
    """Asks its inputs for gradients, as physics-informed networks do."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1))

    def forward(self, x):
        with torch.enable_grad():
            x.requires_grad_(True)
            return torch.autograd.grad(self.body(x).sum(), x, create_graph=True)[0][:, :3]


def test_inputs_that_a_module_asks_for_gradients():
    x = X.clone()
    problem = Problem(Slope, (x, Y))
    assert_equals_plain(problem, lambda: Slope())
    assert not x.requires_grad
    assert x.grad is None


def test_users_tensors_are_left_alone():
    """An embedding made from the user's vectors shares their memory."""
    vectors = torch.randn(9, 5, generator=torch.Generator().manual_seed(0))
    before = vectors.clone()

    class Net(Bag):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding.from_pretrained(vectors, freeze=False)

    problem = Problem(Net, (IDS, Y))
    assert torch.equal(problem.init(1)[:45].view(9, 5), before)
    problem.grads(problem.init(0)[None] + 1, problem.batch(torch.arange(6)[None]))
    assert torch.equal(vectors, before)


@pytest.mark.filterwarnings("ignore:.*requires_grad=True. Gradients will be None")
def test_gradients_of_a_losses_own_parameters_are_left_alone():
    class Weighted(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(2.0))

        def forward(self, out, y):
            return self.scale * cross_entropy(out, y)

    loss = Weighted()
    problem = Problem(lambda: Checkpointed(True), (X, Y), loss=loss)
    problem.grads(problem.init(0)[None], problem.batch(torch.arange(6)[None]))
    assert loss.scale.grad is None


def test_a_frozen_complex_constant_stays_complex():
    class Rotated(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(6, 3)
            self.register_buffer("turn", torch.polar(torch.ones(3), torch.arange(3.0)))

        def forward(self, x):
            return (self.a(x) * self.turn).imag + self.a(x)

    problem = Problem(Rotated, (X, Y))
    assert_equals_plain(problem, Rotated)
    wide = problem.to(dtype=torch.float64)
    assert wide.module.turn.dtype == torch.complex128
    a, b = (p.evaluate(p.init(0)).loss for p in (problem, wide))
    assert a == pytest.approx(b, rel=1e-5)


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    problem = Problem(lazy, (X, Y))
    assert problem.vectorized
    assert torch.equal(torch.get_rng_state(), before)

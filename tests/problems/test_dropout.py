"""`dropout="train"`: masks are plain PyTorch's at a seed of the trial and step."""

import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import subspan as ss
from subspan.errors import InputError
from subspan.problems import Problem
from subspan.spec import TrainSpec
from subspan.streams import derive, scoped_torch_rng, watched_global_rngs
from subspan.subspaces import BurnIn, Draw, LotteryTicket, RandomAffine
from subspan.training.ensemble import train


def rows(n=20, width=6, classes=3):
    x = torch.linspace(-1, 1, n * width).reshape(n, width).sin()
    return x, torch.arange(n) % classes


def images(n=10):
    return torch.linspace(-2, 2, n * 2 * 36).reshape(n, 2, 6, 6).sin(), torch.arange(n) % 3


def dropping():
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Dropout(0.4), nn.Linear(8, 3))


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.b(F.dropout(self.a(x).tanh(), 0.4, self.training))


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(6, 2, dropout=0.5, batch_first=True)
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        x = x.reshape(-1, 2, 6)
        return self.head(self.attention(x, x, x)[0].flatten(0, 1))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(3, 4, num_layers=2, dropout=0.5, batch_first=True)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.lstm(x.reshape(-1, 2, 3))[0][:, -1])


class Checkpointed(nn.Module):
    """Weights that are read once more in the backward pass, with the masks of the first time."""

    def __init__(self, reentrant):
        super().__init__()
        self.stem, self.body, self.head = nn.Linear(6, 6), dropping()[:3], nn.Linear(8, 3)
        self.reentrant = reentrant

    def forward(self, x):
        x = self.stem(x)
        if not self.training:
            return self.head(self.body(x))
        return self.head(checkpoint(self.body, x, use_reentrant=self.reentrant))


def image_net(layer):
    return lambda: nn.Sequential(nn.Conv2d(2, 4, 3), layer, nn.Flatten(), nn.Linear(64, 3))


def normed():
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, 3))


KINDS = {
    "Dropout": (dropping, rows()),
    "in place, on the inputs": (
        lambda: nn.Sequential(nn.Dropout(0.5, inplace=True), nn.Linear(6, 3)),
        rows(),
    ),
    "functional": (Functional, rows()),
    "Dropout1d": (
        lambda: nn.Sequential(
            nn.Unflatten(1, (2, 3)), nn.Conv1d(2, 4, 2), nn.Dropout1d(), nn.Flatten(),
            nn.Linear(8, 3),
        ),
        rows(),
    ),
    "Dropout2d": (image_net(nn.Dropout2d(0.5)), images()),
    "Dropout3d": (
        lambda: nn.Sequential(
            nn.Unflatten(1, (2, 1)), nn.Conv3d(2, 4, (1, 3, 3)), nn.Dropout3d(), nn.Flatten(),
            nn.Linear(64, 3),
        ),
        images(),
    ),
    "AlphaDropout": (
        lambda: nn.Sequential(nn.Linear(6, 8), nn.SELU(), nn.AlphaDropout(0.3), nn.Linear(8, 3)),
        rows(),
    ),
    "FeatureAlphaDropout": (image_net(nn.FeatureAlphaDropout(0.3)), images()),
    "RReLU, random in training": (
        lambda: nn.Sequential(nn.Linear(6, 8), nn.RReLU(), nn.Linear(8, 3)),
        rows(),
    ),
    "attention": (Attention, rows()),
    "transformer layer": (
        lambda: nn.Sequential(
            nn.Unflatten(1, (2, 3)),
            nn.TransformerEncoderLayer(3, 1, 8, dropout=0.2, batch_first=True),
            nn.Flatten(),
            nn.Linear(6, 3),
        ),
        rows(),
    ),
    "recurrent": (Recurrent, rows()),
    "BatchNorm beside it": (normed, rows()),
    "checkpointed": (lambda: Checkpointed(False), rows()),
    "checkpointed, reentrant": (lambda: Checkpointed(True), rows()),
}  # fmt: skip


QUIET = pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")  # PyTorch's


def plain_gradient(make, weights, x, y, seed):
    """Loss and gradient of plain PyTorch, in training mode, with the masks of a seed."""
    with scoped_torch_rng(0, "module"):
        module = make().double().train()
    for part in module.modules():  # its statistics are the batch's
        if isinstance(part, nn.BatchNorm1d):
            part.track_running_stats, part.running_mean, part.running_var = False, None, None
    nn.utils.vector_to_parameters(weights.clone(), module.parameters())
    with scoped_torch_rng(seed, "dropout"):
        loss = F.cross_entropy(module(x.clone()), y)
        loss.backward()
    return loss.detach(), torch.cat([p.grad.reshape(-1) for p in module.parameters()])


@QUIET
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_training_are_plain_pytorchs_at_the_same_seed(kind):
    make, (x, y) = KINDS[kind]
    problem = Problem(make, (x, y), dropout="train").to(dtype=torch.float64)
    assert problem.noisy
    kept = problem.batch()[0].clone()
    weights = torch.stack([problem.init(s) for s in range(3)])
    every = torch.arange(len(y)).expand(3, -1)
    losses, gradients = problem.train_grads(weights, problem.batch(every), [5, 6, 7])
    for k, seed in enumerate([5, 6, 7]):
        loss, gradient = plain_gradient(make, weights[k], x.double(), y, seed)
        torch.testing.assert_close(losses[k], loss, rtol=1e-12, atol=0)
        torch.testing.assert_close(gradients[k], gradient, rtol=1e-10, atol=1e-14)
    other = problem.train_grads(weights[:1], problem.batch(every[:1]), [8])[0]
    assert other != losses[0]  # another seed, other masks
    assert torch.equal(problem.batch()[0], kept)


@QUIET
@pytest.mark.parametrize("kind", KINDS)
def test_evaluation_and_plain_gradients_are_without_dropout(kind):
    make, data = KINDS[kind]
    on, off = (Problem(make, data, dropout=d).to(dtype=torch.float64) for d in ("train", "off"))
    weights = torch.stack([on.init(s) for s in range(2)])
    assert torch.equal(weights[0], off.init(0))
    assert on.evaluate_many(weights) == off.evaluate_many(weights)
    batch = on.batch(torch.arange(on.train_size).expand(2, -1))
    for one, other in zip(on.grads(weights, batch), off.grads(weights, batch), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(on.loss(weights[0], on.batch()), off.loss(weights[0], off.batch()))


class Masked(nn.Module):
    """Outputs are the dropped inputs times a weight, so that a gradient shows the mask."""

    def __init__(self, layer, size):
        super().__init__()
        self.weight, self.layer = nn.Parameter(torch.ones(size)), layer

    def forward(self, x):
        return self.layer(x * self.weight)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_the_law_of_the_mask(rate):
    """Each entry is 0 with the rate, else 1 / (1 − rate): mean 1, variance rate / (1 − rate).

    Over trials and steps, the entries are independent: bounds are five standard errors.
    """
    n, trials = 50, 400
    problem = Problem(
        lambda: Masked(nn.Dropout(rate), n),
        (torch.ones(1, n), torch.zeros(1, n)),
        loss=lambda out, y: (out - y).sum(1).mean(),
        dropout="train",
    ).to(dtype=torch.float64)
    weights = torch.ones(trials, n, dtype=torch.float64)
    batch = problem.batch(torch.zeros(trials, 1, dtype=torch.int64))
    mask = torch.cat(
        [
            problem.train_grads(weights, batch, [derive(k, "noise", s) for k in range(trials)])[1]
            for s in range(2)
        ]
    )
    assert mask.unique().tolist() == [0.0, pytest.approx(1 / (1 - rate), rel=1e-12)]
    count, spread = mask.numel(), rate / (1 - rate)
    assert abs(float(mask.mean()) - 1) < 5 * (spread / count) ** 0.5
    kept = float((mask > 0).double().mean())
    assert abs(kept - (1 - rate)) < 5 * (rate * (1 - rate) / count) ** 0.5
    centred = (mask - 1) / spread**0.5
    correlation = centred.T @ centred / len(mask)  # of the entries
    correlation.fill_diagonal_(0)
    assert float(correlation.abs().max()) < 5 / len(mask) ** 0.5
    between = (centred[:trials] * centred[trials:]).mean()  # of one step and the next
    assert abs(float(between)) < 5 / (count / 2) ** 0.5
    beside = (centred[:-1] * centred[1:]).mean()  # of one trial and the next
    assert abs(float(beside)) < 5 / count**0.5


def test_channels_drop_as_one_in_dropout2d():
    problem = Problem(
        lambda: Masked(nn.Dropout2d(0.5), (1, 3, 4, 4)),
        (torch.ones(2, 3, 4, 4), torch.zeros(2)),
        loss=lambda out, y: out.sum(),
        dropout="train",
        vectorize=False,
    )
    weights, batch = torch.ones(200, 48), problem.batch(torch.zeros(200, 1, dtype=torch.int64))
    mask = problem.train_grads(weights, batch, list(range(200)))[1].reshape(200, 3, 16)
    assert torch.equal(mask.amin(2), mask.amax(2))
    kept = float((mask > 0).double().mean())
    assert abs(kept - 0.5) < 5 * (0.25 / 600) ** 0.5


# ---- trials


def trained(problem, draws, spec, method):
    problem = problem.to(dtype=torch.float64)
    subspaces = method.subspaces(problem, draws)
    return train(problem, subspaces, spec, [d.batch_seed for d in draws])


@pytest.mark.parametrize("batch_size", [8, None])
@pytest.mark.parametrize(
    "method", [RandomAffine(), BurnIn(3, batch_size=8), LotteryTicket(1, batch_size=8)]
)
def test_a_trial_alone_equals_the_trial_among_others(method, batch_size):
    problem = Problem(dropping, rows(), dropout="train")
    spec = TrainSpec(steps=6, batch_size=batch_size, eval_every=2, dtype="float64")
    draws = [Draw(dim, 0, repeat) for repeat, dim in enumerate([20, 60, 40])]
    together = trained(problem, draws, spec, method)
    for draw, one in zip(draws, together, strict=True):
        (alone,) = trained(problem, [draw], spec, method)
        assert torch.equal(one.theta, alone.theta)
        assert one.curve == alone.curve
    without = trained(Problem(dropping, rows(), dropout="off"), draws, spec, method)
    assert not torch.equal(without[0].theta, together[0].theta)


def test_training_is_the_loop_a_user_would_write():
    """SGD on θ in plain PyTorch, its masks from the trial's stream, gives the same weights."""
    x, y = rows()
    problem = Problem(dropping, (x, y), dropout="train").to(dtype=torch.float64)
    spec = TrainSpec("sgd", lr=0.1, momentum=0.0, steps=4, batch_size=None, dtype="float64")
    draw = Draw(5, 0, 0)
    (subspace,) = RandomAffine("gaussian").subspaces(problem, [draw])
    (result,) = train(problem, [subspace], spec, [draw.batch_seed])
    theta, a = torch.zeros(5, dtype=torch.float64), subspace.map.dense().double()
    for step in range(4):
        seed = derive(draw.batch_seed, "noise", step)
        theta -= (
            0.1
            * a.T
            @ plain_gradient(dropping, subspace.offset + a @ theta, x.double(), y, seed)[1]
        )
    torch.testing.assert_close(result.theta, theta, rtol=1e-10, atol=1e-14)


def test_the_same_sweep_cut_off_and_continued_gives_the_same_records(tmp_path):
    problem = Problem(dropping, rows(), dropout="train", name="dropping")
    spec = TrainSpec(steps=6, batch_size=8, eval_every=2, dtype="float64")
    whole = ss.run(problem, RandomAffine(), dims=[0, 4, 9], repeats=3, spec=spec)
    ss.run(problem, RandomAffine(), dims=[4], repeats=2, spec=spec, store=tmp_path / "runs.db")
    again = Problem(dropping, rows(), dropout="train", name="dropping")
    later = ss.run(
        again, RandomAffine(), dims=[0, 4, 9], repeats=3, spec=spec, store=tmp_path / "runs.db",
        executor="processes", workers=2,
    )  # fmt: skip
    assert [(r.key, r.curve, r.theta_norm) for r in whole] == [
        (r.key, r.curve, r.theta_norm) for r in later
    ]
    assert len({str(r.curve) for r in whole if r.dim}) == 6


def test_the_global_generators_are_left_alone():
    spec = TrainSpec(steps=3, batch_size=8)
    with watched_global_rngs() as moved:
        problem = Problem(dropping, rows(), dropout="train")
        ss.run(problem, RandomAffine(), dims=[4], repeats=2, spec=spec, executor="inline")
    assert moved == []


def test_the_identity_tells_dropout_that_trains_and_no_other():
    x, y = rows()
    train_, off = (Problem(dropping, (x, y), dropout=d).identity for d in ("train", "off"))
    assert train_ == {**off, "dropout": "train"}
    given = Problem(dropping, (x, y), dropout="train", identity={"name": "mine"}).identity
    assert given == {"name": "mine", "dropout": "train"}


# ---- refusals


class Draws(nn.Module):
    """Noise of its own in training."""

    def __init__(self, draw):
        super().__init__()
        self.linear, self.draw = nn.Linear(6, 3), draw

    def forward(self, x):
        return self.linear(x) * (self.draw() if self.training else 1.0)


class Pair(nn.Module):
    """Another kind of output in training."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 3)

    def forward(self, x):
        return (self.linear(x), x) if self.training else self.linear(x)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Draws(random.random), "noise from PyTorch's generator alone"),
        (lambda: Draws(np.random.rand), "noise from PyTorch's generator alone"),
        (Pair, "loss: expected what the module returns in training mode too"),
        (
            lambda: nn.Sequential(nn.Unflatten(1, (2, 3)), nn.InstanceNorm1d(
                2, track_running_stats=True), nn.Flatten(), nn.Dropout(), nn.Linear(6, 3)),
            "whose buffers do not change in training",
        ),
        (
            lambda: nn.Sequential(nn.Linear(6, 3), Always()),
            "switch off dropout .* training=self.training",
        ),
    ],
)  # fmt: skip
def test_noise_that_cannot_be_repeated_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        Problem(make, rows(), dropout="train")


class Always(nn.Module):
    def forward(self, x):
        return F.dropout(x, 0.5)


def test_running_statistics_stand_and_other_buffers_must_not_change():
    problem = Problem(normed, rows(), dropout="train", batch_statistics=False)
    buffers = [b.clone() for b in problem._noisy.module.buffers()]
    problem.train_grads(problem.init(0)[None], problem.batch(torch.arange(6)[None]), [0])
    assert all(map(torch.equal, buffers, problem._noisy.module.buffers()))


def test_an_unknown_policy_is_refused():
    with pytest.raises(InputError, match=r"unknown name 'training'\. Did you mean 'train'"):
        Problem(dropping, rows(), dropout="training")


@pytest.mark.parametrize("optimizer", ["lbfgs", "levenberg_marquardt"])
def test_second_order_searches_are_refused(optimizer):
    problem = Problem(dropping, rows(), dropout="train")
    with pytest.raises(InputError, match="optimizer: expected one that takes noisy gradients"):
        ss.run(
            problem,
            RandomAffine(),
            dims=[3],
            repeats=1,
            spec=TrainSpec(optimizer),
            executor="inline",
        )


def test_cudnns_recurrent_dropout_is_refused_by_name():
    problem = Problem(Recurrent, rows(), dropout="train")
    with pytest.raises(InputError, match=r"dropout: .*got lstm, whose dropout cuDNN draws"):
        problem.to("cuda")


def test_theory_runs_without_dropout():
    """Curvature is that of the loss with dropout off: a Hessian product by finite differences."""
    problem = Problem(dropping, rows(), dropout="train").to(dtype=torch.float64)
    off = Problem(dropping, rows(), dropout="off").to(dtype=torch.float64)
    w, v = problem.init(0), torch.linspace(-1, 1, problem.ambient_dim, dtype=torch.float64)
    batch = off.batch(torch.arange(20).expand(2, -1))
    ahead, behind = off.grads(torch.stack([w + 1e-5 * v, w - 1e-5 * v]), batch)[1]
    found = ss.theory.hessian(problem, w)(v)
    torch.testing.assert_close(found, (ahead - behind) / 2e-5, rtol=1e-6, atol=1e-8)

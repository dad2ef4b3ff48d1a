"""`transform=`: augmentation of training batches, from a stream of the trial and step."""

import random
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import subspan as ss
from subspan.errors import InputError
from subspan.problems import Problem, transforms
from subspan.spec import TrainSpec
from subspan.streams import derive, torch_generator, watched_global_rngs
from subspan.subspaces import BurnIn, Draw, RandomAffine
from subspan.testing import check_problem
from subspan.training.ensemble import train


def rows(n=20, width=6, classes=3):
    x = torch.linspace(-1, 1, n * width).reshape(n, width).sin()
    return x, torch.arange(n) % classes


def images(n=10):
    return torch.linspace(-2, 2, n * 2 * 36).reshape(n, 2, 6, 6).sin(), torch.arange(n) % 3


def dense():
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3))


def convolutional():
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))


def jitter(inputs, generator):
    return inputs + 0.1 * torch.randn(inputs.shape, generator=generator)


def crop_and_flip():
    return transforms.Compose(transforms.RandomCrop(2), transforms.RandomHorizontalFlip())


CASES = {
    "rows": (dense, rows(), jitter),
    "images": (convolutional, images(), crop_and_flip()),
}


def trained(problem, draws, spec, method):
    problem = problem.to(dtype=torch.float64)
    subspaces = method.subspaces(problem, draws)
    return train(problem, subspaces, spec, [d.batch_seed for d in draws])


@pytest.mark.parametrize("vectorize", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_gradients_are_plain_pytorchs_on_the_transformed_rows(case, vectorize):
    make, (x, y), transform = CASES[case]
    problem = Problem(make, (x, y), transform=transform, vectorize=vectorize)
    problem = problem.to(dtype=torch.float64)
    assert problem.noisy
    weights, seeds = torch.stack([problem.init(s) for s in range(3)]), [5, 6, 7]
    picked = torch.tensor([[0, 3, 4, 9], [1, 2, 3, 4], [9, 8, 7, 6]])
    losses, gradients = problem.train_grads(weights, problem.batch(picked), seeds)
    module = make().double()
    for k, seed in enumerate(seeds):
        nn.utils.vector_to_parameters(weights[k].clone(), module.parameters())
        module.zero_grad()
        seen = transform(x.double()[picked[k]], torch_generator(seed, "transform"))
        loss = F.cross_entropy(module(seen), y[picked[k]])
        loss.backward()
        gradient = torch.cat([p.grad.reshape(-1) for p in module.parameters()])
        torch.testing.assert_close(losses[k], loss.detach(), rtol=1e-12, atol=0)
        torch.testing.assert_close(gradients[k], gradient, rtol=1e-10, atol=1e-14)


def test_evaluation_and_plain_gradients_see_the_rows_as_they_are():
    x, y = rows()
    one, other = (Problem(dense, (x, y), (x, y), transform=t) for t in (jitter, None))
    w = torch.stack([one.init(0), one.init(1)])
    for split in ("train", "test"):
        assert one.evaluate_many(w, split) == other.evaluate_many(w, split)
    batch = one.batch(torch.arange(20).expand(2, -1))
    assert all(map(torch.equal, one.grads(w, batch), other.grads(w, batch)))
    assert torch.equal(one.batch()[0], other.batch()[0])


@pytest.mark.parametrize("batch_size", [8, None])
@pytest.mark.parametrize("dropout", ["off", "train"])
@pytest.mark.parametrize("method", [RandomAffine(), BurnIn(3, batch_size=8)])
@pytest.mark.parametrize("case", CASES)
def test_a_trial_alone_equals_the_trial_among_others(case, method, dropout, batch_size):
    make, data, transform = CASES[case]
    problem = Problem(
        lambda: nn.Sequential(nn.Dropout(0.2), *make()), data, transform=transform, dropout=dropout
    )
    spec = TrainSpec(steps=5, batch_size=batch_size, eval_every=2, dtype="float64")
    draws = [Draw(dim, 0, repeat) for repeat, dim in enumerate([4, 20, 9])]
    together = trained(problem, draws, spec, method)
    for draw, one in zip(draws, together, strict=True):
        (alone,) = trained(problem, [draw], spec, method)
        assert torch.equal(one.theta, alone.theta)
        assert one.curve == alone.curve
    assert not torch.equal(together[0].theta, trained(
        Problem(lambda: nn.Sequential(nn.Dropout(0.2), *make()), data, dropout=dropout),
        draws[:1], spec, method)[0].theta)  # fmt: skip


def test_training_is_the_loop_a_user_would_write():
    x, y = (t.double() if t.is_floating_point() else t for t in rows())
    problem = Problem(dense, (x, y), transform=jitter).to(dtype=torch.float64)
    spec = TrainSpec("sgd", lr=0.1, momentum=0.0, steps=4, batch_size=None, dtype="float64")
    draw = Draw(5, 0, 0)
    (subspace,) = RandomAffine("gaussian").subspaces(problem, [draw])
    (result,) = train(problem, [subspace], spec, [draw.batch_seed])
    theta, a, module = torch.zeros(5).double(), subspace.map.dense().double(), dense().double()
    for step in range(4):
        generator = torch_generator(derive(draw.batch_seed, "noise", step), "transform")
        nn.utils.vector_to_parameters(subspace.offset + a @ theta, module.parameters())
        module.zero_grad()
        F.cross_entropy(module(jitter(problem.batch()[0], generator)), y).backward()
        theta -= 0.1 * a.T @ torch.cat([p.grad.reshape(-1) for p in module.parameters()])
    torch.testing.assert_close(result.theta, theta, rtol=1e-10, atol=1e-14)


def test_the_same_sweep_cut_off_and_continued_gives_the_same_records(tmp_path):
    spec = TrainSpec(steps=6, batch_size=8, eval_every=2, dtype="float64")
    plan = {"dims": [0, 4, 9], "repeats": 3, "spec": spec}
    problem = Problem(dense, rows(), transform=jitter)
    whole = ss.run(problem, RandomAffine(), **plan)
    ss.run(problem, RandomAffine(), dims=[4], repeats=2, spec=spec, store=tmp_path / "runs.db")
    again = Problem(dense, rows(), transform=jitter)
    later = ss.run(
        again, RandomAffine(), **plan, store=tmp_path / "runs.db", executor="processes", workers=2
    )
    assert [(r.key, r.curve, r.theta_norm) for r in whole] == [
        (r.key, r.curve, r.theta_norm) for r in later
    ]
    assert len({str(r.curve) for r in whole if r.dim}) == 6


def test_inputs_that_are_several_tensors_come_as_such():
    x, y = rows()

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.linear = nn.Embedding(5, 3), nn.Linear(6, 3)

        def forward(self, token, image):
            return self.table(token) + self.linear(image)

    def hide(inputs, generator):
        gone = torch.rand(len(inputs["token"]), generator=generator) < 0.5
        return {**inputs, "token": torch.where(gone, 0, inputs["token"])}

    data = ({"token": torch.arange(20) % 5, "image": x}, y)
    problem = Problem(Two, data, transform=hide).to(dtype=torch.float64)
    batch = problem.batch(torch.arange(20)[None])
    weights = problem.init(0)[None]
    loss, _ = problem.train_grads(weights, batch, [3])
    hidden = hide(problem.batch()[0], torch_generator(3, "transform"))
    torch.testing.assert_close(loss[0], problem.loss(weights[0], (hidden, y)), rtol=1e-12, atol=0)
    assert loss[0] != problem.loss(weights[0], problem.batch())


@pytest.mark.parametrize("batch_size", [8, None])
def test_a_transform_may_write_into_its_inputs(batch_size):
    def write(inputs, generator):
        inputs += torch.randn(inputs.shape, generator=generator)
        return inputs

    problem = Problem(dense, rows(), transform=write)
    before = problem.batch()[0].clone()
    spec = TrainSpec(steps=3, batch_size=batch_size)
    ss.run(problem, RandomAffine(), dims=[3], repeats=2, spec=spec, executor="inline")
    assert torch.equal(problem.batch()[0], before)


def test_global_generators_are_left_alone():
    spec = TrainSpec(steps=3, batch_size=8)
    with watched_global_rngs() as moved:
        problem = Problem(dense, rows(), transform=jitter)
        ss.run(problem, RandomAffine(), dims=[4], repeats=2, spec=spec, executor="inline")
    assert moved == []


# ---- identity


def scaled(by):
    return lambda inputs, generator: inputs * (1 + by * torch.rand(1, generator=generator))


def test_the_transform_is_part_of_the_identity():
    choices = [None, jitter, scaled(0.1), scaled(0.2), transforms.RandomHorizontalFlip(0.5)]
    choices += [transforms.RandomHorizontalFlip(0.25), transforms.RandomCrop(1), crop_and_flip()]
    make = lambda: nn.Sequential(nn.Flatten(), nn.Linear(72, 3))  # noqa: E731
    told = [str(Problem(make, images(), transform=t).identity) for t in choices]
    assert len(set(told)) == len(choices)
    assert told == [str(Problem(make, images(), transform=t).identity) for t in choices]
    assert "transform" not in told[0]


# ---- refusals


class Counting:
    """Another result each time."""

    def __init__(self):
        self.calls = 0

    def __call__(self, inputs, generator):
        self.calls += 1
        return inputs + self.calls


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        ("flip", r"transform: expected a function of \(inputs, generator\), got 'flip'"),
        (lambda inputs: inputs, r"a function of \(inputs, generator\), got an error. It said"),
        (lambda x, g: x[1:], "as many rows as it gets, 8, got shape"),
        (lambda x, g: x.repeat(2, 1), "as many rows as it gets, 8, got shape"),
        (lambda x, g: x.mean(), "as many rows as it gets"),
        (lambda x, g: torch.where(torch.rand(x.shape, generator=g) < 0.1, torch.nan, x),
         "finite numbers, got NaN or infinity"),
        (lambda x, g: x / 0, "finite numbers, got NaN or infinity"),
        (lambda x, g: x.long(), "numbers of their kind, torch.float32, got torch.int64"),
        (lambda x, g: (x, x), "inputs as they came, got tuple"),
        (lambda x, g: None, "inputs as they came, got NoneType"),
        (lambda x, g: x.numpy(), "inputs as they came, got ndarray"),
        (lambda x, g: x + torch.randn_like(x), "one that draws from PyTorch's global generator"),
        (lambda x, g: x + np.random.rand(), "one that draws from NumPy's global generator"),  # noqa: NPY002
        (lambda x, g: x + random.random(), "one that draws from Python's global generator"),
        (Counting(), "the same rows for the same rows and generator, got others"),
        (lambda x, g, own=torch.Generator(): x + torch.rand(1, generator=own),  # noqa: B008
         "the same rows for the same rows and generator, got others"),
        (lambda x, g: x[:, : 1 + int(torch.randint(5, (1,), generator=g))], "rows of one shape"),
        (lambda x, g: x[:, :4], "transform: expected inputs that the module takes, got rows of"),
    ],
)  # fmt: skip
def test_a_transform_that_cannot_be_repeated_is_refused(transform, message):
    with pytest.raises(InputError, match=message):
        Problem(dense, rows(), transform=transform)


@pytest.mark.parametrize(
    ("late", "message"),
    [
        (lambda x: x + torch.randn_like(x), "PyTorch's global generator"),
        (lambda x: x * torch.nan, "finite numbers"),
        (lambda x: x[:2], "as many rows as it gets"),
    ],
)
def test_what_shows_on_larger_batches_alone_is_refused_there(late, message):
    """Eight rows are tried when the problem is made."""
    problem = Problem(dense, rows(), transform=lambda x, g: late(x) if len(x) > 8 else x)
    with pytest.raises(InputError, match=message):
        ss.run(
            problem, RandomAffine(), dims=[3], repeats=1, spec=TrainSpec(steps=1, batch_size=16),
            executor="inline",
        )  # fmt: skip


def test_second_order_searches_are_refused():
    problem = Problem(dense, rows(), transform=jitter)
    spec = TrainSpec("lbfgs")
    with pytest.raises(InputError, match="optimizer: expected one that takes noisy gradients"):
        ss.run(problem, RandomAffine(), dims=[3], repeats=1, spec=spec, executor="inline")


def test_a_problem_without_noise_is_as_before():
    problem = Problem(dense, rows())
    assert not problem.noisy
    weights, batch = problem.init(0)[None], problem.batch(torch.arange(8)[None])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = problem.train_grads(weights, batch, [])
    assert all(map(torch.equal, found, problem.grads(weights, batch)))


@pytest.mark.parametrize("dropout", ["off", "train"])
@pytest.mark.parametrize("case", CASES)
def test_the_laws_of_a_problem_hold(case, dropout):
    make, data, transform = CASES[case]
    dropping = lambda: nn.Sequential(nn.Dropout(0.2), *make())  # noqa: E731
    check_problem(Problem(dropping, data, transform=transform, dropout=dropout))


def test_noise_that_depends_on_neighbours_breaks_the_laws():
    class Drawing(Problem):
        def train_grads(self, weights, batch, seeds):
            losses, gradients = self.grads(weights, batch)
            return losses, gradients * len(seeds)

    problem = Drawing(dense, rows(), transform=jitter)
    with pytest.raises(AssertionError, match="depends on the seed alone"):
        check_problem(problem)


def test_fine_tuning_augments_and_drops():
    x, y = rows()
    module = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.4), nn.Linear(8, 3))
    choices = [{}, {"dropout": "train"}, {"transform": jitter}]
    problems = [ss.adapters.fine_tuning(module, (x, y), **more) for more in choices]
    assert [p.noisy for p in problems] == [False, True, True]
    assert len({str(p.identity) for p in problems}) == 3
    w, batch = problems[0].init(0)[None], problems[0].batch(torch.arange(8)[None])
    losses = [float(p.train_grads(w, batch, [0][: p.noisy])[0]) for p in problems]
    assert len(set(losses)) == 3
    assert len({p.evaluate(w[0]).loss for p in problems}) == 1

"""Within an epoch nothing waits for the device, and an evaluation waits for its sums alone.

The device is `meta`, which computes shapes and no numbers by the same code as a GPU: whatever needs
a number to go on raises there. Copies from the CPU are counted; one that blocks waits too.
"""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from subspan import maps
from subspan.problems import Problem, load
from subspan.spec import TrainSpec
from subspan.subspaces import Draw, RandomAffine
from subspan.training.batches import Batches
from subspan.training.ensemble import train
from subspan.training.outcome import Outcome

pytestmark = pytest.mark.usefixtures("meta_is_there")


class Copies(TorchDispatchMode):
    """Counts copies between devices: those that the host waits for, and the others."""

    def __init__(self):
        super().__init__()
        self.waiting, self.others = 0, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = function.overloadpacket.__name__
        crosses, non_blocking = False, kwargs.get("non_blocking", False)
        if name == "_to_copy":
            crosses = torch.device(kwargs.get("device") or args[0].device) != args[0].device
        elif name == "copy_":
            crosses = args[0].device != args[1].device
            non_blocking = non_blocking or (len(args) > 2 and args[2])
        if crosses:
            self.others += bool(non_blocking)
            self.waiting += not non_blocking
        return function(*args, **kwargs)


@pytest.fixture
def reads(monkeypatch):
    """Let numbers be read from the meta device, all of them a half, and list what was read."""
    found, tolist, cpu = [], torch.Tensor.tolist, torch.Tensor.cpu

    def halves(tensor):
        found.append(tuple(tensor.shape))
        return torch.full(tensor.shape, 0.5)

    def patched(original, convert):
        return lambda t: convert(halves(t)) if t.device.type == "meta" else original(t)

    monkeypatch.setattr(torch.Tensor, "tolist", patched(tolist, tolist))
    monkeypatch.setattr(torch.Tensor, "cpu", patched(cpu, lambda t: t))
    return found


def conv_problem(rows=60, **options):
    x = torch.linspace(-2, 2, rows * 8 * 8).reshape(rows, 1, 8, 8).sin()
    y = (x.mean((1, 2, 3)) > 0).long()

    def make():
        return nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2)
        )

    return Problem(make, (x, y), (x[:30], y[:30]), name="conv", **options)


def on_meta(problem):
    assert problem._runs_batched()  # tried where there are numbers
    return problem.to("meta")


def ensemble(problem, map_name="hadamard", dims=(5, 9, 70)):
    draws = [Draw(d, 0, r) for r, d in enumerate(dims)]
    subspaces = RandomAffine(map_name).subspaces(problem, draws)
    return problem, subspaces, [d.batch_seed for d in draws]


def test_the_device_tells_what_waits():
    problem, subspaces, _ = ensemble(on_meta(load("digits-mlp", subset=300)))
    with pytest.raises((RuntimeError, NotImplementedError)):
        bool(problem.loss(subspaces[0].offset, problem.batch()).isnan())
    with Copies() as copies:
        torch.ones(3).to("meta")
        torch.ones(3).to("meta", non_blocking=True)
        torch.empty(3, device="meta").copy_(torch.ones(3))
    assert (copies.waiting, copies.others) == (2, 1)


def digits():
    return load("digits-mlp", subset=300)


@pytest.mark.parametrize(
    ("make", "optimizer", "name"),
    [
        *((digits, "adam", name) for name in maps.names()),
        (digits, "sgd", "hadamard"),
        (digits, "legacy_adam", "hadamard"),
        (conv_problem, "adam", "hadamard"),
    ],
)
def test_a_step_waits_for_nothing_and_an_epoch_copies_each_order_once(make, optimizer, name):
    problem, subspaces, seeds = ensemble(on_meta(make()), name)
    steps = 2 * (problem.train_size // 32) + 1
    spec = TrainSpec(optimizer, lr=0.05, steps=steps, batch_size=32)
    with Copies() as copies:
        results = train(problem, subspaces, spec, seeds, evaluate=False)
    assert (copies.waiting, copies.others) == (0, 3 * len(subspaces))
    assert [r.steps for r in results] == [steps] * 3


@pytest.mark.parametrize(("rows", "metrics"), [(20, 0), (60, 0), (60, 2)])
def test_an_evaluation_reads_once_a_split_however_many_its_parts(reads, rows, metrics):
    """And once θ, whatever the trials: at each of four evaluations."""
    names = ("f1", "top2_accuracy")[:metrics]
    problem = load("digits-mlp", subset=300)
    data = {split: problem.batch(None, split) for split in ("train", "test")}
    net = lambda: nn.Sequential(nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10))  # noqa: E731
    problem = Problem(net, data["train"], data["test"], eval_rows=rows, metrics=names)
    spec = TrainSpec(lr=0.05, steps=8, batch_size=32, eval_every=2)
    problem, subspaces, seeds = ensemble(on_meta(problem))
    with Copies() as copies:
        results = train(problem, subspaces, spec, seeds)
    assert all(r.outcome is Outcome.FINISHED and len(r.curve) == 4 for r in results)
    assert len(reads) == 4 * (1 + 2 * (1 + metrics))
    assert copies.waiting == 0


@pytest.mark.parametrize("weight", [None, torch.tensor([1.0, 9.0])])
def test_labels_that_do_not_count_are_weighed_on_the_device(reads, weight):
    x = torch.linspace(-2, 2, 300).reshape(60, 5).sin()
    y = (torch.arange(60) > 41).long()
    y[50:] = -100
    problem = Problem(
        lambda: nn.Linear(5, 2), (x, y), loss=nn.CrossEntropyLoss(weight), eval_rows=7
    )
    weights = problem.init(0)[None]
    expected = problem.evaluate_many(weights)[0]  # finds how the parts add up, too
    here = torch.zeros(())
    for part in y.split(7):
        here = here + problem.reduction.counts(part)
    whole = 1.0 * (y == 0).sum() + (1 if weight is None else 9) * (y == 1).sum()
    assert float(here) == float(whole)
    assert math.isfinite(expected.loss)
    out = problem.outputs(weights[0], x)
    assert expected.loss == pytest.approx(float(F.cross_entropy(out, y, weight)), rel=1e-6)
    moved = on_meta(problem)
    with Copies() as copies:
        moved.evaluate_many(weights.to("meta"))
    assert reads == [(1, 2)]
    assert copies.waiting == 1  # the weights, by this test


def test_orders_sorted_by_the_device_are_those_of_the_stream():
    """What NumPy's stable sort of the words gives, as it was before."""
    import numpy as np

    from subspan.streams import words

    batches = Batches(7, 1000, 10)
    for epoch in (0, 3):
        keys = words(7, "epoch", epoch, start=0, count=1000)
        order = torch.from_numpy(np.argsort(keys, kind="stable"))
        got = torch.cat([batches.at(100 * epoch + s) for s in range(100)])
        assert torch.equal(got, order)
    assert Batches(7, 1000, 10, "meta").at(5).device.type == "meta"

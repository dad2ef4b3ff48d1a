"""Many trials of a convolutional network as one program, by both ways, against one by one."""

import pytest
import torch
from torch.nn import functional as F

from subspan.errors import InputError
from subspan.problems import Problem, convolutions, models, module, resnet
from subspan.problems.convolutions import Products, product, quickest

NETWORKS = {
    "conv2": (lambda: models.conv_net((16, 32), (1, 12, 12), 3), (1, 12, 12)),
    "resnet20": (lambda: resnet.resnet20((3, 28, 28), 3), (3, 28, 28)),
}


def images(shape, rows=12):
    return torch.randn(rows, *shape), torch.arange(rows) % 3


def made(name):
    make, shape = NETWORKS[name]
    return Problem(make, images(shape), name=name, vectorize=True, eval_rows=6)


@pytest.mark.parametrize("way", convolutions.WAYS)
@pytest.mark.parametrize(
    ("name", "dtype", "close"),
    [  # ResNet20's gradient in float32 jumps where rounding takes a ReLU across its kink
        ("conv2", "float32", 1e-5),
        ("conv2", "float64", 1e-13),
        ("resnet20", "float64", 1e-12),
    ],
)
def test_both_ways_give_what_trials_alone_give(name, way, dtype, close):
    problem = made(name).to(dtype=getattr(torch, dtype))
    weights = torch.stack([problem.init(seed) for seed in range(2)])
    batch = problem.batch(torch.stack([torch.arange(k, k + 5) for k in range(2)]))
    losses, gradients = problem.convolving(way).grads(weights, batch)
    alone, expected = problem._one_by_one(weights, batch)
    assert len(set(alone.tolist())) == 2
    torch.testing.assert_close(losses, alone, rtol=close, atol=0)
    assert (gradients - expected).norm() <= close * expected.norm()
    for found, row in zip(problem.convolving(way).evaluate_many(weights), weights, strict=True):
        own = problem.evaluate(row)
        assert found.loss == pytest.approx(own.loss, rel=close)
        assert found.accuracy == own.accuracy


def test_the_ways_are_two_programs():
    make, shape = NETWORKS["conv2"]
    problem = Problem(make, images(shape), vectorize=True)
    weights = torch.stack([problem.init(0), problem.init(1)])
    batch = problem.batch(torch.arange(6).expand(2, 6))
    names = {}
    for way in convolutions.WAYS:
        one = problem.convolving(way)
        one.grads(weights, batch)
        (graph,) = one._traced._graphs.values()
        names[way] = {str(node.target) for node in graph.graph.nodes}
    assert any("convolution" in name for name in names["grouped"])
    assert not any("convolution" in name for name in names["products"])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stride": 2, "padding": 1},
        {"stride": (2, 1), "padding": (0, 2)},
        {"padding": "valid"},
        {"dilation": 2},
        {"groups": 2},
    ],
)
@pytest.mark.parametrize("bias", [None, torch.arange(4.0, dtype=torch.float64)])
def test_a_product_is_a_convolution(options, bias):
    x = torch.randn(3, 2, 9, 7, dtype=torch.float64, requires_grad=True)
    inputs = 2 // options.get("groups", 1)
    weight = torch.randn(4, inputs, 3, 2, dtype=torch.float64, requires_grad=True)
    expected = F.conv2d(x, weight, bias, **options)
    found = product(x, weight, bias, **options)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    cotangent = torch.randn_like(expected)
    for one, other in zip(
        torch.autograd.grad(found, (x, weight), cotangent),
        torch.autograd.grad(expected, (x, weight), cotangent),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        product(x[0], weight, bias, **options), expected[0], rtol=1e-12, atol=1e-12
    )


def test_rounding_at_a_kink_does_not_keep_a_network_from_the_batched_program(monkeypatch):
    """Rounding may take a ReLU across its kink in float32: whether it does, depends on kernels."""
    tried = module.batchable

    def rounding(stateless, weights, *rest):
        return weights.dtype != torch.float32 and tried(stateless, weights, *rest)

    monkeypatch.setattr(module, "batchable", rounding)
    make, shape = NETWORKS["resnet20"]
    loop, batched = (Problem(make, images(shape), vectorize=v) for v in (None, True))
    assert not loop._runs_batched()
    assert batched.vectorized


def test_other_functions_are_left_alone():
    x = torch.randn(2, 3, 8)
    with Products():
        found = F.conv1d(x, torch.ones(4, 3, 2)), F.relu(x)
    torch.testing.assert_close(found, (F.conv1d(x, torch.ones(4, 3, 2)), F.relu(x)))


@pytest.mark.parametrize("slower", convolutions.WAYS)
@pytest.mark.usefixtures("meta_is_there")
def test_off_a_cpu_the_quicker_way_is_taken_once_and_for_all(monkeypatch, slower):
    """By a device that computes no numbers (`meta`), and a clock that is told."""
    make, shape = NETWORKS["conv2"]
    problem = Problem(make, images(shape), vectorize=True).to("meta")
    asked = []

    def told(ways, device):
        asked.append(device.type)
        for way in ways.values():
            way()
        return {way: 2.0 if way == slower else 1.0 for way in ways}

    monkeypatch.setattr(convolutions, "milliseconds", told)
    weights = torch.stack([problem.init(0), problem.init(1)])
    for rows in (6, 6, 4):
        problem.grads(weights, problem.batch(torch.arange(rows, device="meta").expand(2, rows)))
    assert asked == ["meta"]
    assert problem.convolutions != slower
    assert problem._stateless.products == (slower == "grouped")
    assert problem.to(dtype=torch.float64).convolutions == problem.convolutions


def test_on_a_cpu_nothing_is_measured(monkeypatch):
    """The same trial has the same record there."""
    problem = made("conv2")
    monkeypatch.setattr(convolutions, "milliseconds", None)
    weights = problem.init(0)[None]
    problem.grads(weights, problem.batch(torch.arange(6)[None]))
    assert problem.convolutions is None


def test_a_way_without_memory_is_not_taken():
    def fails():
        raise torch.OutOfMemoryError("no room for patches")

    ways = {"grouped": lambda: None, "products": fails}
    assert quickest(ways, torch.device("cpu")) == "grouped"


def test_an_unknown_way_is_refused():
    with pytest.raises(InputError, match="grouped, products"):
        made("conv2").convolving("winograd")

"""`simplify` leaves every bit of a gradient alone and takes calls out of its graph.

To the bit: both graphs hand the same operands, of the same strides, to the same kernels.
"""

import pytest
import torch
from torch import nn
from torch.func import grad_and_value, vmap
from torch.fx.experimental.proxy_tensor import make_fx

import subspan as ss
from subspan.problems import simplified, traced
from subspan.problems.simplified import simplify


def calls(graph):
    return sum(node.op in ("call_function", "call_method") for node in graph.graph.nodes)


def classifier():
    return nn.Sequential(nn.Linear(12, 9), nn.Tanh(), nn.LayerNorm(9), nn.Linear(9, 4))


def likelihood(outputs, targets):
    return -outputs.log_softmax(-1).gather(1, targets[:, None]).mean()


def smoothed(outputs, targets):
    return nn.functional.cross_entropy(outputs, targets, label_smoothing=0.1)


@pytest.mark.parametrize("trials", [1, 5])
@pytest.mark.parametrize("loss", ["cross_entropy", likelihood, smoothed])
def test_gradients_keep_their_bits_in_fewer_calls(monkeypatch, trials, loss):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(30, 12, generator=generator)
    y = torch.randint(4, (30,), generator=generator)
    problem = ss.Problem(classifier, (x, y), loss=loss)
    weights = torch.stack([problem.init(seed) for seed in range(trials)])
    rows = torch.stack([torch.randperm(30, generator=generator)[:17] for _ in range(trials)])
    batch = problem.batch(rows)
    graphs, found = [], []
    for change in (lambda graph: graph, simplify):
        monkeypatch.setattr(traced, "simplify", change)
        grads = traced.TracedGrads(problem.loss)
        found.append(grads(weights, batch))
        graphs += grads._graphs.values()
    assert all(isinstance(graph, torch.fx.GraphModule) for graph in graphs)
    for plain, less in zip(*found, strict=True):
        assert torch.equal(plain, less)
    if loss is smoothed:  # PyTorch's own writes into memory
        assert calls(graphs[1]) == calls(graphs[0])
    else:
        assert calls(graphs[1]) < 0.8 * calls(graphs[0])


def traced_from(function, *args):
    return make_fx(function)(*args)


def test_a_graph_that_writes_stays_as_it_is():
    def writes(x):
        y = x * 1
        y.add_(1)
        return x + y, x * 1 + 0

    graph = traced_from(writes, torch.ones(3))
    before = calls(graph)
    assert calls(simplify(graph)) == before
    x = torch.ones(3)
    assert torch.equal(graph(x)[0], torch.full((3,), 3.0))
    assert torch.equal(x, torch.ones(3))


def test_a_graph_that_draws_stays_as_it_is():
    graph = traced_from(lambda x: torch.rand_like(x) - torch.rand_like(x), torch.ones(9))
    assert simplify(graph)(torch.ones(9)).abs().max() > 0


def test_a_result_has_memory_of_its_own():
    graph = simplify(traced_from(lambda x: ((x * 1).view(3), (x * 1).view(3)), torch.ones(3)))
    x = torch.ones(3)
    one, other = graph(x)
    one.add_(1)
    assert torch.equal(x, torch.ones(3))
    assert torch.equal(other, torch.ones(3))


def test_an_operand_of_a_matrix_product_is_copied_as_before():
    graph = traced_from(lambda a, b: (a * 1) @ b, torch.ones(2, 3), torch.ones(3, 4))
    before = calls(graph)
    assert calls(simplify(graph)) == before


def test_a_scalar_that_changes_the_dtype_stays():
    graph = traced_from(lambda x: (x * 1.0) + 0, torch.ones(3, dtype=torch.int64))
    assert simplify(graph)(torch.ones(3, dtype=torch.int64)).dtype == torch.float32


def test_a_view_as_a_result_keeps_its_copy():
    graph = simplify(traced_from(lambda x: (x * 1).view(3, 1).view(3), torch.ones(3)))
    x = torch.ones(3)
    graph(x).add_(1)
    assert torch.equal(x, torch.ones(3))


@pytest.mark.parametrize("trials", [1, 3])
def test_a_network_without_biases(trials):
    def loss(w, x):
        return (x @ w.view(4, 4)).tanh().square().mean()

    w, x = torch.randn(trials, 16), torch.randn(trials, 6, 4)
    plain = traced_from(vmap(grad_and_value(loss)), w, x)
    less = simplify(traced_from(vmap(grad_and_value(loss)), w, x))
    for one, other in zip(plain(w, x), less(w, x), strict=True):
        assert torch.equal(one, other)


def test_what_is_returned_is_made_at_each_call():
    graph = simplify(traced_from(lambda x: (torch.ones_like(x), x + torch.zeros_like(x)), x0()))
    for _ in range(2):
        ones, same = graph(x0())
        assert torch.equal(ones, torch.ones(3))
        assert torch.equal(same, x0())
        ones.add_(1)
        same.add_(1)


def test_a_tensor_of_one_number_is_made_once_and_a_large_one_at_each_call():
    large = torch.zeros(simplified._LARGEST_CONSTANT + 1)
    for x, made in ((x0(), 0), (large, 1)):
        graph = simplify(traced_from(lambda x: x - torch.ones_like(x), x))
        assert torch.equal(graph(x), x - 1)
        assert calls(graph) == 1 + made


def test_a_binding_is_that_of_its_operation():
    for operation, binding in simplified._BINDINGS.items():
        assert binding.__name__ == operation._schema.name.removeprefix("aten::")


def x0():
    return torch.arange(3.0)

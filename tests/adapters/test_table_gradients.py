"""Gradients through a table that weights share, in all the ways that autograd is used."""

from __future__ import annotations

import copy
import threading

import pytest
import torch
from small_modules import attached_net, coordinates, inputs, put
from torch import nn
from torch.utils.checkpoint import checkpoint

from subspan import maps
from subspan.adapters import handles
from subspan.adapters.tables import SharedGradient

pytestmark = pytest.mark.usefixtures("regime")
INDEXED = ["partition", "hadamard"]


def checkpointed_layers(module: nn.Module, reentrant: bool) -> torch.Tensor:
    x = module.layers[0](inputs().double())
    for layer in module.layers:
        x = torch.tanh(checkpoint(layer, x, use_reentrant=reentrant))
    return (module.layers[1](x) + module(x)).square().sum()


def unequal_use(module: nn.Module) -> torch.Tensor:
    x = inputs().double()
    for _ in range(5):
        x = torch.tanh(module.layers[0](x))
    return module.layers[2](x).square().sum()


def kept_elsewhere(module: nn.Module) -> torch.Tensor:
    with torch.autograd.graph.save_on_cpu():
        return module(inputs().double()).square().sum()


def weights_alone(module: nn.Module) -> torch.Tensor:
    weight = module.layers[0].weight
    return (weight @ weight.T).sin().sum() + module.layers[1].bias.exp().sum()


LOSSES = {
    "every layer": lambda m: m(inputs().double()).square().sum(),
    "one layer": lambda m: m.layers[1](inputs().double()).square().sum(),
    "layers used unequally": unequal_use,
    "weights alone": weights_alone,
    "two calls": lambda m: (m(inputs().double()) * m(inputs(seed=3).double())).sum(),
    "checkpointed": lambda m: checkpoint(m, inputs().double(), use_reentrant=False).exp().sum(),
    "checkpointed layers": lambda m: checkpointed_layers(m, False),
    "checkpointed layers, reentrant": lambda m: checkpointed_layers(m, True),
    "saved tensors kept elsewhere": kept_elsewhere,
}


def exact(name: str = "partition", **kwargs):
    module, handle = attached_net(name, **kwargs)
    return module.double(), handle


def by_the_map(module: nn.Module, loss) -> torch.Tensor:
    """∂loss/∂θ from the gradient in all weights of a plain copy, pulled back by the whole map."""
    plain = copy.deepcopy(module)
    (handle,) = handles(plain)
    A = maps.make(handle.map, dim=handle.dim, ambient_dim=handle.ambient_dim, seed=handle.seed)
    handle.merge()
    loss(plain).backward()
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in plain.parameters()]
    return A.to(dtype=torch.float64).adjoint(torch.cat([g.flatten() for g in gradients]))


def close(one: torch.Tensor, other: torch.Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", [*INDEXED, "gaussian"])
@pytest.mark.parametrize("case", LOSSES)
def test_gradients_equal_those_of_the_whole_map(name, case):
    module, handle = exact(name)
    expected = by_the_map(module, LOSSES[case])
    for times in (1, 2):  # gradients accumulate
        LOSSES[case](module).backward()
        close(handle.theta.grad, times * expected)


@pytest.mark.parametrize("name", INDEXED)
def test_passes_over_one_graph_do_not_mix(name):
    module, handle = exact(name)
    first, second = (lambda m, i=i: m.layers[i](inputs().double()).exp().sum() for i in (0, 2))
    both = lambda m: first(m) + 3 * second(m)  # noqa: E731
    expected = [by_the_map(module, loss) for loss in (first, second, both)]
    graphs = [first(module), second(module), both(module)]
    for _ in range(2):
        for graph, right in zip(graphs, expected, strict=True):
            close(torch.autograd.grad(graph, handle.theta, retain_graph=True)[0], right)
    for graph in graphs:
        graph.backward(retain_graph=True)
    close(handle.theta.grad, sum(expected))


@pytest.mark.parametrize("name", INDEXED)
def test_passes_for_some_inputs_alone(name):
    module, handle = exact(name, per_layer_scale=True)
    x = inputs().double().requires_grad_()
    loss = module(x).square().sum()
    whole = torch.autograd.grad(loss, (handle.theta, handle.scales, x), retain_graph=True)
    for tensor, gradient in zip((handle.theta, handle.scales, x), whole, strict=True):
        close(torch.autograd.grad(loss, tensor, retain_graph=True)[0], gradient)
    close(whole[0], by_the_map(module, lambda m: m(inputs().double()).square().sum()))
    handle.theta.requires_grad_(False)
    close(torch.autograd.grad(module(x).square().sum(), handle.scales)[0], whole[1])


@pytest.mark.parametrize("name", INDEXED)
def test_a_differentiable_gradient_is_the_same(name):
    module, handle = exact(name)
    loss = module(inputs().double()).square().sum()
    (plain,) = torch.autograd.grad(loss, handle.theta, retain_graph=True)
    (graph,) = torch.autograd.grad(loss, handle.theta, create_graph=True)
    close(graph, plain)
    direction = coordinates(handle.dim, 5).double()
    (product,) = torch.autograd.grad(graph @ direction, handle.theta)

    def gradient(step: float) -> torch.Tensor:
        put(handle, coordinates(handle.dim).double() + step * direction)
        return torch.autograd.grad(module(inputs().double()).square().sum(), handle.theta)[0]

    slope = (gradient(1e-5) - gradient(-1e-5)) / 2e-5
    torch.testing.assert_close(product, slope, rtol=1e-6, atol=1e-7)


class Inner(torch.autograd.Function):
    """Runs a backward pass through the same table within a backward pass."""

    @staticmethod
    def forward(ctx, x, loss, found):
        ctx.loss, ctx.found = loss, found
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        with torch.enable_grad():
            inner = ctx.loss()
        ctx.found.append(torch.autograd.grad(inner[0], inner[1])[0])
        return grad, None, None


def test_a_pass_within_a_pass():
    module, handle = exact()
    inner = LOSSES["one layer"]
    found: list[torch.Tensor] = []

    def broken_up(m: nn.Module) -> torch.Tensor:
        x = inputs().double()
        for layer in m.layers:
            x = Inner.apply(torch.tanh(layer(x)), lambda: (inner(module), handle.theta), found)
        return x.sum()

    expected = by_the_map(module, broken_up), by_the_map(module, inner)
    found.clear()
    broken_up(module).backward()
    close(handle.theta.grad, expected[0])
    assert len(found) == 3
    for gradient in found:
        close(gradient, expected[1])


def test_a_gradient_that_a_hook_keeps_does_no_harm():
    module, handle = exact()
    expected = by_the_map(module, LOSSES["weights alone"])
    kept: list[object] = []
    weight, bias = module.layers[0].weight, module.layers[1].bias
    for tensor in (weight, bias):
        tensor.grad_fn.register_hook(lambda inward, outward: kept.append((inward, outward)))
    ((weight @ weight.T).sin().sum() + bias.exp().sum()).backward()
    close(handle.theta.grad, expected)
    assert len(kept) == 2


def test_a_pass_that_fails_leaves_nothing_behind():
    module, handle = exact()
    loss = LOSSES["every layer"]
    expected = by_the_map(module, loss)

    def fail(gradient):
        raise RuntimeError("stop")

    x = inputs().double()
    for i, layer in enumerate(module.layers):
        x = torch.tanh(layer(x))
        if i == 0:
            x.register_hook(fail)
    with pytest.raises(RuntimeError, match="stop"):
        x.square().sum().backward()
    assert handle.theta.grad is None
    loss(module).backward()
    close(handle.theta.grad, expected)


def test_threads_sum_apart():
    module, _ = exact(depth=6)
    (handle,) = handles(module)
    cases = [LOSSES["every layer"], LOSSES["one layer"]] * 2
    expected = [by_the_map(module, loss) for loss in cases]
    got: dict[int, list[torch.Tensor]] = {}

    def work(i: int) -> None:
        losses = [cases[i](module) for _ in range(30)]
        got[i] = [torch.autograd.grad(loss, handle.theta)[0] for loss in losses]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(cases))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, right in enumerate(expected):
        assert len(got[i]) == 30
        for gradient in got[i]:
            close(gradient, right)


def test_the_same_step_gives_the_same_bits():
    results = []
    for _ in range(3):
        module, handle = attached_net("hadamard", per_layer_scale=True)
        module(inputs()).square().sum().backward()
        results.append((handle.theta.grad, handle.scales.grad))
    for result in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(result, results[0], strict=True))


def test_a_buffer_that_autograd_let_go_is_not_found_again():
    shared, like = SharedGradient(), (4, torch.float32, torch.device("cpu"))
    outside = [shared.buffer(*like) for _ in range(2)]  # no pass: nobody to sum for
    assert [new for _, new in outside] == [True, True]
    assert outside[0][0] is not outside[1][0]
    seen: list[bool] = []

    class Probe(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, grad):
            held, new = shared.buffer(*like)
            seen.append(new)
            seen.append(shared.buffer(*like)[1])
            del held
            seen.append(shared.buffer(*like)[1])
            return grad

    Probe.apply(torch.ones((), requires_grad=True)).backward()
    assert seen == [True, False, True]

"""Autograd, threads and conversions that a kept table could get wrong, each against w + A θ."""

from __future__ import annotations

import copy
import sys
import threading
from collections.abc import Callable

import pytest
import torch
from small_modules import inputs, mlp
from torch.func import functional_call
from torch.nn.utils import parametrize
from torch.utils.checkpoint import checkpoint

from subspan import InputError, maps
from subspan.adapters import Handle, attach

DIM = 13

pytestmark = pytest.mark.usefixtures("regime")


def attached(name: str = "partition", **kwargs) -> tuple[torch.nn.Module, Handle]:
    module = mlp()
    handle = attach(module, DIM, name, 3, **kwargs)
    with torch.no_grad():
        handle.theta.copy_(torch.linspace(-1, 1, DIM).sin())
    return module, handle


def reference(name: str = "partition") -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """(θ, x) → outputs of the module at w + A θ, in plain operations."""
    plain = mlp()
    named = {key: p.detach() for key, p in plain.named_parameters()}
    sizes = [p.numel() for p in named.values()]
    dense = maps.make(name, dim=DIM, ambient_dim=sum(sizes), seed=3).dense()

    def outputs(theta: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        parts = (dense @ theta).split(sizes)
        moved = {k: p + d.view(p.shape) for (k, p), d in zip(named.items(), parts, strict=True)}
        return functional_call(plain, moved, (x,))

    return outputs


@pytest.mark.parametrize("name", ["partition", "hadamard", "gaussian", "sparse"])
def test_batched_gradients(name):
    module, handle = attached(name)
    y = module(inputs()).flatten()
    eye = torch.eye(len(y))
    (batched,) = torch.autograd.grad(y, handle.theta, eye, is_grads_batched=True, retain_graph=True)
    theta = handle.theta.detach()
    expected = torch.autograd.functional.jacobian(lambda t: reference(name)(t, inputs()), theta)
    torch.testing.assert_close(batched, expected.flatten(0, -2), rtol=1e-4, atol=1e-5)
    outputs = lambda t: functional_call(module, {"subspan_theta": t}, (inputs(),))  # noqa: E731
    vectorized = torch.autograd.functional.jacobian(outputs, theta, vectorize=True)
    torch.testing.assert_close(vectorized, expected, rtol=1e-4, atol=1e-5)


def test_batched_gradients_of_the_scales():
    module, handle = attached("hadamard", per_layer_scale=True)
    y = module(inputs()).flatten()
    own = handle.parameters()
    batched = torch.autograd.grad(
        y, own, torch.eye(len(y)), is_grads_batched=True, retain_graph=True
    )
    alone = [torch.autograd.grad(one, own, retain_graph=True) for one in y]
    for many, singles in zip(batched, zip(*alone, strict=True), strict=True):
        torch.testing.assert_close(many, torch.stack(singles), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("change", ["add", "multiply"])
def test_another_theta_of_the_same_contents_has_its_own_graph(change):
    """As a learned learning rate that starts at 0."""
    module, _ = attached()
    start, delta = torch.linspace(-1, 1, DIM).requires_grad_(), torch.zeros(DIM, requires_grad=True)

    def loss(run) -> torch.Tensor:
        theta = start.clone()
        run(theta)
        theta.add_(delta) if change == "add" else theta.mul_(1 + delta)
        return run(theta).square().sum()

    found = loss(lambda t: functional_call(module, {"subspan_theta": t}, (inputs(),)))
    plain = loss(lambda t: reference()(t, inputs()))
    expected = torch.autograd.grad(plain, [start, delta])
    for one, other in zip(torch.autograd.grad(found, [start, delta]), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_weight_put_in_place_of_a_base_gets_its_gradient():
    module, _ = attached()
    weight = dict(mlp().named_parameters())["0.weight"].detach()

    def loss(w: torch.Tensor) -> torch.Tensor:
        return functional_call(module, {"0.weight": w}, (inputs(),)).square().sum()

    leaf = weight.clone().requires_grad_()
    (found,) = torch.autograd.grad(loss(leaf), leaf)
    assert found.norm() > 0
    torch.testing.assert_close(found, torch.func.grad(loss)(weight))


def test_a_pass_within_a_pass_leaves_the_outer_sum_alone():
    """The gradients that hooks keep would let a buffer live that autograd has done with."""
    module, handle = attached()
    kept = []

    class Inner(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, grad):
            with torch.enable_grad():
                weights = module[0].weight.sum()
            torch.autograd.grad(weights, handle.theta)
            return grad

    first, last = module[0], module[-1]

    def watched(layer, x):
        weight, bias = layer.weight, layer.bias
        for tensor in (weight, bias):
            tensor.grad_fn.register_hook(lambda into, out: kept.append(into))
        return torch.nn.functional.linear(x, weight, bias)

    hidden = torch.tanh(watched(first, inputs()))
    watched(last, Inner.apply(hidden[:, : last.in_features])).square().sum().backward()
    found = handle.theta.grad.clone()
    handle.theta.grad = None
    hidden = torch.tanh(first(inputs()))
    last(hidden[:, : last.in_features]).square().sum().backward()
    torch.testing.assert_close(found, handle.theta.grad, rtol=1e-5, atol=1e-6)


def test_threads_never_read_the_weights_of_an_older_theta():
    module, handle = attached("hadamard")
    x, wrong = inputs(), []
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for number in range(150):
            with torch.no_grad():
                handle.theta.fill_(0.01 * number)
            found: list[torch.Tensor] = []

            def read(found: list[torch.Tensor] = found) -> None:
                with torch.no_grad():
                    found.append(module(x))

            threads = [threading.Thread(target=read) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            fresh = reference("hadamard")(handle.theta.detach(), x)
            wrong += [n for n in [number] if any((f - fresh).abs().max() > 1e-4 for f in found)]
    finally:
        sys.setswitchinterval(interval)
    assert not wrong


def test_theta_comes_back_to_float32_and_never_goes_below():
    module, handle = attached()
    for move, kind in ((module.double, torch.float64), (module.float, torch.float32)):
        move()
        assert handle.theta.dtype == kind
    module.double()
    module.half()
    assert handle.theta.dtype == torch.float32


def test_a_parametrised_theta_is_refused_in_words():
    module, _ = attached()
    parametrize.register_parametrization(module, "subspan_theta", torch.nn.Identity())
    with pytest.raises(InputError, match="subspan_theta: expected the parameter that attach made"):
        module(inputs())


def test_detached_handles_keep_no_table():
    module, handle = attached()
    module(inputs())
    assert handle.tables._kept is not None
    handle.detach()
    assert handle.tables._kept is None
    assert torch.equal(copy.deepcopy(module)(inputs()), mlp()(inputs()))


@pytest.mark.parametrize("name", ["partition", "hadamard"])
def test_a_backward_pass_within_autocast_rounds_nothing(name):
    module, handle = attached(name, per_layer_scale=True)

    def gradients(enabled: bool) -> list[torch.Tensor]:
        loss = sum((w * w.detach()).sum() for w in (module[0].weight, module[-1].weight))
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            return list(torch.autograd.grad(loss, [handle.theta, handle.scales]))

    for one, other in zip(gradients(True), gradients(False), strict=True):
        assert torch.equal(one, other)


def test_a_map_within_autocast_keeps_its_dtype():
    for name in maps.names():
        a = maps.make(name, dim=30, ambient_dim=100, seed=0)
        theta, v = torch.linspace(-1, 1, 30), torch.linspace(-1, 1, 100)
        with torch.autocast("cpu", torch.bfloat16):
            image, pulled = a(theta), a.adjoint(v)
        assert torch.equal(image, a(theta)), name
        assert torch.equal(pulled, a.adjoint(v)), name


@pytest.mark.parametrize("name", ["partition", "hadamard"])
def test_a_table_that_somebody_reads_is_not_written_over(name):
    module, handle = attached(name)
    module(inputs())
    held = handle.tables.table(handle.theta, handle._sliced)
    before = held.values.detach().clone()
    with torch.no_grad():
        handle.theta.add_(1)
    out = module(inputs())
    assert torch.equal(held.values, before)
    torch.testing.assert_close(out, reference(name)(handle.theta.detach(), inputs()))


@pytest.mark.parametrize("name", ["partition", "hadamard"])
@pytest.mark.parametrize("per_layer_scale", [False, True])
def test_a_graph_that_waits_keeps_the_table_it_needs(name, per_layer_scale):
    module, handle = attached(name, per_layer_scale=per_layer_scale)
    wanted = [handle.theta] + ([handle.scales] if per_layer_scale else [])
    alone = torch.autograd.grad(module(inputs()).square().sum(), wanted)
    loss = module(inputs()).square().sum()
    with torch.no_grad():
        handle.theta.data.mul_(-3)  # counts up no version
        module(inputs())
        handle.theta.data.mul_(7)
        module(inputs())
    for one, other in zip(torch.autograd.grad(loss, wanted), alone, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("per_layer_scale", [False, True])
@pytest.mark.parametrize("name", ["partition", "hadamard", "gaussian"])
def test_two_backward_passes_from_one_weight_read_once(name, per_layer_scale):
    module, handle = attached(name, per_layer_scale=per_layer_scale)
    weight = module[0].weight
    first = torch.autograd.grad((weight * 2).sum(), handle.parameters())
    second = torch.autograd.grad((weight * 6).sum(), handle.parameters())
    for one, other in zip(first, second, strict=True):
        assert one.norm() > 0
        torch.testing.assert_close(3 * one, other)


def test_reentrant_checkpoints_that_use_a_weight_read_outside_them():
    module, handle = attached()
    x = inputs().requires_grad_()

    def gradient(checkpointed: bool) -> torch.Tensor:
        weight = module[0].weight
        piece = lambda y: torch.tanh(y @ weight.T)  # noqa: E731
        run = (lambda y: checkpoint(piece, y, use_reentrant=True)) if checkpointed else piece
        (run(x).sum() + run(2 * x).sum()).backward()
        found, handle.theta.grad = handle.theta.grad, None
        return found

    torch.testing.assert_close(gradient(True), gradient(False))


def test_scales_written_between_a_pass_and_its_backward_are_seen():
    module, handle = attached(per_layer_scale=True)
    loss = module(inputs()).sum()
    with torch.no_grad():
        handle.scales.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()

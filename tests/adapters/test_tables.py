"""The table that weights share: what it costs, counted, and that it follows θ."""

from __future__ import annotations

import pytest
import torch
from small_modules import attached_net, coordinates, inputs, put, seeded
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from subspan.adapters import attach, handles
from subspan.maps.sliced.tabulated import IndexedMap, StripSlices

pytestmark = pytest.mark.usefixtures("regime")
DIM = 23  # of `attached_net`
INDEXED = ["partition", "hadamard"]


# --- the cost, counted ---------------------------------------------------------------------------


class Count(TorchDispatchMode):
    """Counts operations over a whole tensor of some size, and comparisons."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size, self.made, self.compared = size, 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.equal.default:
            self.compared += 1
        elif func in (torch.ops.aten.index_add_.default, torch.ops.aten.scatter_add_.default):
            pass  # into a table, but as many numbers as the weight has
        elif isinstance(out, torch.Tensor) and out.numel() == self.size and not func.is_view:
            self.made += 1
        return out


def table_size(handle) -> int:
    return handle.tables.table(handle.theta, handle._sliced).values.numel()


def counted_step(name: str, depth: int, uses: int) -> tuple[int, int]:
    """Operations over the table in the second backward pass; comparisons in that step."""
    module, handle = attached_net(name, depth, uses)
    module(inputs()).sum().backward()
    handle.theta.data.mul_(0.5)
    with Count(table_size(handle)) as count:
        out = module(inputs())
        forward = count.made
        out.sum().backward()
    return count.made - forward, count.compared


@pytest.mark.parametrize("name", INDEXED)
def test_the_cost_in_d_does_not_grow_with_the_number_of_weights(name):
    made, compared = counted_step(name, 2, 1)
    assert compared == 1
    assert counted_step(name, 12, 1) == (made, 1)
    assert counted_step(name, 2, 6) == (made, 1)


@pytest.mark.parametrize("name", INDEXED)
def test_a_step_asks_for_no_memory_for_its_table(name):
    module, handle = attached_net(name)

    def places() -> tuple[int, ...]:
        module(inputs()).sum().backward()
        kept = handle.tables._kept
        return kept.table.values.data_ptr(), kept.copy.data_ptr()

    first = places()
    put(handle, coordinates(DIM, seed=5))
    assert places() == first
    fresh, other = attached_net(name)
    put(other, coordinates(DIM, seed=5))
    assert torch.equal(module(inputs()), fresh(inputs()))


def count_transforms(monkeypatch) -> list[str]:
    calls: list[str] = []

    def spied(kind, name):
        own = getattr(kind, name)
        return lambda *args, **options: calls.append(name) or own(*args, **options)

    for kind in (IndexedMap, StripSlices):
        for name in ("expand", "contract"):
            monkeypatch.setattr(kind, name, spied(kind, name))
    return calls


def test_one_transform_forward_and_one_back(monkeypatch):
    module, _ = attached_net("hadamard", depth=8)
    calls = count_transforms(monkeypatch)
    module(inputs()).sum().backward()
    assert calls == ["expand", "contract"]
    module(inputs()).sum().backward()  # θ has not changed
    assert calls == ["expand", "contract", "contract"]


@pytest.mark.parametrize("reentrant", [True, False])
def test_one_transform_forward_with_checkpointing(monkeypatch, reentrant):
    module, _ = attached_net("hadamard", depth=4)
    calls = count_transforms(monkeypatch)
    out = checkpoint(module, inputs().requires_grad_(), use_reentrant=reentrant)
    with Count(-1) as count:
        out.sum().backward()
    assert calls == ["expand", "contract"]
    assert count.compared <= 1


def test_layers_recomputed_in_a_backward_pass_compare_once():
    module, _ = attached_net(depth=6)
    x = inputs()
    for layer in module.layers:
        x = checkpoint(layer, x, use_reentrant=False)
    with Count(-1) as count:
        x.sum().backward()
    assert count.compared == 1


def test_one_transform_for_a_call_under_vmap(monkeypatch):
    module, _ = attached_net("hadamard", depth=4)
    calls = count_transforms(monkeypatch)
    x = inputs()
    call = lambda t: torch.func.functional_call(module, {"subspan_theta": t}, (x,))  # noqa: E731
    torch.func.vmap(call)(torch.stack([coordinates(DIM, s) for s in range(3)]))
    assert calls == ["expand"]


def test_a_compiled_call_transforms_once():
    def products(depth: int) -> int:
        graphs = []

        def backend(graph, _):
            graphs.append(graph)
            return graph

        module, handle = attached_net("hadamard", depth)
        compiled = torch.compile(module, backend=backend, fullgraph=True)
        torch.testing.assert_close(compiled(inputs()), module(inputs()))
        handle.theta.data.zero_()
        torch.testing.assert_close(compiled(inputs()), module(inputs()))
        (graph,) = graphs
        return sum(node.target in (torch.matmul, torch.Tensor.__matmul__) or "matmul" in node.name
                   for node in graph.graph.nodes)  # fmt: skip

    torch._dynamo.reset()
    once = products(1)
    assert once > 0
    assert products(5) == once


# --- θ written -----------------------------------------------------------------------------------


def by_no_grad(module, handle, value):
    with torch.no_grad():
        handle.theta.copy_(value)


def by_data(module, handle, value):
    handle.theta.data.copy_(value)


def by_new_data(module, handle, value):
    handle.theta.data = value.clone()


def by_numpy(module, handle, value):
    handle.theta.detach().numpy()[:] = value.numpy()


def by_load_state_dict(module, handle, value):
    module.load_state_dict({**module.state_dict(), "subspan_theta": value})


def by_new_parameter(module, handle, value):
    module.subspan_theta = nn.Parameter(value.clone())


WRITERS = [by_no_grad, by_data, by_new_data, by_numpy, by_load_state_dict, by_new_parameter]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("name", [*INDEXED, "gaussian"])
def test_weights_follow_theta_between_calls(name, write):
    module, handle = attached_net(name)
    value = coordinates(DIM, seed=8)
    right = attached_net(name)[0]
    put(handles(right)[0], value)
    module(inputs())
    write(module, handle, value)
    assert torch.equal(module(inputs()), right(inputs()))
    write(module, handle, coordinates(DIM))
    assert torch.equal(module.layers[0](inputs()), attached_net(name)[0].layers[0](inputs()))


@pytest.mark.parametrize("write", [by_no_grad, by_data])
def test_weights_follow_theta_between_calls_of_parts(write):
    module, handle = attached_net()
    right = attached_net()[0]
    put(handles(right)[0], torch.zeros(DIM))
    module.layers[0](inputs())
    write(module, handle, torch.zeros(DIM))
    assert torch.equal(module.layers[2](inputs()), right.layers[2](inputs()))


@pytest.mark.parametrize("write", [by_no_grad, by_data])
def test_weights_follow_theta_that_a_hook_writes_before_the_call(write):
    module, handle = attached_net()
    expected = attached_net()[0]
    put(handles(expected)[0], torch.zeros(DIM))
    module(inputs())
    module.register_forward_pre_hook(lambda m, x: write(module, handle, torch.zeros(DIM)))
    assert torch.equal(module(inputs()), expected(inputs()))


@pytest.mark.parametrize("write", [by_no_grad, by_new_data])
@pytest.mark.parametrize("name", INDEXED)
def test_weights_follow_theta_written_within_a_call(name, write):
    module, handle = attached_net(name)
    expected = attached_net(name)[0]
    put(handles(expected)[0], torch.zeros(DIM))
    module(inputs())
    hook = lambda m, x, y: write(module, handle, torch.zeros(DIM))  # noqa: E731
    module.layers[0].register_forward_hook(hook)
    first = attached_net(name)[0].layers[0](inputs())
    right = expected.layers[2](torch.tanh(expected.layers[1](torch.tanh(first)))).tanh()
    with torch.no_grad():
        assert torch.equal(module(inputs()), right)


@pytest.mark.parametrize("first", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_modes_may_change_between_reads(first):
    module, handle = attached_net("hadamard")
    for mode in (first, torch.no_grad, torch.inference_mode, torch.enable_grad):
        with mode():
            out = module(inputs())
        assert out.requires_grad == (mode is torch.enable_grad)
    out.sum().backward()
    other, fresh = attached_net("hadamard")
    other(inputs()).sum().backward()
    assert torch.equal(handle.theta.grad, fresh.theta.grad)
    handle.theta.requires_grad_(False)
    assert not module(inputs()).requires_grad
    handle.theta.requires_grad_(True)
    assert module(inputs()).requires_grad


class Moody(nn.Module):
    """Reads its weight in some other mode or transform before it reads it plainly."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.layer, self.mode = nn.Linear(6, 6), mode

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.mode == "transform":
            x = torch.func.vmap(torch.func.grad(lambda row: self.layer(row).sin().sum()))(x)
        else:
            with torch.no_grad():
                x = self.layer(x)
        return self.layer(x)


@pytest.mark.parametrize("mode", ["transform", "no_grad"])
def test_a_table_first_read_in_another_mode_has_its_gradient(mode):
    module = seeded(lambda: Moody(mode))
    handle = attach(module, 5, "hadamard")
    x, thetas = inputs(), torch.stack([coordinates(5, s) for s in range(3)])

    def loss(theta: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(module, {"subspan_theta": theta}, (x,)).square().sum()

    alone = []
    for theta in thetas:
        put(handle, theta)
        alone.append(torch.autograd.grad(module(x).square().sum(), handle.theta)[0])
        assert alone[-1].abs().min() > 0
    together = torch.func.vmap(torch.func.grad(loss))(thetas)
    torch.testing.assert_close(together, torch.stack(alone), rtol=1e-4, atol=1e-5)
    torch._dynamo.reset()
    compiled = torch.compile(module, backend="aot_eager", fullgraph=True)
    compiled(x).square().sum().backward()
    torch.testing.assert_close(handle.theta.grad, alone[-1], rtol=1e-4, atol=1e-5)

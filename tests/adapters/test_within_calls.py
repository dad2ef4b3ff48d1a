"""Forward passes that iterate or replace their parameters: as the plain module at w + A θ."""

from __future__ import annotations

import copy

import pytest
import torch
from small_modules import coordinates, flat, inputs, mlp, put, same_state, seeded, state
from torch import nn
from torch.func import functional_call
from torch.nn.utils import parametrize
from torch.utils.checkpoint import checkpoint

from subspan import InputError, maps
from subspan.adapters import attach, handles

DIM = 7
# of PyTorch's own compiler, at any input that has a graph
NOT_A_LEAF = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")


class Net(nn.Module):
    """A module of which `forward` is a function, with a tie, a part without a bias, a container."""

    def __init__(self, function) -> None:
        super().__init__()
        self.first = nn.Linear(6, 6)
        self.block = nn.Sequential(nn.Linear(6, 6))
        self.head = nn.Linear(6, 6, bias=False)
        self.head.weight = self.first.weight
        self.gain = nn.Parameter(torch.ones(6))
        self.register_buffer("offset", torch.full((6,), 0.1))
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(self, x) + self.offset


def penalty(net, x):
    return net.first(x) + sum(p.square().sum() for p in net.parameters())


def penalty_by_parts(net, x):
    parts = (p for m in net.modules() for p in m.parameters(recurse=False))
    return net.first(x) + sum(p.abs().sum() for p in parts)


def spectral(net, x):
    found = (p for n, p in net.named_parameters() if "weight" in n)
    return net.first(x) + sum(torch.linalg.matrix_norm(p, 2) for p in found)


def raw_dictionaries(net, x):
    return net.first(x) + sum(
        p.square().sum() for m in net.modules() for p in m._parameters.values() if p is not None
    )


def one_vector(net, x):
    return x * nn.utils.parameters_to_vector(net.block.parameters()).square().sum()


def whole_state(net, x):
    return x + sum(v.square().sum() for v in net.state_dict(keep_vars=True).values())


def first_parameter(net, x):
    return x.to(next(net.parameters()).dtype) * next(net.block.parameters()).sum()


def hypernetwork(net, x):
    new = {"weight": 2 * net.first.weight, "bias": net.block[0].bias}
    return functional_call(net.first, new, x) + net.block(x)


def itself(net, x):
    return functional_call(net.first, {"weight": net.first.weight}, x)


def maml(net, x):
    old = dict(net.block.named_parameters())
    loss = functional_call(net.block, old, x).square().mean()
    slopes = torch.autograd.grad(loss, list(old.values()), create_graph=True)
    new = {n: p - 0.1 * g for (n, p), g in zip(old.items(), slopes, strict=True)}
    return functional_call(net.block, new, x) * net.gain + net.block(x)


def swapped_by_hand(net, x):
    layer = net.block[0]
    old = layer._parameters["weight"]
    layer._parameters["weight"] = old * 3
    try:
        return net.block(x)
    finally:
        layer._parameters["weight"] = old


def without_graph(net, x):
    with torch.no_grad():
        fixed = functional_call(net.first, {"weight": 2 * net.first.weight}, x)
    return net.first(x) + fixed


def many_at_once(net, x):
    weights = torch.stack([net.first.weight, 2 * net.first.weight])
    call = lambda w: functional_call(net.first, {"weight": w}, (x,))  # noqa: E731
    return torch.func.vmap(call)(weights).sum(0)


def checkpointed(function, reentrant):
    def run(net, x):
        return checkpoint(lambda y: torch.tanh(function(net, y)), x, use_reentrant=reentrant)

    return run


FORWARDS = [
    penalty,
    penalty_by_parts,
    spectral,
    raw_dictionaries,
    one_vector,
    whole_state,
    first_parameter,
    hypernetwork,
    itself,
    maml,
    swapped_by_hand,
    without_graph,
    many_at_once,
]


def plain(function) -> nn.Module:
    return seeded(lambda: Net(function))


def attached(function, **kwargs):
    module = plain(function)
    handle = attach(module, DIM, **kwargs)
    put(handle, coordinates(DIM))
    return module, handle


def check(function) -> None:
    """Outputs, the gradient and `merge` against the plain module with w + A θ copied into it."""
    module, handle = attached(function)
    exact = plain(function)
    A = maps.make("partition", dim=DIM, ambient_dim=flat(exact).numel(), seed=0)
    nn.utils.vector_to_parameters(flat(exact) + A(coordinates(DIM)), exact.parameters())
    expected = exact(inputs().requires_grad_())
    expected.square().sum().backward()
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in exact.parameters()]
    gradient = A.adjoint(torch.cat([p.reshape(-1) for p in parts]))
    got = module(inputs().requires_grad_())
    torch.testing.assert_close(got, expected)
    got.square().sum().backward()
    torch.testing.assert_close(handle.theta.grad, gradient, rtol=1e-5, atol=1e-5)
    handle.merge()
    torch.testing.assert_close(module(inputs().requires_grad_()), expected)


@pytest.mark.parametrize("function", FORWARDS)
def test_a_forward_that_reads_or_replaces_its_parameters(function):
    check(function)


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("function", [penalty, hypernetwork, itself])
def test_the_second_pass_of_a_checkpoint_reads_and_replaces_alike(function, reentrant):
    check(checkpointed(function, reentrant))


@NOT_A_LEAF
@pytest.mark.parametrize("function", [penalty, hypernetwork, itself, maml])
def test_a_compiled_forward_reads_and_replaces_its_parameters(function):
    module, handle = attached(function)
    module(inputs()).square().sum().backward()
    expected = handle.theta.grad.clone()
    module.zero_grad()
    compiled = torch.compile(module, backend="eager")
    for _ in range(2):  # the second call finds what the first one left
        out = compiled(inputs())
        torch.testing.assert_close(out, module(inputs()))
    out.square().sum().backward()
    torch.testing.assert_close(handle.theta.grad, expected, rtol=1e-5, atol=1e-5)


def test_the_linear_layer_of_the_report():
    """w = 2 - 3 at θ = 3: the output at 1 is -1, and its slope in θ is -1."""

    class Itself(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.l = nn.Linear(1, 1, bias=False)
            nn.init.constant_(self.l.weight, 2.0)

        def forward(self, x):
            return functional_call(self.l, {"weight": self.l.weight}, x)

    module = Itself()
    handle = attach(module, 1)
    assert maps.make("partition", dim=1, ambient_dim=1, seed=0).dense().item() == -1
    put(handle, torch.tensor([3.0]))
    out = module(torch.ones(1, 1))
    out.sum().backward()
    assert (out.item(), handle.theta.grad.item()) == (-1, -1)
    handle.merge()
    assert module(torch.ones(1, 1)).item() == -1


def test_a_tied_weight_counts_once_and_is_replaced_in_both_places():
    def both(net, x):
        ours = dict(net.named_parameters())
        assert "head.weight" not in ours
        assert len(list(net.parameters())) == 6 - 1
        new = {"0.weight": 2 * ours["first.weight"]}
        pair = nn.ModuleList([net.first, net.head])
        pair.forward = lambda y: pair[0](y) + pair[1](y)  # type: ignore[method-assign]
        return functional_call(pair, new, (x,))

    check(both)


def test_parts_alone_look_plain_too():
    class Penalised(nn.Linear):
        def forward(self, x):
            return super().forward(x) + sum(p.square().sum() for p in self.parameters())

    outer = nn.Sequential(seeded(lambda: Penalised(6, 6)))
    exact = copy.deepcopy(outer)
    attach(outer, 5)
    assert torch.equal(outer[0](inputs()), exact[0](inputs()))


def test_outside_a_call_theta_alone_is_a_parameter():
    module, _ = attached(penalty)
    seen = []
    module.register_forward_hook(lambda m, a, o: seen.append(len(list(m.parameters()))))
    before = state(module)
    module(inputs())
    assert seen == [5]
    assert [n for n, _ in module.named_parameters()] == ["subspan_theta"]
    assert not list(module.block.parameters())
    assert {"first.weight", "offset"} <= {n for n, _ in module.named_buffers()}
    assert same_state(state(module), before)


def test_frozen_and_kept_parameters_are_shown_in_order():
    names: list[list[str]] = []
    look = lambda net, x: (names.append([n for n, _ in net.named_parameters()]), x)[1]  # noqa: E731
    expected = [n for n, _ in plain(look).named_parameters()]
    for rest in ("freeze", "keep"):
        module, _ = attached(look, modules=["block"], rest=rest)
        module(inputs())
    plain(look)(inputs())
    assert names == [expected] * 3


def test_another_base_weight_by_functional_call_is_still_a_base():
    module, _ = attached(lambda net, x: net.block(x))
    base = module.block[0]._buffers["weight"]
    out = functional_call(module, {"block.0.weight": base + 1}, (inputs(),))
    shifted = module.block[0].weight
    plainly = nn.functional.linear(inputs(), shifted + 1, module.block[0].bias) + 0.1
    torch.testing.assert_close(out, plainly)


def test_a_part_called_with_another_weight_from_outside_is_refused():
    module, _ = attached(penalty)
    with pytest.raises(InputError, match=r"functional_call: .* for first\.weight"):
        functional_call(module.first, {"weight": module.first.weight}, (inputs(),))
    module(inputs())


def test_a_forward_that_leaves_another_weight_is_refused_and_undone():
    def leaves(net, x):
        net.first._parameters["weight"] = torch.zeros(6, 6)
        return net.first(x)

    module, handle = attached(leaves)
    before = module.first.weight
    with pytest.raises(InputError, match="weight: expected a forward that puts back"):
        module(inputs())
    assert torch.equal(module.first.weight, before)
    handle.detach()
    assert same_state(state(module), state(plain(leaves)))


def test_a_module_may_move_itself_within_a_call():
    module, handle = attached(lambda net, x: net.double().first(x.double()))
    assert module(inputs()).dtype == torch.float64
    assert handle.theta.dtype == torch.float64


# --- never half restored -------------------------------------------------------------------------


class Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight


def parametrised(net, x):
    """As `target_parameters` of peft: a parametrisation that lives for a forward pass."""
    layer = net.block[0]
    parametrize.register_parametrization(layer, "weight", Doubled())
    try:
        return net.block(x) + net.first(x)
    finally:
        parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)


@pytest.mark.parametrize("leave", ["detach", "merge"])
def test_a_frozen_weight_parametrised_in_forward_stays_hidden(leave):
    module, handle = attached(parametrised, modules=["first"])
    expected = plain(parametrised)
    with torch.no_grad():
        expected.first.weight.copy_(module.first.weight)
        expected.first.bias.copy_(module.first.bias)
    torch.testing.assert_close(module(inputs()), expected(inputs()))
    assert [n for n, _ in module.named_parameters()] == ["subspan_theta"]
    getattr(handle, leave)()
    fresh = plain(parametrised)
    assert [n for n, _ in module.named_parameters()] == [n for n, _ in fresh.named_parameters()]
    if leave == "merge":
        fresh.first.load_state_dict(expected.first.state_dict())
    assert same_state(state(module), state(fresh))
    assert type(module.block[0]) is nn.Linear
    assert all(p.requires_grad for p in module.parameters())


def test_a_weight_of_a_subspace_cannot_be_parametrised():
    module, handle = attached(parametrised)
    before = state(module)
    for act in (
        lambda: module(inputs()),
        lambda: parametrize.register_parametrization(module.first, "weight", Doubled()),
        lambda: delattr(module.first, "weight"),
    ):
        with pytest.raises(InputError, match=r"weight: expected .* handle\.detach\(\) first"):
            act()
    assert same_state(state(module), before)
    handle.detach()
    assert same_state(state(module), state(plain(parametrised)))


@pytest.mark.parametrize("leave", ["detach", "merge"])
def test_a_weight_that_was_taken_away_is_named_and_nothing_else_changes(leave):
    module, handle = attached(penalty)
    taken = module.block[0]._buffers.pop("bias")
    before = state(module)
    with pytest.raises(InputError, match=r"block\.0\.bias: expected the weight where attach put"):
        getattr(handle, leave)()
    assert same_state(state(module), before)
    assert handles(module) == [handle]
    module.block[0]._buffers["bias"] = taken
    getattr(handle, leave)()
    assert not handles(module)


def test_a_frozen_weight_cannot_be_assigned():
    module, handle = attached(penalty, modules=["first"])
    with pytest.raises(InputError, match="bias: expected no assignment to a weight frozen"):
        module.block[0].bias = nn.Parameter(torch.zeros(6))
    module.block[0].bias = module.block[0].bias  # libraries tie again after loading
    handle.detach()
    assert same_state(state(module), state(plain(penalty)))


def test_every_part_gets_its_own_class_back():
    kinds = [type(m) for m in mlp().modules()]
    module = mlp()
    attach(module, DIM).detach()
    assert [type(m) for m in module.modules()] == kinds
    assert not any("subspan" in key for m in module.modules() for key in m.__dict__)


@NOT_A_LEAF
def test_a_compiled_part_of_an_attached_module():
    layer = seeded(lambda: nn.Linear(6, 3))
    module = nn.Sequential(seeded(lambda: nn.Linear(6, 6)), torch.compile(layer, backend="eager"))
    handle = attach(module, DIM)
    put(handle, coordinates(DIM))
    expected = module(inputs())
    handle.merge()
    torch.testing.assert_close(module(inputs()), expected)

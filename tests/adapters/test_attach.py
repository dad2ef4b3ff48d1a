"""`attach`: what it trains, and what else about the module must go on as before."""

from __future__ import annotations

import copy
import multiprocessing.reduction
import warnings

import pytest
import torch
from small_modules import (
    batch_norm_net,
    by_hand,
    coordinates,
    flat,
    inputs,
    mlp,
    put,
    same_state,
    seeded,
    state,
    tied,
)
from torch import nn
from torch.utils.checkpoint import checkpoint

import subspan
from subspan import maps
from subspan.adapters import attach, handles

MAPS = maps.names()


def attached(make, dim=7, **kwargs):
    module = make()
    handle = attach(module, dim, **kwargs)
    put(handle, coordinates(dim))
    return module, handle


# --- what is trained -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", MAPS)
def test_theta_alone_is_trained_and_starts_at_the_module(name):
    module, x = mlp(), inputs()
    before = module(x)
    handle = attach(module, 7, map=name)
    assert [(n, p.shape, p.dtype) for n, p in module.named_parameters()] == [
        ("subspan_theta", (7,), torch.float32)
    ]
    assert torch.equal(handle.theta, torch.zeros(7))
    assert torch.equal(module(x), before)


@pytest.mark.parametrize("name", MAPS)
def test_outputs_and_gradient_equal_the_map_applied_by_hand(name):
    module, handle = attached(mlp, map=name, seed=3)
    out, gradient = by_hand(mlp(), inputs(), coordinates(7), name, seed=3)
    got = module(inputs())
    assert torch.equal(got, out)
    got.square().sum().backward()
    torch.testing.assert_close(handle.theta.grad, gradient, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", MAPS)
def test_training_lowers_the_loss(name):
    module, _ = attached(mlp, map=name)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.1)
    losses = []
    for _ in range(30):
        loss = nn.functional.cross_entropy(module(inputs(16)), torch.arange(16) % 3)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]


def test_every_dimension_up_to_all_weights():
    size = flat(mlp()).numel()
    for dim in (1, 2, size - 1, size):
        for name in ("partition", "hadamard"):
            module, _ = attached(mlp, dim=dim, map=name)
            assert torch.equal(
                module(inputs()), by_hand(mlp(), inputs(), coordinates(dim), name)[0]
            )


def test_per_layer_scales_multiply_each_layers_shift():
    module, handle = attached(mlp, per_layer_scale=True)
    assert [p.shape for p in module.parameters()] == [(7,), (2,)]
    plain, _ = attached(mlp)
    assert torch.equal(module(inputs()), plain(inputs()))  # λ = 1 at first
    with torch.no_grad():
        handle.scales.copy_(torch.tensor([2.0, 0.0]))
    base = mlp()
    torch.testing.assert_close(
        module[0].weight, base[0].weight + 2 * (plain[0].weight - base[0].weight)
    )
    assert torch.equal(module[2].weight, base[2].weight)


def test_gradients_of_scales_and_second_derivatives_are_right():
    module, handle = attached(mlp, dim=3, map="hadamard", per_layer_scale=True)
    module.double()
    assert handle.theta.dtype == torch.float64
    x = inputs(2).double()

    def loss(theta, scales):
        weights = {"subspan_theta": theta, "subspan_scales": scales}
        return torch.func.functional_call(module, weights, (x,)).tanh().square().sum()

    theta, scales = handle.theta, handle.scales
    assert torch.autograd.gradcheck(loss, (theta, scales))
    assert torch.autograd.gradgradcheck(loss, (theta, scales))
    assert torch.autograd.gradcheck(loss, (theta, scales), check_forward_ad=True)


# --- the defects of other wrappers (a test each) -------------------------------------------------


def test_eval_reaches_the_net():
    module, _ = attached(batch_norm_net)
    module.train()
    module(inputs())
    module.eval()
    assert not any(m.training for m in module.modules())
    assert torch.equal(module(inputs()), module(inputs()))  # dropout is off
    module.train()
    assert not torch.equal(module(inputs()), module(inputs()))


def test_state_dict_holds_seed_and_map_and_refuses_others():
    module, _ = attached(mlp, seed=3)
    saved = state(module)
    header = bytes(saved["subspan_header"].tolist()).decode()
    checksum = maps.make("partition", dim=7, ambient_dim=flat(mlp()).numel(), seed=3).checksum()
    assert '"seed":3' in header
    assert checksum in header

    for other in (
        {"seed": 4},
        {"seed": 3, "map": "hadamard"},
        {"seed": 3, "modules": ["0", "2.b*"]},
    ):
        target = mlp()
        attach(target, 7, **other)
        before = state(target)
        with pytest.raises(subspan.InputError, match="state_dict: expected the subspace"):
            target.load_state_dict(saved)
        assert same_state(state(target), before)  # nothing was copied

    fresh = mlp()
    with torch.no_grad():
        fresh[0].weight.zero_()  # a state_dict holds the weights at θ = 0 too
    attach(fresh, 7, seed=3)
    fresh.load_state_dict(saved)
    assert torch.equal(fresh(inputs()), module(inputs()))


def test_tied_weights_stay_tied_and_count_once():
    module, handle = attached(tied)
    assert handle.ambient_dim == flat(tied()).numel() == 11 * 6 + 6 * 6 + 6
    assert torch.equal(module.embedding.weight, module.head.weight)
    ids = torch.arange(10).view(2, 5)
    out, gradient = by_hand(tied(), ids, coordinates(7), "partition")
    got = module(ids)
    assert torch.equal(got, out)
    got.square().sum().backward()
    torch.testing.assert_close(handle.theta.grad, gradient, rtol=1e-5, atol=1e-5)
    module.head.weight = module.embedding.weight  # libraries tie again after loading
    handle.merge()
    assert module.head.weight is module.embedding.weight


def test_deepcopy_is_independent():
    module, handle = attached(batch_norm_net)
    twin = copy.deepcopy(module)
    other = handles(twin)[0]
    assert other.module is twin
    twin.eval(), module.eval()
    before = module(inputs())
    assert torch.equal(twin(inputs()), before)
    put(other, torch.zeros(7))
    assert torch.equal(module(inputs()), before)
    assert torch.equal(twin(inputs()), batch_norm_net().eval()(inputs()))
    other.detach()
    assert torch.equal(module(inputs()), before)
    assert handles(module) == [handle]


def test_columns_have_unit_norm_over_the_whole_module():
    for name in MAPS:
        handle = attached(mlp, map=name)[1]
        columns = []
        for unit in torch.eye(7):
            put(handle, unit)
            here = torch.cat(
                [getattr(o, n).reshape(-1) for w in handle.weights for o, n in w.sites]
            )
            put(handle, torch.zeros(7))
            columns.append(here.detach() - flat(mlp()))
        torch.testing.assert_close(
            torch.stack(columns).norm(dim=1), torch.ones(7), rtol=1e-4, atol=0
        )


def test_a_tensor_smaller_than_theta_takes_part_in_full():
    module, _ = attached(mlp, dim=50, map="hadamard")  # larger than every bias
    base = mlp()
    assert (module[0].bias != base[0].bias).all()
    assert torch.equal(module(inputs()), by_hand(base, inputs(), coordinates(50), "hadamard")[0])


# --- everything else about the module ------------------------------------------------------------


def test_buffers_train_as_before():
    plain, (module, handle) = batch_norm_net(), attached(batch_norm_net)
    put(handle, torch.zeros(7))
    assert [n for n, _ in plain.named_buffers()] == [
        n for n, _ in module.named_buffers() if "running" in n or "num_batches" in n
    ]
    plain(inputs()), module(inputs())
    assert torch.equal(plain[1].running_mean, module[1].running_mean)


@pytest.mark.parametrize("name", MAPS)
def test_autocast_casts_the_weights_but_not_the_map(name):
    module, handle = attached(mlp, map=name)
    plain = copy.deepcopy(module)
    handles(plain)[0].merge()
    with torch.autocast("cpu", torch.bfloat16):
        out = module(inputs())
        assert torch.equal(out, plain(inputs()))
        assert module[0].weight.dtype == torch.float32
    assert out.dtype == torch.bfloat16
    out.float().square().sum().backward()
    assert handle.theta.grad.dtype == torch.float32


def test_half_precision_modules_keep_theta_in_float32():
    module, handle = attached(lambda: mlp().bfloat16(), map="hadamard")
    exact = mlp().bfloat16()
    A = maps.make("hadamard", dim=7, ambient_dim=handle.ambient_dim, seed=0)
    weights = (flat(exact).float() + A(coordinates(7))).bfloat16()
    assert torch.equal(module[0].weight.flatten(), weights[:48])
    module(inputs().bfloat16()).sum().backward()
    assert handle.theta.grad.dtype == torch.float32

    module, handle = attached(mlp)
    module.bfloat16()
    assert module[0].weight.dtype == torch.bfloat16
    assert torch.equal(handle.theta, coordinates(7))


class Scaled(nn.Module):
    """A layer times a parameter without dimensions, as a temperature is."""

    def __init__(self) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.tensor(2.0))
        self.layer = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) * self.temperature


@pytest.mark.parametrize("name", MAPS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("per_layer_scale", [False, True])
def test_dtypes_and_parameters_without_dimensions(name, dtype, per_layer_scale):
    make = lambda: seeded(Scaled).to(dtype)  # noqa: E731
    module, handle = attached(make, map=name, per_layer_scale=per_layer_scale)
    exact = make()
    A = maps.make(name, dim=7, ambient_dim=handle.ambient_dim, seed=0).dense()
    start = flat(exact).double()
    nn.utils.vector_to_parameters(
        (start + A.double() @ coordinates(7).double()).to(dtype), exact.parameters()
    )
    x = inputs().to(dtype)
    out, expected = module(x), exact(x)
    tolerance = {"rtol": 0.02, "atol": 0.02} if dtype == torch.bfloat16 else {}
    slack = tolerance or {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(out, expected, **slack)
    out.square().sum().backward()
    expected.square().sum().backward()
    slope = torch.cat([p.grad.reshape(-1) for p in exact.parameters()])
    gradient = (A.double().T @ slope.double()).float()
    torch.testing.assert_close(handle.theta.grad, gradient, **slack)
    assert handle.theta.grad.dtype == torch.float32
    before = out.detach()
    handle.merge()
    assert torch.equal(module(x), before)
    assert {p.dtype for p in module.parameters()} == {dtype}


@pytest.mark.parametrize(
    ("name", "backend"),
    [("partition", "aot_eager"), ("hadamard", "aot_eager"), ("gaussian", "eager")],
)
def test_compile_whole_graph_equals_eager(name, backend):
    module, handle = attached(mlp, map=name)
    compiled = torch.compile(copy.deepcopy(module), backend=backend, fullgraph=True)
    x = inputs()
    torch.testing.assert_close(compiled(x), module(x), rtol=1e-6, atol=1e-6)
    compiled(x).square().sum().backward()
    module(x).square().sum().backward()
    other = next(compiled.parameters())
    torch.testing.assert_close(other.grad, handle.theta.grad, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        other.zero_()
    torch.testing.assert_close(compiled(x), mlp()(x), rtol=1e-6, atol=1e-6)


def test_hooks_fire_as_before():
    module, handle = attached(mlp)
    seen = []
    module[0].register_forward_pre_hook(lambda m, a: seen.append("pre"))
    module[0].register_forward_hook(lambda m, a, o: seen.append("forward"))
    module[2].register_full_backward_hook(lambda m, i, o: seen.append("backward"))
    handle.theta.register_post_accumulate_grad_hook(lambda p: seen.append("theta"))
    module(inputs()).sum().backward()
    assert seen == ["pre", "forward", "backward", "theta"]


@pytest.mark.parametrize("reentrant", [True, False])
def test_gradient_checkpointing(reentrant):
    module, handle = attached(mlp, per_layer_scale=True)
    module(inputs()).square().sum().backward()
    expected = [p.grad.clone() for p in handle.parameters()]
    module.zero_grad()
    x = inputs().requires_grad_()
    out = checkpoint(module, x, use_reentrant=reentrant)
    out.square().sum().backward()
    for p, gradient in zip(handle.parameters(), expected, strict=True):
        assert torch.equal(p.grad, gradient)


def test_gradient_accumulation_equals_one_large_batch():
    module, handle = attached(mlp, map="hadamard")
    x = inputs(8)
    module(x).square().sum().backward()
    whole = handle.theta.grad.clone()
    module.zero_grad()
    for part in x.split(2):
        module(part).square().sum().backward()
    torch.testing.assert_close(handle.theta.grad, whole, rtol=1e-5, atol=1e-5)


def test_weights_follow_theta_however_it_is_written():
    module, handle = attached(mlp)
    first = module(inputs())
    handle.theta.data.zero_()  # as some optimisers and averages do: no version is counted
    assert not torch.equal(module(inputs()), first)
    assert torch.equal(module(inputs()), mlp()(inputs()))


@pytest.mark.parametrize("name", MAPS)
def test_inference_mode_then_training(name):
    module, handle = attached(mlp, map=name)
    with torch.inference_mode():
        out = module(inputs())
    assert torch.equal(out, module(inputs()))
    module(inputs()).sum().backward()
    assert handle.theta.grad.abs().sum() > 0


def test_retained_graph_and_partial_backward():
    module, handle = attached(mlp)
    x = inputs().requires_grad_()
    loss = module(x).square().sum()
    torch.autograd.grad(loss, x, retain_graph=True)
    (one,) = torch.autograd.grad(loss, handle.theta, retain_graph=True)
    (two,) = torch.autograd.grad(loss, handle.theta)
    assert torch.equal(one, two)


def test_many_thetas_at_once_under_vmap():
    module, _ = attached(mlp, map="hadamard")
    thetas = torch.stack([coordinates(7, s) for s in range(3)])
    x = inputs()

    def outputs(theta):
        return torch.func.functional_call(module, {"subspan_theta": theta}, (x,))

    both = torch.func.vmap(outputs)(thetas)
    for theta, out in zip(thetas, both, strict=True):
        torch.testing.assert_close(out, outputs(theta), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_recurrent_layers_use_the_shifted_weights(kind):
    make = lambda: seeded(lambda: kind(6, 4, num_layers=2))  # noqa: E731
    module, handle = attached(make)
    theta = coordinates(7)
    A = maps.make("partition", dim=7, ambient_dim=handle.ambient_dim, seed=0)
    plain = make()
    nn.utils.vector_to_parameters(flat(plain) + A(theta), plain.parameters())
    assert torch.equal(module(inputs())[0], plain(inputs())[0])
    module(inputs())[0].sum().backward()
    assert handle.theta.grad.abs().sum() > 0
    twin = copy.deepcopy(module)
    assert torch.equal(twin(inputs())[0], plain(inputs())[0])
    module.to(torch.float64)
    handle.detach()
    module.to(torch.float32)
    assert torch.equal(module(inputs())[0], make()(inputs())[0])


def test_attention_and_parameter_lists():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.TransformerEncoderLayer(6, 2, 8, dropout=0.0, batch_first=True)
            self.shifts = nn.ParameterList([torch.zeros(6), torch.ones(6)])
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, x):
            return self.attention(x[None])[0] * self.scale + self.shifts[0] + self.shifts[1]

    make = lambda: seeded(Net)  # noqa: E731
    module, _ = attached(make)
    for train in (True, False):
        module.train(train)
        out, _ = by_hand(make().train(train), inputs(), coordinates(7), "partition")
        torch.testing.assert_close(module(inputs()), out, rtol=1e-5, atol=1e-5)


def test_channels_last_convolutions_keep_their_strides():
    def make():
        return seeded(lambda: nn.Conv2d(4, 5, 3).to(memory_format=torch.channels_last))

    module, handle = attached(make)
    assert module.weight.stride() == make().weight.stride()
    x = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(0))
    out, gradient = by_hand(make(), x, coordinates(7), "partition")
    torch.testing.assert_close(module(x), out)
    module(x).square().sum().backward()
    torch.testing.assert_close(handle.theta.grad, gradient, rtol=1e-4, atol=1e-4)


def test_sparse_embedding_gradients():
    module = nn.Embedding(11, 6, sparse=True)
    handle = attach(module, 5)
    module(torch.tensor([1, 1, 3])).square().sum().backward()
    dense = nn.Embedding.from_pretrained(module._buffers["weight"].clone(), freeze=False)
    other = attach(dense, 5)
    dense(torch.tensor([1, 1, 3])).square().sum().backward()
    torch.testing.assert_close(handle.theta.grad, other.theta.grad)


def test_the_module_keeps_its_class_name_and_type():
    module, _ = attached(mlp)
    assert isinstance(module[0], nn.Linear)
    assert type(module[0]).__name__ == "Linear"
    assert repr(module) == repr(mlp())
    assert len(module) == 3  # θ is no step of a Sequential
    assert len(module[:2]) == 2
    module[:2].to(torch.float32)


def test_it_travels_to_other_processes():
    module, _ = attached(mlp)
    sent = multiprocessing.reduction.ForkingPickler.loads(
        bytes(multiprocessing.reduction.ForkingPickler.dumps(module))
    )
    assert torch.equal(sent(inputs()), module(inputs()))
    handles(sent)[0].detach()
    assert same_state(state(sent), state(mlp()))


# --- selection -----------------------------------------------------------------------------------


def test_patterns_select_by_name_and_freeze_the_rest():
    module = mlp()
    handle = attach(module, 3, modules=["0", "!*.bias"])
    assert [w.name for w in handle.weights] == ["0.weight"]
    assert [n for n, _ in module.named_parameters()] == ["subspan_theta"]
    assert set(module.state_dict()) == {*mlp().state_dict(), "subspan_theta", "subspan_header"}
    handle.detach()
    assert [n for n, _ in module.named_parameters()] == [n for n, _ in mlp().named_parameters()]
    assert all(p.requires_grad for p in module.parameters())


def test_the_rest_can_be_kept_to_train_in_full():
    module = mlp()
    handle = attach(module, 3, modules=["0.*"], rest="keep")
    assert {n for n, _ in module.named_parameters()} == {"2.weight", "2.bias", "subspan_theta"}
    module(inputs()).sum().backward()
    assert module[2].weight.grad is not None
    assert handle.parameters() == [handle.theta]


def test_several_subspaces_on_one_module_in_any_order():
    before = state(mlp())
    for order in ([0, 1], [1, 0]):
        module = mlp()
        both = [attach(module, 3, modules=["0"]), attach(module, 2, "hadamard", modules=["2"])]
        assert [p.shape for p in module.parameters()] == [(3,), (2,)]
        for handle in both:
            put(handle, torch.ones(handle.dim))
        module(inputs()).sum().backward()
        assert all(h.theta.grad.abs().sum() > 0 for h in both)
        twin = copy.deepcopy(module)
        loaded = mlp()
        attach(loaded, 3, modules=["0"]), attach(loaded, 2, "hadamard", modules=["2"])
        loaded.load_state_dict(module.state_dict())
        assert torch.equal(loaded(inputs()), module(inputs()))
        for i in order:
            both[i].detach()
        assert same_state(state(module), before)
        assert type(module) is nn.Sequential
        for handle in handles(twin):
            handle.merge()
        assert torch.equal(twin(inputs()), loaded(inputs()))


def test_frozen_parameters_are_not_selected_and_stay_frozen():
    module = mlp()
    module[0].requires_grad_(False)
    handle = attach(module, 3)
    assert [w.name for w in handle.weights] == ["2.weight", "2.bias"]
    handle.detach()
    assert [p.requires_grad for p in module.parameters()] == [False, False, True, True]


# --- leaving -------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [mlp, batch_norm_net, tied])
@pytest.mark.parametrize("name", MAPS)
def test_detach_restores_the_module_bit_for_bit(make, name):
    module = make()
    before, objects = state(module), list(module.parameters())
    handle = attach(module, 4, map=name)
    x = torch.arange(10).view(2, 5) if make is tied else inputs()
    optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
    module(x).square().sum().backward()
    optimizer.step()
    module(x)
    assert handle.detach() is module
    assert same_state(state(module), before)
    assert all(a is b for a, b in zip(module.parameters(), objects, strict=True))
    assert all(type(a) is type(b) for a, b in zip(module.modules(), make().modules(), strict=True))
    assert not any("subspan" in key for m in module.modules() for key in m.__dict__)


@pytest.mark.parametrize("name", MAPS)
def test_merge_bakes_theta_in(name):
    module, handle = attached(batch_norm_net, map=name)
    module(inputs())
    module.eval()
    expected = module(inputs())
    handle.merge()
    assert torch.equal(module(inputs()), expected)
    assert [n for n, _ in module.named_parameters()] == [
        n for n, _ in batch_norm_net().named_parameters()
    ]
    assert all(p.requires_grad and p.is_leaf for p in module.parameters())


def test_a_handle_that_left_says_so():
    _, handle = attached(mlp)
    handle.merge()
    for act in (handle.merge, handle.detach, lambda: handle.theta):
        with pytest.raises(subspan.InputError, match="merged or detached"):
            act()


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kwargs", "text"),
    [
        ({"dim": -1}, "dim: expected a training dimension in 0 … 83"),
        ({"dim": 84}, "dim: expected a training dimension in 0 … 83"),
        ({"dim": 2.0}, "dim: expected an integer"),
        ({"dim": 3, "map": "fastfood"}, "map: unknown name 'fastfood'"),
        ({"dim": 3, "seed": "0"}, "seed: expected an integer"),
        ({"dim": 3, "modules": ["2.wait"]}, "Did you mean '2.weight'"),
        ({"dim": 3, "modules": "2"}, "modules: expected a list of name patterns"),
        ({"dim": 3, "rest": "drop"}, "rest: unknown name 'drop'"),
    ],
)
def test_bad_arguments_are_refused_and_leave_the_module_alone(kwargs, text):
    module = mlp()
    with pytest.raises(subspan.InputError, match=text.replace("(", r"\(")):
        attach(module, **kwargs)
    assert same_state(state(module), state(mlp()))
    assert type(module) is nn.Sequential
    assert not any("subspan" in key for key in module.__dict__)


def test_modules_that_cannot_be_attached_say_what_to_do():
    with pytest.raises(subspan.InputError, match=r"Attach first, then call torch\.compile"):
        attach(torch.compile(mlp(), backend="eager"), 3)
    with pytest.raises(subspan.InputError, match="lazy parameter"):
        attach(nn.LazyLinear(3), 3)
    with pytest.raises(subspan.InputError, match="meta device"):
        attach(nn.Linear(3, 3, device="meta"), 3)
    with pytest.raises(subspan.InputError, match="got none"):
        attach(mlp().requires_grad_(False), 3)
    with pytest.raises(subspan.InputError, match="got list"):
        attach([mlp()], 3)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_scripted_and_traced_parts_are_refused_by_name():
    traced = torch.jit.trace(nn.Linear(3, 3), torch.ones(1, 3))
    for part in (torch.jit.script(nn.Linear(3, 3)), traced):
        module = nn.Sequential(nn.Linear(3, 3), part)
        with pytest.raises(subspan.InputError, match="1: expected modules that are not scripted"):
            attach(module, 3)
        assert type(module) is nn.Sequential
        assert len(list(module.parameters())) == 4


def test_complex_parameters_are_refused_by_name_unless_left_out():
    module = mlp()
    module.phase = nn.Parameter(torch.ones(3, dtype=torch.complex64))
    with pytest.raises(subspan.InputError, match=r"phase: expected real .*complex64"):
        attach(module, 3)
    handle = attach(module, 3, modules=["!phase"])
    handle.detach()
    assert module.phase.dtype == torch.complex64


def test_a_weight_in_a_subspace_cannot_be_assigned():
    module, _ = attached(mlp)
    with pytest.raises(subspan.InputError, match=r"handle\.merge\(\) or handle\.detach\(\)"):
        module[0].weight = nn.Parameter(torch.zeros(8, 6))


def test_no_warnings_in_a_plain_loop():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        module, _ = attached(mlp)
        module(inputs()).sum().backward()


def test_scales_within_d_are_counted_in_it():
    """SAID's count (Aghajanyan et al., 2020): d numbers are trained, two of them scales here."""

    def sizes(dim, scales):
        module = mlp()
        handle = attach(module, dim, per_layer_scale=scales)
        return handle, [p.numel() for p in module.parameters()]

    (handle, within), (same, on_top) = sizes(9, "within"), sizes(7, True)
    assert within == on_top == [7, 2]
    assert same.checksum() == handle.checksum()
    assert sizes(0, "within")[1] == [0]
    with pytest.raises(subspan.InputError, match=r"dim: expected more than the 2 scales .* got 2"):
        sizes(2, "within")
    with pytest.raises(subspan.InputError, match=r"per_layer_scale: expected True, False or "):
        sizes(9, "without")

"""What a subspace stands on: a file fits no other base, buffers and kept parameters included."""

from __future__ import annotations

import copy

import pytest
import torch
from small_modules import batch_norm_net, coordinates, inputs, mlp, put, same_state, state
from torch import nn

import subspan
from subspan.adapters import attach, files, fine_tuning, handles, load, save


def shifted_by(amount: float, persistent: bool, step: float = 0.0) -> nn.Module:
    """An MLP whose inputs are shifted by a buffer, which grows by `step` in training."""

    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = mlp()
            self.register_buffer("shift", torch.full((6,), amount), persistent=persistent)

        def forward(self, x):
            if step:
                self.shift.add_(step)
            return self.net(x + self.shift)

    return Shifted()


def trained_statistics() -> nn.Module:
    module = batch_norm_net()
    for _ in range(3):
        module(3 * inputs() + 1)
    return module


# --- files ---------------------------------------------------------------------------------------


def test_other_running_statistics_are_another_base(tmp_path):
    module = trained_statistics().eval()
    handle = attach(module, 7)
    put(handle, coordinates(7))
    save(handle, tmp_path / "f")
    fresh = batch_norm_net().eval()  # equal weights
    before = state(fresh)
    with pytest.raises(subspan.InputError, match="expected the base weights and buffers"):
        load(fresh, tmp_path / "f")
    assert same_state(state(fresh), before)
    load(fresh, tmp_path / "f", force=True)
    right = trained_statistics().eval()
    load(right, tmp_path / "f")
    assert torch.equal(right(inputs()), module(inputs()))


def test_statistics_trained_with_two_subspaces_load_in_any_order(tmp_path):
    module = trained_statistics()
    both = [attach(module, 3, modules=["0"]), attach(module, 2, modules=["4"])]
    for handle in both:
        put(handle, coordinates(handle.dim))
        module(inputs())
    for number, handle in enumerate(both):
        save(handle, tmp_path / str(number))
    for order in ("01", "10"):
        fresh = trained_statistics()
        for number in order:
            load(fresh, tmp_path / number)
        assert torch.equal(fresh.eval()(inputs()), module.eval()(inputs()))


def test_statistics_follow_the_module_to_another_precision(tmp_path):
    module = trained_statistics()
    handle = attach(module, 4)
    module(inputs())
    module.bfloat16()
    save(handle, tmp_path / "f")
    fresh = trained_statistics().bfloat16()
    load(fresh, tmp_path / "f")
    assert torch.equal(fresh[1].running_mean, module[1].running_mean)
    handle.detach()
    assert same_state(state(module), state(trained_statistics().bfloat16()))


def test_what_is_kept_beside_must_be_as_it_was_saved(tmp_path):
    module = mlp()
    handle = attach(module, 4, modules=["0"], rest="keep")
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    module(inputs()).square().sum().backward()
    optimizer.step()
    save(handle, tmp_path / "f")
    fresh = mlp()
    with pytest.raises(subspan.InputError, match="expected the parameters kept beside"):
        load(fresh, tmp_path / "f")
    assert not handles(fresh)
    load(mlp(), tmp_path / "f", force=True)
    fresh[2].load_state_dict(module[2].state_dict())
    load(fresh, tmp_path / "f")
    assert torch.equal(fresh(inputs()), module(inputs()))
    with torch.no_grad():
        fresh[2].bias.add_(1)
    with pytest.raises(subspan.InputError, match="expected the parameters kept beside"):
        load(fresh, tmp_path / "f")  # onto the subspace that it carries


def test_two_subspaces_that_keep_the_rest(tmp_path):
    module = mlp()
    both = [attach(module, 3, modules=[name], rest="keep") for name in ("0", "2")]
    for number, handle in enumerate(both):
        put(handle, coordinates(3, number))
    for number, handle in enumerate(both):
        save(handle, tmp_path / str(number))
    fresh = mlp()
    for number in ("1", "0"):
        load(fresh, tmp_path / number)
    assert torch.equal(fresh(inputs()), module(inputs()))


def test_an_older_format_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(files.container, "FORMAT", files.container.FORMAT - 1)
    save(attach(mlp(), 3), tmp_path / "f")
    monkeypatch.undo()
    with pytest.raises(subspan.InputError, match="Load it there, merge and save anew"):
        load(mlp(), tmp_path / "f")


@pytest.mark.parametrize(
    "values",
    [
        {"scales": torch.ones(2, dtype=torch.int64)},
        {"scales": torch.ones(2, dtype=torch.complex64)},
        {"scales": torch.ones(2, dtype=torch.bool)},
        {"unknown": torch.ones(2)},
    ],
    ids=["int64", "complex64", "bool", "unknown"],
)
def test_forged_tensors_are_refused(values, tmp_path):
    handle = attach(mlp(), 4, per_layer_scale=True)
    save(handle, tmp_path / "f")
    content = files.container.read(tmp_path / "f", 10**6, 10**6)
    header = {k: v for k, v in content.header.items() if k not in ("format", "tensors")}
    files.container.write(tmp_path / "g", header, content.tensors, {**content.values, **values})
    with pytest.raises(subspan.InputError, match="damaged"):
        load(mlp(), tmp_path / "g")


# --- θ's precision -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_theta_is_float32_whatever_the_default(dtype, tmp_path):
    module = mlp()
    torch.set_default_dtype(dtype)
    try:
        handle = attach(module, 4, per_layer_scale=True)
    finally:
        torch.set_default_dtype(torch.float32)
    assert [p.dtype for p in handle.parameters()] == [torch.float32] * 2


def test_a_theta_of_half_precision_is_saved_as_float32(tmp_path):
    handle = attach(mlp(), 4)
    handle.theta.data = coordinates(4).half()
    save(handle, tmp_path / "f")
    assert torch.equal(load(mlp(), tmp_path / "f").theta, coordinates(4).half().float())


@pytest.mark.parametrize("present", [False, True])
def test_a_theta_of_double_precision_is_loaded_as_such(present, tmp_path):
    module = mlp()
    handle = attach(module, 4, per_layer_scale=True)
    module(inputs())
    module.double()
    put(handle, coordinates(4).double() / 3)
    save(handle, tmp_path / "f")
    fresh = mlp().double()
    if present:
        attach(fresh, 4, per_layer_scale=True)
        fresh(inputs().double()).sum().backward()
    other = load(fresh, tmp_path / "f")
    assert [p.dtype for p in other.parameters()] == [torch.float64] * 2
    assert torch.equal(other.theta, handle.theta)
    assert torch.equal(fresh(inputs().double()), module(inputs().double()))
    fresh(inputs().double()).sum().backward()
    assert other.theta.grad.dtype == torch.float64


# --- leaving -------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_last_to_leave_puts_the_buffers_back(order):
    module = trained_statistics()
    before = state(module)
    both = [attach(module, 3, modules=["0"])]
    module(inputs())
    both.append(attach(module, 2, modules=["4"]))
    module(inputs())
    trained = module[1].running_mean.clone()
    both[order[0]].detach()
    assert torch.equal(module[1].running_mean, trained)  # the other subspace is used with them
    both[order[1]].detach()
    assert same_state(state(module), before)


@pytest.mark.parametrize("persistent", [True, False])
def test_detach_puts_every_buffer_back(persistent):
    module = shifted_by(1.0, persistent, step=1.0)
    handle = attach(module, 3)
    module(inputs())
    assert torch.equal(module.shift, torch.full((6,), 2.0))
    handle.detach()
    assert torch.equal(module.shift, torch.ones(6))
    handle = attach(module, 3)
    module.shift = torch.zeros(9)  # as a cache that grows
    handle.detach()
    assert torch.equal(module.shift, torch.ones(6))


ROOTS = {
    "LSTM": lambda: nn.LSTM(6, 5, num_layers=2, bidirectional=True),
    "GRU": lambda: nn.GRU(6, 5),
    "RNN": lambda: nn.RNN(6, 5),
    "GRUCell": lambda: nn.GRUCell(6, 5),
    "Linear": lambda: nn.Linear(6, 5),
    "LayerNorm": lambda: nn.LayerNorm(6),
    "Conv1d": lambda: nn.Conv1d(5, 4, 3),
    "TransformerEncoderLayer": lambda: nn.TransformerEncoderLayer(6, 2, 8, dropout=0.0),
}


@pytest.mark.parametrize("leave", ["detach", "merge"])
@pytest.mark.parametrize("name", ROOTS)
def test_any_kind_of_module_can_be_attached_itself_and_left(name, leave):
    module = ROOTS[name]()
    plain = copy.deepcopy(module)
    handle = attach(module, 7)
    if leave == "merge":
        put(handle, coordinates(7))
    expected = module(inputs())
    getattr(handle, leave)()
    out = module(inputs())
    one, other = (x[0] if isinstance(x, tuple) else x for x in (out, expected))
    assert torch.equal(one, other)
    assert type(module) is type(plain)
    one.sum().backward()
    assert all(p.grad is not None for p in module.parameters())
    module.double()
    module(inputs().double())


def test_a_recurrent_layer_goes_on_where_another_subspace_stays():
    module = nn.ModuleDict({"rnn": nn.GRU(6, 5), "head": nn.Linear(5, 2)})
    expected = module.rnn(inputs())[0]
    handle, other = attach(module, 3, modules=["rnn"]), attach(module, 2, modules=["head"])
    put(handle, coordinates(3))
    handle.detach()
    assert torch.equal(module.rnn(inputs())[0], expected)
    other.detach()
    assert torch.equal(module.rnn(inputs())[0], expected)


# --- fine-tuning ---------------------------------------------------------------------------------


@pytest.mark.parametrize("persistent", [True, False])
def test_another_buffer_is_another_problem(persistent):
    data = (inputs(6), torch.arange(6) % 3)
    one, same, other = (
        fine_tuning(shifted_by(amount, persistent), data).identity for amount in (1.0, 1.0, 5.0)
    )
    assert one == same
    assert one != other


def test_a_module_with_a_subspace_is_no_problem():
    module = mlp()
    attach(module[0], 3)
    with pytest.raises(subspan.InputError, match="expected one without a subspace"):
        fine_tuning(module, (inputs(6), torch.arange(6) % 3))

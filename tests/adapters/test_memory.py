"""Weights that share memory, padding rows, and further misfits that `attach` and `load` refuse."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from small_modules import coordinates, inputs, mlp, put, same_state, seeded, state
from torch import nn

import subspan
from subspan.adapters import attach, handles, load, memory, save


class Autoencoder(nn.Module):
    """Two linear layers whose weights may be made to share memory."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Linear(6, 6, bias=False)
        self.decode = nn.Linear(6, 6, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.decode(torch.tanh(self.encode(x)))


def sharing() -> Autoencoder:
    module = seeded(Autoencoder)
    module.decode.weight.data = module.encode.weight.data
    return module


# --- ties ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["itself", "copied", "moved", "frozen first"])
def test_weights_that_share_storage_are_tied(how):
    module = sharing()
    if how == "frozen first":
        module.more = nn.Linear(6, 6)
        attach(module, 2, modules=["more"])
    handle = attach(module, 4)
    assert handle.ambient_dim == 36
    if how == "copied":
        module = copy.deepcopy(module)
        handle = handles(module)[0]
    if how == "moved":
        module.double().float()
    put(handle, coordinates(4))
    out = module(inputs())
    assert torch.equal(module.encode.weight, module.decode.weight)
    assert not torch.equal(out, sharing()(inputs()))
    handle.merge()
    assert torch.equal(module(inputs()), out)
    if how == "frozen first":
        handles(module)[0].detach()
    assert len(list(module.encode.parameters())) == len(list(module.decode.parameters())) == 1


def test_a_layer_that_shares_storage_is_left_as_it_was():
    module = sharing()
    before = list(module.parameters())
    handle = attach(module, 4)
    module.to(torch.float32)
    handle.detach()
    assert all(a is b for a, b in zip(module.parameters(), before, strict=True))
    assert len(before) == 2
    assert module.encode.weight.data_ptr() == module.decode.weight.data_ptr()


def transposed() -> nn.Module:
    module = Autoencoder()
    module.decode.weight = nn.Parameter(module.encode.weight.t())
    return module


def overlapping() -> nn.Module:
    module = Autoencoder()
    whole = torch.zeros(9, 6)
    module.encode.weight.data, module.decode.weight.data = whole[:6], whole[3:]
    return module


def buffer_view() -> nn.Module:
    module = Autoencoder()
    module.register_buffer("first_row", module.encode.weight.data[0])
    return module


@pytest.mark.parametrize("make", [transposed, overlapping, buffer_view])
def test_other_sharing_is_refused(make):
    module = make()
    with pytest.raises(subspan.InputError, match="Clone one of them"):
        attach(module, 4)
    assert not handles(module)
    assert type(module) is Autoencoder


def test_neighbours_in_one_storage_are_no_tie():
    module = Autoencoder()
    whole = torch.zeros(12, 6)
    module.encode.weight.data, module.decode.weight.data = whole[:6], whole[6:]
    assert attach(module, 4).ambient_dim == 72


def test_an_expanded_weight_is_refused():
    module = nn.Linear(6, 3)
    module.weight.data = torch.zeros(1, 6).expand(3, 6)
    with pytest.raises(subspan.InputError, match="got an expanded tensor"):
        attach(module, 4)
    module.weight.data = module.weight.data.clone()
    attach(module, 4)


class LanguageModel(nn.Module):
    """An encoder whose embedding is tied to a head outside it."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Embedding(11, 6), nn.Linear(6, 6))
        self.head = nn.Linear(6, 11, bias=False)
        self.head.weight = self.encoder[0].weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder(ids))


def test_a_tie_to_a_module_outside_is_refused(tmp_path):
    module = LanguageModel()
    with pytest.raises(subspan.InputError, match="Attach to the whole module"):
        attach(module.encoder, 4)
    assert not handles(module.encoder)
    attach(module.encoder, 4, modules=["1"]).detach()  # the tied weight is not in it
    handle = attach(module, 4, modules=["encoder"])
    assert torch.equal(module.head.weight, module.encoder[0].weight)
    handle.detach()

    alone = nn.Sequential(nn.Embedding(11, 6), nn.Linear(6, 6))
    alone.load_state_dict(module.encoder.state_dict())
    save(attach(alone, 4), tmp_path / "f")
    with pytest.raises(subspan.InputError, match="Attach to the whole module"):
        load(module.encoder, tmp_path / "f")


def test_others_may_hold_a_weight_if_no_module_does():
    module = LanguageModel()
    module.head.weight = nn.Parameter(torch.zeros(11, 6))
    held = dict(module.named_parameters()), list(module.parameters())
    optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
    attach(module.encoder, 4)
    assert held
    assert optimizer


def test_nothing_is_looked_through_where_nobody_else_holds_a_weight(monkeypatch):
    """All objects of a process are looked through: a second where there are millions."""
    looks = []
    monkeypatch.setattr(memory, "_modules", lambda: looks.append(1) or iter([]))
    attach(LanguageModel(), 4)
    attach(sharing(), 4)
    attach(mlp(), 4, modules=["0"])
    assert not looks
    module = mlp()
    held = module[2].bias
    attach(module, 4)
    assert looks == [1]
    assert held is not None


def test_a_module_outside_is_found_by_each_tensor_of_a_tie():
    module = sharing()
    other = nn.Linear(6, 6, bias=False)
    other.weight = module.encode.weight
    with pytest.raises(subspan.InputError, match="Attach to the whole module"):
        attach(module, 4)


# --- padding -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [nn.Embedding, nn.EmbeddingBag])
@pytest.mark.parametrize("row", [0, 4, 10])
@pytest.mark.parametrize("name", ["partition", "gaussian"])
def test_the_padding_row_stays(kind, row, name):
    module = kind(11, 6, padding_idx=row)
    base = module.weight.detach().clone()
    plain = nn.Embedding(11, 6)
    plain.weight.data = base.clone()
    handle, other = attach(module, 4, name), attach(plain, 4, name)
    put(handle, coordinates(4)), put(other, coordinates(4))
    moving = torch.arange(11) != row
    assert torch.equal(module.weight[row], base[row])
    assert torch.equal(module.weight[moving], plain.weight[moving])
    factors = torch.arange(66.0).view(11, 6)
    (module.weight * factors).sum().backward()
    (plain.weight * factors * moving[:, None]).sum().backward()
    torch.testing.assert_close(handle.theta.grad, other.theta.grad, rtol=1e-4, atol=1e-4)
    handle.merge()
    assert torch.equal(module.weight[row], base[row])


def test_derivatives_with_a_padding_row_are_right():
    module = seeded(lambda: nn.Embedding(5, 3, padding_idx=1))
    handle = attach(module, 3, per_layer_scale=True)
    module.double()
    factors = torch.arange(1.0, 16.0, dtype=torch.float64).view(5, 3)

    def loss(theta, scales):
        weights = {"subspan_theta": theta, "subspan_scales": scales}
        rows = torch.func.functional_call(module, weights, (torch.arange(5),))
        return (rows * factors).sin().sum()

    leaves = [
        torch.full(p.shape, 0.4, dtype=torch.float64, requires_grad=True)
        for p in handle.parameters()
    ]
    assert torch.autograd.gradcheck(loss, leaves)
    assert torch.autograd.gradgradcheck(loss, leaves)
    assert torch.autograd.gradcheck(loss, leaves, check_forward_ad=True)


# --- arguments -----------------------------------------------------------------------------------


def test_an_empty_selection_is_refused():
    with pytest.raises(subspan.InputError, match="modules: expected a name pattern or more"):
        attach(mlp(), 4, modules=[])


def test_attaching_twice_says_that_nothing_is_left():
    module = mlp()
    attach(module, 4)
    with pytest.raises(subspan.InputError, match="outside the subspaces that it has"):
        attach(module, 4)


def test_numpy_integers_are_integers(tmp_path):
    options = {"nnz": np.int64(2)}
    handle = attach(mlp(), np.int64(4), "sparse", np.int64(3), **options)
    save(handle, tmp_path / "f")
    assert load(mlp(), tmp_path / "f").seed == 3


def test_a_state_dict_is_copied_and_not_assigned():
    module = mlp()
    attach(module, 4)
    before = state(module)
    with pytest.raises(subspan.InputError, match="Load with assign=False"):
        module.load_state_dict(before, assign=True)
    assert same_state(state(module), before)


def test_a_file_needs_weights_with_values(tmp_path):
    save(attach(nn.Linear(6, 3), 4), tmp_path / "f")
    with pytest.raises(subspan.InputError, match="meta device"):
        load(nn.Linear(6, 3, device="meta"), tmp_path / "f")
    with pytest.raises(subspan.InputError, match="lazy parameter"):
        load(nn.LazyLinear(3), tmp_path / "f")


def test_pending_gradients_of_hidden_weights_are_dropped():
    module = mlp()
    module(inputs()).sum().backward()
    old = list(module.parameters())
    attach(module, 4, modules=["0"])
    assert all(p.grad is None for p in old)


def test_a_padding_row_that_is_tied_to_a_head_moves_as_plain_training_moves_it():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(6, 4, padding_idx=0)
            self.head = nn.Linear(4, 6, bias=False)
            self.head.weight = self.embedding.weight

        def forward(self, i):
            return self.head(self.embedding(i).mean(1))

    torch.manual_seed(0)
    tokens, labels = torch.randint(0, 6, (9, 5)), torch.randint(0, 6, (9,))
    plain = Tied().double()
    attached = copy.deepcopy(plain)
    handle = attach(attached, 24, "orthonormal")  # D of them: every direction
    lines = torch.eye(24, dtype=handle.theta.dtype)
    columns = []
    for line in lines:
        with torch.no_grad():
            handle.theta.copy_(line)
        columns.append((attached.embedding.weight - plain.embedding.weight).reshape(-1).detach())
        handle.theta.data.zero_()
    loss = nn.functional.cross_entropy
    loss(plain(tokens), labels).backward()
    loss(attached(tokens), labels).backward()
    gradient = plain.embedding.weight.grad.reshape(-1)
    assert gradient[:4].abs().max() > 0.01
    pulled = torch.stack(columns).double() @ gradient
    torch.testing.assert_close(handle.theta.grad.double(), pulled, rtol=1e-4, atol=1e-6)


def test_dicts_that_hold_weights_are_no_modules():
    module = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    kept = [{"_parameters": {n: p}} for n, p in module.named_parameters()]
    assert attach(module, 2).dim == 2
    assert len(kept) == 4

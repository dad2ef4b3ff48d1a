"""`attach` at d = 0: nothing is trained, and the module is the plain one."""

import copy

import pytest
import torch
from small_modules import batch_norm_net, mlp
from torch import nn
from torch.func import functional_call, grad

import subspan as ss

X = torch.randn(10, 6, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0).long()
MAPS = [(name, {"nnz": 2} if name == "sparse" else {}) for name in ss.maps.names()]


def loss(module):
    return nn.functional.cross_entropy(module(X), Y)


@pytest.mark.parametrize(("name", "options"), MAPS)
@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.Adam, torch.optim.RMSprop])
def test_training_moves_nothing(name, options, make):
    plain, module = mlp(), mlp()
    handle = ss.attach(module, dim=0, map=name, seed=3, **options)
    optimizer = make(module.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        loss(module).backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
    assert (handle.dim, handle.ambient_dim) == (0, 83)
    assert handle.theta.shape == handle.theta.grad.shape == (0,)
    assert [p.shape for p in module.parameters()] == [(0,)]
    assert torch.equal(module(X), plain(X))


@pytest.mark.parametrize(("name", "options"), MAPS)
def test_it_is_saved_loaded_merged_and_detached(name, options, tmp_path):
    module, path = batch_norm_net(), tmp_path / "nothing.safetensors"
    handle = ss.attach(module, dim=0, map=name, seed=3, **options)
    loss(module)  # in training mode: moves the running statistics, which the file holds
    module.eval()
    for dtype in (None, "bfloat16", "int8"):
        ss.save(handle, path, dtype=dtype)
        fresh = batch_norm_net().eval()
        loaded = ss.load(fresh, path)
        assert (loaded.dim, loaded.map, loaded.checksum()) == (0, name, handle.checksum())
        assert torch.equal(fresh(X), module(X))
    assert ss.load(module, path) is handle
    other = batch_norm_net().eval()
    ss.attach(other, dim=0, map=name, seed=3, **options)
    other.load_state_dict(module.state_dict())
    assert torch.equal(other(X), module(X))
    assert torch.equal(copy.deepcopy(module)(X), module(X))
    before = module(X)
    handle.merge()
    assert torch.equal(module(X), before)
    assert len(list(module.parameters())) == 6
    loaded.detach()
    assert len(list(fresh.parameters())) == 6


def test_a_file_of_another_dim_is_not_taken_for_one_of_none(tmp_path):
    one, none = mlp(), mlp()
    ss.save(ss.attach(one, dim=1), tmp_path / "one.safetensors")
    ss.attach(none, dim=0)
    with pytest.raises(ss.InputError, match="in one that differs"):
        ss.load(none, tmp_path / "one.safetensors")


def test_transforms_of_functions_and_double_backward_take_it():
    module = mlp()
    handle = ss.attach(module, dim=0)
    theta = dict(module.named_parameters())
    f = lambda values: functional_call(module, values, (X,)).sum()  # noqa: E731
    assert grad(f)(theta)["subspan_theta"].shape == (0,)
    many = {name: value.expand(4, 0) for name, value in theta.items()}
    torch.testing.assert_close(torch.func.vmap(f)(many), f(theta).expand(4))
    (first,) = torch.autograd.grad(loss(module), handle.theta, create_graph=True)
    assert first.shape == (0,)


def test_scales_beside_it_change_nothing():
    module = mlp()
    handle = ss.attach(module, dim=0, per_layer_scale=True)
    loss(module).backward()
    assert torch.equal(handle.scales.grad, torch.zeros(2))


def test_a_trainable_attaches_at_the_dim_that_it_is_given():
    @ss.trainable(name="attaches", max_dim=83)
    def attaches(trial):
        model = mlp()
        ss.attach(model, dim=trial.dim, seed=trial.seed)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
        for step in range(1, 4):
            optimizer.zero_grad()
            loss(model).backward()
            optimizer.step()
            trial.report(step=step, loss=loss(model).detach())

    none, some = ss.run(attaches, dims=[0, 40], repeats=1, executor="inline")
    start = loss(mlp()).item()
    assert [point.train_loss for point in none.curve] == [start] * 3
    assert some.final_train_loss < start

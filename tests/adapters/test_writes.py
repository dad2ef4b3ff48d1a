"""A write in place to a weight of a subspace raises, as assignment does: it would be lost."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from small_modules import batch_norm_net, by_hand, coordinates, inputs, mlp, put, same_state, state
from torch import nn

from subspan import InputError
from subspan.adapters import attach


def attached():
    module = mlp()
    handle = attach(module, 7)
    put(handle, coordinates(7))
    return module, handle


def halve(weight):
    weight *= 0.5


def assign_data(weight):
    weight.data = torch.zeros_like(weight)


def set_row(weight):
    weight[0] = 1.0


WRITES = {
    "clamp_": lambda w: w.clamp_(-1, 1),
    "copy_": lambda w: w.copy_(torch.zeros_like(w)),
    "operator": halve,
    "data =": assign_data,
    "data.mul_": lambda w: w.data.mul_(2),
    "detach": lambda w: w.detach().zero_(),
    "row": set_row,
    "view": lambda w: w[0].zero_(),
    "view of a view": lambda w: w.T[1:].fill_(1.0),
    "uniform": nn.init.uniform_,
    "kaiming": nn.init.kaiming_normal_,
    "orthogonal": nn.init.orthogonal_,
    "vector": lambda w: nn.utils.vector_to_parameters(torch.zeros(w.numel()), [w]),
}


@pytest.mark.parametrize("write", WRITES)
def test_a_write_raises(write):
    module, _ = attached()
    before = module(inputs())
    with torch.no_grad(), pytest.raises(InputError, match=r"0\.weight: expected no write in place"):
        WRITES[write](module[0].weight)
    assert torch.equal(module(inputs()), before)


@pytest.mark.parametrize(
    "write",
    [
        nn.init.eye_,
        lambda w: torch.clamp_(w, 0),
        lambda w: torch.mul(w, 2, out=w),
        lambda w: torch._foreach_mul_([w], 2.0),
    ],
    ids=["eye", "function", "out", "foreach"],
)
def test_a_write_by_a_function_raises_at_the_next_reading(write):
    module, _ = attached()
    before = module(inputs())
    with torch.no_grad():
        write(module[0].weight)
    with pytest.raises(InputError, match=r"0\.weight: expected no write in place"):
        module(inputs())
    assert torch.equal(module(inputs()), before)


def test_a_layer_that_resets_itself_raises():
    module, _ = attached()
    before = state(module)
    with pytest.raises(InputError, match="expected no write in place"):
        module[0].reset_parameters()
    assert same_state(state(module), before)


def test_what_forward_writes_raises():
    class Clipped(nn.Linear):
        def forward(self, x):
            with torch.no_grad():
                self.weight.clamp_(-0.1, 0.1)
            return super().forward(x)

    module = Clipped(6, 3)
    attach(module, 5)
    with pytest.raises(InputError, match="weight: expected no write in place"):
        module(inputs())


def test_reading_goes_on_as_before(tmp_path):
    module, _ = attached()
    weight = module[0].weight
    for result in (weight + 1, weight.clone(), torch.relu(weight), weight.float().double()):
        assert type(result) is torch.Tensor
    assert weight.detach().numpy().shape == (8, 6)
    assert not weight.detach().requires_grad
    assert repr(weight).startswith("tensor(")
    assert torch.equal(pickle.loads(pickle.dumps(weight.detach())), weight)
    assert type(copy.deepcopy(weight.detach())) is torch.Tensor
    torch.save({"w": weight}, tmp_path / "w.pt")
    assert torch.equal(torch.load(tmp_path / "w.pt", weights_only=True)["w"], weight)
    weight.clone().clamp_(0)
    weight.detach().clone().zero_()


def test_theta_buffers_and_moves_are_written_as_ever():
    module = batch_norm_net()
    handle = attach(module, 7)
    with torch.no_grad():
        handle.theta.fill_(0.5)
    handle.theta.data.mul_(2)
    module[1].running_mean.zero_()
    module.load_state_dict(state(module))
    module.double().float()
    module(inputs())
    assert torch.equal(handle.theta, torch.ones(7))


def test_rows_that_an_embedding_scales_are_no_write():
    def make():
        return nn.Embedding.from_pretrained(torch.ones(5, 4) * 3, freeze=False, max_norm=1.0)

    module = make()
    attach(module, 4)
    ids = torch.arange(5)
    for _ in range(2):
        torch.testing.assert_close(module(ids), make()(ids))


def test_the_fast_path_of_attention_stays():
    make = lambda: nn.TransformerEncoderLayer(6, 2, 8, batch_first=True).eval()  # noqa: E731
    torch.manual_seed(0)
    plain = make()
    module = copy.deepcopy(plain)
    attach(module, 7)
    with torch.no_grad():
        assert torch.equal(module(inputs()[None]), plain(inputs()[None]))
    assert torch.equal(mlp()(inputs()), by_hand(mlp(), inputs(), torch.zeros(7), "partition")[0])


def test_loading_into_a_part_of_an_attached_module_is_refused():
    module = mlp()
    handle = attach(module, 7)
    put(handle, coordinates(7))
    before, out = state(module), module(inputs())
    other = {name: torch.ones_like(value) for name, value in mlp()[0].state_dict().items()}
    for strict in (True, False):
        with pytest.raises(InputError, match="load_state_dict: expected the attached module"):
            module[0].load_state_dict(other, strict=strict)
    assert torch.equal(module(inputs()), out)
    module.load_state_dict(before)
    whole = nn.ModuleDict({"model": module})
    whole.load_state_dict(whole.state_dict())
    assert torch.equal(module(inputs()), out)
    handle.detach()
    module[0].load_state_dict(other)
    assert torch.equal(module[0].weight, other["weight"])

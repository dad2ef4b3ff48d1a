"""Weights that an attribute holds beside the parameters: refused by the attribute's name."""

from __future__ import annotations

import collections
import functools
import types

import pytest
import torch
from small_modules import inputs, mlp, same_state, seeded, state
from torch import nn

from subspan import InputError
from subspan.adapters import attach, handles, load, save


class Slots:
    __slots__ = ("weight",)


def in_slots(net):
    net.kept = Slots()
    net.kept.weight = net[0].weight


def in_a_closure(net):
    weight = net[0].weight
    net.penalty = lambda: weight.square().sum()


def in_a_hook(net):
    weight = net[0].weight
    net[2].register_forward_hook(lambda m, a, o: o + weight.sum())


class OfTheClass(nn.Sequential):
    registry: list[torch.Tensor] = []  # noqa: RUF012


WAYS = {
    "kept[0]": lambda net: setattr(net, "kept", list(net.parameters())),
    "kept['a'][1]['b']": lambda net: setattr(net, "kept", {"a": (0, {"b": net[0].weight})}),
    "kept": lambda net: net.__dict__.__setitem__("kept", net[0].weight),
    "2.alias[0]": lambda net: setattr(net[2], "alias", [net[0].bias]),
    "view": lambda net: setattr(net, "view", net[0].weight.t()),
    "rows[0]": lambda net: setattr(net, "rows", [net[0].weight.detach()[0]]),
    "values.found.kept[0]": lambda net: setattr(
        net, "values", types.SimpleNamespace(found=types.SimpleNamespace(kept={net[0].bias}))
    ),
    "queue[0]": lambda net: setattr(net, "queue", collections.deque([net[2].bias])),
    "add[0]": lambda net: setattr(net, "add", functools.partial(torch.add, net[2].bias)),
    "kept.weight": in_slots,
    "penalty": in_a_closure,
    "2._forward_hooks": in_a_hook,
}


@pytest.mark.parametrize("name", WAYS)
def test_a_weight_held_twice_is_refused_by_the_attributes_name(name):
    net = mlp()
    WAYS[name](net)
    before = state(net)
    with pytest.raises(InputError) as error:
        attach(net, 7)
    assert str(error.value).startswith(name)
    assert "an attribute that holds" in str(error.value)
    assert same_state(state(net), before)
    assert not handles(net)
    assert type(net) is nn.Sequential


def test_what_a_class_holds_is_seen():
    net = OfTheClass(nn.Linear(6, 6))
    OfTheClass.registry.append(net[0].weight)
    try:
        with pytest.raises(InputError, match=r"registry\[0\]"):
            attach(net, 7)
    finally:
        OfTheClass.registry.clear()


def test_weights_outside_the_subspace_may_be_held_twice():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Linear(6, 6), nn.Linear(6, 3)
            self.kept = [self.head.weight]

        def forward(self, x):
            return torch.tanh(self.body(x)) @ self.kept[0].T

    net = seeded(Net)
    expected = net(inputs())
    attach(net, 7, modules=["body"], rest="keep")
    assert torch.equal(net(inputs()), expected)


def test_holders_that_read_nothing_in_forward_are_left_alone():
    net = mlp()
    net.optimizer = torch.optim.Adam(net.parameters())
    net.others = [net, net[0], range(3), "name"]
    net.count = list(range(1000))
    attach(net, 7)
    net(inputs())


def test_a_file_is_refused_alike(tmp_path):
    save(attach(mlp(), 7), tmp_path / "file")
    net = mlp()
    net.kept = list(net.parameters())
    with pytest.raises(InputError, match="an attribute that holds"):
        load(net, tmp_path / "file")

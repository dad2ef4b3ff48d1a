"""Which layer is the last: never one that only looks so because the last is tied or frozen."""

import pytest
import torch
from torch import nn

from subspan.adapters.pretrained import fine_tuning
from subspan.errors import InputError
from subspan.problems import Problem
from subspan.subspaces.base import Draw
from subspan.subspaces.last_layer import LastLayer

IDS, LABELS = torch.arange(24).reshape(12, 2) % 5, torch.arange(12) % 5


class Net(nn.Module):
    def __init__(self, tied=False, frozen=False):
        super().__init__()
        self.embed, self.inner, self.head = nn.Embedding(5, 4), nn.Linear(4, 4), nn.Linear(4, 5)
        if tied:
            self.head.weight = self.embed.weight
        self.head.weight.requires_grad_(not frozen)

    def forward(self, x):
        return self.head(self.inner(self.embed(x).mean(1)).tanh())


def problem(kind, fine):
    def make():
        return Net(**({kind: True} if kind else {}))

    return fine_tuning(make(), (IDS, LABELS)) if fine else Problem(make, (IDS, LABELS))


def moved(problem, method, dim):
    """Names of the tensors that the subspace moves."""
    a = method.subspaces(problem, [Draw(dim, 0, 0)])[0].map
    parts = problem.layout.split(a(torch.ones(dim)))
    return {name.removeprefix("model.") for name, part in parts.items() if part.any()}


@pytest.mark.parametrize("fine", [False, True], ids=["problem", "fine-tuning"])
@pytest.mark.parametrize(
    ("kind", "said"),
    [("tied", r"head.weight', which is also '.*embed.weight'"), ("frozen", "which is frozen")],
)
def test_a_last_layer_that_is_not_its_own_is_refused(kind, said, fine):
    with pytest.raises(InputError, match=rf"layer: .*{said}.*LastLayer\(layer="):
        LastLayer().max_dim(problem(kind, fine))


@pytest.mark.parametrize("fine", [False, True], ids=["problem", "fine-tuning"])
def test_a_last_layer_of_its_own_is_taken(fine):
    found = problem(None, fine)
    assert LastLayer().max_dim(found) == 25
    assert moved(found, LastLayer(), 25) == {"head.weight", "head.bias"}


@pytest.mark.parametrize("fine", [False, True], ids=["problem", "fine-tuning"])
def test_a_tied_layer_that_is_named_is_all_of_it(fine):
    found = problem("tied", fine)
    method = LastLayer(layer="model.head" if fine else "head")
    assert method.max_dim(found) == 25
    assert moved(found, method, 25) == {"embed.weight", "head.bias"}
    one = LastLayer(layer="model.head.weight" if fine else "head.weight")
    assert moved(found, one, 20) == {"embed.weight"}


def test_an_unknown_layer_is_told_of_the_tied_ones_too():
    with pytest.raises(InputError, match="Did you mean 'head'"):
        LastLayer(layer="heat").max_dim(problem("tied", False))


class HeadFirst(nn.Module):
    def __init__(self):
        super().__init__()
        self.head, self.embed, self.inner = nn.Linear(4, 5), nn.Embedding(5, 4), nn.Linear(4, 4)

    def forward(self, x):
        return self.head(self.inner(self.embed(x).mean(1)).tanh()).log_softmax(1)


class TiedByUse(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.inner = nn.Embedding(5, 4), nn.Linear(4, 4)

    def forward(self, x):
        turned = self.embed.weight.t()
        return self.inner(self.embed(x).mean(1)).tanh() @ turned


@pytest.mark.parametrize(
    ("make", "later", "named"), [(HeadFirst, "head", 25), (TiedByUse, "embed", 20)]
)
def test_an_inner_layer_that_was_made_last_is_refused(make, later, named):
    net = Problem(make, (IDS, LABELS))
    said = rf"inner.weight', and '{later}.weight' is used after it.*LastLayer\(layer='{later}'\)"
    with pytest.raises(InputError, match=said):
        LastLayer().max_dim(net)
    assert LastLayer(layer=later).max_dim(net) == named


def test_a_head_before_log_softmax_is_taken():
    net = Problem(
        lambda: nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(8, 5), nn.LogSoftmax(1)),
        (IDS, LABELS),
        loss=nn.NLLLoss(),
    )
    assert LastLayer().max_dim(net) == 45

"""Modules of several dtypes, parameters in one memory, and labels that a loss leaves out."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import nn
from torch.nn import functional

import subspan
from subspan.errors import InputError

X, Y = torch.randn(20, 4, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 2


class Casting(nn.Module):
    """Casts to a dtype that its parts have of their own."""

    def __init__(self, to: torch.dtype | None) -> None:
        super().__init__()
        self.to_ = to
        self.a, self.b = nn.Linear(4, 8).bfloat16(), nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        middle = self.a(x.to(self.to_ or self.a.weight.dtype))
        return self.b(middle.to(self.b.weight.dtype))


def test_parts_of_several_dtypes_are_named_where_they_break_the_forward_pass() -> None:
    with pytest.raises(InputError, match=r"make_module: .* parameters of bfloat16, flo"):
        subspan.Problem(lambda: Casting(torch.bfloat16), (X, Y))
    assert subspan.Problem(lambda: Casting(None), (X, Y)).dtype == torch.float32


def test_other_failures_of_such_a_module_keep_their_own_words() -> None:
    with pytest.raises(InputError, match="train: expected inputs that the module takes"):
        subspan.Problem(lambda: Casting(None), (X[:, :3], Y))


def shared() -> nn.Module:
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    module[1].weight.data = module[0].weight.data
    return module


def tied() -> nn.Module:
    module = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    module[1].weight = module[0].weight
    return module


def test_parameters_in_one_memory_are_refused_by_name_and_ties_are_not() -> None:
    with pytest.raises(InputError, match=r"'0.weight' and '1.weight' in one memory"):
        subspan.Problem(shared, (X, Y))
    assert subspan.Problem(tied, (X, Y)).ambient_dim == 16 + 4 + 4


def test_a_label_that_an_own_loss_leaves_out_is_said_with_the_way_to_say_it() -> None:
    labels = torch.where(torch.arange(20) < 3, -1, Y)

    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(outputs, targets, ignore_index=-1)

    with pytest.raises(InputError, match=r"partial\(F.cross_entropy, ignore_index=-1\)"):
        subspan.Problem(lambda: nn.Linear(4, 2), (X, labels), loss=loss)
    said = functools.partial(functional.cross_entropy, ignore_index=-1)
    problem = subspan.Problem(lambda: nn.Linear(4, 2), (X, labels), loss=said)
    weights = problem.init(0)
    right = functional.cross_entropy(
        X @ weights[:8].view(2, 4).T + weights[8:], labels, ignore_index=-1
    )
    assert problem.evaluate(weights).loss == pytest.approx(float(right), rel=1e-6)


def test_zero_is_named_where_it_is_legal() -> None:
    problem = subspan.Problem(lambda: nn.Linear(4, 2), (X, Y))
    with pytest.raises(InputError, match="dim: expected a training dimension in 0 … 10"):
        subspan.run(problem, "random", dims=[-1], repeats=1)
    with pytest.raises(InputError, match="dim: expected a training dimension in 1 … 3"):
        subspan.maps.make("gaussian", dim=0, ambient_dim=3, seed=0)

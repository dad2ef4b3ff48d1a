"""Data and identities that a user gives: what a problem holds is what its identity names."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import subspan
from subspan.errors import InputError
from subspan.problems import aliases


def problem(x: object, y: object, **options: object) -> subspan.Problem:
    return subspan.Problem(lambda: nn.Linear(4, 2), (x, y), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["torch", "numpy", "view"])
def test_a_later_write_does_not_change_the_data_of_a_problem(kind: str) -> None:
    x, y = torch.arange(40.0).reshape(10, 4), torch.arange(10) % 2
    before = x.clone(), y.clone()
    given = {"torch": x, "numpy": x.numpy(), "view": x[:]}[kind]
    made = problem(given, y.numpy() if kind == "numpy" else y)
    x.zero_()
    y.zero_()
    found = made.batch()
    assert torch.equal(found[0], before[0])
    assert torch.equal(found[1], before[1])
    assert made.identity == problem(*before).identity


def test_a_later_write_into_large_data_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aliases, "_COPIED", 8)
    x, y = torch.arange(40.0).reshape(10, 4), torch.arange(10) % 2
    made = problem(x, y)
    assert made.batch()[0].data_ptr() == x.data_ptr()
    x.add_(1)
    with pytest.raises(InputError, match="data: expected the tensors as they were"):
        made.batch()


@pytest.mark.parametrize(
    "identity",
    [
        {},
        {"kind": "x"},
        {"name": None},
        {"name": 5},
        3,
        "mine",
        {"name": "a", "x": float("nan")},
        {"name": "a", "x": float("inf")},
        {"name": "a", "x": 10**5000},
        {"name": "a", "x": object()},
        {"name": "a", 1: 2},
        {"name": "a", "x": np.zeros(2)},
    ],
    ids=[f"case{i}" for i in range(12)],
)
def test_an_identity_that_is_none_is_refused_before_training(identity: object) -> None:
    with pytest.raises(InputError, match="identity: expected"):
        problem(torch.zeros(4, 4), torch.zeros(4, dtype=torch.int64), identity=identity)


def test_a_given_identity_is_kept() -> None:
    mine = {"name": "mine", "version": 2, "parts": [1, None, {"a": True}]}
    x, y = torch.zeros(4, 4), torch.zeros(4, dtype=torch.int64)
    assert problem(x, y, identity=mine).identity == mine

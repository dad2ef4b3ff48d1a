"""docs/supported.md is what the table prints, and the table's checks can fail."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from .case import COLUMNS, Case, Column
from .checks import check
from .page import PATH, page
from .rows_layers import mlp, vectors
from .table import SECTIONS, SLOW


def test_the_page_is_what_the_table_prints() -> None:
    assert PATH.read_text(encoding="utf-8") == page(), "run: python -m tests.supported"


def test_no_two_rows_are_called_the_same() -> None:
    kinds = [c.kind for cases in {**SECTIONS, **SLOW}.values() for c in cases]
    assert len(kinds) == len(set(kinds)) > 80


@pytest.mark.parametrize("column", COLUMNS)
def test_a_wrong_number_is_seen(column: Column) -> None:
    other = Case("another loss than plain PyTorch's", mlp, vectors, plain=_doubled)
    right = dataclasses.replace(other, plain=None)
    check(right, column)
    if column == "attach":  # which takes no loss: a net that drifts instead
        other = dataclasses.replace(right, net=_Drifting)
    with pytest.raises(AssertionError):
        check(other, column)


def _doubled(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return 1.001 * nn.functional.cross_entropy(output, targets)


class _Drifting(nn.Module):
    """Says something else at each call."""

    calls = 0

    def __init__(self) -> None:
        super().__init__()
        self.net = mlp()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        type(self).calls += 1
        return (1 + 0.001 * self.calls) * self.net(x)

"""Each cell of docs/supported.md: right by plain PyTorch, or refused in words that it names."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from subspan.errors import InputError

from .case import COLUMNS, Case, Column, Refused
from .checks import check
from .table import SECTIONS, SLOW


def _cells(sections: dict[str, tuple[Case, ...]]) -> list[Any]:
    return [
        pytest.param(case, column, id=f"{column}: {case.kind}")
        for cases in sections.values()
        for case in cases
        for column in COLUMNS
    ]


@pytest.mark.parametrize(("case", "column"), _cells(SECTIONS))
def test_cell(case: Case, column: Column) -> None:
    _hold(case, column)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the libraries warn of their own changes
@pytest.mark.parametrize(("case", "column"), _cells(SLOW))
def test_cell_of_a_library(case: Case, column: Column) -> None:
    pytest.importorskip("transformers")
    pytest.importorskip("peft")
    _hold(case, column)


def _hold(case: Case, column: Column) -> None:
    verdict = case.verdict(column)
    with warnings.catch_warnings():
        for text in case.quiet:
            warnings.filterwarnings("ignore", text)
        if isinstance(verdict, Refused):
            with pytest.raises(InputError) as refusal:
                check(case, column)
            assert verdict.text in str(refusal.value)
        else:
            check(case, column)

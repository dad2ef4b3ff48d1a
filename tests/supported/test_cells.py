"""Each cell of docs/supported.md: right by plain PyTorch, or refused with the words that it says."""

from __future__ import annotations

import warnings

import pytest

from subspan.errors import InputError

from .case import COLUMNS, Case, Column, Refused
from .checks import check
from .table import SECTIONS

_CELLS = [
    pytest.param(case, column, id=f"{column}: {case.kind}")
    for cases in SECTIONS.values()
    for case in cases
    for column in COLUMNS
]


@pytest.mark.parametrize(("case", "column"), _CELLS)
def test_cell(case: Case, column: Column) -> None:
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

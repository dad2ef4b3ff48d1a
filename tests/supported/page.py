"""docs/supported.md, printed from the table."""

from __future__ import annotations

from pathlib import Path

from .case import COLUMNS, Case, Column, Refused
from .table import SECTIONS, SLOW

PATH = Path(__file__).resolve().parents[2] / "docs" / "supported.md"
_HEAD = """\
# What is supported

<!-- Printed by `python -m tests.supported`; do not edit. -->

Each cell is a test (`tests/supported/`): *right* means that the numbers equal those of plain
PyTorch on the same weights, *refused* that a `subspan.InputError` says so. The page is printed from
the tests' own table by `python -m tests.supported`, and a test compares the two.

{count}

What the tests of a column hold against plain PyTorch, at weights away from the initial ones, in
float64 wherever the module runs in it:

- `Problem`: loss, gradients of two weight vectors at once, evaluation in parts;
  training runs; with augmentation or dropout that trains, its gradients at a seed.
- `attach`: output at *w* + Aθ, and the gradient in θ; `detach` restores every bit, `merge` keeps
  the output.
- `fine_tuning`: at θ = 0 the loss is the module's own in evaluation mode; elsewhere as `Problem`;
  the module is left as it was.
- theory: `linearize` at its point, `hessian` against central differences of plain gradients,
  `gauss_newton` against JᵀBJ (where the module returns one tensor). Where a module stops gradients
  on the way, as quantisation-aware training and DoRA do, against a second plain backward pass.

"""


def page(sections: dict[str, tuple[Case, ...]] | None = None) -> str:
    """Return the page."""
    sections = {**SECTIONS, **SLOW} if sections is None else sections
    lines = ["| kind | `Problem` | `attach` | `fine_tuning` | theory |", "|---|---|---|---|---|"]
    for title, cases in sections.items():
        lines.append(f"| **{title}** | | | | |")
        for case in cases:
            cells = " | ".join(_cell(case, column) for column in COLUMNS)
            lines.append(f"| {case.kind} | {cells} |")
    return _HEAD.format(count=_count(sections)) + "\n".join(lines) + "\n"


def _cell(case: Case, column: Column) -> str:
    verdict = case.verdict(column)
    return f"refused: {verdict.why}" if isinstance(verdict, Refused) else "right"


def _count(sections: dict[str, tuple[Case, ...]]) -> str:
    cells = [_cell(case, c) for cases in sections.values() for case in cases for c in COLUMNS]
    right = cells.count("right")
    return f"Of {len(cells)} cells {right} are right and {len(cells) - right} refused."

"""Options that several commands share, and what is built from them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from subspan.errors import invalid

if TYPE_CHECKING:
    from subspan.problems.base import AbstractProblem
    from subspan.subspaces.base import Method
    from subspan.training.spec import TrainSpec

_TRAINING = "Training (the problem's own settings where left out)"
_RUNNING = "Running"

ProblemName = Annotated[str, typer.Argument(help="A problem; `subspan problems` lists them.")]
DataDir = Annotated[
    Path | None,
    typer.Option(help="A folder of data laid out like the hub's, instead of the hub."),
]
Subset = Annotated[int | None, typer.Option(help="Take the first N training rows.")]
MethodText = Annotated[
    str, typer.Option("--method", help="How subspaces are chosen: random, burn-in:STEPS.")
]
MapName = Annotated[
    str | None,
    typer.Option(
        "--map",
        help="The map of a random subspace: gaussian, orthonormal, sparse, partition, hadamard.",
    ),
]
Confidence = Annotated[float, typer.Option(help="Confidence of the intervals.")]
Seed = Annotated[int, typer.Option(help="Everything random follows from it.")]

StorePath = Annotated[
    Path | None,
    typer.Option(
        "--store",
        help="A file that keeps every trial; the same command continues it.",
        rich_help_panel=_RUNNING,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(help="Worker processes; by default one per core.", rich_help_panel=_RUNNING),
]
Json = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON document on standard output and nothing else."),
]
FigureStem = Annotated[
    Path | None,
    typer.Option("--figure", help="Draw STEM.png, STEM.svg and STEM.pdf.", metavar="STEM"),
]

Optimizer = Annotated[
    str | None,
    typer.Option(help="adam, sgd, legacy_adam, exact.", rich_help_panel=_TRAINING),
]
LearningRate = Annotated[
    float | None, typer.Option("--lr", help="Learning rate.", rich_help_panel=_TRAINING)
]
Epochs = Annotated[
    float | None, typer.Option(help="Passes over the data; or --steps.", rich_help_panel=_TRAINING)
]
Steps = Annotated[
    int | None, typer.Option(help="Optimiser steps; or --epochs.", rich_help_panel=_TRAINING)
]
BatchSize = Annotated[
    str | None,
    typer.Option(help="Rows per step, or `full`.", metavar="N|full", rich_help_panel=_TRAINING),
]
Schedule = Annotated[
    str | None, typer.Option(help="constant, cosine, linear.", rich_help_panel=_TRAINING)
]
EvalEvery = Annotated[
    int | None, typer.Option(help="Steps between evaluations.", rich_help_panel=_TRAINING)
]


def given(**values: Any) -> dict[str, Any]:
    """Return the options that were given: what is left out keeps the library's own default."""
    return {name: value for name, value in values.items() if value is not None}


def load_problem(name: str, data_dir: Path | None, subset: int | None) -> AbstractProblem:
    """Load a problem with those options that were given."""
    from subspan import problems

    return problems.load(name, **given(data_dir=data_dir, subset=subset))


def make_method(text: str, map_name: str | None) -> Method:
    """Parse `--method` and `--map`."""
    from subspan.subspaces import parse_method

    return parse_method(text, **given(map=map_name))


def make_spec(problem: AbstractProblem, batch_size: str | None, **fields: Any) -> TrainSpec:
    """Return the problem's `default_spec`, changed in the fields that were given."""
    changes = given(**fields)
    if batch_size is not None:
        changes["batch_size"] = None if batch_size == "full" else integer("batch-size", batch_size)
    if "epochs" in changes and "steps" in changes:
        raise invalid(
            "--epochs, --steps", expected="one of the two", got="both", remedy="Drop one."
        )
    return problem.default_spec.replace(**changes)


def integer(option: str, text: str) -> int:
    """Parse one integer of an option."""
    try:
        return int(text)
    except ValueError:
        raise invalid(f"--{option}", expected="an integer", got=repr(text)) from None


def integers(option: str, text: str) -> list[int]:
    """Parse a list like `8,16,32`."""
    return [integer(option, part.strip()) for part in text.split(",") if part.strip()]

"""Options that several commands share, and what is built from them."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from subspan.errors import StoreError, invalid

if TYPE_CHECKING:
    from subspan.problems.base import AbstractProblem
    from subspan.spec import TrainSpec
    from subspan.subspaces.base import Method

_TRAINING = "Training (the problem's own settings where left out)"
_RUNNING = "Running"

ProblemName = Annotated[str, typer.Argument(help="A problem; `subspan problems` lists them.")]
DataDir = Annotated[
    Path | None,
    typer.Option(help="A folder of data laid out like the hub's, instead of the hub."),
]
Subset = Annotated[int | None, typer.Option(help="Take the first N training rows.")]
MethodText = Annotated[
    str,
    typer.Option(
        "--method",
        help="How subspaces are chosen: random, burn-in:STEPS, lottery-subspace, lottery-ticket, "
        "magnitude, snip, synflow, random-mask, last-layer, biases, low-rank-fixed-factor.",
    ),
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
    typer.Option(
        help="adam, sgd, legacy_adam, lbfgs, levenberg_marquardt, exact.",
        rich_help_panel=_TRAINING,
    ),
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


@dataclass(frozen=True, kw_only=True)
class Study:
    """What the commands that train have in common: data, training, store, processes."""

    seed: Seed = 0
    confidence: Confidence = 0.95
    store: StorePath = None
    map_name: MapName = None
    data_dir: DataDir = None
    subset: Subset = None
    workers: Workers = None
    optimizer: Optimizer = None
    lr: LearningRate = None
    epochs: Epochs = None
    steps: Steps = None
    batch_size: BatchSize = None
    schedule: Schedule = None
    eval_every: EvalEvery = None

    def load(self, name: str) -> tuple[AbstractProblem, TrainSpec]:
        """Load a problem, and its `default_spec` changed in the fields that were given."""
        problem = load_problem(name, self.data_dir, self.subset)
        names = ("optimizer", "lr", "epochs", "steps", "schedule", "eval_every")
        changes = given(**{field: getattr(self, field) for field in names})
        if self.batch_size is not None:
            full = self.batch_size == "full"
            changes["batch_size"] = None if full else integer("batch-size", self.batch_size)
        if "epochs" in changes and "steps" in changes:
            raise invalid(
                "--epochs, --steps", expected="one of the two", got="both", remedy="Drop one."
            )
        return problem, problem.default_spec.replace(**changes)


def with_study(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command, in place of its parameter `study`, an option for each field of `Study`."""
    shared = list(inspect.signature(Study, eval_str=True).parameters.values())
    own = dict(inspect.signature(command, eval_str=True).parameters)
    del own["study"]

    def expanded(**values: Any) -> None:
        study = Study(**{field.name: values.pop(field.name) for field in shared})
        command(study=study, **values)

    parameters = [p.replace(kind=p.KEYWORD_ONLY) for p in (*own.values(), *shared)]
    expanded.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    expanded.__annotations__ = {p.name: p.annotation for p in parameters}
    expanded.__doc__ = command.__doc__
    return expanded


def check_figure(stem: Path | None) -> None:
    """Make the folder of a figure and see that it can be written, before hours of training."""
    if stem is not None:
        check_folder("--figure", stem.parent)


def check_folder(option: str, folder: Path) -> None:
    """Make a folder, and see that it can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise StoreError(
            f"{option}: expected a folder that can be written, got {folder} ({error.strerror}). "
            "Choose another."
        ) from error


def integer(option: str, text: str) -> int:
    """Parse one integer of an option."""
    try:
        return int(text)
    except ValueError:
        raise invalid(f"--{option}", expected="an integer", got=repr(text)) from None


def integers(option: str, text: str) -> list[int]:
    """Parse a list like `8,16,32`."""
    return [integer(option, part.strip()) for part in text.split(",") if part.strip()]

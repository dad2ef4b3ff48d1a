"""Options that several commands share, and what is built from them."""

from __future__ import annotations

import inspect
import os
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from subspan.errors import StoreError, invalid

if TYPE_CHECKING:
    from subspan.goals import Goal
    from subspan.spec import TrainSpec
    from subspan.subspaces.base import Method
    from subspan.trials.function import LoopSpec
    from subspan.trials.runner import Subject

_TRAINING = "Training (the problem's own settings where left out)"
_RUNNING = "Running"

ProblemName = Annotated[
    str,
    typer.Argument(
        help="A problem ({problems}; `subspan problems` lists them), or FILE.py:NAME, a Problem or "
        "a function made trainable."
    ),
]
DataDir = Annotated[
    Path | None,
    typer.Option(help="A folder of data laid out like the hub's, instead of the hub."),
]
Subset = Annotated[int | None, typer.Option(help="Take the first N training rows.")]
Device = Annotated[
    str | None,
    typer.Option(
        help="Where a problem is computed: cpu, cuda, cuda:1; by default where it is made, "
        "which is the CPU.",
        rich_help_panel=_RUNNING,
    ),
]
MethodText = Annotated[
    str,
    typer.Option(
        "--method",
        help="How subspaces are chosen: {methods}.",
    ),
]
MapName = Annotated[
    str | None,
    typer.Option(
        "--map",
        help="The map of a random subspace: {maps}.",
    ),
]
Confidence = Annotated[float, typer.Option(help="Confidence of the intervals.")]
Seed = Annotated[int, typer.Option(help="Everything random follows from it.")]

StorePath = Annotated[
    str | None,
    typer.Option(
        "--store",
        help="A file (or a PostgreSQL URL) that keeps every trial; the same command continues it.",
        rich_help_panel=_RUNNING,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(help="Worker processes; by default one per core.", rich_help_panel=_RUNNING),
]
MaxFailures = Annotated[
    int | None,
    typer.Option(help="Stop when more trials than this failed (10).", rich_help_panel=_RUNNING),
]
ExecutorName = Annotated[
    str | None,
    typer.Option(
        "--executor",
        help="Where trials run: {executors}; by default processes on a CPU, this one on a GPU.",
        rich_help_panel=_RUNNING,
    ),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        help="Of a Ray cluster, for --executor ray; by default RAY_ADDRESS, one on this machine, "
        "or a new one.",
        rich_help_panel=_RUNNING,
    ),
]
TrialTimeout = Annotated[
    float | None,
    typer.Option(
        help="Seconds after which a trial counts as hung, is tried once more, and recorded as "
        "failed; by default a generous multiple of what trials took.",
        metavar="SECONDS",
        rich_help_panel=_RUNNING,
    ),
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
        help="{optimizers}.",
        rich_help_panel=_TRAINING,
    ),
]
LearningRate = Annotated[
    str | None,
    typer.Option(
        "--lr",
        help="Learning rate: a number, or `auto`, the best one at each d, which is the default of "
        "`threshold`; of `threshold` also LOW:HIGH, the best one between the two.",
        metavar="auto|NUMBER",
        rich_help_panel=_TRAINING,
    ),
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
Schedule = Annotated[str | None, typer.Option(help="{schedules}.", rich_help_panel=_TRAINING)]
Dtype = Annotated[
    str | None,
    typer.Option(
        help="{dtypes}; bfloat16 rounds forward and backward passes (autocast), never the weights.",
        rich_help_panel=_TRAINING,
    ),
]
Compile = Annotated[
    bool,
    typer.Option(
        "--compile",
        help="Compile gradients (torch.compile) where that pays, as measured at the start.",
        rich_help_panel=_TRAINING,
    ),
]
EvalEvery = Annotated[
    str | None,
    typer.Option(
        help="Steps between evaluations; epoch: of all data, after each, the default but of "
        "`threshold` where it searches the learning rate; tenth, its default: evaluation takes "
        "at most a tenth of training, far from the goal on a part of large data; auto: as tenth, "
        "but all data at the end.",
        metavar="N|epoch|tenth|auto",
        rich_help_panel=_TRAINING,
    ),
]


def given(**values: Any) -> dict[str, Any]:
    """Return the options that were given: what is left out keeps the library's own default."""
    return {name: value for name, value in values.items() if value is not None}


def check_goals(subject: Subject, goals: Iterable[Goal]) -> None:
    """Refuse goals that a problem has no metric for, before anything is trained."""
    from subspan.problems.base import AbstractProblem

    for goal in goals:
        if isinstance(subject, AbstractProblem):
            subject.check_metric(goal.metric)


def method_for(subject: Subject, text: str, method: Method) -> Method | None:
    """Return the method, or None for a function, which chooses its own subspace."""
    from subspan.problems.base import AbstractProblem

    if isinstance(subject, AbstractProblem) or text != "random":
        return method  # a function with a method is refused where it is trained
    return None


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
    device: Device = None
    workers: Workers = None
    executor: ExecutorName = None
    ray_address: RayAddress = None
    max_failures: MaxFailures = None
    trial_timeout: TrialTimeout = None
    optimizer: Optimizer = None
    lr: LearningRate = None
    epochs: Epochs = None
    steps: Steps = None
    batch_size: BatchSize = None
    schedule: Schedule = None
    dtype: Dtype = None
    compile: Compile = False
    eval_every: EvalEvery = None

    def running(self) -> dict[str, Any]:
        """Return how trials are to run, as far as it was said, as the library's arguments."""
        names = ("workers", "executor", "max_failures", "trial_timeout")
        said = given(**{name: getattr(self, name) for name in names})
        if self.ray_address is not None:
            if self.executor != "ray":
                raise invalid("--ray-address", expected="--executor ray", got=repr(self.executor))
            from subspan.trials.executors.ray import Ray

            said["executor"] = Ray(self.workers, address=self.ray_address)
        return said

    @property
    def lr_range(self) -> tuple[float, float] | None:
        """The learning rates to search, where `--lr LOW:HIGH` names them."""
        if self.lr is None or ":" not in self.lr:
            return None
        low, _, high = self.lr.partition(":")
        return number("lr", low), number("lr", high)

    def refuse_lr_range(self) -> None:
        """Refuse `--lr LOW:HIGH` where a learning rate is chosen at each d, not over all."""
        if self.lr_range is not None:
            raise invalid("--lr", expected="a number, or auto", got=repr(self.lr))

    def load(
        self, name: str, files: dict[str, ModuleType] | None = None, *, lr: str | None = None
    ) -> tuple[Subject, TrainSpec | LoopSpec]:
        """Load a problem or function, and its `default_spec` changed in the fields given.

        Args:
            name: of the problem, or its file.
            files: as for `target.load_subject`.
            lr: the learning rate where none is given; None leaves it to the problem.
        """
        from subspan.cli.target import load_subject
        from subspan.spec import AUTO, TrainSpec

        problem = load_subject(name, self.data_dir, self.subset, self.device, files)
        names = ("optimizer", "epochs", "steps", "schedule", "dtype")
        changes = given(**{field: getattr(self, field) for field in names})
        wanted = self.lr
        if wanted is None and (
            isinstance(problem.default_spec, TrainSpec) or problem.lr_range is not None
        ):
            wanted = lr
        if wanted is not None:
            ranged = self.lr_range is not None or wanted == AUTO
            changes["lr"] = AUTO if ranged else number("lr", wanted)
        if self.batch_size is not None:
            full = self.batch_size == "full"
            changes["batch_size"] = None if full else integer("batch-size", self.batch_size)
        if self.eval_every is not None:
            changes["eval_every"] = _evaluations(self.eval_every)
        if self.compile:
            changes["compile"] = True
        if "epochs" in changes and "steps" in changes:
            raise invalid(
                "--epochs, --steps", expected="one of the two", got="both", remedy="Drop one."
            )
        if not isinstance(problem.default_spec, TrainSpec) and changes.keys() - {"lr"}:
            named = ", ".join(f"--{field.replace('_', '-')}" for field in changes.keys() - {"lr"})
            raise invalid("option", expected="--lr alone, for a function", got=named)
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
    """See that a figure can be drawn and saved, and make its folder, before hours of training."""
    if stem is None:
        return
    try:
        from subspan.report.figure import figure_places
    except ValueError as error:  # matplotlib reads MPLBACKEND when it is imported
        raise invalid(
            "MPLBACKEND",
            expected="one that matplotlib knows",
            got=repr(os.environ.get("MPLBACKEND", "")),
            remedy="Unset it: figures are drawn into files.",
        ) from error
    figure_places("--figure", stem)
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


def number(option: str, text: str) -> float:
    """Parse one number of an option."""
    try:
        return float(text)
    except ValueError:
        raise invalid(f"--{option}", expected="a number", got=repr(text)) from None


def _evaluations(text: str) -> int | str | None:
    """Parse `--eval-every`."""
    from subspan.spec import AUTO, TENTH

    if text in (AUTO, TENTH):
        return text
    if text == "epoch":
        return None
    try:
        return int(text)
    except ValueError:
        expected = "a number of steps, epoch, tenth, or auto"
        raise invalid("--eval-every", expected=expected, got=repr(text)) from None


def integers(option: str, text: str) -> list[int]:
    """Parse a list like `8,16,32`."""
    return [integer(option, part.strip()) for part in text.split(",") if part.strip()]

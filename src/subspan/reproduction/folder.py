"""`ExperimentFolder`: what `experiments/NAME` holds, and the functions that its file gives.

`experiment.py` there has:

- a docstring, whose first line is the question that is asked;
- `SCALES`, for `"cpu"` and `"full"` a dictionary of settings: how many rows, repeats, goals;
- `steps(lab) -> Iterable[Step]`, what is trained or computed, in parts that each can be resumed;
- `numbers(trials) -> {name: Estimate}`, what the stored trials say, without training;
- `draw(trials) -> Figure`.

Beside it lie `README.md`, `trials.db` (what was trained at the scale of a CPU), `expected.json`
(its numbers, and the bands that a run anew must keep to) and `figure.png`, `.svg`, `.pdf`.
"""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from subspan.errors import StoreError, invalid, unknown

SCALES = ("cpu", "full")
_FUNCTIONS = ("steps", "numbers", "draw")


@dataclass(frozen=True)
class ExperimentFolder:
    """One experiment.

    Args:
        path: its folder.
    """

    path: Path

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def trials(self) -> Path:
        """What was trained at the scale of a CPU: a store that any command reads."""
        return self.path / "trials.db"

    @property
    def figure(self) -> Path:
        """The stem of its figure."""
        return self.path / "figure"

    @property
    def expected(self) -> Path:
        """Its numbers, with the bands that they must keep to."""
        return self.path / "expected.json"

    def work(self, scale: str) -> Path:
        """The store that a run at a scale fills and goes on with, which is not committed."""
        return self.path / f"{scale}.db"

    @cached_property
    def module(self) -> ModuleType:
        """The functions of `experiment.py`.

        Raises:
            InputError: it lacks one of what an experiment has.
        """
        file = self.path / "experiment.py"
        spec = importlib.util.spec_from_file_location(f"experiment_{self.name}", file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        missing = [name for name in _FUNCTIONS if not callable(getattr(module, name, None))]
        scales = getattr(module, "SCALES", None)
        if missing or not isinstance(scales, dict) or set(scales) != set(SCALES):
            raise invalid(
                f"{file.parent.name}/{file.name}",
                expected=f"functions {', '.join(_FUNCTIONS)}, and SCALES of {', '.join(SCALES)}",
                got=f"none of {', '.join(missing)}" if missing else f"SCALES = {scales!r}",
            )
        return module

    @property
    def question(self) -> str:
        """What is asked, in a sentence."""
        return (self.module.__doc__ or "").strip().partition("\n")[0]

    def settings(self, scale: str) -> dict[str, Any]:
        """Return the settings of a scale.

        Raises:
            InputError: there is no such scale.
        """
        if scale not in SCALES:
            raise unknown("scale", scale, list(SCALES))
        return dict(self.module.SCALES[scale])

    def read_expected(self) -> dict[str, Any]:
        """Return the expected numbers by name.

        Raises:
            StoreError: there are none, or they cannot be read.
        """
        try:
            found = json.loads(self.expected.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise StoreError(
                f"{self.name}: expected numbers in expected.json, got none ({error}). "
                f"`subspan experiment {self.name}` makes them."
            ) from error
        numbers = found.get("numbers") if isinstance(found, dict) else None
        if not isinstance(numbers, dict):
            raise StoreError(f"{self.name}: expected numbers by name in expected.json, got none.")
        return numbers


def names(folder: Path) -> list[str]:
    """Return the names of the experiments in a folder."""
    return sorted(file.parent.name for file in folder.glob("*/experiment.py"))


def find(name: str, folder: Path) -> ExperimentFolder:
    """Return an experiment.

    Args:
        name: of its folder; `-` is `_`.
        folder: that holds the experiments.

    Raises:
        InputError: there is none of that name, or no such folder.
    """
    known = names(folder)
    if not known:
        raise invalid(
            "--folder",
            expected="a folder of experiments",
            got=repr(str(folder)),
            remedy="They lie in the repository, beside the package's source: run this in a "
            "checkout of it, or name the folder.",
        )
    wanted = name.replace("-", "_")
    if wanted not in known:
        raise unknown("experiment", name, known)
    return ExperimentFolder(folder / wanted)

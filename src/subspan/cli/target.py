"""What a command is about: a registered problem, or what stands in a user's own file."""

from __future__ import annotations

import importlib.util
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from subspan import tracebacks
from subspan.cli import signals
from subspan.errors import invalid
from subspan.printable import cut, printable

if TYPE_CHECKING:
    from subspan.problems.base import AbstractProblem
    from subspan.trials.runner import Subject

EXIT_TRACEBACK = 1


class FileFailed(Exception):
    """A user's file raised, and its traceback was printed: the kind of the error, its text."""


def shown(error: Exception) -> FileFailed:
    """Print an error as Python shows it to who runs the file; return what ends the command."""
    begin = tracebacks.of_user(error.__traceback__)  # none, where the file cannot be parsed
    lines = traceback.format_exception(type(error), error, begin)
    print(printable("".join(lines), lines=True), end="", file=sys.stderr)
    return FileFailed(type(error).__name__, str(error))


def load_problem(
    name: str, data_dir: Path | None, subset: int | None, device: str | None
) -> AbstractProblem:
    """Load a problem with those options that were given.

    Raises:
        InputError: it is a function, which has weights that nobody else knows.
    """
    from subspan.problems.base import AbstractProblem

    loaded = load_subject(name, data_dir, subset, device)
    if not isinstance(loaded, AbstractProblem):
        raise invalid("problem", expected="a problem, whose weights are known", got=repr(loaded))
    return loaded


def load_subject(
    name: str,
    data_dir: Path | None,
    subset: int | None,
    device: str | None,
    files: dict[str, ModuleType] | None = None,
) -> Subject:
    """Load a problem, or what stands in a file; `files` that were run are not run again.

    Raises:
        InputError: there is no such problem, option of it, or device.
    """
    from subspan import problems
    from subspan.problems import devices
    from subspan.problems.base import AbstractProblem

    if device is not None:
        devices.find(device)  # before data is read
    named = {"data_dir": data_dir, "subset": subset}
    options: dict[str, Any] = {key: value for key, value in named.items() if value is not None}
    if not is_file(name):
        loaded: Subject = problems.load(name, **options)
    elif options:
        said = ", ".join(f"--{option.replace('_', '-')}" for option in options)
        raise invalid("option", expected="none of a registered problem's", got=said)
    else:
        loaded = load_from_file(name, files)
    if device is None:
        return loaded
    if isinstance(loaded, AbstractProblem):
        return loaded.to(device)
    raise invalid(
        "--device",
        expected="none for a function, which chooses its own",
        got=repr(device),
        remedy="Let it move its model there.",
    )


def is_file(text: str) -> bool:
    """Whether a text names something in a file of Python."""
    path, _, name = text.rpartition(":")
    return path.endswith(".py") and bool(name)


def load_from_file(text: str, files: dict[str, ModuleType] | None = None) -> Subject:
    """Run a file and return the function made `trainable`, or the `Problem`, of a name in it.

    What the file raises is shown as Python shows it, and ends the command.

    Args:
        text: FILE.py:NAME.
        files: by path, those that were run already; this one joins them. None: none.

    Raises:
        InputError: there is no such file or name, or it is neither of the two.
    """
    from subspan.trials.executors.shipping import by_value
    from subspan.trials.runner import Subject

    path, _, name = text.rpartition(":")
    if not os.path.isfile(path):  # which knows no name that is too long either
        raise invalid("problem", expected=f"a file at {cut(path)}", got="none")
    files = {} if files is None else files
    if path not in files:
        files[path] = _run(Path(path))
        by_value(files[path])  # another process cannot import it by its name
    module = files[path]
    if not hasattr(module, name):
        own = [key for key, value in vars(module).items() if isinstance(value, Subject)]
        raise invalid(
            "problem", expected=f"one of {', '.join(own) or 'none'} in {path}", got=repr(name)
        )
    value = getattr(module, name)
    if not isinstance(value, Subject):
        raise invalid(
            "problem",
            expected="a Problem, or a function under @subspan.trainable(name=..., max_dim=...)",
            got=f"{name} = {value!r}",
        )
    return value


def _run(path: Path) -> ModuleType:
    """Run a file as a module of its own, with its folder on the path, as `python FILE` has it.

    Raises:
        FileFailed: it raised.
        InputError: it ended by `sys.exit`.
    """
    name = path.stem
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.resolve().parent))
    before: Any = sys.modules.get(name)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        if before is not None:
            sys.modules[name] = before
        signals.check()  # an import that a signal cut short
        if isinstance(error, SystemExit):
            raise invalid(
                "problem",
                expected=f"{path} to come to its end when it is run",
                got=f"{error!r} in it",
                remedy="Put what is to run as a script alone under if __name__ == '__main__'.",
            ) from None
        raise shown(error) from None
    return module

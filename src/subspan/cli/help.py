"""Help with the names that the registries hold, looked up when help is asked for.

A help text of an option may have `{methods}` and so on in it, a word of `LISTS`. So no list of
names is written a second time, and nothing is loaded (PyTorch takes seconds) before it is read.
"""

from __future__ import annotations

from collections.abc import Callable

import typer
from typer.core import TyperCommand

_SHOWN = 6  # problems; there are dozens


class Command(TyperCommand):
    """A command whose options' help is filled in from the registries."""

    def format_help(self, ctx: typer.Context, formatter: object) -> None:  # type: ignore[override]
        """Write the help, with every word of `LISTS` replaced by its names."""
        for parameter in self.params:
            text = getattr(parameter, "help", None)
            if text:
                parameter.help = filled(text)  # type: ignore[attr-defined]
        super().format_help(ctx, formatter)  # type: ignore[arg-type]


def filled(text: str) -> str:
    """Return a help text with the names in it."""
    for word, names in LISTS.items():
        if f"{{{word}}}" in text:
            text = text.replace(f"{{{word}}}", names())
    return text


def _methods() -> str:
    from subspan.subspaces.registry import METHODS

    return ", ".join(
        f"{name}:{form.short.upper()}" if form.required else name for name, form in METHODS.items()
    )


def _maps() -> str:
    from subspan import maps

    return ", ".join(maps.names())


def _problems() -> str:
    from subspan import problems

    names = problems.names()
    return f"{', '.join(names[:_SHOWN])}, … {len(names)} in all"


def _optimizers() -> str:
    from subspan.optimizers import OPTIMIZERS

    return ", ".join(OPTIMIZERS)


def _schedules() -> str:
    from subspan.spec import SCHEDULES

    return ", ".join(SCHEDULES)


def _dtypes() -> str:
    from subspan.spec import DTYPES

    return ", ".join(DTYPES)


def _metrics() -> str:
    from subspan.metrics import METRICS

    return ", ".join(METRICS)


def _executors() -> str:
    from subspan.trials.executors.registry import EXECUTORS

    return ", ".join(EXECUTORS)


LISTS: dict[str, Callable[[], str]] = {
    "methods": _methods,
    "maps": _maps,
    "problems": _problems,
    "optimizers": _optimizers,
    "schedules": _schedules,
    "dtypes": _dtypes,
    "metrics": _metrics,
    "executors": _executors,
}

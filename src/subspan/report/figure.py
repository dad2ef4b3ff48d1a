"""What all figures share: a canvas without global state, colours, axes in d, saving."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from subspan.errors import StoreError, invalid, unknown
from subspan.goals import Goal
from subspan.printable import label as label
from subspan.printable import shown
from subspan.success.records import Experiment

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito (2008), told apart by colour-blind readers.
BLUE, VERMILION, GREEN, ORANGE = "#0072B2", "#D55E00", "#009E73", "#E69F00"
INK, GREY, PALE = "#222222", "#6B6B6B", "#DDDDDD"
SERIES = (BLUE, VERMILION, GREEN, ORANGE, "#CC79A7", "#56B4E9", INK)  # of lines in turn
LINE = 105  # characters that fit under a figure
FORMATS = ("png", "svg", "pdf")
_STYLE: Any = {
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.labelsize": 10,
    "axes.linewidth": 0.8,
    "axes.titlelocation": "left",
    "axes.titlesize": 12,
    "font.size": 9,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "pdf.fonttype": 42,
    "svg.hashsalt": "subspan",
    "text.color": INK,
    "xtick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.color": GREY,
    "ytick.labelcolor": INK,
}


# Widths in inches: a figure's own for the screen, else of a journal's column and of its page.
Style = Literal["screen", "column", "page"]
_WIDTHS: dict[str, float | None] = {"screen": None, "column": 3.35, "page": 6.9}
_PAPER: Any = {
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.titlesize": 8,
    "font.size": 8,
    "legend.fontsize": 7,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
}
_SERIF: Any = {  # both come with matplotlib
    "font.family": "serif",
    "font.serif": ["STIXGeneral", "DejaVu Serif"],
    "mathtext.fontset": "stix",
}


def style() -> AbstractContextManager[None]:
    """Return the context in which figures are drawn; matplotlib's settings are put back after."""
    return matplotlib.rc_context(_STYLE)


@dataclass(frozen=True)
class Canvas:
    """What a figure is drawn on.

    Args:
        figure: the whole.
        axes: the part to draw in.
        paper: whether it is for a paper, whose caption holds the title and the provenance.
        own: whether the figure is this drawing's alone.
        narrow: whether it is a column wide: legends go below.
    """

    figure: Figure
    axes: Axes
    paper: bool
    own: bool
    narrow: bool

    def title(self, text: str) -> None:
        """Write the title; none in a paper."""
        if not self.paper:
            self.axes.set_title(text, pad=8, fontweight="bold")

    def note(self, line: str) -> None:
        """Write the provenance along the bottom; none in a paper or in a part of a figure."""
        if self.own and not self.paper:
            add_provenance(self.figure, line)

    def legend_below(self) -> dict[str, Any]:
        """Return where a legend goes that has no room beside the curves."""
        place = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.2 if self.paper else -0.13)}
        return {**place, "ncols": 1 if self.narrow else 2, "columnspacing": 1.0}


@contextlib.contextmanager
def canvas(
    ax: Axes | None,
    style: Style,
    serif: bool,
    width: float = 6.8,
    height: float = 4.4,
) -> Iterator[Canvas]:
    """Give what to draw on, under the style's settings, which are put back after.

    Args:
        ax: axes to draw in; None makes a figure.
        style: `"screen"`: `width` × `height` inches, with a title and the provenance; `"column"`
            (3.35 inches wide) and `"page"` (6.9): smaller letters, and neither of the two.
        serif: letters as in a paper set in Times.
        width: of the figure for the screen, in inches.
        height: likewise.

    Raises:
        InputError: an unknown style.
    """
    if style not in _WIDTHS:
        raise unknown("style", str(style), list(_WIDTHS))
    wide = _WIDTHS[style]
    settings = {**_STYLE, **(_PAPER if wide else {}), **(_SERIF if serif else {})}
    with matplotlib.rc_context(settings):
        if ax is not None:
            whole = cast(Figure, ax.get_figure(root=True))
            yield Canvas(whole, ax, wide is not None, False, style == "column")
            return
        ratio = max(height / width, 0.72) if style == "column" else height / width
        size = (width, height) if wide is None else (wide, wide * ratio)
        figure, axes = new_figure(*size)
        yield Canvas(figure, axes, wide is not None, True, style == "column")


def new_figure(width: float = 6.8, height: float = 4.4) -> tuple[Figure, Axes]:
    """Return a figure of the given size in inches, on its own canvas, with one axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def plain_number(value: float) -> str:
    """Write a dimension or ratio: `1,024`, `2.5`, `0.1`."""
    return f"{value:,.0f}" if value >= 10 or value == round(value) else f"{value:.2g}"


def pretty(goal: Goal) -> str:
    """Write a goal for readers: `train loss ≤ 0.1`."""
    sign = "≥" if goal.higher else "≤"
    return f"{label(goal.split)} {label(goal.metric)} {sign} {goal.level:g}"


def dims_axis(axes: Axes, low: float, high: float, ambient_dim: int) -> None:
    """Make the x axis d on a log scale, with the compression ratio D/d along the top."""
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.set_xlabel("training dimension d (random degrees of freedom)")
    subs = (1.0, 2.0, 5.0) if high / low < 200 else (1.0,)
    write = FuncFormatter(lambda value, _: plain_number(value))
    inverse: Any = lambda d: ambient_dim / np.maximum(d, 1e-9)  # noqa: E731
    top = axes.secondary_xaxis("top", functions=(inverse, inverse))
    top.set_xlabel("compression ratio D/d", color=GREY, fontsize=9)
    for axis in (axes.xaxis, top.xaxis):
        axis.set_major_locator(LogLocator(subs=subs, numticks=12))
        axis.set_major_formatter(write)
        axis.set_minor_locator(NullLocator())
        axis.set_minor_formatter(NullFormatter())
    top.tick_params(colors=GREY, labelcolor=GREY, labelsize=8)


def provenance(experiment: Experiment | None, ambient_dim: int, samples: str) -> str:
    """Return the line under a figure: problem, D, method, training, seed and sample counts."""
    parts = [f"D = {ambient_dim:,}", samples]
    if experiment is not None:
        spec = experiment.spec
        method = ", ".join(
            label(v) if k == "name" else label(f"{k} {v}")
            for k, v in experiment.method.items()
            if isinstance(v, str | int | float)
        )
        seeds = ", ".join(map(str, experiment.seeds))
        parts = [
            label(experiment.problem.get("name", "problem")),
            parts[0],
            method,
            *_training(spec),
            f"seed {seeds}",
            samples,
        ]
    line = "  ·  ".join(parts)
    return line if len(line) < LINE else "  ·  ".join(parts[:-1]) + "\n" + parts[-1]


def _training(spec: dict[str, Any]) -> list[str]:
    """Say how trials were trained; nothing where that is a function's own affair."""
    lr = spec.get("lr")
    rate = "" if lr is None else "at the best lr" if isinstance(lr, str) else f"lr {lr:g}"
    if "optimizer" not in spec:
        return [rate] if rate else []
    length = f"{spec['steps']} steps" if spec.get("steps") else f"{spec.get('epochs')} epochs"
    rounded = ", bfloat16" if spec.get("dtype") == "bfloat16" else ""
    return [f"{spec['optimizer']} {rate}, {length}{rounded}"]


def add_provenance(figure: Figure, line: str) -> None:
    """Write the provenance line along the bottom of the figure."""
    figure.supxlabel(line, x=0.99, ha="right", fontsize=7, color=GREY)


def figure_places(
    argument: str, stem: str | Path, formats: tuple[str, ...] = FORMATS
) -> list[Path]:
    """Return the files that a figure is saved as: STEM.png, STEM.svg, STEM.pdf.

    Args:
        argument: what the stem is called, for the error.
        stem: path without the ending; one of the three endings is left out.
        formats: endings.

    Raises:
        InputError: the stem is empty, a folder or too long, or a folder stands where a file would.
    """
    path, expected = Path(stem), "a path whose last part is the figure's name"
    if path.name in ("", "..") or "\0" in str(path):
        raise invalid(argument, expected=expected, got=shown(str(stem)), remedy="figures/one is.")
    if path.suffix[1:] in FORMATS:
        path = path.with_suffix("")
        if path.name == "":
            raise invalid(argument, expected=expected, got=shown(str(stem)))
    places = [path.with_name(f"{path.name}.{ending}") for ending in formats]
    try:
        taken = [Path(stem)] if Path(stem).is_dir() else []
        for place in places:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                place.lstat()
                taken += [place] * (not place.is_file())  # a folder, a pipe: no figure's place
    except OSError as error:
        raise invalid(
            argument,
            expected=expected,
            got=f"{shown(str(stem))} ({error.strerror})",
            remedy="Choose a shorter name in a folder that you can enter.",
        ) from error
    if taken:
        raise invalid(
            argument,
            expected=expected,
            got=f"{taken[0]}, which is {'a folder' if taken[0].is_dir() else 'no file'}",
            remedy=f"Name a file in it: {Path(stem) / 'figure'}.",
        )
    return places


def save_figure(figure: Figure, stem: str | Path, formats: tuple[str, ...] = FORMATS) -> list[Path]:
    """Save a figure as STEM.png, STEM.svg and STEM.pdf; the same figure gives the same bytes.

    Args:
        figure: what `draw_…` returned.
        stem: path without the ending; its folder is made if missing.
        formats: endings out of png, svg, pdf.

    Returns:
        The files written.

    Raises:
        InputError: an unknown format, or a stem that is no name of a file.
        StoreError: the files cannot be written.
    """
    for ending in formats:
        if ending not in FORMATS:
            raise invalid("formats", expected=f"endings out of {FORMATS}", got=repr(ending))
    places = figure_places("stem", stem, formats)
    metadata = {
        "png": {"Software": "subspan"},
        "svg": {"Date": None, "Creator": "subspan"},
        "pdf": {"CreationDate": None, "Creator": "subspan", "Producer": None},
    }
    paths = []
    try:
        places[0].parent.mkdir(parents=True, exist_ok=True)
        with style():
            for path, ending in zip(places, formats, strict=True):
                figure.savefig(path, dpi=200, metadata=metadata[ending])
                paths.append(path)
    except OSError as error:
        raise StoreError(
            f"figure: cannot write {stem}: {error.strerror or error}. Choose another folder."
        ) from error
    return paths

"""The view in a terminal and the bar: what they show, of rounds made up and of real ones."""

import contextlib
import io
import math
import pickle
import sys
import types

import pytest
import rich.console
from rich.console import Console

import subspan as ss
from subspan.cli import console as cli_console
from subspan.cli.live import Live, interval_line, trials_needed
from subspan.trials import progress as heard
from subspan.trials.progress import Count, Ended, Known, Round

START = Known(1, None, 1, None, (1, 1024), 1.5, 0, 100, 0.0, ((32, 0.05), (64, 0.02)))
LATER = Known(2, 32, 16, 64, (1, 1024), 2.0, 10, 100, 1.5, ((32, None), (45, None)))


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def drawn(view):
    out = io.StringIO()
    Console(file=out, width=100, force_terminal=False).print(view.picture())
    return out.getvalue()


def view_of(clock):
    return Live(Console(file=io.StringIO(), force_terminal=True, width=100), "trials", clock)


def test_a_round_shows_estimate_running_trials_cost_and_time_left():
    clock = Clock()
    view = view_of(clock)
    view(0, 2, Round(START))
    assert "running  d=32 at lr 0.05, d=64 at lr 0.02" in drawn(view)
    assert "left" not in drawn(view), "no pace is known before a trial"
    clock.now = 30.0
    view(1, 2, Ended("d=64 finished: loss 0.5", 64))
    text = drawn(view)
    assert "running  d=32 at lr 0.05\n" in text.replace(" \n", "\n")
    assert "last     d=64 finished: loss 0.5" in text
    view(2, 2, Ended("d=32 stopped: loss 0.1", 32))
    view(0, 2, Round(LATER))
    text = drawn(view)
    (line,) = (line for line in text.splitlines() if "round 2," in line)
    assert (
        "round 2, 2 of at most 92 trials, 1.5 trainings spent, about 7:30 left, 0:30 gone" in line
    )
    assert "d* 32" in text
    assert "[16, 64]" in text
    # two trials in 30 s; log(64/16) is twice log 2, so four times the 10 trials: 30 to go
    assert view.seconds_left() == pytest.approx(15.0 * 30)


def test_a_grid_shows_how_many_are_done_and_the_time_left():
    clock = Clock()
    view = view_of(clock)
    view(4, 10, "found in the store")
    assert view.seconds_left() is None, "what was found took no time"
    clock.now = 8.0
    view(6, 10, Ended("d=8 finished", 8))
    assert "6 of 10 trials, about 0:32 left, 0:08 gone" in drawn(view)


def test_names_in_messages_are_no_markup_and_no_escapes():
    view = view_of(Clock())
    view(1, 2, "[red]x\x1b[2J")
    assert "[red]x\\x1b[2J" in drawn(view)


def test_an_interval_is_drawn_on_a_logarithmic_axis():
    known = Known(2, 32, 8, 128, (1, 1024), 1.5, 4, 100, None, ())
    assert interval_line(known, ".=o", 11) == "...==o==..."
    above = Known(2, None, 256, None, (1, 1024), 1.5, 4, 100, None, ())
    assert interval_line(above, ".=o", 11) == "........==="
    assert interval_line(Known(1, 1, 1, 1, (1, 1), 1.5, 1, 9, None, ()), ".=o", 3) == "o.."


def test_trials_needed_are_at_most_those_allowed():
    assert trials_needed(START) == 100
    assert trials_needed(LATER) == 40
    narrow = Known(9, 30, 29, 31, (1, 1024), 1.5, 50, 100, None, ())
    assert trials_needed(narrow) == 50


def test_counts_of_rounds_add_up():
    count = Count()
    for done, total in [(0, 8), (8, 8), (8, 8), (0, 4), (2, 4)]:
        count(done, total)
    assert (count.done, count.total, count.under_way) == (18, 20, 2)


@pytest.mark.parametrize("lr", ["auto", 0.05])
def test_a_threshold_tells_of_its_rounds_and_is_the_same_watched(lr):
    problem = ss.problems.load("digits-mlp", subset=200)
    events = []
    settings = {
        "spec": ss.TrainSpec(lr=lr, epochs=3),
        "max_trials": 8,
        "width": 4,
        "seed": 0,
        "workers": 1,
    }
    watched = ss.threshold(
        problem, "random", "loss<=1.5", progress=lambda *event: events.append(event), **settings
    )
    alone = ss.threshold(problem, "random", "loss<=1.5", **settings)
    assert repr(watched.to_json()) == repr(alone.to_json())
    rounds = [message.known for _, _, message in events if isinstance(message, Round)]
    assert [known.number for known in rounds] == list(range(1, len(rounds) + 1))
    assert len(rounds) >= 2
    assert [known.trials for known in rounds][:2] == [0, len(rounds[0].asked)]
    assert all(known.span == (1, problem.ambient_dim) for known in rounds)
    assert rounds[0].trainings == 0
    assert 0 < rounds[1].trainings < math.inf
    ended = [message.dim for _, _, message in events if isinstance(message, Ended)]
    assert sorted(ended[: len(rounds[0].asked)]) == sorted(dim for dim, _ in rounds[0].asked)


def test_a_terminal_gets_the_view_and_a_file_none_of_it(monkeypatch, capsys):
    with cli_console.watch(None) as progress:
        progress(0, 2, Round(START))
        progress(1, 2, Ended("d=8 finished", 8))
    assert capsys.readouterr() == ("", "")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    with cli_console.watch(None) as progress:
        progress(0, 2, Round(START))
        progress(2, 2, "d=8 finished")
    done = capsys.readouterr()
    assert done.out == ""
    assert "round 1" in done.err


def test_progress_true_is_a_bar_and_anything_else_is_refused(monkeypatch, capsys):
    problem = ss.problems.load("digits-mlp", subset=60)
    settings = {"dims": [4], "repeats": 2, "spec": ss.TrainSpec(steps=2), "workers": 1}
    ss.run(problem, "random", progress=True, **settings)
    assert capsys.readouterr() == ("", ""), "no terminal: nothing within half a minute"
    monkeypatch.setattr(heard, "SECONDS_BETWEEN_LINES", -1.0)
    ss.run(problem, "random", progress=True, **settings)
    done = capsys.readouterr()
    assert done.out == ""
    assert "2/2 trials, d=4 finished" in done.err
    monkeypatch.setenv("FORCE_COLOR", "1")
    ss.run(problem, "random", progress=True, **settings)
    done = capsys.readouterr()
    assert done.out == ""
    assert "2/2" in done.err
    with pytest.raises(ss.InputError, match="True for a bar"):
        ss.run(problem, "random", progress="yes", **settings)


def test_in_a_notebook_the_bar_is_the_notebooks(monkeypatch):
    """IPython and ipywidgets are stood in for: rich gives them its HTML."""
    shown, output = [], contextlib.nullcontext()
    output.clear_output = lambda wait: None
    parts = {
        "IPython": {},
        "IPython.display": {"display": lambda what: shown.append(what)},
        "ipywidgets": {"Output": lambda: output},
    }
    for name, held in parts.items():
        module = types.ModuleType(name)
        module.__dict__.update(held)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(rich.console, "_is_jupyter", lambda: True)
    problem = ss.problems.load("digits-mlp", subset=60)
    ss.run(problem, "random", [4], 2, ss.TrainSpec(steps=2), workers=1, progress=True)
    pages = [what._repr_mimebundle_([], [])["text/html"] for what in shown if what is not output]
    assert any("2/2" in page for page in pages)


@pytest.mark.parametrize("message", [Round(LATER), Ended("d=8 finished", 8)])
def test_messages_cross_processes(message):
    """As where a driver says what it hears by a queue."""
    again = pickle.loads(pickle.dumps(message))
    assert type(again) is type(message)
    assert (again, vars(again)) == (message, vars(message))

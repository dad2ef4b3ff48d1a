"""SIGTERM and SIGHUP end a command as Ctrl-C does; no signal is swallowed."""

import contextlib
import functools
import os
import signal
import subprocess
import sys
import time

import pytest

import subspan
from subspan.trials.dispatch import Dispatch

pytestmark = pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
MINE = """
import time
import subspan as ss

@ss.trainable(name="slow", max_dim=100)
def slow(trial):
    time.sleep(0.05)
    return {"loss": 1.0}
"""


def default(*numbers):
    for number in numbers:
        signal.signal(number, signal.SIG_DFL)


@pytest.mark.fault("SIGTERM, SIGHUP, SIGINT", "ends with what is safe and how to go on")
@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGHUP", 129), ("SIGINT", 130)])
def test_each_ends_with_what_is_safe_and_how_to_go_on(name, code, tmp_path):
    number = getattr(signal, name)
    (tmp_path / "mine.py").write_text(MINE)
    process = subprocess.Popen(
        [sys.executable, "-m", "subspan", "surface", "mine.py:slow", "--dims", "1,2,3",
         "--repeats", "5000", "--goals", "loss<=0.1", "--store", "runs.db", "--workers", "2"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=functools.partial(default, number),
    )  # fmt: skip
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        if (tmp_path / "runs.db-wal").exists():
            time.sleep(1)
            break
        time.sleep(0.05)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code, (process.returncode, out, err)
    assert out == ""
    assert "Traceback" not in err
    word = "Interrupted" if name == "SIGINT" else f"Ended by {name}"
    assert f"{word} after" in err
    assert "safe in runs.db. To go on: subspan surface" in err


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_a_terminal_gets_its_cursor_back(name, tmp_path):
    number = getattr(signal, name)
    (tmp_path / "mine.py").write_text(MINE)
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "subspan", "surface", "mine.py:slow", "--dims", "1,2,3",
         "--repeats", "5000", "--goals", "loss<=0.1", "--workers", "2"],
        cwd=tmp_path, stdout=theirs, stderr=theirs, stdin=subprocess.DEVNULL,
        env={**os.environ, "TERM": "xterm"}, preexec_fn=functools.partial(default, number),
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # which is how a terminal ends
        while part := os.read(ours, 10_000):
            shown += part
            if number and b"\x1b[?25l" in shown:  # it is hidden: trials run
                process.send_signal(number)
                number = 0
    os.close(ours)
    assert process.wait(timeout=60) > 128, shown
    assert number == 0, shown
    assert shown.rfind(b"\x1b[?25h") > shown.rfind(b"\x1b[?25l"), shown[-1000:]


def test_one_that_is_ignored_stays_so(cli, monkeypatch):
    """As under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        monkeypatch.setattr(
            subspan.problems, "names", lambda: os.kill(os.getpid(), signal.SIGHUP) or []
        )
        assert cli("problems")[0] == 0
    finally:
        signal.signal(signal.SIGHUP, before)


class Final:
    """What its finalizer raises goes nowhere."""

    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)


@pytest.mark.fault("Ctrl-C in a finalizer", "not swallowed")
@pytest.mark.parametrize("goes_on", [True, False])
def test_a_ctrl_c_in_a_finalizer_is_not_swallowed(goes_on, cli, monkeypatch):
    done = []

    def threshold(*arguments, progress, **options):
        Final()
        for step in range(3 if goes_on else 0):
            progress(step, 3, "on")
            done.append(step)
        return subspan_threshold(*arguments, progress=lambda *event: None, **options)

    subspan_threshold = subspan.threshold
    monkeypatch.setattr(subspan, "threshold", threshold)
    monkeypatch.setattr(sys, "unraisablehook", sys.__unraisablehook__)  # it prints what is ignored
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # else as the shell left it
    try:
        code, _, err = cli("threshold quadratic --goal 'loss<=0.1' --workers 1 --json")
    finally:
        signal.signal(signal.SIGINT, before)
    assert code == 130
    assert err.startswith("Interrupted")
    assert "Traceback" not in err
    assert done == []


SLEEPS = """
import time
import subspan as ss
@ss.trainable(name="sleeps", max_dim=9)
def sleeps(trial):
    time.sleep(600)
"""


@pytest.mark.fault("Ctrl-C in an engine's callback", "not swallowed, though no trial ends")
def test_a_ctrl_c_that_goes_nowhere_ends_a_wait_for_long_trials(cli, monkeypatch, tmp_path):
    (tmp_path / "mine.py").write_text(SLEEPS)
    wait, lost = Dispatch.wait, []

    def first_lost(self, patience):
        if not lost:
            lost.append(patience)
            with contextlib.suppress(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.01)
        return wait(self, patience)

    monkeypatch.setattr(Dispatch, "wait", first_lost)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        line = f"surface {tmp_path / 'mine.py'}:sleeps --dims 1,2 --repeats 2 --goals 'loss<=1'"
        code, _, err = cli(f"{line} --workers 2")
    finally:
        signal.signal(signal.SIGINT, before)
    assert code == 130
    assert "Interrupted" in err
    assert len(lost) == 1


STARTING = """
import os, signal, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "subspan.cli.predict":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder())
from subspan.cli import main
main(["problems", *sys.argv[1:]])
"""


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_ctrl_c_while_the_commands_are_loaded_leaves_no_traceback(more):
    told = subprocess.run(
        [sys.executable, "-c", STARTING, *more], capture_output=True, text=True, check=False,
        preexec_fn=functools.partial(default, signal.SIGINT),
    )  # fmt: skip
    assert (told.returncode, told.stderr) == (130, "Interrupted. No trial was under way.\n")
    assert ("Interrupted" in told.stdout) == bool(more)


MADE_ANOTHER = """
import os, signal, time
try:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(5)
except KeyboardInterrupt:
    raise ImportError("initialization failed")
"""


def test_a_signal_that_c_code_made_another_error_of_is_still_a_signal(tmp_path):
    """An import that a signal cuts short ends in an ImportError: one of 100 ended so."""
    (tmp_path / "mine.py").write_text(MADE_ANOTHER)
    line = [sys.executable, "-m", "subspan", "threshold", "mine.py:f", "--goal", "loss<=1"]
    told = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert told.returncode == 128 + signal.SIGTERM, told.stderr
    assert "Ended by SIGTERM" in told.stderr
    assert "Traceback" not in told.stderr

"""Ray starts wholly or not at all: signals meanwhile, and addresses where nobody listens."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import types

import pytest

from subspan.errors import InputError
from subspan.trials.executors import ray as executor

pytestmark = pytest.mark.skipif(os.name != "posix", reason="POSIX signals")


class Starting:
    """Ray, as far as a start asks for it; like its C++ it takes SIGTERM for itself."""

    def __init__(self):
        self.done = []
        self._private = types.SimpleNamespace(
            utils=types.SimpleNamespace(set_sigterm_handler=self.theirs)
        )

    def theirs(self, handler):
        signal.signal(signal.SIGTERM, handler)

    def init(self, *numbers):
        self._private.utils.set_sigterm_handler(lambda *_: self.done.append("Ray's Python"))
        for number in numbers:
            os.kill(os.getpid(), number)
            time.sleep(0.01)
        signal.signal(signal.SIGTERM, lambda *_: self.done.append("Ray's C++"))
        self.done.append("started")

    def shutdown(self):
        self.done.append("ended")


@pytest.fixture
def ray():
    made = Starting()
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}

    def ours(number, frame):
        made.done.append(signal.Signals(number).name)
        raise KeyboardInterrupt

    for number in before:
        signal.signal(number, ours)
    try:
        yield made
        assert all(signal.getsignal(number) is ours for number in before)
        assert not signal.pthread_sigmask(signal.SIG_BLOCK, [])
        assert made._private.utils.set_sigterm_handler == made.theirs
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_is_handled_once_ray_has_started_and_ended(ray, name):
    with pytest.raises(KeyboardInterrupt), executor._wholly(ray):
        ray.init(getattr(signal, name))
    assert ray.done == ["started", "ended", name]


def test_a_second_one_is_handled_at_once(ray):
    with pytest.raises(KeyboardInterrupt), executor._wholly(ray):
        ray.init(signal.SIGINT, signal.SIGHUP)
    assert ray.done == ["SIGHUP", "SIGINT"]


def test_sigterm_that_nothing_handles_ends_python(ray):
    ours = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with pytest.raises(SystemExit, match="143"), executor._wholly(ray):
        ray.init(signal.SIGTERM)
    assert ray.done == ["started", "ended"]
    signal.signal(signal.SIGTERM, ours)


def test_a_process_begun_meanwhile_hears_sigterm(ray):
    with executor._wholly(ray):
        child = subprocess.Popen(["sleep", "60"], preexec_fn=lambda: None)  # as Ray begins its own
        child.terminate()
        assert child.wait(timeout=30) == -signal.SIGTERM


def test_an_address_where_nobody_listens_is_refused_before_ray_tries_it(monkeypatch):
    """It would try for 200 seconds, and hear no signal."""
    real = pytest.importorskip("ray", reason="ray is not installed")
    monkeypatch.setattr(real, "init", lambda **options: pytest.fail("Ray tries the address"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        with pytest.raises(InputError, match="ray_address: expected a Ray cluster that runs"):
            executor.Ray(address=f"127.0.0.1:{taken.getsockname()[1]}")


PROGRAM = """
import os, ray
from subspan.cli import main
init = ray.init
def begun(*arguments, **options):
    os.mkdir("begun")
    return init(*arguments, **options)
ray.init = begun
main()
"""


def of(folder):
    """Processes that a Ray cluster of this folder has."""
    psutil = pytest.importorskip("psutil", reason="psutil is not installed")
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if str(folder) in " ".join(process.cmdline()) or process.environ().get(
                "RAY_TMPDIR"
            ) == str(folder):
                found.append(process)
    return found


@pytest.mark.slow  # a cluster of its own takes its time to come
@pytest.mark.fault("SIGTERM, Ctrl-C while Ray starts", "Ray is ended too; no process is left")
@pytest.mark.parametrize("seconds", [0.1, 2.0, 4.0])
@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_signal_while_ray_starts_leaves_no_process(name, code, seconds, tmp_path):
    pytest.importorskip("ray", reason="ray is not installed")
    folder = tempfile.mkdtemp(prefix="r", dir="/tmp")  # sockets have short paths
    settings = {
        "RAY_TMPDIR": folder,
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }
    line = ["surface", "quadratic", "--dims", "10", "--goals", "loss<=0.3", "--executor", "ray"]
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *line, "--store", "runs.db", "--repeats", "2000"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"} | settings,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as running:  # fmt: skip
        until = time.monotonic() + 300
        while not (tmp_path / "begun").exists() and time.monotonic() < until:
            time.sleep(0.01)
        assert (tmp_path / "begun").exists()
        time.sleep(seconds)
        running.send_signal(getattr(signal, name))
        out, err = running.communicate(timeout=100)
    assert (running.returncode, out) == (code, ""), err
    assert err.startswith(("Interrupted after", "Ended by SIGTERM after"))
    assert len(err.splitlines()) == 1
    until = time.monotonic() + 20
    while of(folder) and time.monotonic() < until:
        time.sleep(0.2)
    left = of(folder)
    for process in left:
        process.kill()
    shutil.rmtree(folder, ignore_errors=True)
    assert left == []

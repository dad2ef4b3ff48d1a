"""What goes wrong around a sweep: memory, disks, logs, clocks. `make faults` prints the table."""

import multiprocessing
import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

import subspan as ss
from subspan.errors import StoreError
from subspan.testing.store_conformance import example_record
from subspan.trials.stores.sql import SCHEMA_VERSION, Store

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits and signals of Linux")


@pytest.mark.fault("out of memory in a worker", "a record of that; the others go on")
def test_a_worker_without_memory():
    @ss.trainable(name="large", max_dim=10)
    def large(trial):
        if trial.dim == 3:
            resource.setrlimit(resource.RLIMIT_AS, (2**20, resource.RLIM_INFINITY))
            try:
                bytearray(2**30)
            finally:
                most = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
                resource.setrlimit(resource.RLIMIT_AS, most)
        return {"loss": 0.5}

    records = ss.run(large, dims=[2, 3, 4], repeats=1, workers=2)
    assert [str(r.outcome) for r in records] == ["finished", "failed", "finished"]
    assert records[1].reason.startswith("out of memory")


@pytest.mark.fault("a limit on the size of files", "one clear error; what was reported is there")
def test_a_file_that_may_not_grow(tmp_path):
    code = """
import resource, signal, sys
from subspan.testing.store_conformance import example_record
from subspan.trials.stores.sql import Store
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = Store(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
try:
    for dim in range(10_000):
        store.add(example_record(dim=dim))
        print(dim, flush=True)
except Exception as error:
    print(type(error).__name__, error)
"""
    path = tmp_path / "runs.db"
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
    )
    *reported, last = done.stdout.splitlines()
    assert last.startswith("StoreError store: could not write")
    assert len(reported) > 10
    with Store(path, readonly=True) as store:
        assert {r.dim for r in store.records()} == set(range(len(reported)))


@pytest.mark.fault("the file vanishes in mid-sweep", "one clear error, not a word of success")
@pytest.mark.parametrize("replaced", [False, True])
def test_a_path_that_vanishes(replaced, tmp_path):
    path = tmp_path / "runs.db"
    with Store(path) as store:
        store.add(example_record(dim=1))
        shutil.copy(path, tmp_path / "other.db")
        path.unlink()
        if replaced:
            (tmp_path / "other.db").rename(path)
        with pytest.raises(StoreError, match="was removed or replaced while it was in use"):
            store.add(example_record(dim=2))


def write_and_die(path):
    store = Store(path)
    for dim in range(3):
        store.add(example_record(dim=dim))
    os.kill(os.getpid(), signal.SIGKILL)


def abandoned(path):
    """Leave a store as a killed process does, its trials in the log alone."""
    writer = multiprocessing.get_context("fork").Process(target=write_and_die, args=(path,))
    writer.start()
    writer.join()
    assert writer.exitcode == -signal.SIGKILL
    assert path.with_name("runs.db-wal").stat().st_size
    return path


@pytest.mark.fault("the write-ahead log is missing", "one clear error")
def test_a_log_that_is_gone(tmp_path):
    path = abandoned(tmp_path / "runs.db")
    log = path.with_name("runs.db-wal")
    kept = log.read_bytes()
    log.unlink()
    for readonly in (False, True):
        with pytest.raises(StoreError, match=r"expected the log runs\.db-wal.*got none"):
            Store(path, readonly=readonly)
    log.write_bytes(kept)
    with Store(path) as store:
        assert len(store) == 3
    with Store(path) as store:  # it ended well: neither is there now
        assert len(store) == 3


@pytest.mark.fault("the write-ahead log is garbage", "one clear error")
@pytest.mark.parametrize("garbage", [b"x", b"\xff" * 5000, b"\x37\x7f\x06\x82" + b"\0" * 99])
def test_a_log_that_is_garbage(garbage, tmp_path):
    path = abandoned(tmp_path / "runs.db")
    path.with_name("runs.db-wal").write_bytes(garbage)
    with pytest.raises(StoreError, match=r"expected the log .*got something else"):
        Store(path)


@pytest.mark.fault("a store of a negative schema", "refused, left alone")
@pytest.mark.parametrize("version", [-1, 0, -(2**31)])
def test_a_schema_that_none_had(version, tmp_path):
    path = tmp_path / "runs.db"
    with Store(path) as store:
        store.add(example_record())
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA user_version = {version}")
    db.close()
    for readonly in (False, True):
        with pytest.raises(StoreError, match=f"schema version of 1 … {SCHEMA_VERSION}"):
            Store(path, readonly=readonly)


@pytest.mark.fault("a clock jumps by a year", "the sweep ends, each trial once")
@pytest.mark.parametrize("jump", [365 * 86400.0, -365 * 86400.0])
def test_a_clock_that_jumps(jump, tmp_path, monkeypatch):
    calls, now = [], time.time

    @ss.trainable(name="jumpy", max_dim=10)
    def jumpy(trial):
        calls.append(trial.dim)
        if trial.dim == 2:
            monkeypatch.setattr(time, "time", lambda: now() + jump)
        return {"loss": 0.5}

    records = ss.run(jumpy, dims=[1, 2, 3, 4], repeats=1, workers=1, store=tmp_path / "s.db")
    assert calls == [1, 2, 3, 4]
    assert {str(r.outcome) for r in records} == {"finished"}


SWEEP = """
import sys
import subspan as ss
from subspan.cli import main

@ss.trainable(name="quick", max_dim=100)
def quick(trial):
    return {"loss": 1.0 / (1 + trial.dim)}
"""


@pytest.mark.fault("SIGTERM or SIGINT at any moment", "ends at once; nothing lost, none twice")
@pytest.mark.parametrize("signals", [6, pytest.param(100, marks=pytest.mark.slow)])
def test_a_signal_at_any_moment(signals, tmp_path):
    """From the first trial to the interpreter's end: it ends, and the store is whole."""
    (tmp_path / "mine.py").write_text(SWEEP)
    rng = random.Random(signals)
    line = [sys.executable, "-m", "subspan", "surface", "mine.py:quick", "--dims", "1,2,3",
            "--repeats", "60", "--goals", "loss<=0.3", "--workers", "2"]  # fmt: skip
    for i in range(signals):
        store = tmp_path / f"{i}.db"
        process = subprocess.Popen(
            [*line, "--store", str(store)], cwd=tmp_path, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip
        until = time.monotonic() + 60
        while not store.exists() and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 2.5))
        number = rng.choice([signal.SIGINT, signal.SIGTERM])
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
        # Python ends itself by SIGINT where its exception crossed an exec of text, as imports have.
        ended = (0, 128 + number, -number, -signal.SIGINT)
        assert process.returncode in ended, (out, err)
        assert "Traceback" not in err, err
        with Store(store) as opened:
            assert len(opened) == len({r.key for r in opened.records()}) <= 180
            if process.returncode == 0:
                assert len(opened) == 180

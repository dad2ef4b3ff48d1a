"""Several processes on one store share a sweep: each trial is trained once, whoever dies."""

import multiprocessing
import os
import signal
import sys
import time
from collections import Counter

import pytest

import subspan as ss
from subspan.trials import leases
from subspan.trials.leases import Leases
from subspan.trials.stores.base import TRIAL
from subspan.trials.stores.sql import Store

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked")
CONTEXT = multiprocessing.get_context("fork")


def drive(store, log, seconds, say):
    """Run the sweep, as one of several processes; say what it hears."""

    @ss.trainable(name="shared", max_dim=100)
    def shared(trial):
        with open(log, "a") as file:
            file.write(f"{trial.dim}:{trial.repeat}:{os.getppid()}\n")
        time.sleep(seconds)
        return {"loss": 1.0 / (1 + trial.dim)}

    records = ss.run(
        shared, dims=[1, 2, 3, 4], repeats=10, store=store, workers=2,
        progress=lambda *event: say.put(event),
    )  # fmt: skip
    say.put(("done", len(records), {str(r.outcome) for r in records}))
    say.close()
    say.join_thread()


def start(store, log, seconds):
    say = CONTEXT.Queue()
    process = CONTEXT.Process(target=drive, args=(store, log, seconds, say))
    process.start()
    return process, say


def heard(say):
    """All that a process says until it is done."""
    events = []
    while not events or events[-1][0] != "done":
        events.append(say.get(timeout=60))
    assert events[-1] == ("done", 40, {"finished"})
    return events


def check_shared(store, log):
    """Four processes begin at once; each trial is trained once, and each has all records."""
    drivers = [start(store, log, 0.2) for _ in range(4)]
    events = [event for _, say in drivers for event in heard(say)]
    for process, _ in drivers:
        process.join()
    lines = [line.split(":") for line in log.read_text().split()]
    assert max(Counter((dim, repeat) for dim, repeat, _ in lines).values()) == 1
    assert len(lines) == 40
    assert len({who for *_, who in lines}) > 1
    assert any("shares the trials with process " in str(event[2]) for event in events)
    with Store(store) as opened:
        assert len(opened) == 40
        assert opened.claims(TRIAL) == []


def check_takeover(store, log):
    """A driver is killed at work; another that waits for its trials has them soon."""
    first, say = start(store, log, 1.0)
    for _ in range(3):
        say.get(timeout=60)
    second, other = start(store, log, 0.01)
    other.get(timeout=60)
    os.kill(first.pid, signal.SIGKILL)
    first.join()
    began = time.monotonic()
    heard(other)
    assert time.monotonic() - began < leases.SECONDS
    second.join()
    counts = Counter(line.rpartition(":")[0] for line in log.read_text().split())
    assert len(counts) == 40
    assert sum(counts.values()) <= 44  # those that the first had under way


@pytest.mark.fault("drivers share, one is killed", "each trial once; taken over in seconds")
@pytest.mark.parametrize("server", [False, True], ids=["sqlite", "postgres"])
@pytest.mark.parametrize("check", [check_shared, check_takeover])
def test_processes_share_a_sweep_and_take_over(server, check, request, tmp_path):
    store = request.getfixturevalue("postgres") if server else tmp_path / "runs.db"
    check(store, tmp_path / "log")


def test_a_lease_of_another_machine_ends_when_it_is_not_renewed(tmp_path, monkeypatch):
    with Store(tmp_path / "runs.db") as store, Store(tmp_path / "runs.db") as other:
        far = Leases(other, seconds=0.5)
        with monkeypatch.context() as patch:
            patch.setattr(leases, "_this_process", lambda: {"machine": "far", "process": 1})
            assert far.take(["a", "b"]) == {"a", "b"}
            near = Leases(store, seconds=0.5)
        assert near.take(["a", "b", "c"]) == {"c"}
        time.sleep(1.2)  # it is renewed meanwhile
        assert near.take(["a"]) == set()
        far._over.set()  # it dies
        far._thread.join()
        time.sleep(0.7)
        assert near.take(["a", "b"]) == {"a", "b"}
        near.close()
        assert [c.owner for c in store.claims(TRIAL)] == []


@pytest.mark.fault("a clock is set back", "a dead lease ends all the same")
def test_a_clock_that_was_set_back_keeps_no_dead_lease_alive(tmp_path, monkeypatch):
    with Store(tmp_path / "runs.db") as store:
        far = {"machine": "far", "process": 1}
        store.lease([f"{TRIAL}a"], "gone", 3600.0 * 24 * 365, far)  # as from a clock a year ahead
        near = Leases(store, seconds=0.3)
        assert near.take(["a"]) == set()
        time.sleep(0.5)
        assert near.take(["a"]) == {"a"}
        near.close()


def test_a_failure_elsewhere_is_not_tried_by_all(tmp_path):
    log = tmp_path / "log"

    @ss.trainable(name="fails", max_dim=10)
    def fails(trial):
        with log.open("a") as file:
            file.write("x")
        raise ValueError("no")

    (record,) = ss.run(fails, dims=[1], repeats=1, store=tmp_path / "runs.db", workers=1)
    (again,) = ss.run(fails, dims=[1], repeats=1, store=tmp_path / "runs.db", workers=1)
    assert (str(record.outcome), str(again.outcome), log.read_text()) == ("failed", "failed", "xx")


def open_all(place, barrier, say):
    try:
        for i in range(20):
            barrier.wait()
            Store(f"{place}-{i}.db").close()
        say.put("opened")
    except Exception as error:
        barrier.abort()
        say.put(repr(error))


@pytest.mark.fault("eight open one new store at once", "all succeed")
def test_eight_processes_open_a_new_store_at_once(tmp_path):
    barrier, say = CONTEXT.Barrier(8), CONTEXT.Queue()
    openers = [
        CONTEXT.Process(target=open_all, args=(tmp_path / "new", barrier, say)) for _ in range(8)
    ]
    for opener in openers:
        opener.start()
    assert [say.get(timeout=100) for _ in openers] == ["opened"] * 8
    for opener in openers:
        opener.join()

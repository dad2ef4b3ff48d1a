import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
from calls import add, check, die, double, one, oops

from subspan.errors import InputError
from subspan.trials.executors.base import WorkerDied, WorkerError
from subspan.trials.executors.forked import Workers, _no_signals
from subspan.trials.executors.futures import Futures
from subspan.trials.executors.inline import Inline


def test_in_this_process_objects_go_as_they_are():
    executor, value = Inline(), object()
    check(executor)
    assert executor.share(value)() is value
    with pytest.raises(KeyError, match="oops"):
        one(executor, oops)


@pytest.mark.parametrize("start", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_workers(start):
    with Workers(2, start) as executor:
        check(executor)
        with pytest.raises(WorkerError, match="oops"):
            one(executor, oops)


def test_work_that_kills_its_worker_thrice_is_reported_and_ends_nothing():
    with Workers(2, "fork") as executor:
        with pytest.raises(WorkerDied, match=r"died 3 times.*fewer workers"):
            one(executor, die)
        assert one(executor, double, 7) == 14


@pytest.mark.fault("Ctrl-C while a worker is begun", "waits until it is, then interrupts")
def test_a_signal_that_another_thread_takes_waits_until_a_worker_is_begun():
    ended, done = threading.Event(), []
    other = threading.Thread(target=ended.wait)
    other.start()

    @_no_signals()
    def begin():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.05)
        done.append(1)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            begin()
        assert done == [1]
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
        ended.set()
        other.join()


def test_a_signal_as_others_are_let_through_again_leaves_none_held_back(monkeypatch):
    """Held back for ever, a later Ctrl-C went nowhere, in what is started from here too."""
    set_handler, mask = signal.signal, signal.pthread_sigmask(signal.SIG_BLOCK, [])
    ended = threading.Event()
    other = threading.Thread(target=ended.wait)  # which takes what this thread holds back
    other.start()

    def interrupted(number, handler):
        set_handler(number, handler)
        if (number, handler) == (signal.SIGINT, signal.default_int_handler):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)

    before = set_handler(signal.SIGINT, signal.default_int_handler)
    monkeypatch.setattr(signal, "signal", interrupted)
    try:
        with pytest.raises(KeyboardInterrupt), _no_signals():
            pass
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == mask
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        set_handler(signal.SIGINT, before)
        ended.set()
        other.join()


def test_a_closed_pool_works_again_without_what_was_shared():
    executor = Workers(1, "fork")
    shared = executor.share({"base": 1})
    assert one(executor, add, shared, 1) == 2
    executor.close()
    assert not executor.started
    with pytest.raises(WorkerError, match="KeyError"):
        one(executor, add, shared, 1)
    executor.close()


def test_an_executor_of_pythons_own():
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as pool:
        check(Futures(pool))


def test_what_is_no_executor_is_refused():
    with pytest.raises(InputError, match=r"executor: expected a name, or anything with submit"):
        Futures(object())


def test_a_signal_while_a_worker_is_begun_leaves_none_behind(monkeypatch):
    """What was held back over the fork is raised after it; the worker kept Python from ending."""
    start = multiprocessing.Process.start
    began = []

    def interrupted(process):
        start(process)
        began.append(process)
        os.kill(os.getpid(), signal.SIGINT)

    for kind in (multiprocessing.context.ForkProcess, multiprocessing.context.SpawnProcess):
        monkeypatch.setattr(kind, "start", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        workers = Workers(1)
        with pytest.raises(KeyboardInterrupt):
            list(workers.completed([workers.submit(len, ())]))
        workers.close()
    finally:
        signal.signal(signal.SIGINT, before)
    assert began
    assert not any(process.is_alive() for process in began)


@pytest.mark.fault("Ctrl-C while workers are ended", "all of them are, then interrupts")
def test_a_signal_while_workers_are_ended_leaves_none_behind(monkeypatch):
    """A worker that was left kept Python from ending: it waits for it, and nobody else does."""
    kill = multiprocessing.process.BaseProcess.kill

    def interrupted(process):
        os.kill(os.getpid(), signal.SIGINT)
        kill(process)

    workers = Workers(2)
    list(workers.completed([workers.submit(len, ()) for _ in range(2)]))
    children = multiprocessing.active_children()
    assert len(children) == 2
    monkeypatch.setattr(multiprocessing.process.BaseProcess, "kill", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            workers.close()
    finally:
        signal.signal(signal.SIGINT, before)
    assert not any(process.is_alive() for process in children)


def test_a_pool_that_nobody_closes_does_not_keep_python_from_ending():
    script = (
        "from subspan.trials.executors.forked import Workers\n"
        "kept = Workers(2)\n"
        "print(len(list(kept.completed([kept.submit(len, ()) for _ in range(2)]))))"
    )
    ended = subprocess.run([sys.executable, "-c", script], timeout=60, capture_output=True)
    assert (ended.returncode, ended.stdout) == (0, b"2\n")

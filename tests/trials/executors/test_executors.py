import os
import signal
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from subspan.errors import InputError
from subspan.trials.executors.base import WorkerDied, WorkerError
from subspan.trials.executors.forked import Workers
from subspan.trials.executors.futures import Futures
from subspan.trials.executors.inline import Inline


def double(value):
    return 2 * value


def refuse():
    raise InputError("seven: expected eight")


def oops():
    raise KeyError("oops")


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def add(shared, value):
    return shared()["base"] + value


def one(executor, function, *arguments):
    future = executor.submit(function, *arguments)
    assert list(executor.completed([future])) == [future]
    return future.result()


def check(executor):
    futures = [executor.submit(double, i) for i in range(6)]
    assert sorted(f.result() for f in executor.completed(futures)) == [0, 2, 4, 6, 8, 10]
    assert [f.result() for f in futures] == [0, 2, 4, 6, 8, 10]
    shared = [executor.share({"base": base}) for base in (10, 20)]
    assert [one(executor, add, shared[i % 2], i) for i in range(6)] == [10, 21, 12, 23, 14, 25]
    with pytest.raises(InputError, match="seven: expected eight"):
        one(executor, refuse)
    assert one(executor, double, 4) == 8  # an error ends nothing


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

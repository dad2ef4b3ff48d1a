"""Calls that executors are tried with, and what an executor must do with them."""

import os
import signal

import pytest

from subspan.errors import InputError


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

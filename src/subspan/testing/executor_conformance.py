"""The laws of an `Executor`, as one check."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from subspan.errors import InputError
from subspan.testing.laws import law
from subspan.trials.executors.base import Executor, Shared

_PIECES = 6


def check_executor(make: Callable[[], Executor]) -> None:
    """Raise `AssertionError` unless an executor keeps the laws of `Executor`.

    Args:
        make: returns the executor; it is closed here.
    """
    executor = make()
    law(
        isinstance(executor.workers, int) and executor.workers >= 1,
        "workers is a count, 1 or more",
    )
    try:
        _check_answers(executor)
        _check_shared(executor)
        _check_errors(executor)
    finally:
        executor.close()
    try:
        law(_ask(executor, _double, 4) == 8, "after close it may be used again")
        share = executor.share(3)
        law(_ask(executor, _add, share, 4) == 7, "what is shared after close is known")
    finally:
        executor.close()
        executor.close()  # twice is once


def _check_answers(executor: Executor) -> None:
    futures = [executor.submit(_double, i) for i in range(_PIECES)]
    law(all(isinstance(f, Future) for f in futures), "submit returns a concurrent.futures.Future")
    done = list(executor.completed(futures))
    law(
        len(done) == _PIECES and set(done) == set(futures),
        "completed yields each future once",
    )
    law(all(future.done() for future in done), "what completed yields is done")
    law(
        [future.result(0) for future in futures] == [2 * i for i in range(_PIECES)],
        "each future gets what its own call returns",
    )
    law(list(executor.completed(futures)) == futures, "futures that are done are yielded at once")
    law(list(executor.completed([])) == [], "of no futures, none is yielded")
    big = {"text": "x" * 2**20, "number": 1e-300}
    law(_ask(executor, _same, big) == big, "a large answer comes back equal")


def _check_shared(executor: Executor) -> None:
    shares = [executor.share({"base": base}) for base in (10, 20)]
    calls = [executor.submit(_add_base, shares[i % 2], i) for i in range(_PIECES)]
    list(executor.completed(calls))
    law(
        [f.result(0) for f in calls] == [10, 21, 12, 23, 14, 25],
        "what is shared is there, each by its own name, as often as it is asked for",
    )
    counted = executor.share(_Counted())
    law(_ask(executor, _same_twice, counted), "what is shared is one object in a worker")


def _check_errors(executor: Executor) -> None:
    try:
        _ask(executor, _refuse)
    except InputError as error:
        law(str(error) == "seven: expected eight", "an InputError comes back with its text")
    else:
        raise AssertionError("law broken: an InputError of the function is raised again")
    try:
        _ask(executor, _fail)
    except Exception as error:
        told = f"{error!r}{error.__cause__!r}"
        law("oops" in told, "another error comes back with what it said")
        law(not isinstance(error, InputError), "another error is no InputError")
    else:
        raise AssertionError("law broken: an error of the function is raised again")
    law(_ask(executor, _double, 5) == 10, "an error ends nothing")


def _ask(executor: Executor, function: Callable[..., Any], *arguments: Any) -> Any:
    future = executor.submit(function, *arguments)
    law(list(executor.completed([future])) == [future], "completed yields the future it was given")
    return future.result(0)


# What workers run: functions of a module's own, so that every process finds them.


class _Counted:
    pass


def _double(value: int) -> int:
    return 2 * value


def _same(value: Any) -> Any:
    return value


def _add(share: Shared, value: int) -> int:
    return int(share() + value)


def _add_base(share: Shared, value: int) -> int:
    return int(share()["base"] + value)


def _same_twice(share: Shared) -> bool:
    return share() is share()


def _refuse() -> None:
    raise InputError("seven: expected eight")


def _fail() -> None:
    raise KeyError("oops")

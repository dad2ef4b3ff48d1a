"""Every executor keeps the laws, and the suite fails where one is broken."""

from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from subspan.errors import InputError
from subspan.testing import check_executor
from subspan.trials.executors.base import Executor
from subspan.trials.executors.futures import Futures
from subspan.trials.executors.registry import EXECUTORS


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] if n == "spawned" else []) for n in EXECUTORS],
)
def test_registered_executors_keep_the_laws(name):
    check_executor(lambda: EXECUTORS[name](2))


def test_one_of_pythons_own_keeps_the_laws():
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as pool:
        check_executor(lambda: Futures(pool))


class Plain(Executor):
    """Does work at once, with one law broken."""

    flaw = ""
    workers = 1

    def __init__(self):
        self.closed = False

    def share(self, value):
        if self.flaw == "copies":
            return lambda: dict(value) if isinstance(value, dict) else type(value)()
        return lambda: value

    def submit(self, function, /, *arguments):
        future = Future()
        try:
            if self.closed and self.flaw == "closed":
                raise RuntimeError("closed")
            answer = function(*arguments)
            future.set_result([answer] if self.flaw == "answers" else answer)
        except InputError as error:
            future.set_exception(ValueError(str(error)) if self.flaw == "refusals" else error)
        except Exception as error:
            future.set_exception(RuntimeError("?") if self.flaw == "errors" else error)
        return future

    def completed(self, futures):
        futures = list(futures)
        return iter(futures + futures[:1] if self.flaw == "twice" else futures)

    def close(self):
        self.closed = True


@pytest.mark.parametrize(
    ("flaw", "law"),
    [
        ("answers", "its own call returns"),
        ("twice", "each future once"),
        ("copies", "one object"),
        ("errors", "what it said"),
        ("closed", "after close|closed"),
    ],
)
def test_the_suite_fails_on_a_broken_law(flaw, law):
    kind = type("Flawed", (Plain,), {"flaw": flaw})
    with pytest.raises((AssertionError, RuntimeError), match=law):
        check_executor(kind)


def test_the_suite_fails_where_a_refusal_is_another_error():
    with pytest.raises(ValueError, match="seven"):
        check_executor(type("Flawed", (Plain,), {"flaw": "refusals"}))


def test_the_suite_passes_the_executor_without_a_flaw():
    check_executor(Plain)

"""An executor: where pieces of work are done. `submit` gives a Future."""

from concurrent.futures import Future

import subspan as ss
from subspan.testing import check_executor
from subspan.trials.executors.base import Executor
from subspan.trials.executors.registry import EXECUTORS


class AtOnce(Executor):
    """Does each piece of work in this process as soon as it is handed in."""

    workers = 2  # how many pieces it is given at a time

    def share(self, value):
        """Send what all pieces need, once; return what gives it back at the other end."""
        return lambda: value

    def submit(self, function, /, *arguments):
        """Do it, and return a Future of what came of it."""
        future = Future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future

    def completed(self, futures, seconds=None):
        """Yield those that are done; wait for `seconds` at most."""
        yield from futures

    def abandon(self, future):
        """End a piece that hangs, where that can be done."""

    def close(self):
        """Let go of what it holds."""


EXECUTORS["at-once"] = lambda workers: AtOnce()  # `--executor at-once`

check_executor(AtOnce)
problem = ss.problems.load("digits-mlp", subset=60)
spec = ss.TrainSpec(steps=2)
assert len(ss.run(problem, "random", [4], 2, spec, executor="at-once")) == 2

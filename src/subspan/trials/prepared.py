"""`Prepared`: a runner's problem as specs ask for it, in a precision and perhaps compiled."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable
from typing import Any

from subspan.problems.base import AbstractProblem
from subspan.problems.compiled import Compilation
from subspan.spec import TrainSpec
from subspan.trials.executors.base import one_thread
from subspan.trials.trial import TrialRecord

_Key = tuple[str, int | None]
"""dtype and batch size, which settle what is compiled."""


class Prepared:
    """One problem for all methods of a runner; each precision is made, and compiled, once.

    Where `compile` is allowed, what is measured at the first trial decides for all of them: in the
    process that forks the workers, or else in each worker by what the first process took. Where
    one program takes a whole ensemble (on a GPU), a larger ensemble is measured anew.

    Args:
        problem: as it was given.
    """

    def __init__(self, problem: AbstractProblem) -> None:
        self._problem = problem
        self._by_dtype: dict[str, AbstractProblem] = {}
        self._chosen: dict[_Key, tuple[AbstractProblem, Compilation]] = {}
        self._settled: dict[_Key, tuple[float, bool]] = {}  # of which ensembles, and what
        self._ahead = 0.0

    def __getstate__(self) -> dict[str, Any]:
        """Leave what was compiled behind: another process does as was decided here."""
        decided = {key: (found.serves, found.taken) for key, (_, found) in self._chosen.items()}
        return {**self.__dict__, "_chosen": {}, "_settled": {**self._settled, **decided}}

    def expect(self, trainings: float) -> None:
        """Say how many trainings one process has ahead, at least."""
        self._ahead = max(self._ahead, trainings)

    def go_on_from(self, records: Iterable[TrialRecord]) -> None:
        """Take what these records took, of trials that are gone on with.

        Of batched programs, what the largest ensemble took.
        """
        for record in records:
            key = record.trial.spec["dtype"], record.trial.spec["batch_size"]
            told = record.provenance.get("compile")
            if told is None or key in self._chosen:
                continue
            serves = told.get("ensemble", math.inf)
            if key not in self._settled or serves > self._settled[key][0]:
                self._settled[key] = serves, told["taken"]

    def undecided(self, spec: TrainSpec) -> bool:
        """Whether it is still to be measured if compiling pays."""
        return spec.compile and (spec.dtype, spec.batch_size) not in self._chosen

    def plain(self, spec: TrainSpec) -> AbstractProblem:
        """Return the problem in a spec's precision."""
        if spec.dtype not in self._by_dtype:
            self._by_dtype[spec.dtype] = self._problem.in_precision(spec.dtype)
        return self._by_dtype[spec.dtype]

    def training(self, spec: TrainSpec, trials: int) -> tuple[AbstractProblem, Compilation | None]:
        """Return the problem to train, and what was found of compiling it where that is allowed.

        Args:
            spec: how it is trained.
            trials: how many at once.
        """
        problem = self.plain(spec)
        if not spec.compile:
            return problem, None
        key = spec.dtype, spec.batch_size
        if key not in self._chosen or trials > self._chosen[key][1].serves:
            serves, taken = self._settled.get(key, (0, None))
            each = spec.total_steps(problem.train_size)
            steps = max(each, math.ceil(each * self._ahead / trials))
            on_cpu = problem.device.type == "cpu"
            with one_thread() if on_cpu else contextlib.nullcontext():
                self._chosen[key] = problem.compiled(
                    spec.batch_size, trials, steps, taken if trials <= serves else None
                )
        return self._chosen[key]

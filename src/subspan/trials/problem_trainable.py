"""`ProblemTrainable`: a problem and a method, trained by our loop, many trials at once."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import time
from collections.abc import Sequence

import torch

from subspan.canonical import digest, tensor_digest
from subspan.errors import InputError, invalid
from subspan.maps.base import check_dims
from subspan.problems.base import AbstractProblem
from subspan.problems.compiled import Compilation
from subspan.problems.module import Problem
from subspan.spec import TrainSpec
from subspan.subspaces.base import Draw, Method, Subspace
from subspan.training.ensemble import TrainResult, evaluate_offsets, train
from subspan.trials.failures import ERRORS, failed_record
from subspan.trials.gpu_memory import fitting, release
from subspan.trials.prepared import Prepared
from subspan.trials.provenance import environment
from subspan.trials.trainable import Pair, Trainable, Work
from subspan.trials.trial import Family, Trial, TrialRecord

_LARGEST_ENSEMBLE = 32
_ENSEMBLE_WEIGHTS = 2**18  # together; more fall out of the cache
_ENSEMBLE_WEIGHTS_ELSEWHERE = 2**28  # on a device whose free memory nobody tells


class ProblemTrainable(Trainable):
    """Trains a problem in the subspaces of a method.

    At d = 0 nothing is trained: the record is an evaluation of the offset.

    Args:
        problem: what to train.
        method: how to choose subspaces.
        prepared: the same problem in the precisions that were made already.
    """

    def __init__(
        self,
        problem: AbstractProblem,
        method: Method,
        prepared: Prepared | None = None,
    ) -> None:
        self.problem, self.method = problem, method
        self._prepared = prepared or Prepared(problem)
        self._family: tuple[TrainSpec, int, Family] | None = None  # of the last trial asked for
        self.name, self.max_dim = problem.name, problem.ambient_dim
        self.device = problem.device

    @functools.cached_property
    def width(self) -> int:  # type: ignore[override]  # set where it is first read
        """How many trials to advance together: tried out where something is to be trained.

        Where a device has no memory for so many, half as many are tried, and so from then on.
        """
        return ensemble_size(self.problem)

    def trial(self, pair: Pair, spec: TrainSpec, seed: int) -> Trial:
        """Return the identity of a trial.

        Raises:
            InputError: the dimension is not 0 … D, the learning rate no number, or the spec is one
                for a function.
        """
        check_dims(pair[0], self.problem.ambient_dim, least=0)
        return self._family_of(spec, seed).trial(*pair)

    def keys(self, works: Sequence[Work], seed: int) -> list[str]:
        """Return the keys of trials; no more is made of each, as there may be 100,000."""
        found: list[str] = []
        # A grid has the repeats of a dim one after another.
        for (dim, spec), alike in itertools.groupby(works, lambda work: (work[0][0], work[1])):
            check_dims(dim, self.problem.ambient_dim, least=0)
            found += self._family_of(spec, seed).keys(dim, [repeat for (_, repeat), _ in alike])
        return found

    def _family_of(self, spec: TrainSpec, seed: int) -> Family:
        last = self._family
        if last is None or last[0] is not spec or last[1] != seed:  # specs do not change
            if not isinstance(spec, TrainSpec):
                expected = "a TrainSpec, for a problem"
                raise invalid("spec", expected=expected, got=type(spec).__name__)
            _ = spec.number_lr
            family = Family(self.problem.identity, self.method.config(), spec.to_json(), seed)
            self._family = last = spec, seed, family
        return last[2]

    def split(self, pairs: Sequence[Pair], workers: int) -> list[list[Pair]]:
        """Split by dim; by repeat where a search serves all its dims."""
        size = max(1, min(self.width, -(-len(pairs) // workers)))
        together = by_repeat if self.method.searches(self.problem) else by_dim
        return together(pairs, size)

    def warm_up(self, pieces: Sequence[Sequence[Pair]], spec: TrainSpec) -> None:
        """Trace the gradient of the largest ensemble, or compile that of a trial."""
        largest = max(min(len(piece), self.width) for piece in pieces)
        problem, found = self._prepared.training(spec, largest)
        if spec.batch_size is not None and (found is None or not found.taken):
            try:
                problem.warm_up(largest, spec.batch_size)
            except torch.OutOfMemoryError:
                self._narrow(largest)

    def train(self, pairs: Sequence[Pair], spec: TrainSpec, seed: int) -> list[TrialRecord]:
        """Find the subspaces, together, then train them, ensemble by ensemble.

        An error in one trial ends its ensemble, so the others are trained again, by halves. Where
        memory ends, no more than half as many are advanced together from then on.
        """
        clock = time.perf_counter()
        try:
            return self._train(pairs, spec, seed)
        except InputError:
            raise
        except ERRORS as error:
            if len(pairs) == 1:
                trial, seconds = self.trial(pairs[0], spec, seed), time.perf_counter() - clock
                return [failed_record(trial, self.max_dim, self.device, error, wall_time=seconds)]
            if isinstance(error, torch.OutOfMemoryError):
                self._narrow(len(pairs))
        half = len(pairs) // 2
        return self.train(pairs[:half], spec, seed) + self.train(pairs[half:], spec, seed)

    def _train(self, pairs: Sequence[Pair], spec: TrainSpec, seed: int) -> list[TrialRecord]:
        clock = time.perf_counter()
        trained = [i for i, (dim, _) in enumerate(pairs) if dim]
        still = [i for i, (dim, _) in enumerate(pairs) if not dim]
        problem, found = self._prepared.plain(spec), None
        if trained:
            problem, found = self._prepared.training(spec, min(len(trained), self.width))
        # Nothing is trained at d = 0, so of its subspace only the offset counts.
        draws = [Draw(max(dim, 1), seed, repeat) for dim, repeat in pairs]
        subspaces = self.method.subspaces(problem, draws)
        search_share = (time.perf_counter() - clock) / len(draws)
        records: dict[int, TrialRecord] = {}
        for places in (trained, still):
            start = 0
            while start < len(places):
                own = places[start : start + self.width]
                chosen = [subspaces[i] for i in own]
                if places is still:
                    results = evaluate_offsets(problem, chosen, spec)
                else:
                    seeds = [draws[i].batch_seed for i in own]
                    fitted = self._fitted(problem, chosen, spec, seeds)
                    if fitted is None:
                        continue
                    results = fitted
                start += len(own)
                for i, result in zip(own, results, strict=True):
                    trial = self.trial(pairs[i], spec, seed)
                    records[i] = _record(
                        trial, problem, subspaces[i], result, search_share, len(own), found
                    )
        return [records[i] for i in range(len(pairs))]

    def _fitted(
        self,
        problem: AbstractProblem,
        subspaces: Sequence[Subspace],
        spec: TrainSpec,
        seeds: Sequence[int],
    ) -> list[TrainResult] | None:
        """Train an ensemble; None where memory is not enough for it: it is to be a narrower one."""
        try:
            return train(problem, subspaces, spec, seeds)
        except torch.OutOfMemoryError:
            if len(subspaces) == 1:
                raise
        self._narrow(len(subspaces))  # out there, where no traceback holds tensors
        return None

    def _narrow(self, tried: int) -> None:
        self.width = min(self.width, max(1, tried // 2))
        release(self.device)


def _record(
    trial: Trial,
    problem: AbstractProblem,
    subspace: Subspace,
    result: TrainResult,
    search_share: float,
    together: int,
    compilation: Compilation | None,
) -> TrialRecord:
    provenance = {
        **environment(problem.device),
        "threads": torch.get_num_threads(),
        "ensemble_size": together,
    }
    if isinstance(problem, Problem) and problem.convolutions and trial.dim:
        provenance["convolutions"] = problem.convolutions
    if compilation is not None and trial.dim:
        provenance["compile"] = compilation.to_json()
    if trial.dim == 0:
        subspace = dataclasses.replace(subspace, search_bits=0)
    checksum = _checksum(subspace) if trial.dim else tensor_digest(subspace.offset)
    return TrialRecord(
        trial=trial,
        ambient_dim=problem.ambient_dim,
        outcome=result.outcome,
        steps=result.steps,
        curve=tuple(result.curve),
        theta_norm=float(result.theta.norm()),
        wall_time=search_share + result.wall_time,
        search_steps=subspace.search_steps,
        search_bits=subspace.search_bits,
        provenance={**provenance, "subspace": checksum},
        reason=result.reason,
    )


def _checksum(subspace: Subspace) -> str:
    """Return a digest of what a seed stands for: the offset's bits and the map's checksum."""
    return digest([tensor_digest(subspace.offset), subspace.map.checksum()])


def by_dim(pairs: Sequence[Pair], size: int) -> list[list[Pair]]:
    """Split (dim, repeat) pairs into jobs of `size`; neighbours in dim take about as long."""
    ordered = sorted(pairs)
    return [ordered[i : i + size] for i in range(0, len(ordered), size)]


def by_repeat(pairs: Sequence[Pair], size: int) -> list[list[Pair]]:
    """Split (dim, repeat) pairs into jobs of about `size` that keep each repeat in one piece.

    A repeat's search serves all its dims, so that one worker runs it, once.
    """
    dims: dict[int, list[int]] = {}
    for dim, repeat in sorted(pairs):
        dims.setdefault(repeat, []).append(dim)
    jobs: list[list[Pair]] = []
    for repeat in sorted(dims, key=lambda r: (dims[r], r)):
        own = [(dim, repeat) for dim in dims[repeat]]
        if jobs and len(jobs[-1]) + len(own) <= size:
            jobs[-1] += own
        else:
            jobs.append(own)
    return jobs


def ensemble_size(problem: AbstractProblem) -> int:
    """Return how many trials of a problem to advance as one batched program."""
    if isinstance(problem, Problem) and not problem.vectorized:
        return 1
    if problem.device.type == "cuda":
        return min(_LARGEST_ENSEMBLE, fitting(problem))
    room = _ENSEMBLE_WEIGHTS if problem.device.type == "cpu" else _ENSEMBLE_WEIGHTS_ELSEWHERE
    return max(1, min(_LARGEST_ENSEMBLE, room // problem.ambient_dim))

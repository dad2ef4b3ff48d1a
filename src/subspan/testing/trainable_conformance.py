"""The laws of a `Trainable`, as one check."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from subspan.canonical import canonical_json
from subspan.errors import InputError
from subspan.testing.laws import law
from subspan.training.outcome import Outcome
from subspan.trials.executors.base import Shared
from subspan.trials.executors.forked import Workers
from subspan.trials.trainable import Pair, Trainable
from subspan.trials.trial import TrialRecord, record_from_json, record_to_json


def check_trainable(
    make: Callable[[], Trainable], spec: Any, dims: Sequence[int], *, seed: int = 0
) -> None:
    """Raise `AssertionError` unless what trains trials keeps the laws of `Trainable`.

    Args:
        make: returns it; equal calls must give equal ones.
        spec: how to train, a short training that is no failure.
        dims: training dimensions above 0, two or more.
        seed: of all trials.
    """
    trainable, twin = make(), make()
    pairs = [(dim, repeat) for dim in dims for repeat in (0, 1)]
    _check_identity(trainable, twin, spec, pairs, seed)
    _check_split(trainable, pairs)
    records = trainable.train(pairs, spec, seed)
    law(len(records) == len(pairs), "one record per trial")
    for pair, record in zip(pairs, records, strict=True):
        _check_record(trainable, pair, spec, seed, record)
    again = twin.train(pairs, spec, seed)
    law(_told(again) == _told(records), "the same trials give the same records")
    alone = [trainable.train([pair], spec, seed)[0] for pair in pairs]
    law(_told(alone) == _told(records), "a trial alone gives what it gives beside others")
    law(
        _told(_elsewhere(trainable, pairs[::-1], spec, seed)) == _told(records[::-1]),
        "another process, and another order, give the same records",
    )
    (still,) = trainable.train([(0, 0)], spec, seed)
    law(still.dim == 0 and still.steps == 0, "d = 0 is a trial in which nothing is trained")
    _check_lost(trainable, pairs, spec, seed)


def _check_identity(
    trainable: Trainable, twin: Trainable, spec: Any, pairs: Sequence[Pair], seed: int
) -> None:
    law(isinstance(trainable.name, str) and bool(trainable.name), "it has a name")
    law(isinstance(trainable.width, int) and trainable.width >= 1, "its width is 1 or more")
    law(isinstance(trainable.max_dim, int) and trainable.max_dim >= 1, "max_dim is 1 or more")
    trials = [trainable.trial(pair, spec, seed) for pair in pairs]
    told = json.loads(canonical_json([t.to_json() for t in trials]))
    law(told == [t.to_json() for t in trials], "an identity is plain JSON data")
    keys = [t.key for t in trials]
    works = [(pair, spec) for pair in pairs]
    law(trainable.keys(works, seed) == keys, "keys are those of the trials")
    law(len(set(keys)) == len(pairs), "other dims and repeats are other trials")
    law(keys == [twin.trial(p, spec, seed).key for p in pairs], "equal trials have equal keys")
    law(trainable.trial(pairs[0], spec, seed + 1).key not in keys, "another seed, another trial")
    for legal in (0, trainable.max_dim):
        trainable.trial((legal, 0), spec, seed)
    for illegal in (-1, trainable.max_dim + 1):
        try:
            trainable.trial((illegal, 0), spec, seed)
        except InputError:
            continue
        raise AssertionError(f"law broken: a dim outside 0 … max_dim, {illegal}, is an InputError")


def _check_split(trainable: Trainable, pairs: Sequence[Pair]) -> None:
    for workers in (1, 2, 5):
        pieces = trainable.split(pairs, workers)
        law(
            sorted(pair for piece in pieces for pair in piece) == sorted(pairs) and all(pieces),
            "split gives every trial to one piece of work",
        )


def _check_record(
    trainable: Trainable, pair: Pair, spec: Any, seed: int, record: TrialRecord
) -> None:
    law(record.trial == trainable.trial(pair, spec, seed), "records are in order, each its trial's")
    law(record.ambient_dim == trainable.max_dim, "ambient_dim is max_dim")
    law(record.outcome is not Outcome.FAILED, f"the training does not fail ({record.reason})")
    law(record.steps >= 0 and record.wall_time >= 0, "steps and seconds are 0 or more")
    law(bool(record.metrics), "a record has metrics")
    steps = [point.step for point in record.curve]
    law(steps == sorted(set(steps)), "the steps of a curve rise")
    back = record_from_json(json.loads(canonical_json(record_to_json(record))))
    law(repr(_bare(back)) == repr(_bare(record)), "a record goes through JSON and back")


def _check_lost(trainable: Trainable, pairs: Sequence[Pair], spec: Any, seed: int) -> None:
    for pair in pairs:
        lost = trainable.failed(pair, spec, seed, "why")
        law(lost.key == trainable.trial(pair, spec, seed).key, "a lost trial has its record")
        law(lost.outcome is Outcome.FAILED and lost.reason == "why", "it failed, and says why")


def _elsewhere(
    trainable: Trainable, pairs: Sequence[Pair], spec: Any, seed: int
) -> list[TrialRecord]:
    with Workers(1) as executor:
        share = executor.share(trainable)
        future = executor.submit(_train, share, list(pairs), spec, seed)
        list(executor.completed([future]))
        records: list[TrialRecord] = future.result()
    return records


def _train(share: Shared, pairs: list[Pair], spec: Any, seed: int) -> list[TrialRecord]:
    trainable: Trainable = share()
    return trainable.train(pairs, spec, seed)


def _told(records: Sequence[TrialRecord]) -> str:
    return repr([_bare(record) for record in records])


def _bare(record: TrialRecord) -> tuple[Any, ...]:
    """What a trial alone decides: all but seconds and where it was run."""
    return (
        *(record.key, record.outcome, record.steps, record.curve, record.theta_norm),
        *(record.search_steps, record.search_bits, record.reason),
    )

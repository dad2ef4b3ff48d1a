"""The laws of a store of trials, as one check."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable

from subspan.testing.laws import law
from subspan.training.outcome import CurvePoint, Outcome
from subspan.trials.stores.base import TRIAL, RecordStore
from subspan.trials.trial import Trial, TrialRecord


def example_record(dim: int = 8, repeat: int = 0, problem: str = "example") -> TrialRecord:
    """Return a small record with a NaN and an infinity-free curve, for tests of stores."""
    trial = Trial({"name": problem}, {"name": "random"}, dim, {"lr": 0.1}, 0, repeat)
    curve = (
        CurvePoint(1, {"train:loss": 0.9, "train:accuracy": 0.5, "val:f1": math.nan}),
        CurvePoint(2, {"train:loss": 0.7, "train:accuracy": 0.6, "val:f1": 0.25}),
    )
    return TrialRecord(trial, 100, Outcome.FINISHED, 2, curve, 1.25, 0.5, provenance={"a": 1})


def check_store(reopen: Callable[[], RecordStore]) -> None:
    """Raise `AssertionError` unless a store keeps its laws.

    Args:
        reopen: returns the store; each call as if in a new process, on what was there before.
            The first call meets an empty store.
    """
    store = reopen()
    record = example_record()
    law(len(store) == 0 and not store.get([record.key]), "a new store is empty")
    law(store.add(record), "a new record is added")
    law(not store.add(record), "a known key adds nothing")
    store.add(example_record(dim=4, repeat=1))
    store.add(example_record(dim=4, repeat=0))
    store.add(example_record(problem="other"))
    for opened in (store, reopen()):
        law(len(opened) == 4, "records are there, also after opening again")
        law(
            repr(opened.get([record.key])) == repr({record.key: record}),
            "a record comes back equal",
        )
        order = [(r.trial.problem["name"], r.dim, r.trial.repeat) for r in opened.records()]
        law(order == sorted(order), "records come by problem, method, dim and repeat")
        law(len(list(opened.records("other"))) == 1, "records of one problem")
    failed = dataclasses.replace(example_record(dim=5), outcome=Outcome.FAILED, reason="why")
    law(store.add(failed) and store.get([failed.key])[failed.key].reason == "why", "a failure")
    law(store.add(example_record(dim=5)), "a record replaces a failure of its key")
    law(not store.add(failed), "and nothing else")
    law(store.claim("a:1", "one", 60.0, {"x": 1}), "a lease that nobody holds is given")
    law(not store.claim("a:1", "two", 60.0, {}), "one that somebody holds is not")
    law(store.claim("a:1", "one", 0.0, {"x": 2}), "it is renewed")
    time.sleep(0.01)
    law(store.claim("a:1", "two", 60.0, {"x": 3}), "and given on when it has run out")
    store.claim("b:1", "one", 60.0, {})
    several = store.lease(["b:1", "b:2", "b:3"], "two", 60.0, {})
    law(several == {"b:2", "b:3"}, "of several leases those that are free are given")
    store.release(["b:1", "b:2"], "two")
    owners = [(claim.key, claim.owner) for claim in store.claims("b:")]
    law(owners == [("b:1", "one"), ("b:3", "two")], "an owner's leases are released, no other's")
    late = example_record(dim=6)
    store.claim(f"{TRIAL}{late.key}", "one", 60.0, {})
    store.add_all([late, example_record(dim=7)])
    law(len(store.get([late.key, example_record(dim=7).key])) == 2, "several records are added")
    law(not store.claims(TRIAL), "a record ends the lease of its trial")
    told = [(claim.key, claim.owner, claim.data) for claim in store.claims("a:")]
    law(told == [("a:1", "two", {"x": 3})], "claims by prefix")

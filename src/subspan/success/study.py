"""`ThresholdStudy`: measure d* by ask and tell, where training cannot be a function.

For a cluster's scheduler, another framework, or a person. The design of `threshold` says which d
to train at; whoever trains tells what came of it. With a store it goes on where it was left, and
several processes may ask: a trial is leased to the one that was given it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from subspan.errors import invalid, real, whole
from subspan.goals import Goal, parse_goal
from subspan.success.design import ThresholdDesign
from subspan.success.estimate import ThresholdEstimate, estimate_from_counts, with_records
from subspan.success.records import experiment, may_need_none
from subspan.training.outcome import Outcome
from subspan.trials.function import LoopSpec, record_of_metrics, seed_of
from subspan.trials.leases import owner_name
from subspan.trials.stores.base import Claim, RecordStore
from subspan.trials.stores.registry import open_store
from subspan.trials.trial import Trial, TrialRecord

_DAY = 24 * 3600.0
_UNTRAINED = 8  # trials at d = 0


@dataclass(frozen=True)
class AskedTrial:
    """A trial that a study asks for: train at `dim` with everything random from `seed`."""

    dim: int
    seed: int
    repeat: int
    lr: float | None = None


class ThresholdStudy:
    """Ask which trials to train, tell their metrics, until d* is known. A context manager.

    What is asked depends on what was told, and on the trials that others have under way, which
    count as if they came out as is likely.

    Args:
        goal: what counts as success, or its text. Trials of this name that were told for another
            goal count where they have this goal's metric.
        max_dim: the largest d, usually the number of weights.
        name: trials are known by it in the store.
        version: raise it when training changes.
        min_dim: smallest d to try.
        delta: d* is where the success probability reaches 1 − δ.
        confidence: of the interval.
        ratio: done when high/low of the interval is at most this.
        max_trials: done, as "not converged", after so many trials.
        seed: of every trial's seed.
        lr: passed on as the trial's `lr`.
        store: where trials are kept: a path, a URL, a store, or None for memory.
        lease: seconds after which a trial that was not told is asked of somebody else.

    Raises:
        InputError: an argument is out of range.
        StoreError: the store cannot be used.
    """

    def __init__(
        self,
        goal: Goal | str,
        *,
        max_dim: int,
        name: str = "study",
        version: str = "1",
        min_dim: int = 1,
        delta: float = 0.1,
        confidence: float = 0.95,
        ratio: float = 1.5,
        max_trials: int = 200,
        seed: int = 0,
        lr: float | None = None,
        store: RecordStore | str | Path | None = None,
        lease: float = _DAY,
    ) -> None:
        self.goal = parse_goal(goal)
        self._max_dim = whole("max_dim", max_dim, low=1)
        self._identity: dict[str, Any] = {
            "name": name,
            "kind": "study",
            "version": version,
            "max_dim": self._max_dim,
        }
        self._spec, self._seed = LoopSpec(lr), whole("seed", seed)
        _ = self._spec.number_lr  # refuses "auto"
        self._lease = real("lease", lease, low=0.0, strict=True)
        self._options: dict[str, Any] = {
            "min_dim": min_dim,
            "delta": delta,
            "confidence": confidence,
            "ratio": ratio,
            "max_trials": max_trials,
        }
        self._design()  # refuses what is out of range
        self._owner = owner_name()
        self._stack = contextlib.ExitStack()
        self.store = self._stack.enter_context(open_store(store))

    def ask(self, n: int = 1) -> list[AskedTrial]:
        """Return up to n trials to train, leased to this study object; none where it is done.

        Trials whose lease has run out come first. None while others train all that is left: wait,
        and ask again; it may be that one of them gives its trial back, or is never heard of again.

        Raises:
            InputError: n is not positive.
        """
        n = whole("n", n, low=1)
        asked: list[AskedTrial] = []
        while len(asked) < n:
            known = self._known()
            told = self._telling(known)
            claims = {
                claim.data["repeat"]: claim
                for claim in self.store.claims(self._prefix)
                if claim.data["repeat"] not in known
            }
            now = time.time()
            late = [c.data for c in claims.values() if c.until < now]
            held = [c.data["dim"] for c in claims.values() if c.until >= now]
            design = self._design(told)
            untrained = self._untrained(design, told)
            over = design.done or design.trials + len(held) >= design.max_trials
            if over and untrained <= held.count(0):
                break
            if design.done:
                dim, repeat = 0, max([*known, *claims], default=-1) + 1
            elif late:
                dim, repeat = late[0]["dim"], late[0]["repeat"]
            else:
                # Those under way are picked again in thought, so that others follow them.
                dim = self._next(design, held)
                repeat = max([*known, *claims], default=-1) + 1
            if self.store.claim(
                f"{self._prefix}{repeat:08d}",
                self._owner,
                self._lease,
                {"dim": dim, "repeat": repeat},
            ):
                asked.append(
                    AskedTrial(dim, seed_of(self._seed, repeat), repeat, self._spec.number_lr)
                )
        return asked

    def tell(self, trial: AskedTrial, metrics: Mapping[str, Any], *, steps: int = 1) -> None:
        """Say what came of a trial; it is in the store when this returns.

        Args:
            trial: as `ask` gave it.
            metrics: the best of each, by name, `"[split:]metric"`, the goal's among them. One that
                is not finite counts as a trial that diverged.
            steps: what the trial took.

        Raises:
            InputError: the trial was not asked by this study, or was told otherwise before; the
                goal's metric is missing, or a value is no number.
        """
        self._refuse_unasked(trial)
        if not isinstance(metrics, Mapping):
            raise invalid("metrics", expected="a mapping of numbers by name", got=repr(metrics))
        record = record_of_metrics(
            self._trial(trial.dim, trial.repeat),
            metrics,
            steps=whole("steps", steps, low=0),
            ambient_dim=self._max_dim,
        )
        wanted = f"{self.goal.split}:{self.goal.metric}"
        if wanted not in record.metrics and record.outcome is not Outcome.DIVERGED:
            raise invalid(
                "metrics", expected=f"{wanted!r} among them", got=", ".join(metrics) or "none"
            )
        if not self.store.add(record):
            (before,) = self.store.get([record.key]).values()
            if (before.curve, before.outcome) != (record.curve, record.outcome):
                raise invalid(
                    "trial",
                    expected="one that was not told yet",
                    got=f"repeat {trial.repeat}, told before with other metrics",
                    remedy="What was told first stays.",
                )

    def give_back(self, trial: AskedTrial) -> None:
        """Give back a trial that will not be told, so that it is asked of whoever asks next.

        Raises:
            InputError: the trial was not asked by this study.
        """
        claim = self._refuse_unasked(trial)
        self.store.claim(claim.key, claim.owner, 0.0, claim.data)  # run out, so given out again

    def _refuse_unasked(self, trial: AskedTrial) -> Claim:
        """Return the claim of a trial that was asked; refuse any other."""
        if not isinstance(trial, AskedTrial):
            raise invalid("trial", expected="one that `ask` gave", got=type(trial).__name__)
        key = f"{self._prefix}{trial.repeat:08d}"
        found = [claim for claim in self.store.claims(key) if claim.key == key]
        mine = AskedTrial(
            trial.dim, seed_of(self._seed, trial.repeat), trial.repeat, self._spec.number_lr
        )
        if not found or found[0].data["dim"] != trial.dim or trial != mine:
            raise invalid(
                "trial",
                expected="one that `ask` gave, of this study",
                got=repr(trial),
                remedy="A study is known by its store, name, version, max_dim, lr and seed.",
            )
        return found[0]

    @property
    def done(self) -> bool:
        """Whether d* is known well enough, lies outside the range, or trials are up."""
        told = self._told()
        design = self._design(told)
        return design.done and not self._untrained(design, told)

    @property
    def estimate(self) -> ThresholdEstimate:
        """What is known of d*.

        Raises:
            InputError: nothing was told yet.
        """
        records = list(self._told().values())
        if not records:
            raise invalid("estimate", expected="at least one trial that was told", got="none")
        design = self._design({r.trial.repeat: r for r in records})
        fitted = estimate_from_counts(
            design.counts,
            self.goal,
            design.span,
            ambient_dim=self._max_dim,
            confidence=design.confidence,
            ratio=design.ratio,
        )
        return with_records(fitted, records, experiment(records))

    def close(self) -> None:
        """Close the store if it was opened here."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def _prefix(self) -> str:
        key = self._trial(0, 0).key
        return f"study:{key}:"

    def _trial(self, dim: int, repeat: int) -> Trial:
        method = {"name": "trainable"}
        return Trial(self._identity, method, dim, self._spec.to_json(), self._seed, repeat)

    def _told(self) -> dict[int, TrialRecord]:
        """Return the records that tell of this goal, by repeat."""
        return self._telling(self._known())

    def _telling(self, known: Mapping[int, TrialRecord]) -> dict[int, TrialRecord]:
        """Leave out the records of trials that were told for another goal, of another metric."""
        wanted = f"{self.goal.split}:{self.goal.metric}"
        return {
            repeat: record
            for repeat, record in known.items()
            if wanted in record.metrics or record.outcome is Outcome.DIVERGED
        }

    def _known(self) -> dict[int, TrialRecord]:
        """Return the records of this study, for whichever goal, by repeat."""
        spec = self._spec.to_json()
        return {
            record.trial.repeat: record
            for record in self.store.records(str(self._identity["name"]))
            if (record.trial.problem, record.trial.spec, record.trial.seed)
            == (self._identity, spec, self._seed)
        }

    def _design(self, told: Mapping[int, TrialRecord] | None = None) -> ThresholdDesign:
        design = ThresholdDesign(self._max_dim, **self._options)
        for record in (told or {}).values():
            if record.dim:
                design.tell(record.dim, record.meets(self.goal) is True)
        return design

    def _untrained(self, design: ThresholdDesign, told: Mapping[int, TrialRecord]) -> int:
        """Return how many trials at d = 0 are wanting, to tell whether training is needed."""
        if not (design.done and may_need_none(design.counts, self._options["delta"])):
            return 0
        return max(0, _UNTRAINED - sum(record.dim == 0 for record in told.values()))

    @staticmethod
    def _next(design: ThresholdDesign, held: list[int]) -> int:
        """Return the next dim of the design that is not under way already."""
        picked = design.ask(len(held) + 1)
        for dim in held:
            if dim in picked and len(picked) > 1:
                picked.remove(dim)
        return picked[0]

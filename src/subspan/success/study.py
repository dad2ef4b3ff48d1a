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
from subspan.spec import AUTO
from subspan.success import noted
from subspan.success.estimate import ThresholdEstimate
from subspan.success.study_designs import CountingDesign, GradedDesign, Place, StudyDesign
from subspan.training.outcome import Outcome
from subspan.trials.function import LoopSpec, lr_range, record_of_metrics, seed_of
from subspan.trials.leases import owner_name
from subspan.trials.stores.base import Claim, RecordStore
from subspan.trials.stores.registry import open_store
from subspan.trials.trial import Trial, TrialRecord

_DAY = 24 * 3600.0
_UNTRAINED = 8  # trials at d = 0


@dataclass(frozen=True)
class AskedTrial:
    """A trial that a study asks for: train at `dim` with everything random from `seed`.

    Args:
        dim: training dimension d; at 0 nothing is to be trained.
        seed: of everything random, in [0, 2³¹).
        repeat: which trial of the study it is.
        lr: learning rate; None where it is the trainer's own affair.
    """

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
        max_trials: done, as "not converged", after so many trials; None: 1,000, or 100 where the
            learning rate is searched.
        seed: of every trial's seed.
        lr: a number, passed on as the trial's `lr`; or the (low, high) that the learning rate is
            searched in. d* is then that at the best learning rate, by the joint design of
            `threshold`: each trial has a d and an lr of its own, and how good it got, not only
            whether it met the goal, tells.
        store: where trials are kept: a path, a URL, a store, or None for memory.
        lease: seconds after which a trial that was not told is asked of somebody else.

    Raises:
        InputError: an argument is out of range; or the learning rate is to be searched for a goal
            whose metric has no range to measure distances in.
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
        max_trials: int | None = None,
        seed: int = 0,
        lr: float | tuple[float, float] | None = None,
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
        self._ends = lr_range(lr) if isinstance(lr, tuple | list) else None
        if self._ends is None:
            assert not isinstance(lr, tuple)
            self._spec = LoopSpec(lr)
            _ = self._spec.number_lr  # refuses "auto"
        else:
            self._spec = LoopSpec()
            self._identity["lr"] = AUTO  # its repeats are not those of a study at one rate
        self._seed = whole("seed", seed)
        self._lease = real("lease", lease, low=0.0, strict=True)
        self._options: dict[str, Any] = {
            "min_dim": min_dim,
            "delta": delta,
            "confidence": confidence,
            "ratio": ratio,
            **({} if max_trials is None else {"max_trials": max_trials}),
        }
        self._thought: tuple[tuple[str, ...], StudyDesign] | None = None
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
            held = [self._place(c.data) for c in claims.values() if c.until >= now]
            design = self._design(told)
            untrained = self._untrained(design, told)
            over = design.done or design.trials + len(held) >= design.max_trials
            if over and len(untrained) <= sum(dim == 0 for dim, _ in held):
                break
            repeat = max([*known, *claims], default=-1) + 1
            if design.done:
                dim, lr = untrained[0]
            elif late:
                (dim, lr), repeat = self._place(late[0]), late[0]["repeat"]
            else:
                dim, lr = design.next(held)
            data = {"dim": dim, "repeat": repeat} | ({"lr": lr} if self._ends else {})
            if self.store.claim(f"{self._prefix}{repeat:08d}", self._owner, self._lease, data):
                asked.append(AskedTrial(dim, seed_of(self._seed, repeat), repeat, lr))
        return asked

    def tell(
        self,
        trial: AskedTrial,
        metrics: Mapping[str, Any],
        *,
        steps: int = 1,
        stopped: bool = False,
    ) -> None:
        """Say what came of a trial; it is in the store when this returns.

        Args:
            trial: as `ask` gave it.
            metrics: the best of each, by name, `"[split:]metric"`, the goal's among them; of a
                noisy one a list of evaluations. One that is not finite counts as a trial that
                diverged.
            steps: what the trial took.
            stopped: whether it was cut short and might have got better. Where the learning rate is
                searched, a trial may be once the goal's metric is as good as `enough`; elsewhere
                once the goal is met, and one that was cut short before counts as a miss.

        Raises:
            InputError: the trial was not asked by this study, or was told otherwise before; the
                goal's metric is missing, or a value is no number.
        """
        self._refuse_unasked(trial)
        if not isinstance(metrics, Mapping):
            raise invalid("metrics", expected="a mapping of numbers by name", got=repr(metrics))
        record = record_of_metrics(
            self._trial(trial.dim, trial.repeat, trial.lr),
            metrics,
            steps=whole("steps", steps, low=0),
            ambient_dim=self._max_dim,
            stopped=stopped,
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
        places = [self._place(claim.data) for claim in found]
        seed = seed_of(self._seed, trial.repeat)
        if trial.seed != seed or (trial.dim, trial.lr) not in places:
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
    def enough(self) -> float | None:
        """The goal's metric at which a trial may be stopped; None where the level is enough.

        Where the learning rate is searched, how good a trial got tells as well, up to there.
        """
        design = self._design()
        return design.enough if isinstance(design, GradedDesign) else None

    @property
    def estimate(self) -> ThresholdEstimate:
        """What is known of d*; with a searched learning rate noted in the store, for its report.

        Raises:
            InputError: nothing was told yet.
        """
        told = self._told()
        if not any(record.dim or not self._ends for record in told.values()):
            raise invalid("estimate", expected="at least one trial that was told", got="none")
        found = self._design(told).estimate()
        noted.note(self.store, found)
        return found

    def close(self) -> None:
        """Close the store if it was opened here."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def _prefix(self) -> str:
        key = self._trial(0, 0, self._spec.number_lr).key
        return f"study:{key}:"

    def _place(self, data: Mapping[str, Any]) -> Place:
        """Return where a trial that was asked for is to train."""
        return data["dim"], data.get("lr", self._spec.number_lr)

    def _trial(self, dim: int, repeat: int, lr: float | None) -> Trial:
        method, spec = {"name": "trainable"}, self._spec.replace(lr=lr)
        return Trial(self._identity, method, dim, spec.to_json(), self._seed, repeat)

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
            if (record.trial.problem, record.trial.seed) == (self._identity, self._seed)
            and (self._ends is not None or record.trial.spec == spec)
        }

    def _design(self, told: Mapping[int, TrialRecord] | None = None) -> StudyDesign:
        """Return the design that was told these; the last one is kept, with what it has found."""
        records = list((told or {}).values())
        keys = tuple(record.key for record in records)
        if self._thought is None or self._thought[0] != keys:
            design: StudyDesign
            if self._ends is not None:
                design = GradedDesign(self.goal, self._max_dim, self._ends, records, self._options)
            else:
                lr = self._spec.number_lr
                design = CountingDesign(self.goal, self._max_dim, lr, records, self._options)
            self._thought = keys, design
        return self._thought[1]

    @staticmethod
    def _untrained(design: StudyDesign, told: Mapping[int, TrialRecord]) -> list[Place]:
        """Return the trials at d = 0 that are wanting, to tell whether training is needed."""
        place = design.untrained
        if place is None:
            return []
        return [place] * (_UNTRAINED - sum(record.dim == 0 for record in told.values()))

"""Trial records with a known success curve, as a stand-in for training."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

from subspan.goals import Goal, LossBelow, parse_goal
from subspan.spec import TrainSpec
from subspan.streams import uniforms
from subspan.trials.trial import CurvePoint, Outcome, Trial, TrialRecord

AMBIENT = 2410
STEPS = 600
SPEC = TrainSpec(steps=STEPS, schedule="linear")
NAN = math.nan


def curve_of(losses: Sequence[float]) -> tuple[CurvePoint, ...]:
    """An evaluation curve whose accuracy is exp(-loss) and whose test loss is 1.2 × as high."""
    every = STEPS // max(1, len(losses) - 1)
    return tuple(
        CurvePoint(
            i * every,
            {
                "train:loss": loss,
                "train:accuracy": math.exp(-loss),
                "test:loss": 1.2 * loss,
                "test:accuracy": math.exp(-1.2 * loss),
            },
        )
        for i, loss in enumerate(losses)
    )


def record(
    dim: int,
    repeat: int = 0,
    losses: Sequence[float] = (2.3, 1.0, 0.5),
    *,
    seed: int = 0,
    spec: TrainSpec = SPEC,
    outcome: Outcome = Outcome.FINISHED,
    steps: int | None = None,
    problem: str = "synthetic",
    method: str = "random",
) -> TrialRecord:
    """A record whose evaluations had the given training losses."""
    trial = Trial(
        {"name": problem}, {"name": method, "map": "gaussian"}, dim, spec.to_json(), seed, repeat
    )
    curve = curve_of(losses)
    return TrialRecord(
        trial, AMBIENT, outcome, curve[-1].step if steps is None else steps, curve, 1.0, 0.01
    )


def final_loss(dim: int, repeat: int, seed: int = 0) -> float:
    """A loss that falls with d, ε ≈ 2.3·exp(-(d/60)^1.2), log-normally spread over repeats."""
    from subspan.streams import normals

    noise = normals(seed, "synthetic", dim, repeat, count=1)[0]
    return 2.3 * math.exp(-((dim * math.exp(0.13 * noise) / 60) ** 1.2))


def grid(dims: Sequence[int], repeats: int, seed: int = 0) -> list[TrialRecord]:
    """Finished trials of `final_loss` on a grid."""
    return [
        record(dim, repeat, (2.3, final_loss(dim, repeat, seed)), seed=seed)
        for dim in dims
        for repeat in range(repeats)
    ]


def fake_problem(ambient_dim: int = AMBIENT) -> Any:
    """What `threshold` needs to know of a problem."""
    return SimpleNamespace(ambient_dim=ambient_dim, default_spec=SPEC, train_size=100)


class FakeRunner:
    """Runs plans by drawing each trial's outcome from a success curve P_s(d); notes what it ran."""

    def __init__(
        self, probability: Callable[[int], float], success_steps: int = STEPS // 2
    ) -> None:
        self.probability = probability
        self.success_steps = success_steps
        self.plans: list[list[tuple[int, int]]] = []
        self.records: list[TrialRecord] = []

    @property
    def steps(self) -> int:
        """Training steps spent."""
        return sum(r.steps for r in self.records)

    def run(self, method: Any, plan: Any, *, spec: TrainSpec, seed: int) -> list[TrialRecord]:
        """Run a plan."""
        self.plans.append(list(plan))
        done = [self.one(dim, repeat, spec, seed) for dim, repeat in plan]
        self.records += done
        return done

    def one(self, dim: int, repeat: int, spec: TrainSpec, seed: int) -> TrialRecord:
        """One trial: stops at the goal, or trains to the end and diverges now and then."""
        goal: Goal = parse_goal(spec.stop_at or LossBelow(0.1))
        assert isinstance(goal, LossBelow)
        luck = uniforms(seed, "fake", dim, repeat, count=1)[0]
        if luck < self.probability(dim):
            losses, outcome, steps = (2.3, goal.level / 2), Outcome.STOPPED, self.success_steps
        elif luck > 0.99:
            losses, outcome, steps = (2.3, NAN), Outcome.DIVERGED, 10
        else:
            losses, outcome, steps = (2.3, 2 * goal.level), Outcome.FINISHED, STEPS
        return record(dim, repeat, losses, seed=seed, spec=spec, outcome=outcome, steps=steps)

"""What `threshold` found at the best learning rate, noted in the store beside its trials.

Counts of successes are counted again from the trials. The surface over d and learning rate is not:
it is sampled, on a scale that the problem's initial weights give. So its estimate is noted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from subspan.canonical import digest
from subspan.errors import InputError, StoreError
from subspan.estimate import Estimate
from subspan.goals import Goal, parse_goal
from subspan.success.estimate import ThresholdEstimate
from subspan.success.posterior import Count, Range
from subspan.success.records import Experiment
from subspan.success.response import LearningRate
from subspan.trials.stores.base import RecordStore
from subspan.trials.stores.notes import ESTIMATE, is_whole, sealed


@dataclass(frozen=True)
class NotedEstimate:
    """An estimate as a store has it, and where its trials were to stop.

    Args:
        estimate: without trials and surface.
        stop_at: well above the goal; None where whoever trained saw to that.
    """

    estimate: ThresholdEstimate
    stop_at: Goal | None


def note(store: RecordStore, estimate: ThresholdEstimate) -> None:
    """Note an estimate of a joint design; the same measurement again takes the place of the first.

    One without trials has nothing to stand beside, and is not noted.
    """
    if estimate.design != "joint" or estimate.experiment is None:
        return
    data = estimate.to_json()
    asked = [data[name] for name in ("goal", "delta", "confidence", "min_dim", "max_dim")]
    key = f"{ESTIMATE}{digest([data['experiment'], *asked])}"
    stop_at = estimate.records[0].trial.spec["stop_at"]
    store.claim(key, ESTIMATE, 0.0, sealed(key, {**data, "stop_at": stop_at}))


def noted(store: RecordStore) -> Iterator[NotedEstimate]:
    """Iterate over the estimates that a store notes.

    Raises:
        StoreError: one is not what was noted.
    """
    for claim in store.claims(ESTIMATE):
        try:
            if not is_whole(claim):
                raise ValueError("not as it was noted")
            stop = claim.data["stop_at"]
            stop_at = None if stop is None else parse_goal(stop)
            yield NotedEstimate(_estimate(claim.data), stop_at)
        except (InputError, KeyError, TypeError, ValueError) as error:
            raise StoreError(
                f"store: expected notes of estimates, got one that is damaged ({claim.key}). Give "
                "the call of `threshold` again, which notes it anew."
            ) from error


def _estimate(data: dict[str, Any]) -> ThresholdEstimate:
    shared = data["experiment"]
    ends = (data["value"], data["low"], data["high"])
    return ThresholdEstimate(
        Estimate(*ends, data["confidence"], data["trials"], data["status"]),
        parse_goal(data["goal"]),
        Range(data["min_dim"], data["max_dim"], data["delta"]),
        tuple(Count(**count) for count in data["counts"]),
        data["ambient_dim"],
        Experiment(**{**shared, "seeds": tuple(shared["seeds"])}),
        design="joint",
        trainings=data["trainings"],
        learning_rate=LearningRate(*(data[n] for n in ("lr", "lr_low", "lr_high", "lr_at_edge"))),
        advice=data["remark"],
        note=data["note"],
    )

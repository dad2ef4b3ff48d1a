"""A joint design's answers, noted in the store: the same, and not worked out twice."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

import subspan as ss
from subspan.success import joint_design
from subspan.success.graded import Scale
from subspan.success.joint_design import JointDesign
from subspan.success.worked_out import WorkedOut
from subspan.trials.lr_scale import LrScale
from subspan.trials.stores.sql import Store


@ss.trainable(name="rising", max_dim=1000, lr=(1e-3, 10.0), version="1")
def rising(trial: Any) -> dict[str, float]:
    z = 1.5 * math.log(max(trial.dim, 1) / 60) - 0.3 * math.log(trial.lr / 0.3) ** 2
    return {"accuracy": 1 / (1 + math.exp(-z - 0.1 * (trial.seed % 7 - 3)))}


def design(**options: Any) -> JointDesign:
    made = JointDesign(Scale(0.5, True, "logit"), LrScale.declared(1e-3, 1.0), 300, **options)
    for dim, lr, value in ((20, 0.1, 0.3), (80, 0.1, 0.7), (60, 0.01, 0.55)):
        made.tell(dim, lr, value)
    return made


def sampled(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many trials each posterior that is sampled from now on rests on."""
    calls: list[int] = []
    sample = joint_design.sample

    def counted(told: Any, *rest: Any, **options: Any) -> Any:
        calls.append(len(told))
        return sample(told, *rest, **options)

    monkeypatch.setattr(joint_design, "sample", counted)
    return calls


def test_the_same_measurement_again_samples_its_last_state_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(**options: Any) -> Any:
        store = tmp_path / "runs.db"
        return ss.threshold(
            rising, goal="accuracy>=0.5", store=store, workers=1, max_trials=8, **options
        )

    first = measured()
    calls = sampled(monkeypatch)
    again = measured()
    assert set(calls) == {first.trials}
    assert (again.value, again.low, again.high, again.status, again.lr) == (
        first.value, first.low, first.high, first.status, first.lr,
    )  # fmt: skip
    assert [r.key for r in again.records] == [r.key for r in first.records]
    measured(progress=lambda done, planned, text: None)  # who watches hears of every round
    del calls[:]
    measured(progress=lambda done, planned, text: None)
    assert set(calls) == {first.trials}


def test_answers_are_those_of_the_design() -> None:
    plain = design()
    with Store() as store:
        for _ in range(2):
            answers = WorkedOut(design(), store)
            assert answers.next(2) == plain.ask(2)
            known = plain.estimate()
            assert answers.estimate() == (known.value, known.low, known.high)
        assert WorkedOut(design(max_trials=3), store).next(2) == []


@pytest.mark.parametrize(
    "change", [{"ratio": 1.2}, {"delta": 0.3}, {"confidence": 0.5}, {"max_trials": 4}]
)
def test_another_design_is_asked_anew(
    change: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store() as store:
        WorkedOut(design(), store).next(2)
        calls = sampled(monkeypatch)
        WorkedOut(design(), store).next(2)
        assert not calls
        WorkedOut(design(**change), store).next(2)
        assert calls


def test_an_answer_that_was_changed_is_worked_out_again() -> None:
    with Store() as store:
        asked = WorkedOut(design(), store).next(2)
        (claim,) = store.claims("design:")
        for data in ({**claim.data, "answer": [[7, 0.1]]}, {}):
            store.claim(claim.key, claim.owner, 0.0, data)
            assert WorkedOut(design(), store).next(2) == asked

"""Results noted in a store: found again, carried along, and refused where they were changed."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import subspan as ss
from subspan.errors import StoreError
from subspan.success.noted import noted
from subspan.trials.stores.merge import merge
from subspan.trials.stores.notes import Kind, damaged, keep, notes, recall

ASKED = {"problem": {"name": "p"}, "goal": "loss<=1"}


@dataclass(frozen=True)
class Found:
    value: float

    def to_json(self) -> dict[str, Any]:
        return {"value": self.value}

    @classmethod
    def of_json(cls, data: Mapping[str, Any]) -> Found:
        return cls(float(data["value"]))


KIND = Kind("found", Found.of_json)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "runs.db"
    keep(path, KIND, ASKED, Found(0.1))
    return path


def edit(path: Path, statement: str, *values: object) -> None:
    db = sqlite3.connect(path)
    with db:
        db.execute(statement, values)
    db.close()


def test_what_was_asked_before_is_found_and_nothing_else(path: Path) -> None:
    assert recall(path, KIND, ASKED) == Found(0.1)
    assert recall(path, KIND, {**ASKED, "goal": "loss<=2"}) is None
    assert recall(path, Kind("other", Found.of_json), ASKED) is None
    assert recall(None, KIND, ASKED) is None
    keep(path, KIND, ASKED, Found(0.2))  # takes the place of the first
    with ss.Store(path) as store:
        (note,) = notes(store, KIND)
    assert (note.asked, note.found) == (ASKED, Found(0.2))


@pytest.mark.fault("a noted result is edited or swapped", "found when it is read, and named")
@pytest.mark.parametrize(
    ("harm", "values"),
    [
        ("UPDATE claims SET data = replace(data, '0.1', '0.3')", ()),
        ("UPDATE claims SET data = replace(data, 'loss<=1', 'loss<=2')", ()),
        ("UPDATE claims SET data = ?", (json.dumps({"asked": 1}),)),
        ("UPDATE claims SET key = 'note:found:' || ?", ("0" * 32,)),
    ],
)
def test_a_note_that_was_changed_is_refused(
    path: Path, tmp_path: Path, cli: Any, harm: str, values: tuple[object, ...]
) -> None:
    assert cli(f"verify {path}")[0] == 0
    edit(path, harm, *values)
    with ss.Store(path) as store, ss.Store(tmp_path / "other.db") as other:
        assert len(list(damaged(store))) == 1
        with pytest.raises(StoreError, match="notes of results, got one that is damaged"):
            list(notes(store, KIND))
        with pytest.raises(StoreError, match="damaged"):
            merge(other, store)
        assert other.claims("") == []
    code, out, err = cli(f"verify {path}")
    assert code == 2
    assert "note:found:" in out
    assert "1 of 1 records and notes" in err


@pytest.mark.fault("a noted result is edited or swapped", "found when it is read, and named")
@pytest.mark.parametrize(
    "harm",
    [
        "UPDATE claims SET data = replace(data, '\"value\":', '\"value\":9')",
        "UPDATE claims SET key = 'estimate:' || hex(zeroblob(16)) WHERE key LIKE 'estimate:%'",
        "UPDATE claims SET data = '{}' WHERE key LIKE 'estimate:%'",
    ],
)
def test_an_estimate_that_was_changed_is_refused(tmp_path: Path, cli: Any, harm: str) -> None:
    path = tmp_path / "runs.db"
    settings = {"max_trials": 4, "seed": 0, "workers": 1, "store": path}
    problem = ss.problems.load("digits-mlp", subset=100)
    ss.threshold(problem, "random", "loss<=1", spec=ss.TrainSpec(steps=4, lr="auto"), **settings)
    assert "1 noted result, all as they were stored" in cli(f"verify {path}")[1]
    with ss.Store(path) as store:
        assert len(list(noted(store))) == 1
    edit(path, harm)
    with ss.Store(path) as store, ss.Store(tmp_path / "other.db") as other:
        with pytest.raises(StoreError, match="notes of estimates, got one that is damaged"):
            list(noted(store))
        if "{}" not in harm:  # one of an earlier release has no digest, and may be anything
            assert len(list(damaged(store))) == 1
            with pytest.raises(StoreError, match="damaged"):
                merge(other, store)
            assert "estimate:" in cli(f"verify {path}")[1]


def test_a_whole_note_of_another_form_is_refused(path: Path) -> None:
    def of_json(data: Mapping[str, Any]) -> Found:
        return Found(float(data["no such name"]))

    with ss.Store(path) as store, pytest.raises(StoreError, match="damaged"):
        list(notes(store, Kind("found", of_json)))


def test_merging_carries_notes_and_the_target_keeps_its_own(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    asked = {**ASKED, "goal": "loss<=2"}
    keep(other, KIND, ASKED, Found(9.0))
    keep(other, KIND, asked, Found(2.0))
    with ss.Store(other) as source:
        source.claim("estimate:1", "estimate:", 0.0, {"goal": "loss<=1"})
        source.claim("trial:1", "somebody", 60.0, {})
    with ss.Store(path) as target, ss.Store(other) as source:
        assert merge(target, source) == (0, 0, 2)
        assert merge(target, source) == (0, 0, 0)
        assert [claim.key for claim in target.claims("estimate:")] == ["estimate:1"]
        assert target.claims("trial:") == []
    assert recall(path, KIND, ASKED) == Found(0.1)
    assert recall(path, KIND, asked) == Found(2.0)

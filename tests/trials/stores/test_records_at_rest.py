"""Records that were edited or swapped are found; stores are merged, exported and compacted."""

import csv
import dataclasses
import json
import sqlite3
from pathlib import Path

import pytest

from subspan.errors import InputError, StoreError
from subspan.testing.store_conformance import example_record
from subspan.training.outcome import Outcome
from subspan.trials.export import export
from subspan.trials.stores.merge import merge
from subspan.trials.stores.sql import SCHEMA_VERSION, Store

OLD = Path(__file__).parent / "assets" / "schema-3.db"


@pytest.fixture
def path(tmp_path):
    with Store(tmp_path / "runs.db") as store:
        for dim in range(4):
            store.add(changed(example_record(dim=dim), wall_time=dim / 2))
    return tmp_path / "runs.db"


def edit(path, statement, *values):
    db = sqlite3.connect(path)
    with db:
        db.execute(statement, values)
    db.close()


@pytest.mark.fault("a record is edited or swapped", "found when it is read, and named")
@pytest.mark.parametrize(
    "harm",
    [
        "UPDATE trials SET record = CAST(substr(record, 1, 20) || X'7F' || substr(record, 22) "
        "AS BLOB) WHERE key = ?",
        "UPDATE trials SET record = substr(record, 1, 30) WHERE key = ?",
        "UPDATE trials SET record = X'' WHERE key = ?",
        "UPDATE trials SET record = X'02FF' || 'text that is none' WHERE key = ?",
        "UPDATE trials SET repeat = 9 WHERE key = ?",
        "UPDATE trials SET spec = provenance WHERE key = ?",
        "UPDATE trials SET form = 99 WHERE key = ?",
        "UPDATE trials SET form = NULL WHERE key = ?",
        "UPDATE trials SET outcome = 'stopped' WHERE key = ?",
        "UPDATE trials SET record = (SELECT record FROM trials WHERE dim = 3) WHERE key = ?",
        "UPDATE trials SET (record, digest) = (SELECT record, digest FROM trials WHERE dim = 3) "
        "WHERE key = ?",
        "UPDATE trials SET digest = NULL WHERE key = ?",
    ],
)
def test_a_record_that_was_edited_or_swapped_is_found(harm, path, cli):
    key = example_record(dim=2).key
    assert cli(f"verify {path}")[:2] == (0, "4 records, all as they were stored\n")
    edit(path, harm, key)
    with Store(path) as store:
        assert [bad for bad, _ in store.damaged()] == [key]
        with pytest.raises(StoreError, match=f"damaged, {key}"):
            store.get([key])
        assert len(store.get([example_record(dim=1).key])) == 1
    code, out, err = cli(f"verify {path}")
    assert code == 2
    assert key in out
    assert "1 of 4 records" in err


def test_a_store_of_schema_3_gets_its_digests(tmp_path):
    path = tmp_path / "old.db"
    path.write_bytes(OLD.read_bytes())
    with Store(path, readonly=True) as store:
        before = [repr(dataclasses.asdict(r)) for r in store.records()]
        assert list(store.damaged()) == []
    assert len(before) == 5
    with Store(path) as store:
        assert [repr(dataclasses.asdict(r)) for r in store.records()] == before
        assert list(store.damaged()) == []
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
    assert db.execute("SELECT count(digest) FROM trials").fetchone() == (5,)
    db.close()
    edit(path, "UPDATE texts SET text = replace(text, '\"max_dim\":10', '\"max_dim\":11')")
    with Store(path) as store:
        assert len(list(store.damaged())) == 3  # whose text it is
    edit(path, "UPDATE texts SET text = X'00'")  # no text at all
    with Store(path) as store:
        assert len(list(store.damaged())) == 5


def test_pages_are_picked_by_the_database(path, cli):
    edit(path, "UPDATE trials SET record = 'damaged' WHERE dim IN (0, 3)")  # not read
    code, out, _ = cli(f"trials {path} --limit 2 --offset 1 --problem example --json")
    assert code == 0
    assert [trial["dim"] for trial in json.loads(out)] == [1, 2]
    assert json.loads(cli(f"trials {path} --problem other --json")[1]) == []
    assert cli(f"trials {path}")[0] == 2


def changed(record, **fields):
    return dataclasses.replace(record, **fields)


def test_two_stores_are_merged(path, tmp_path, cli):
    failed = changed(example_record(dim=9), outcome=Outcome.FAILED)
    with Store(tmp_path / "other.db") as other, Store(path) as store:
        store.add(failed)
        other.add(changed(example_record(dim=1), wall_time=99.0, provenance={"b": 2}))  # the same
        other.add(example_record(dim=9))
        other.add(example_record(dim=10))
        other.add(changed(example_record(dim=2), outcome=Outcome.FAILED))  # a bad day
    code, out, _ = cli(f"merge {path} {tmp_path}/other.db")
    assert (code, out.split(": ")[1]) == (0, "2 added, 2 were there\n")
    with Store(path) as store:
        assert len(store) == 6
        assert {r.outcome for r in store.records()} == {Outcome.FINISHED}
    with Store(tmp_path / "third.db") as third, Store(path) as store:
        third.add(example_record(dim=11))
        third.add(changed(example_record(dim=3), steps=7))
        with pytest.raises(StoreError, match=f"two of {example_record(dim=3).key}"):
            merge(store, third)
        assert len(store) == 6  # nothing of it


def test_a_merge_that_cannot_be_is_refused_before_any_is(path, tmp_path, cli):
    other = tmp_path / "other.db"
    with Store(other) as store:
        store.add(example_record(dim=9))
    assert "other stores than the target" in cli(f"merge {path} {other} {tmp_path}/./runs.db")[2]
    assert "expected a file at" in cli(f"merge {path} {other} {tmp_path}/nowhere.db")[2]
    with Store(path) as store:
        assert len(store) == 4
    assert cli(f"merge {tmp_path}/new.db {tmp_path}/nowhere.db")[0] == 2
    assert not (tmp_path / "new.db").exists()


def test_records_are_exported(path, tmp_path, cli):
    with Store(path) as store:
        records = list(store.records())
    assert cli(f"export {path} {tmp_path}/runs.csv")[0] == 0
    with (tmp_path / "runs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["key"], float(row["best train:loss"])) for row in rows] == [
        (r.key, 0.7) for r in records
    ]
    assert export(records, tmp_path / "runs.jsonl") == 4
    lines = [json.loads(line) for line in (tmp_path / "runs.jsonl").read_text().splitlines()]
    assert [line["curve"]["train:loss"] for line in lines] == [[0.9, 0.7]] * 4
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    import pandas as pd

    export(records, tmp_path / "runs.parquet")
    assert pd.read_parquet(tmp_path / "runs.parquet")["dim"].tolist() == [0, 1, 2, 3]
    with pytest.raises(InputError, match="export's ending"):
        export(records, tmp_path / "runs.xls")
    with pytest.raises(StoreError, match="can be written"):
        export(records, tmp_path / "no" / "runs.csv")
    with pytest.raises(StoreError, match="fit into columns of Parquet"):
        export([changed(records[0], search_bits=2**70)], tmp_path / "large.parquet")


def test_an_export_without_a_place_or_over_the_store_is_refused(path, tmp_path, cli):
    for file in ("", ".csv", f"{tmp_path}", "runs.xls"):
        assert (
            "export's ending: expected one of .parquet, .csv, .jsonl"
            in cli(f"export {path} '{file}'")[2]
        )
    own = path.rename(tmp_path / "runs.csv")
    before = own.read_bytes()
    assert "another file than the store" in cli(f"export {own} {own}")[2]
    assert own.read_bytes() == before


def test_an_export_of_nothing_has_the_names_and_what_is_left_out_is_said(tmp_path, cli):
    with Store(tmp_path / "none.db") as store:
        for i in range(2):
            store.claim(f"estimate:{i}", "estimate:", 0.0, {})
    code, out, _ = cli(f"export {tmp_path}/none.db {tmp_path}/none.csv")
    assert (code, out.split(" in ")[0]) == (0, "0 trials")
    assert "2 noted results stay in the store" in out
    assert (tmp_path / "none.csv").read_text().startswith("key,problem,method,dim,")


def test_a_store_is_compacted(path, cli):
    edit(path, "DELETE FROM trials WHERE dim < 3")
    with Store(path) as store:
        store.lease(["trial:a", "study:b"], "gone", 0.0, {})
    assert cli(f"compact {path}")[0] == 0
    with Store(path) as store:
        assert [claim.key for claim in store.claims("")] == ["study:b"]
        assert len(store) == 1

import os
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from subspan.errors import StoreError
from subspan.testing import check_store
from subspan.testing.store_conformance import example_record
from subspan.trials.stores import sql
from subspan.trials.stores.sql import SCHEMA_VERSION, Store

OLD = Path(__file__).parent / "assets" / "schema-1.db"


def test_laws(tmp_path):
    check_store(lambda: Store(tmp_path / "runs.db"))


def test_memory_store_keeps_records():
    store = Store()
    assert store.add(example_record())
    assert len(store) == 1


@pytest.mark.fault("a store of an older schema", "migrated, nothing lost")
def test_a_store_of_schema_1_is_migrated_and_loses_nothing(tmp_path):
    path = tmp_path / "old.db"
    path.write_bytes(OLD.read_bytes())
    with Store(path, readonly=True) as store:  # reading does not need the migration
        assert len(store) == 2
    with Store(path) as store:
        assert [r.dim for r in store.records()] == [4, 8]
        store.add(example_record(dim=16))
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION
    made = db.execute("SELECT name FROM sqlite_master WHERE type='index' AND sql NOT NULL")
    assert made.fetchall() == [("trials_by_problem",)]


@pytest.mark.fault("a store of a newer schema", "refused, left alone")
def test_a_newer_store_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "new.db"
    with Store(path) as store:
        store.add(example_record())
    db = sqlite3.connect(path)
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    db.close()
    with pytest.raises(StoreError, match=f"or older, got {SCHEMA_VERSION + 1}.*upgrade subspan"):
        Store(path)
    assert sqlite3.connect(path).execute("SELECT count(*) FROM trials").fetchone()[0] == 1


def test_what_is_not_a_store_is_refused_and_left_alone(tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("these are notes, not a database " * 100)
    with pytest.raises(StoreError, match="expected an SQLite file, got something else"):
        Store(text)
    assert text.read_text().startswith("these are notes")
    other = tmp_path / "other.db"
    db = sqlite3.connect(other)
    db.execute("CREATE TABLE mine (x)")
    db.commit()
    with pytest.raises(StoreError, match="another SQLite database"):
        Store(other)
    assert db.execute("SELECT name FROM sqlite_master").fetchall() == [("mine",)]


def test_missing_folder_and_missing_file(tmp_path):
    with pytest.raises(StoreError, match="Make the folder"):
        Store(tmp_path / "no" / "runs.db")
    with pytest.raises(StoreError, match="expected a file at"):
        Store(tmp_path / "no.db", readonly=True)
    with pytest.raises(StoreError, match="expected a file, got the folder"):
        Store(tmp_path)
    for name in ("9" * 5000, "9" * 250):  # of which SQLite's log beside it would be too long
        with pytest.raises(StoreError, match="File name too long"):
            Store(tmp_path / name)
    (tmp_path / "empty.db").touch()
    with pytest.raises(StoreError, match="got an empty file"):
        Store(tmp_path / "empty.db", readonly=True)


def test_records_are_found_in_one_walk_as_they_are_one_by_one(tmp_path, monkeypatch):
    path, records = tmp_path / "runs.db", [example_record(dim=dim) for dim in range(20)]
    monkeypatch.setattr(sql, "AT_ONCE", 3)
    with Store(path) as store:
        store.add_all(records)
        wanted = [record.key for record in records[4:]]
        assert store.get([*wanted, "none"]) == {record.key: record for record in records[4:]}
        assert store.get(wanted[:2]) == {record.key: record for record in records[4:6]}
    db = sqlite3.connect(path)
    with db:
        db.execute("UPDATE trials SET outcome = 'stopped' WHERE dim = 2")
    db.close()
    with Store(path) as store:
        assert len(store.get(wanted)) == 16  # it is none of these
        with pytest.raises(StoreError, match=f"damaged, {records[2].key}"):
            store.get([record.key for record in records])
        assert len(store) == 20  # and can be used further


def test_a_schema_that_is_no_text_is_a_damaged_file(tmp_path):
    path = tmp_path / "runs.db"
    Store(path).close()
    db = sqlite3.connect(path)
    db.execute("PRAGMA writable_schema = ON")
    with db:  # SQLite quotes it in its complaint, which Python cannot decode
        db.execute(
            "UPDATE sqlite_master SET sql = 'none', name = CAST(X'80' AS TEXT) "
            "WHERE name = 'claims'"
        )
    db.close()
    for readonly in (True, False):
        with pytest.raises(StoreError, match=r"the file is damaged|could not"):
            Store(path, readonly=readonly)


@pytest.mark.fault("corrupt pages", "one clear error")
def test_damaged_file(tmp_path):
    path = tmp_path / "runs.db"
    with Store(path) as store:
        for dim in range(200):
            store.add(example_record(dim=dim))
    data = bytearray(path.read_bytes())
    data[4096:-4096] = b"\xff" * (len(data) - 8192)
    path.write_bytes(data)
    with pytest.raises(StoreError), Store(path) as store:
        list(store.records())


def test_two_writers_take_turns(tmp_path):
    path = tmp_path / "runs.db"
    failures = []

    def write(offset):
        try:
            with Store(path) as store:
                for dim in range(40):
                    store.add(example_record(dim=dim + offset))
        except StoreError as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(offset,)) for offset in (0, 20)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures
    with Store(path) as store:
        assert len(store) == 60


def mounted(folder, options):
    """Mount a small tmpfs, or skip where that is not allowed."""
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True
    )
    if done.returncode:
        pytest.skip("mounting a tmpfs is not allowed here")
    return folder


@pytest.mark.fault("full disk", "one clear error; what was reported is there")
@pytest.mark.skipif(sys.platform != "linux", reason="needs tmpfs")
def test_full_disk_loses_nothing_that_was_reported(tmp_path):
    folder = mounted(tmp_path / "small", "size=256k")
    try:
        store, reported = Store(folder / "runs.db"), []

        def fill():
            for dim in range(10_000):
                store.add(example_record(dim=dim))
                reported.append(dim)

        with pytest.raises(StoreError, match="the disk is full"):
            fill()
        added = len(reported)
        assert added > 10
        with Store(folder / "runs.db", readonly=True) as again:
            assert {r.dim for r in again.records()} == set(range(added))
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


@pytest.mark.fault("read-only path", "one clear error; can be read")
@pytest.mark.skipif(sys.platform != "linux", reason="needs tmpfs")
def test_read_only_folder(tmp_path):
    folder = mounted(tmp_path / "ro", "size=1m")
    try:
        with Store(folder / "runs.db") as store:
            store.add(example_record())
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        for name in ("runs.db", "new.db"):
            with pytest.raises(StoreError, match="expected a file and folder that can be written"):
                Store(folder / name)
        with Store(folder / "runs.db", readonly=True) as store:
            assert len(store) == 1
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_folder_without_permission(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="can be written"):
        Store(tmp_path / "runs.db")


@pytest.mark.skipif(sys.platform != "linux", reason="needs tmpfs")
def test_unmerged_trials_in_a_read_only_folder_are_not_left_out_in_silence(tmp_path):
    with Store(tmp_path / "runs.db") as store:
        store.add(example_record())
        parts = {p.name: p.read_bytes() for p in tmp_path.glob("runs.db*")}
    assert parts["runs.db-wal"]  # as a killed process leaves them
    folder = mounted(tmp_path / "ro", "size=1m")
    try:
        for name in ("runs.db", "runs.db-wal"):
            (folder / name).write_bytes(parts[name])
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        with pytest.raises(StoreError, match="not merged yet"):
            Store(folder / "runs.db", readonly=True)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def test_a_damaged_record_is_a_clear_error(tmp_path):
    path = tmp_path / "runs.db"
    with Store(path) as store:
        store.add(example_record())
    with sqlite3.connect(path) as db:
        db.execute("UPDATE trials SET record = substr(record, 1, 20)")
    db.close()
    with Store(path) as store, pytest.raises(StoreError, match="one that is damaged"):
        list(store.records())


def test_a_transaction_that_a_signal_left_open_does_not_block_the_store(tmp_path):
    """A signal between SQLite's BEGIN and SQLAlchemy's note of it; what leads out writes again."""
    with Store(tmp_path / "s.db") as store:
        store._db.connection.driver_connection.execute("BEGIN")
        store._db.rollback()
        assert store._db.connection.driver_connection.in_transaction
        assert len(store) == 0
        store._db.connection.driver_connection.execute("BEGIN")
        assert store.add(example_record())
        assert len(store) == 1

"""Stores of earlier schemas open, migrate and answer as before; a cut leaves them as they were."""

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

import subspan as ss
from subspan.success.estimate import fit_threshold
from subspan.trials.stores.migrations import SCHEMA_VERSION
from subspan.trials.stores.sql import Store

ASSETS = Path(__file__).parent / "assets"
# Printed by version 0.1, which wrote schema-2.db: threshold("quadratic", "random", "loss<=0.3",
# seed=0, ratio=2.0), and run("digits-mlp" of 100 rows, d = 4, four steps, evaluated every two).
TRIALS = 40
CURVE = (
    "80e237487aba951acc17cc84646cc832",
    [
        ("0x1.3afe5a0000000p+1", "0x1.27d27d27d27d2p-4"),
        ("0x1.3ab01a0000000p+1", "0x1.3333333333333p-4"),
    ],
)


@pytest.fixture
def old(tmp_path):
    path = tmp_path / "old.db"
    path.write_bytes((ASSETS / "schema-2.db").read_bytes())
    return path


def version(path):
    db = sqlite3.connect(path)
    try:
        return db.execute("PRAGMA user_version").fetchone()[0]
    finally:
        db.close()


def contents(path):
    with Store(path, readonly=True) as store:
        return [(r.key, r.outcome, repr(r.curve), r.provenance) for r in store.records()]


def check(path):
    with Store(path, readonly=True) as store:
        well, digits = list(store.records("quadratic")), list(store.records("digits-mlp"))
    found = fit_threshold(well, "loss<=0.3", min_dim=1, max_dim=300)
    assert found.trials == TRIALS
    assert well[0].metrics == ("train:loss",)
    first = min(digits, key=lambda r: r.trial.repeat)
    assert first.metrics == ("test:accuracy", "test:loss", "train:accuracy", "train:loss")
    assert (first.key, [(c.train_loss.hex(), c.test_accuracy.hex()) for c in first.curve]) == CURVE
    return found.value, found.low, found.high, found.counts


def test_an_old_store_answers_before_and_after_it_is_migrated(old):
    estimate = check(old)
    assert version(old) == 2
    before = contents(old)
    Store(old).close()
    assert version(old) == SCHEMA_VERSION
    assert check(old) == estimate
    assert contents(old) == before
    assert list(old.parent.glob("*before-migration")) == []
    with sqlite3.connect(old) as db:
        kinds = db.execute("SELECT DISTINCT typeof(record) FROM trials").fetchall()
        (words,) = db.execute("SELECT count(*) FROM texts").fetchone()
    assert kinds == [("blob",)]
    assert words < TRIALS / 2  # what trials have in common stands once


def test_the_same_call_finds_its_trials_in_an_old_store(old):
    events = []
    problem = ss.problems.load("digits-mlp", subset=100)
    spec = ss.TrainSpec(steps=4, batch_size=32, eval_every=2)
    ss.run(
        problem, "random", [4], 2, spec, store=old, workers=1,
        progress=lambda *event: events.append(event),
    )  # fmt: skip
    assert events == [(2, 2, "found in the store")]


DYING = """
import os, sys
from subspan.trials.stores import migrations, sql
step = migrations.MIGRATIONS[2]
def dying(db):
    step(db)
    os._exit(9)
migrations.MIGRATIONS[2] = dying
sql.Store(sys.argv[1])
"""


@pytest.mark.fault("killed in mid-migration", "the store as before")
def test_killed_in_mid_migration_a_store_is_as_before(old):
    before = contents(old)
    died = subprocess.run([sys.executable, "-c", DYING, str(old)], check=False)
    assert died.returncode == 9
    assert version(old) == 2
    copy = old.with_name("old.db.before-migration")
    assert copy.exists()  # until it is done
    assert contents(old) == contents(copy) == before
    Store(old).close()
    assert not copy.exists()
    assert version(old) == SCHEMA_VERSION
    assert contents(old) == before


def test_an_error_in_mid_migration_leaves_a_store_as_before(old, monkeypatch):
    from subspan.trials.stores import migrations

    def failing(db):
        migrations.CLAIMS.create(db)
        raise RuntimeError("out of luck")

    before = contents(old)
    monkeypatch.setitem(migrations.MIGRATIONS, 2, failing)
    with pytest.raises(RuntimeError, match="out of luck"):
        Store(old)
    assert version(old) == 2
    assert contents(old) == before


def test_a_damaged_record_does_not_stop_the_migration_of_others(old):
    with sqlite3.connect(old) as db:
        (key,) = db.execute("SELECT key FROM trials LIMIT 1").fetchone()
        db.execute("UPDATE trials SET record = substr(record, 1, 40) WHERE key = ?", (key,))
    db.close()
    with Store(old) as store:
        others = [r for r in sqlite3.connect(old).execute("SELECT key FROM trials") if r[0] != key]
        assert len(store.get([k for (k,) in others])) == len(others)
        with pytest.raises(ss.StoreError, match="one that is damaged"):
            store.get([key])


@pytest.mark.parametrize("schema", [1, 2, 3, 4])
@pytest.mark.parametrize(
    ("command", "said"),
    [("resume", "Nothing to go on with"), ("report", ""), ("trials", "random")],
)
def test_a_command_that_writes_no_trials_leaves_an_old_store_as_it_is(
    schema, command, said, tmp_path, cli
):
    path = tmp_path / "old.db"
    path.write_bytes((ASSETS / f"schema-{schema}.db").read_bytes())
    more = f"--out {tmp_path}/page.html" if command == "report" else ""
    code, out, error = cli(f"{command} {path} {more}")
    assert (code, error if code else "") == (0, "")
    assert said in out
    assert path.read_bytes() == (ASSETS / f"schema-{schema}.db").read_bytes()


def test_resume_migrates_a_store_that_it_goes_on_with(tmp_path, cli):
    path = tmp_path / "old.db"
    path.write_bytes((ASSETS / "schema-3.db").read_bytes())
    with sqlite3.connect(path) as db:
        (before,) = db.execute("SELECT count(*) FROM trials").fetchone()
        argv = ["surface", "quadratic", "--dims", "3", "--repeats", "1", "--goals", "loss<=0.3"]
        note = {"argv": [*argv, "--store", str(path)], "folder": str(tmp_path), "done": False}
        row = ("command:1", "command:", 0.0, json.dumps(note))
        db.execute("INSERT INTO claims (key, owner, until, data) VALUES (?, ?, ?, ?)", row)
    db.close()
    code, _, error = cli(f"resume {path}")
    assert code == 0, error
    assert "going on with subspan surface quadratic" in error
    assert version(path) == SCHEMA_VERSION
    with Store(path, readonly=True) as store:
        assert len(store) == before + 1

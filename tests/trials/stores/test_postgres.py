"""The same store in PostgreSQL, where there is a server program to start."""

import contextlib
import dataclasses
import sqlite3
import time
from pathlib import Path

import pytest

import subspan as ss
from subspan.errors import InputError, StoreError
from subspan.testing import check_store
from subspan.trials.stores.sql import SCHEMA_VERSION, Store

psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed")
ASSETS = Path(__file__).parent / "assets"


def test_laws_and_a_threshold(postgres):
    with contextlib.ExitStack() as stores:
        check_store(lambda: stores.enter_context(Store(postgres)))
    problem = ss.problems.load("quadratic")
    stored = ss.threshold(problem, "random", "loss<=0.3", store=postgres, workers=1, ratio=2.0)
    plain = ss.threshold(problem, "random", "loss<=0.3", workers=1, ratio=2.0)
    assert [r.key for r in stored.records] == [r.key for r in plain.records]
    again = ss.threshold(problem, "random", "loss<=0.3", store=postgres, workers=1, ratio=2.0)
    assert repr(again.records) == repr(stored.records)
    with Store(postgres, readonly=True) as store:
        assert len(list(store.records("quadratic"))) == len(plain.records)


@pytest.mark.parametrize("schema", [3, 4])
def test_an_old_store_on_a_server_is_migrated_and_loses_nothing(schema, postgres):
    """Tables and rows as versions before wrote them there: those of SQLite, but for the texts."""
    old = sqlite3.connect(f"file:{ASSETS / f'schema-{schema}.db'}?mode=ro&immutable=1", uri=True)
    name, place = postgres.partition("tester@/")[2].split("?host=")
    with psycopg.connect(host=place, user="tester", dbname=name) as db:
        db.execute(f"""
            CREATE TABLE trials (key TEXT COLLATE "C" PRIMARY KEY, problem TEXT COLLATE "C"
            NOT NULL, method TEXT COLLATE "C" NOT NULL, dim BIGINT NOT NULL, repeat BIGINT NOT NULL,
            seed BIGINT NOT NULL, outcome TEXT COLLATE "C" NOT NULL, record TEXT COLLATE "C"
            NOT NULL {', digest TEXT COLLATE "C"' if schema == 4 else ""});
            CREATE TABLE claims (key TEXT COLLATE "C" PRIMARY KEY, owner TEXT COLLATE "C" NOT NULL,
            until DOUBLE PRECISION NOT NULL, data TEXT COLLATE "C" NOT NULL);
            CREATE INDEX trials_by_problem ON trials (problem, method, dim, repeat);
            CREATE TABLE subspan_schema (version INTEGER NOT NULL);
            INSERT INTO subspan_schema VALUES ({schema});
        """)
        for row in old.execute("SELECT * FROM trials"):
            db.execute(f"INSERT INTO trials VALUES ({', '.join(['%s'] * len(row))})", row)
    old.close()
    with Store(ASSETS / f"schema-{schema}.db", readonly=True) as store:
        told = [repr(dataclasses.asdict(record)) for record in store.records()]
    assert len(told) == 5
    with Store(postgres, readonly=True) as store:  # as it is
        assert [repr(dataclasses.asdict(record)) for record in store.records()] == told
    with Store(postgres) as store:
        assert [repr(dataclasses.asdict(record)) for record in store.records()] == told
        assert list(store.damaged()) == []
    with psycopg.connect(host=place, user="tester", dbname=name) as db:
        assert db.execute("SELECT version FROM subspan_schema").fetchall() == [(SCHEMA_VERSION,)]
        assert db.execute("SELECT DISTINCT pg_typeof(record)::text FROM trials").fetchall() == [
            ("bytea",)
        ]


def test_a_server_that_is_not_there_is_a_clear_error():
    with pytest.raises(StoreError, match="could not open the database"):
        Store("postgresql+psycopg://nobody@127.0.0.1:1/none?connect_timeout=2")


def test_what_is_no_such_url_is_refused():
    with pytest.raises(InputError, match=r"store: expected a file, or a URL"):
        Store("mysql://host/name")
    with pytest.raises(InputError, match=r"store: expected a file, or a URL"):
        Store("nonsense://host/name")


@pytest.mark.fault("the database cuts its connections", "one clear error; the same call goes on")
def test_a_server_that_cuts_its_connections(postgres, postgres_server):
    calls, cut = [], []

    @ss.trainable(name="cut", max_dim=100)
    def work(trial):
        calls.append(trial.dim)
        if trial.dim == 3 and not cut:  # as a server does that is started again
            cut.append(True)
            with psycopg.connect(
                host=postgres_server, user="tester", dbname="postgres", autocommit=True
            ) as db:
                db.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                    [postgres.split("/")[3].split("?")[0]],
                )
        time.sleep(0.3)  # what is done is stored by then
        return {"loss": 0.5}

    sweep = {"dims": [1, 2, 3, 4], "repeats": 1, "executor": "inline", "store": postgres}
    with pytest.raises(StoreError, match="kept; see that the server runs"):
        ss.run(work, **sweep)
    before = len(calls)
    assert 3 <= before <= 4
    records = ss.run(work, **sweep)
    assert [str(r.outcome) for r in records] == ["finished"] * 4
    assert 1 not in calls[before:], "it was stored"

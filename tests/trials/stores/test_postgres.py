"""The same store in PostgreSQL, where there is a server program to start."""

import contextlib

import pytest

import subspan as ss
from subspan.errors import InputError, StoreError
from subspan.testing import check_store
from subspan.trials.stores.sql import Store

pytest.importorskip("psycopg", reason="psycopg is not installed")


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


def test_a_server_that_is_not_there_is_a_clear_error():
    with pytest.raises(StoreError, match="could not open the database"):
        Store("postgresql+psycopg://nobody@127.0.0.1:1/none?connect_timeout=2")


def test_what_is_no_such_url_is_refused():
    with pytest.raises(InputError, match=r"store: expected a file, or a URL"):
        Store("mysql://host/name")
    with pytest.raises(InputError, match=r"store: expected a file, or a URL"):
        Store("nonsense://host/name")

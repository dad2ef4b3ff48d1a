"""The same store in PostgreSQL, where there is a server program to start."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

import subspan as ss
from subspan.errors import InputError, StoreError
from subspan.testing import check_store
from subspan.trials.stores.sql import Store

psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed")


def program(name):
    """Path of one of PostgreSQL's programs, which Debian keeps off the PATH; None without it."""
    homes = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return shutil.which(name, path=os.pathsep.join([os.environ["PATH"], *map(str, homes)]))


@pytest.fixture(scope="module")
def url():
    initdb, postgres = program("initdb"), program("postgres")
    if not (initdb and postgres):
        pytest.skip("there is no PostgreSQL server program here: install the package postgresql")
    other = {"user": "nobody"} if os.geteuid() == 0 else {}  # the server refuses to be root
    with tempfile.TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True) as home:
        if other:
            shutil.chown(home, "nobody")
        made = subprocess.run(
            [initdb, "-D", f"{home}/data", "-A", "trust", "-U", "tester", "--no-sync"],
            capture_output=True, check=False, cwd=home, **other,
        )  # fmt: skip
        if made.returncode:
            pytest.skip(f"initdb failed: {made.stderr.decode()[-200:]}")
        server = subprocess.Popen(
            [postgres, "-D", f"{home}/data", "-k", home, "-c", "listen_addresses="],
            stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd=home, **other,
        )  # fmt: skip
        try:
            for _ in range(300):
                with contextlib.suppress(psycopg.OperationalError):
                    psycopg.connect(host=home, user="tester", dbname="postgres").close()
                    break
                time.sleep(0.1)
            yield f"postgresql+psycopg://tester@/postgres?host={home}"
        finally:
            server.send_signal(signal.SIGINT)  # at once, whoever is connected
            server.wait()


def test_laws_and_a_threshold(url):
    with contextlib.ExitStack() as stores:
        check_store(lambda: stores.enter_context(Store(url)))
    problem = ss.problems.load("quadratic")
    stored = ss.threshold(problem, "random", "loss<=0.3", store=url, workers=1, ratio=2.0)
    plain = ss.threshold(problem, "random", "loss<=0.3", workers=1, ratio=2.0)
    assert [r.key for r in stored.records] == [r.key for r in plain.records]
    again = ss.threshold(problem, "random", "loss<=0.3", store=url, workers=1, ratio=2.0)
    assert repr(again.records) == repr(stored.records)
    with Store(url, readonly=True) as store:
        assert len(list(store.records("quadratic"))) == len(plain.records)


def test_a_server_that_is_not_there_is_a_clear_error():
    with pytest.raises(StoreError, match="could not open the database"):
        Store("postgresql+psycopg://nobody@127.0.0.1:1/none?connect_timeout=2")


def test_what_is_no_such_url_is_refused():
    with pytest.raises(InputError, match=r"store: expected a file, or a URL"):
        Store("mysql://host/name")
    with pytest.raises(InputError, match=r"store: expected a file, or a URL"):
        Store("nonsense://host/name")

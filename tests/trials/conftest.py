"""A PostgreSQL server for tests, started from the system's programs."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from pathlib import Path

import pytest


def program(name):
    """Path of one of PostgreSQL's programs, which Debian keeps off the PATH; None without it."""
    homes = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return shutil.which(name, path=os.pathsep.join([os.environ["PATH"], *map(str, homes)]))


@pytest.fixture(scope="session")
def postgres_server():
    """The folder of a running server's socket; skips where there is no server program."""
    psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed")
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
            yield home
        finally:
            server.send_signal(signal.SIGINT)  # at once, whoever is connected
            server.wait()


@pytest.fixture
def postgres(postgres_server):
    """The URL of a new database."""
    import psycopg

    name = f"t{uuid.uuid4().hex}"
    with psycopg.connect(
        host=postgres_server, user="tester", dbname="postgres", autocommit=True
    ) as db:
        db.execute(f"CREATE DATABASE {name}")
    return f"postgresql+psycopg://tester@/{name}?host={postgres_server}"

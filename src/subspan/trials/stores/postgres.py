"""A store's PostgreSQL server: how it is reached."""

from __future__ import annotations

from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from subspan.errors import invalid


def connect_server(url: str) -> Connection:
    """Connect to a server by its URL.

    Raises:
        InputError: it is no URL of a PostgreSQL, or the driver is not installed.
    """
    try:
        engine = create_engine(url)
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        raise invalid(
            "store",
            expected="a file, or a URL of a database whose driver is installed",
            got=repr(url.split("@")[-1]),
            remedy="PostgreSQL: pip install 'subspan[postgres]', postgresql+psycopg://HOST/NAME.",
        ) from error
    if engine.dialect.name != "postgresql":
        raise invalid(
            "store",
            expected="a file, or a URL that begins with postgresql",
            got=repr(url.split("@")[-1]),
        )
    return engine.connect()

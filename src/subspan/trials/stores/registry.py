"""The stores by the scheme of their URL. To add one, write a `RecordStore` and enter it here."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from subspan.trials.stores.base import RecordStore
from subspan.trials.stores.sql import Store

# Called with what the user wrote, and `readonly=`. What has no scheme is a file, or memory.
STORES: dict[str, Callable[..., RecordStore]] = {"postgresql": Store}


def open_store(
    store: RecordStore | str | Path | None, *, readonly: bool = False
) -> contextlib.AbstractContextManager[RecordStore]:
    """Return a context with the store: a given one stays open, others are closed on leaving.

    Args:
        store: a store, a file, a URL, or None for memory.
        readonly: refuse to write into what is opened here.

    Raises:
        StoreError: it cannot be opened.
    """
    if isinstance(store, RecordStore):
        return contextlib.nullcontext(store)
    scheme = store.partition("://")[0] if isinstance(store, str) and "://" in store else ""
    return STORES.get(scheme.partition("+")[0], Store)(store, readonly=readonly)

"""`Leases`: which trials this process trains, told to all others on the same store, while it lives.

A lease runs out when its holder stops renewing it. One of a process of this machine that is gone is
taken over at once.
"""

from __future__ import annotations

import functools
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from subspan.canonical import digest
from subspan.errors import StoreError
from subspan.trials.stores.base import TRIAL, Claim, RecordStore

SECONDS = 30.0
_BEATS = 4  # renewals in the time of a lease


class Leases:
    """The leases of one process on the trials of a store. Renewed by a thread while any is held.

    Where they are of no use, in a store of this process alone, every trial is granted.

    Args:
        store: where they stand.
        seconds: after which a lease that is not renewed runs out.
    """

    def __init__(self, store: RecordStore, seconds: float = SECONDS) -> None:
        self._store, self._seconds = store, seconds
        self._owner = owner_name()
        self._held: set[str] = set()
        self._seen: dict[str, tuple[float, float]] = {}  # until, and when that was first seen here
        self._guard = threading.Lock()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def take(self, keys: Sequence[str]) -> set[str]:
        """Lease trials by key; return those that were granted, which nobody else has."""
        if not self._store.shared or not keys:
            return set(keys)
        granted = self._lease(keys)
        others = self.holders(key for key in keys if key not in granted)
        gone = [claim for claim in others.values() if self._is_gone(claim)]
        for claim in gone:
            self._store.release([claim.key], claim.owner)
        if gone:
            granted |= self._lease([claim.key.removeprefix(TRIAL) for claim in gone])
        with self._guard:
            self._held |= granted
        if granted and self._thread is None:
            self._thread = threading.Thread(target=self._beat, name="leases", daemon=True)
            self._thread.start()
        return granted

    def drop(self, keys: Iterable[str]) -> None:
        """Give up leases, of trials that were stored or are not to be trained here."""
        with self._guard:
            gone = [key for key in keys if key in self._held]
            self._held.difference_update(gone)
        if gone and self._store.shared:
            self._store.release([f"{TRIAL}{key}" for key in gone], self._owner)

    def stored(self, keys: Iterable[str]) -> None:
        """Note that records were added, which ended their leases."""
        with self._guard:
            self._held.difference_update(keys)

    def holders(self, keys: Iterable[str]) -> dict[str, Claim]:
        """Return by trial's key the leases that others hold."""
        wanted = {f"{TRIAL}{key}" for key in keys}
        if not wanted:
            return {}
        return {
            claim.key.removeprefix(TRIAL): claim
            for claim in self._store.claims(TRIAL)
            if claim.key in wanted and claim.owner != self._owner
        }

    def close(self) -> None:
        """Give up all leases and end the thread."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        self._thread = None
        self._over.clear()
        self.drop(list(self._held))

    def _lease(self, keys: Sequence[str]) -> set[str]:
        names = [f"{TRIAL}{key}" for key in keys]
        granted = self._store.lease(names, self._owner, self._seconds, _this_process())
        return {name.removeprefix(TRIAL) for name in granted}

    def _is_gone(self, claim: Claim) -> bool:
        """Whether a holder is no more: by its process, or by a lease that nobody renewed.

        The second is by this process's own clock, so that no change of anybody's clock keeps a
        lease alive.
        """
        here = _this_process()
        if claim.data.get("machine") == here["machine"]:
            return _began(claim.data.get("process", 0)) != claim.data.get("began")
        until, first = self._seen.get(claim.key, (None, 0.0))
        if until != claim.until:
            self._seen[claim.key] = (claim.until, time.monotonic())
            return False
        return time.monotonic() - first > self._seconds

    def _beat(self) -> None:
        while not self._over.wait(self._seconds / _BEATS):
            with self._guard:
                held = sorted(self._held)
            try:
                kept = self._lease(held) if held else set()
            except StoreError:
                continue  # the next that is stored says why
            with self._guard:
                self._held -= set(held) - kept  # someone else has taken them


def owner_name() -> str:
    """Return a name for a holder of leases that no other has, here or elsewhere."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"


def told(claim: Claim) -> str:
    """Say who holds a lease: `process 12 on host`."""
    return f"process {claim.data.get('process', '?')} on {claim.data.get('host', '?')}"


def _this_process() -> dict[str, Any]:
    return _known_process(os.getpid())


@functools.lru_cache(1)
def _known_process(pid: int) -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "machine": _machine(),
        "process": pid,
        "began": _began(pid),
    }


@functools.cache
def _machine() -> str:
    """Return a digest of what tells one machine, since it was started, and its containers apart."""
    names = [socket.gethostname()]
    for path in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        try:
            names.append(os.readlink(path) if "/ns/" in path else Path(path).read_text())
        except OSError:
            names.append("")
    return digest(names)


def _began(pid: int) -> str | None:
    """Return when a process of this machine began, in the kernel's words; None where it is gone."""
    try:
        fields = Path(f"/proc/{int(pid)}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    except (OSError, IndexError, ValueError):
        pass
    if Path("/proc/self/stat").exists():
        return None
    try:
        os.kill(int(pid), 0)
    except (OSError, ValueError):
        return None
    return "alive"

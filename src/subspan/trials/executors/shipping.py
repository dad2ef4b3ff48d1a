"""What crosses to another process: a value is pickled once, and unpickled once in each worker.

The one place where the house pickles, and only between one's own processes: never to or from a
file (`tests/test_architecture.py` holds that).
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import cloudpickle
import torch

from subspan.trials.executors import mapped

_KEPT = 8  # values that a worker remembers; each may hold a data set
_received: dict[str, Any] = {}


@dataclass(frozen=True)
class Shipped:
    """The name of a value that was shipped; called where it was received, it returns it."""

    token: str

    def __call__(self) -> Any:
        """Return the value."""
        return _received[self.token]


def pack(value: Any, files: mapped.Files | None = None) -> bytes:
    """Pickle a value, functions and classes of a script or notebook included.

    Args:
        value: what is to cross.
        files: where large tensors of a CPU go, for processes of this machine; None: into the bytes.
    """
    if files is None:
        return cloudpickle.dumps(value)
    with io.BytesIO() as buffer:
        _Pickler(buffer, files).dump(value)
        return buffer.getvalue()


class _Pickler(cloudpickle.Pickler):
    """Leaves large tensors in files."""

    def __init__(self, buffer: io.BytesIO, files: mapped.Files) -> None:
        super().__init__(buffer)
        self._files, self._paths = files, dict[int, str]()  # by where a storage begins

    def reducer_override(self, value: Any) -> Any:
        if type(value) is torch.Tensor and mapped.fits(value):
            storage = value.untyped_storage()
            try:
                place = storage.data_ptr()
                if place not in self._paths:
                    self._paths[place] = self._files.write(storage)
                return mapped.read, mapped.told(value, self._paths[place])
            except OSError:  # no room for it: it goes with the rest
                pass
        return super().reducer_override(value)


def unpack(payload: bytes) -> Any:
    """Unpickle what one's own other process packed."""
    return cloudpickle.loads(payload)


def has(token: str) -> bool:
    """Whether this process has received the value."""
    return token in _received


def receive(token: str, payload: bytes) -> None:
    """Unpickle a value of one's own other process and remember it; the oldest is forgotten."""
    _received[token] = unpack(payload)
    while len(_received) > _KEPT:
        del _received[next(iter(_received))]


def by_value(module: ModuleType) -> None:
    """Ship what a module defines itself, since other processes cannot import it by its name."""
    cloudpickle.register_pickle_by_value(module)


def keep(token: str, value: Any) -> None:
    """Remember a value as it is, for workers that are forked from here."""
    _received[token] = value


def forget(token: str) -> None:
    """Drop a value."""
    _received.pop(token, None)

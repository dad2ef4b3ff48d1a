"""Large tensors for other processes: written to a file once, and mapped by whoever needs them.

All who map a file have its pages in common; what one of them writes into a tensor it has for
itself. The files hold numbers alone: nothing that is read from them is unpickled.
"""

from __future__ import annotations

import contextlib
import tempfile
import weakref
from pathlib import Path
from typing import Any, cast

import torch

LEAST = 2**20  # bytes; smaller ones are pickled
_here: weakref.WeakValueDictionary[str, torch.UntypedStorage] = weakref.WeakValueDictionary()


class Files:
    """Files of storages, in a temporary folder of their own until `close`."""

    def __init__(self) -> None:
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._count = 0

    def write(self, storage: torch.UntypedStorage) -> str:
        """Return the file that storage was written to.

        Raises:
            OSError: there is no room for it.
        """
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(
                prefix="subspan-", ignore_cleanup_errors=True
            )
        self._count += 1
        path = Path(self._folder.name) / str(self._count)
        try:
            torch.tensor([], dtype=torch.uint8).set_(storage).numpy().tofile(path)
        except OSError:
            with contextlib.suppress(OSError):
                path.unlink()
            raise
        return str(path)

    def close(self) -> None:
        """Remove the files. Who has mapped one keeps it."""
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None


def fits(tensor: torch.Tensor) -> bool:
    """Whether a tensor is large, and is its numbers and nothing else."""
    return (
        tensor.device.type == "cpu"
        and tensor.layout is torch.strided
        and not (tensor.requires_grad or tensor.is_quantized or tensor.is_conj() or tensor.is_neg())
        and not tensor.__dict__
        and tensor.untyped_storage().nbytes() >= LEAST
    )


def told(tensor: torch.Tensor, path: str) -> tuple[Any, ...]:
    """Return what `read` needs of a tensor whose storage was written to a file."""
    size = tensor.untyped_storage().nbytes()
    shape, stride = tuple(tensor.shape), tensor.stride()
    return path, size, tensor.dtype, shape, stride, tensor.storage_offset()


def read(
    path: str,
    size: int,
    dtype: torch.dtype,
    shape: tuple[int, ...],
    stride: tuple[int, ...],
    offset: int,
) -> torch.Tensor:
    """Map a file of so many bytes; tensors that were views of one storage are so again."""
    storage = _here.get(path)
    if storage is None:
        storage = cast(torch.UntypedStorage, torch.UntypedStorage.from_file(path, False, size))
        _here[path] = storage
    return torch.empty(0, dtype=dtype).set_(storage, offset, shape, stride)

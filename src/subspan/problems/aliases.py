"""The user's tensors that a problem holds: copied where small, watched where large.

A trial is known by a digest of the data as they were when the problem was made. Were the data
written into later, trials would be stored under a name that is not theirs.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

from subspan.errors import invalid
from subspan.problems import structure

_COPIED = 2**26  # bytes of one tensor; a larger one is not held twice


def owned(part: structure.Tensors, given: structure.Tensors) -> structure.Tensors:
    """Return tensors with those copied that share memory with what was given, where small."""
    theirs = {t.untyped_storage().data_ptr() for t in structure.leaves(given)}

    def own(tensor: torch.Tensor) -> torch.Tensor:
        shared = tensor.untyped_storage().data_ptr() in theirs
        return tensor.clone() if shared and tensor.nbytes <= _COPIED else tensor

    return structure.mapped(own, part)


class Watch:
    """Finds that a large tensor was written into in place, as PyTorch counts it.

    A write through NumPy, into memory that both share, is not counted.
    """

    def __init__(self, tensors: Iterable[torch.Tensor]) -> None:
        large = [t for t in tensors if t.nbytes > _COPIED and not t.is_inference()]
        self._seen = [(t, t._version) for t in large]

    def check(self) -> None:
        """Refuse data that are not what the problem was made with.

        Raises:
            InputError: as said.
        """
        if any(tensor._version != version for tensor, version in self._seen):
            raise invalid(
                "data",
                expected="the tensors as they were when the problem was made",
                got="some that were written into since",
                remedy="Make the problem again, or give it a clone.",
            )

    def __reduce__(self) -> tuple[type[Watch], tuple[list[torch.Tensor]]]:
        return Watch, ([],)  # another process has tensors of its own

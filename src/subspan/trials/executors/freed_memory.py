"""`keep_freed_memory`: a process that trains keeps what it frees, instead of asking again.

glibc gives a tensor beyond 32 MiB back at once, and each that takes its place costs a page fault
for every 4 KiB: half of an evaluation of Conv-2, where it was measured (`benchmarks/trial.py`).
What a process then holds is at most what it held at its peak.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys

# Of malloc.h: when to give memory back, from what size to ask for a mapping of its own.
_OPTIONS = {"M_TRIM_THRESHOLD": -1, "M_MMAP_THRESHOLD": -3}
_MOST = 2**31 - 1  # bytes


def keep_freed_memory() -> bool:
    """Have this process keep the memory that it frees; whether it does, elsewhere nothing is done.

    Meant for a process that trains and ends, as workers do: there is no way back.
    """
    if sys.platform != "linux":
        return False
    with contextlib.suppress(OSError, AttributeError):  # another C library than glibc
        mallopt = ctypes.CDLL(None).mallopt
        return all([mallopt(option, _MOST) == 1 for option in _OPTIONS.values()])
    return False

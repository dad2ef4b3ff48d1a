"""`uncollected`: make many objects that hold no circles, without Python's search for such."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Put off the search for circles, which visits every object that PyTorch has made as well.

    With 100,000 records it takes several times as long as what makes them.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()

"""The properties stand beside the tests, and take a folder of their own."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True, scope="module")
def _folder_is_taken_away() -> Iterator[None]:
    import properties

    yield
    shutil.rmtree(properties.FOLDER, ignore_errors=True)

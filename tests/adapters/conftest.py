"""Fixtures of the adapters' tests."""

from __future__ import annotations

import pytest
from small_modules import let_small_maps_be_large


@pytest.fixture(params=["few coordinates", "many"])
def regime(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Have a test run with the maps as they are, and as they are made for millions of numbers."""
    if request.param == "many":
        let_small_maps_be_large(monkeypatch)
    return request.param

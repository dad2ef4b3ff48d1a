"""What a record says of the machine and code that it comes from."""

from __future__ import annotations

import pytest
import torch

from subspan.maps import kernels
from subspan.trials.provenance import environment


@pytest.mark.parametrize(("library", "compiled"), [(None, False), (object(), True)])
def test_it_is_told_whether_maps_were_compiled(monkeypatch, library, compiled) -> None:
    monkeypatch.setattr(kernels, "LIBRARY", library)
    told = environment.__wrapped__  # not what an earlier trial was told
    assert told(torch.device("cpu"))["compiled_maps"] is compiled

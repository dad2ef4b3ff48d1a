"""The submodules are attributes in a fresh interpreter, and none is loaded before it is used."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.program  # no matter of kernels


@pytest.mark.parametrize(
    "name",
    [
        "problems.load",
        "report.spectroscopy_data",
        "subspaces.Draw",
        "testing.check_method",
        "theory.hit_dim",
    ],
)
def test_a_submodule_is_an_attribute_at_once(name):
    code = f"import sys, subspan as ss; assert 'torch' not in sys.modules; ss.{name}"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stderr) == (0, "")

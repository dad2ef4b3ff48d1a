"""A worker keeps what it frees; a process that nobody asked does not."""

import subprocess
import sys

import pytest

HELD = """
import re, torch
from subspan.trials.executors.freed_memory import keep_freed_memory
if KEEP:
    print(keep_freed_memory())
def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
before = resident()
tensor = torch.ones(2**24)  # 64 MiB
del tensor
print(round(resident() - before))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone")
def test_what_is_freed_is_kept_on_request() -> None:
    def held(keep: bool) -> list[str]:
        code = HELD.replace("KEEP", str(keep))
        return subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()

    assert int(held(False)[-1]) < 16
    kept = held(True)
    if kept[0] == "True":  # another C library has no such option
        assert int(kept[1]) >= 60

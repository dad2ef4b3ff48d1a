"""Where a record comes from: code version, environment, device."""

from __future__ import annotations

import functools
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from subspan.maps import kernels
from subspan.version import VERSION


@functools.cache
def environment(device: torch.device) -> dict[str, Any]:
    """Return versions and hardware as plain JSON data."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return {
        "subspan": _version(),
        "torch": torch.__version__,
        "numpy": metadata.version("numpy"),
        "python": platform.python_version(),
        "platform": f"{platform.system()}-{platform.machine()}",
        "device": f"{device.type}: {name}",
        "compiled_maps": device.type == "cpu" and kernels.LIBRARY is not None,
    }


def _version() -> str:
    """Return the version and, run from a checkout, the commit: `0.1.0 (1a2b3c4, changed)`."""
    version, folder = VERSION, Path(__file__).resolve().parents[3]
    if not (folder / ".git").exists():
        return version
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty=, changed", "--exclude=*"],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return version
    return f"{version} ({described.stdout.strip()})"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or "unknown"

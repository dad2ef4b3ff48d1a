"""Where a record comes from: code version, environment, device."""

from __future__ import annotations

import functools
import platform
from importlib import metadata
from typing import Any

import torch


@functools.cache
def environment(device: torch.device) -> dict[str, Any]:
    """Return versions and hardware as plain JSON data."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return {
        "subspan": metadata.version("subspan"),
        "torch": torch.__version__,
        "numpy": metadata.version("numpy"),
        "python": platform.python_version(),
        "platform": f"{platform.system()}-{platform.machine()}",
        "device": f"{device.type}: {name}",
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or "unknown"

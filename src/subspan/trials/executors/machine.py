"""What this process may use of the machine: cores, memory, GPUs.

Linux tells cores and memory in files: a control group (of a container, a service, a job of SLURM)
may allow less than the machine has, in either version of control groups, at each level of their
tree. Elsewhere the cores are those of the machine, and no limit of memory is known.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch

_ROOT = Path("/")


class Memory(NamedTuple):
    """Bytes of memory: what is free for use without swapping, and what there is in all."""

    free: int
    total: int


def available_cores(root: Path = _ROOT) -> int:
    """Return the number of cores this process may use: its affinity, and its quota, rounded up.

    Args:
        root: where the system's files are.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, min([cores, *(math.ceil(quota) for quota in _quotas(root))]))


def available_memory(root: Path = _ROOT) -> Memory | None:
    """Return the memory this process may use, None where nothing tells.

    That is what the kernel can give without swapping (`MemAvailable`), and what each control group
    allows less what it uses; pages of files that it could give back count as free.

    Args:
        root: where the system's files are.
    """
    told = _numbers(root / "proc/meminfo", unit=1024)
    found = []
    if "MemAvailable:" in told and "MemTotal:" in told:
        found.append(Memory(told["MemAvailable:"], told["MemTotal:"]))
    for folder in _groups(root, "memory"):
        for names in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            limit, used = _number(folder / names[0]), _number(folder / names[1])
            if limit is not None and used is not None:
                given_back = _numbers(folder / "memory.stat").get(names[2], 0)
                found.append(Memory(max(0, limit - max(0, used - given_back)), limit))
    if not found:
        return None
    return Memory(min(each.free for each in found), min(each.total for each in found))


def visible_gpus() -> list[str]:
    """Return the GPUs of this process, as `CUDA_VISIBLE_DEVICES` names each."""
    count = torch.cuda.device_count()
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = [name.strip() for name in named.split(",") if name.strip()]
    return names[:count] if len(names) >= count else [str(i) for i in range(count)]


def _quotas(root: Path) -> Iterator[float]:
    """Yield how many cores each control group allows."""
    for folder in _groups(root, "cpu"):
        quota, period = [*_text(folder / "cpu.max").split(), "", ""][:2]
        if not quota:
            quota = _text(folder / "cpu.cfs_quota_us")
            period = _text(folder / "cpu.cfs_period_us")
        with contextlib.suppress(ValueError):  # "max", or nothing
            if int(quota) > 0 and int(period) > 0:  # -1: no limit
                yield int(quota) / int(period)


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of this process's control groups, from its own up to the root."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, controllers, own = [*line.split(":", 2), "", ""][:3]
        if number == "0" and not controllers:
            home = root / "sys/fs/cgroup"
        elif controller in controllers.split(","):
            home = root / "sys/fs/cgroup" / controller
        else:
            continue
        place = home / own.strip("/")
        # Within a container the path may be the host's, which is not there: then its parents are.
        while place != home:
            yield place
            place = place.parent
        yield home


def _numbers(path: Path, unit: int = 1) -> dict[str, int]:
    """Return a file of lines `name number …`, each number times a unit."""
    numbers = {}
    for line in _text(path).splitlines():
        name, number = [*line.split(), "", ""][:2]
        if number.isdecimal():
            numbers[name] = int(number) * unit
    return numbers


def _number(path: Path) -> int | None:
    """Return the number that a file holds; None where it is not there, or says `max`."""
    text = _text(path)
    return int(text) if text.isdecimal() else None


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""

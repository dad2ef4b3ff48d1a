"""Devices that PyTorch can compute on here, by name."""

from __future__ import annotations

import torch

from subspan.errors import invalid

_WITHOUT_FLOAT64 = "mps"  # evaluations are summed up in it


def names() -> list[str]:
    """Return the names of the devices that are there, like `cpu`, `cuda` and, of several, `cuda:1`.

    A GPU is looked for, after which no process should be forked that uses it.
    """
    found = ["cpu"]
    gpu = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if gpu is not None and gpu.type != _WITHOUT_FLOAT64:
        count = torch.accelerator.device_count()
        found += [gpu.type, *(f"{gpu.type}:{i}" for i in range(count) if count > 1)]
    return found


def find(device: torch.device | str) -> torch.device:
    """Return the device of a name.

    Raises:
        InputError: it is not there. GPUs are looked for only where one is named.
    """
    try:
        wanted: torch.device | None = torch.device(device)
    except (RuntimeError, TypeError):  # no device of any PyTorch
        wanted = None
    if wanted is not None and wanted.type == "cpu" and not wanted.index:
        return torch.device("cpu")
    known = names()
    if wanted is not None and {str(wanted), str(wanted).removesuffix(":0")} & set(known):
        return wanted
    raise invalid(
        "device",
        expected=f"one that is there: {', '.join(known)}",
        got=repr(str(device)),
        remedy=_remedy(None if wanted is None else wanted.type, known),
    )


def _remedy(kind: str | None, known: list[str]) -> str:
    if kind == "cuda" and not (torch.version.cuda or torch.version.hip):
        return f"This PyTorch, {torch.__version__}, is built without CUDA: install one that has it."
    if kind == _WITHOUT_FLOAT64:
        return "It has no float64, in which evaluations are summed up."
    if kind == "cuda" and "cuda" not in known:
        return "PyTorch finds no GPU: see nvidia-smi, and CUDA_VISIBLE_DEVICES."
    return ""

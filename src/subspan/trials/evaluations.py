"""Several independent evaluations of a noisy metric, as one number with its standard error."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from subspan.errors import invalid

ERROR, COUNT = ".se", ".n"  # what the metric's name is followed by


def evaluations(name: str, value: Any) -> Mapping[str, Any]:
    """Return a metric by name; of a list of evaluations their mean, standard error and number.

    Raises:
        InputError: the list is shorter than two, or not one of numbers.
    """
    if isinstance(value, torch.Tensor) and value.numel() > 1:
        value = value.detach().double().cpu().numpy()
    several = isinstance(value, np.ndarray) and value.size != 1
    if not (isinstance(value, list | tuple) or several):
        return {name: value}
    try:
        values = np.asarray(value, float)
    except (TypeError, ValueError):
        values = np.zeros(0)
    if values.ndim != 1 or len(values) < 2:
        raise invalid(
            f"metric {name}",
            expected="a number, or two or more independent evaluations of it",
            got=repr(value)[:80],
        )
    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    return {name: float(values.mean()), f"{name}{ERROR}": error, f"{name}{COUNT}": len(values)}

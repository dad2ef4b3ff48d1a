"""Vectors and matrices that a user gives to the theory, as checked float64 arrays."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from subspan.errors import InputError, invalid, real

ArrayLike = np.ndarray | torch.Tensor | Sequence[float]


def vector(
    name: str,
    values: ArrayLike,
    *,
    size: int | None = None,
    low: float = -np.inf,
    infinite: bool = False,
) -> np.ndarray:
    """Return numbers, finite or `infinite` too, `low` or more, of shape (D,), D ≥ 1, or (size,).

    Raises:
        InputError: they are not.
    """
    array = _float64(name, values)
    if array.ndim != 1 or array.size == 0 or size not in (None, array.size):
        expected = "shape (D,), D ≥ 1" if size is None else f"shape ({size},)"
        raise invalid(name, expected=expected, got=f"shape {array.shape}")
    if not infinite or np.isnan(array).any():
        _check_finite(name, array)
    if array.min() < low:
        raise invalid(name, expected=f"numbers ≥ {low:g}", got=f"{array.min():g}")
    return array


def matrix(name: str, values: ArrayLike, *, columns: int | None = None) -> np.ndarray:
    """Return finite numbers of shape (n, D), n, D ≥ 1, or (n, columns).

    Raises:
        InputError: they are not.
    """
    array = _float64(name, values)
    if array.ndim != 2 or array.size == 0 or columns not in (None, array.shape[1]):
        wanted = "D" if columns is None else columns
        raise invalid(name, expected=f"shape (n, {wanted}), n ≥ 1", got=f"shape {array.shape}")
    _check_finite(name, array)
    return array


def tensor(name: str, values: ArrayLike) -> torch.Tensor:
    """Return numbers as a tensor of real numbers: a floating one as it is, others in float64.

    Raises:
        InputError: they are no numbers.
    """
    if isinstance(values, torch.Tensor):
        return values if values.is_floating_point() else values.to(torch.float64)
    return torch.from_numpy(_float64(name, values))


def positives(name: str, values: Iterable[float]) -> tuple[float, ...]:
    """Return finite numbers above 0, any sequence of them, as floats.

    Raises:
        InputError: they are not, or no sequence.
    """
    try:
        return tuple(real(name, value, low=0, strict=True) for value in values)
    except (InputError, TypeError) as error:  # not iterable, for the second
        expected = "a sequence of finite numbers above 0"
        raise invalid(name, expected=expected, got=repr(values)) from error


def _float64(name: str, values: ArrayLike) -> np.ndarray:
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().to(torch.float64).numpy()
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise invalid(name, expected="an array of numbers", got=repr(values)) from error


def _check_finite(name: str, array: np.ndarray) -> None:
    if not np.isfinite(array).all():
        raise invalid(name, expected="finite numbers", got="NaN or infinity")

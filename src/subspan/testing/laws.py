"""What the conformance suites share: a law that holds, and numbers that agree."""

from __future__ import annotations

import torch


def law(holds: bool, text: str) -> None:
    """Raise `AssertionError` with the law's text unless it holds."""
    if not holds:
        raise AssertionError(f"law broken: {text}")


def close(one: torch.Tensor, other: torch.Tensor, text: str, tolerance: float) -> None:
    """Raise `AssertionError` unless two tensors agree, relative to the larger of 1 and `other`."""
    worst = float((one - other).abs().max())
    law(worst <= tolerance * max(1.0, float(other.abs().max())), f"{text} (off by {worst:.1e})")

"""`generalization_bound`: a certificate that few numbers generalise, from how few bits they take.

Source: Occam's razor bound in its exact form, Langford (2005), "Tutorial on practical prediction
theory for classification", Theorem 4.1; for networks trained in a random subspace, Lotfi et al.
(2022), "PAC-Bayes compression bounds so tight that they can explain generalization".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from scipy.special import gammaln

from subspan import maps
from subspan.errors import check_confidence, invalid, real, unknown, whole
from subspan.theory.coding import integer_bits, vector_bits

_MAP_BITS = 8  # one of 256 maps
_STEP_BITS = 16  # a bfloat16
_STEPS = tuple(float(s) for s in np.geomspace(4.0, 0.1, 12))  # of the root mean square of θ


@dataclass(frozen=True)
class GeneralizationBound:
    """An upper bound on the error of a network on new rows, and what it rests on.

    Attributes:
        bound: with probability `confidence` over the training rows, the chance of a mistake on a
            new row is at most this; in [0, 1].
        confidence: as asked for.
        mistakes: of the network on the training rows, at the rounded θ.
        rows: of training.
        bits: what the network takes: map, d, seed, step, whole numbers, and what was added.
        step: what the whole numbers are multiplied by; 0 where all are 0.
        integers: θ / step, rounded, shape (d,), int64.
    """

    bound: float
    confidence: float
    mistakes: int
    rows: int
    bits: int
    step: float
    integers: np.ndarray = field(repr=False)

    @property
    def train_error(self) -> float:
        """The share of mistakes on the training rows."""
        return self.mistakes / self.rows

    @property
    def theta(self) -> np.ndarray:
        """The θ that the bound is for, shape (d,), float32: not the trained one, but rounded."""
        return _theta(self.integers, self.step)

    def __str__(self) -> str:
        return (
            f"error on new rows ≤ {self.bound:.4f} with {100 * self.confidence:g} % "
            f"({self.mistakes:,} mistakes on {self.rows:,} rows, {self.bits:,} bits)"
        )


def generalization_bound(
    theta: torch.Tensor | np.ndarray,
    mistakes: Callable[[Any], int],
    rows: int,
    *,
    map: str = "partition",
    seed: int = 0,
    confidence: float = 0.95,
    extra_bits: int = 0,
    steps: tuple[float, ...] = _STEPS,
) -> GeneralizationBound:
    """Bound the error on new rows of a network that was trained in d numbers.

    θ is rounded to multiples of a step; the network is then a message of few bits: map, d, seed,
    step and whole numbers, in a prefix code. For L bits, k mistakes on n rows and confidence
    1 − δ, the error on new rows is at most the largest e with P[Binomial(n, e) ≤ k] ≥ δ 2^(−L), for
    all messages at once, so that the step with the least bound may be taken (Langford 2005,
    Theorem 4.1; looser in closed form: kl(k/n ‖ e) ≤ (L ln 2 + ln 1/δ) / n).

    What it asks of the user, and cannot check:

    - the rows are independent draws of the distribution that new rows come from;
    - whatever else the network consists of was fixed without these rows: its architecture, the
      weights at θ = 0, means taken off the inputs. What was chosen by these rows must be counted by
      `extra_bits`: a start drawn with another seed than the map's by `integer_bits(seed)`, one of
      m architectures by log₂ m, scales and buffers that trained beside θ by their bits. Optimiser,
      learning rate and stopping cost nothing: they end in θ.
    - the network that is used is the one at `.theta`, in the precision that `mistakes` had.

    Args:
        theta: trained coordinates, shape (d,).
        mistakes: from θ, of the kind and dtype that was given, to the mistakes on all the rows.
        rows: how many rows n that counts over.
        map: name of the map.
        seed: of the map.
        confidence: 1 − δ, in (0, 1).
        extra_bits: what else must be known to make the network, in bits.
        steps: to try, as multiples of the root mean square of θ.

    Raises:
        InputError: an argument is out of range, θ is not finite, or `mistakes` returns no count.
    """
    check_confidence(confidence)
    rows, extra_bits = whole("rows", rows, low=1), whole("extra_bits", extra_bits, low=0)
    if map not in maps.names():
        raise unknown("map", map, maps.names())
    values = np.asarray(theta.detach().cpu() if isinstance(theta, torch.Tensor) else theta, float)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise invalid("theta", expected="finite numbers, shape (d,)", got=f"shape {values.shape}")
    if not steps:
        raise invalid("steps", expected="at least one", got="none")
    fixed = _MAP_BITS + integer_bits(values.size) + integer_bits(whole("seed", seed)) + extra_bits
    size = float(np.sqrt(np.mean(values**2))) if values.size else 0.0
    best: GeneralizationBound | None = None
    for ratio in sorted((real("steps", s, low=0, strict=True) for s in steps), reverse=True):
        step = _bfloat16(ratio * size)
        integers = np.zeros(values.size, np.int64)
        if step > 0:
            integers = np.rint(values / step).astype(np.int64)
        bits = fixed + _STEP_BITS + vector_bits(integers)
        if best is not None and occam_bound(0, rows, bits, confidence) >= best.bound:
            continue  # more bits than a network without mistakes could pay for
        count = _counted(mistakes(_like(theta, integers, step)), rows)
        bound = occam_bound(count, rows, bits, confidence)
        if best is None or bound < best.bound:
            best = GeneralizationBound(bound, confidence, count, rows, bits, step, integers)
    assert best is not None
    return best


def occam_bound(mistakes: int, rows: int, bits: float, confidence: float = 0.95) -> float:
    """Return the largest error that k mistakes on n rows leave possible for a message of L bits.

    The largest e with P[Binomial(n, e) ≤ k] ≥ δ 2^(−L), δ = 1 − confidence (Langford 2005, Theorem
    4.1); with L = 0 it is Clopper and Pearson's one-sided end. Rounded up, by 10⁻⁹ at most.

    Args:
        mistakes: k.
        rows: n.
        bits: L, of a prefix code that was fixed without the rows.
        confidence: that it holds for all messages at once.

    Raises:
        InputError: k is not in 0 … n, or bits are negative.
    """
    check_confidence(confidence)
    n = whole("rows", rows, low=1)
    k = whole("mistakes", mistakes, low=0, high=n)
    wanted = math.log1p(-confidence) - real("bits", bits, low=0) * math.log(2)
    if k == n:
        return 1.0
    orders = np.arange(k + 1.0)
    ways = gammaln(n + 1) - gammaln(orders + 1) - gammaln(n - orders + 1)
    low, high = k / n, 1.0
    while high - low > 1e-10:
        middle = (low + high) / 2
        terms = ways + orders * math.log(middle) + (n - orders) * math.log1p(-middle)
        top = float(terms.max())
        chance = top + math.log(float(np.exp(terms - top).sum()))
        low, high = (middle, high) if chance >= wanted else (low, middle)
    return min(1.0, high + 1e-9)


def _theta(integers: np.ndarray, step: float) -> np.ndarray:
    return (integers * step).astype(np.float32)


def _like(theta: torch.Tensor | np.ndarray, integers: np.ndarray, step: float) -> Any:
    value = _theta(integers, step)
    if isinstance(theta, torch.Tensor):
        return torch.from_numpy(value).to(theta.device, theta.dtype)
    return value.astype(np.asarray(theta).dtype)


def _bfloat16(value: float) -> float:
    """The nearest bfloat16; 0 where a step would be none."""
    found = float(torch.tensor(value, dtype=torch.float64).to(torch.bfloat16))
    return found if math.isfinite(found) and found >= 1e-30 else 0.0


def _counted(value: object, rows: int) -> int:
    try:
        return whole("what mistakes returns", value, low=0, high=rows)
    except ValueError as error:
        raise invalid(
            "mistakes",
            expected=f"a function from θ to a count in 0 … {rows}",
            got=str(value),
            remedy="Count mistakes on all training rows, do not average.",
        ) from error

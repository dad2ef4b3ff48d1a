"""Code lengths in bits of prefix codes: whole numbers, and vectors of small whole numbers.

A prefix code of length L(x) is a distribution, Σ 2^(−L(x)) ≤ 1 (Kraft), fixed before any data are
seen. Nothing is written here: a bound needs the lengths alone.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import gammaln

from subspan.errors import invalid, whole
from subspan.theory.arrays import ArrayLike


def integer_bits(value: int) -> int:
    """Return the length of the Elias δ code of an integer, negative ones too, in bits.

    The integers are numbered 0, −1, 1, −2, 2, … and number n has the code of n + 1, which takes
    ⌊log₂(n + 1)⌋ + 2 ⌊log₂(⌊log₂(n + 1)⌋ + 1)⌋ + 1 bits (Elias 1975).
    """
    value = whole("value", value)
    number = 2 * value + 1 if value >= 0 else -2 * value
    bits = number.bit_length() - 1
    return bits + 2 * ((bits + 1).bit_length() - 1) + 1


def vector_bits(integers: ArrayLike) -> int:
    """Return the length of the type code of a vector of integers whose length is known, in bits.

    K, the largest magnitude, by `integer_bits`; how often each of −K … K stands there, as one of
    C(n + 2K, 2K) tables; which of the n! / Π nᵢ! vectors with that table it is (Cover and Thomas,
    Elements of Information Theory, 11.1–11.2). Both numbers take the logarithm rounded up. Within
    O(K log n) bits of n times the vector's empirical entropy.

    Raises:
        InputError: the vector is not one of integers.
    """
    vector = np.asarray(integers)
    if vector.ndim != 1 or (vector.size and not np.issubdtype(vector.dtype, np.integer)):
        raise invalid("integers", expected="integers of shape (n,)", got=f"{vector.dtype}")
    if not vector.size:
        return 0
    largest = int(np.abs(vector).max())
    counts = np.bincount(vector + largest, minlength=2 * largest + 1)
    tables = _log2_binomial(vector.size + 2 * largest, 2 * largest)
    orders = (gammaln(vector.size + 1) - gammaln(counts + 1.0).sum()) / math.log(2)
    return integer_bits(largest) + _up(tables) + _up(float(orders))


def _log2_binomial(n: int, k: int) -> float:
    return float(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)) / math.log(2)


def _up(bits: float) -> int:
    """Round the logarithm of a whole number up, with more to spare than rounding took from it."""
    return math.ceil(bits * (1 + 1e-12) + 1e-9) if bits > 0.5 else 0

"""Tempering against a posterior in closed form."""

from __future__ import annotations

import numpy as np
import pytest

from subspan.success.tempering import temper


def test_a_normal_likelihood_gives_the_normal_posterior() -> None:
    """Prior N(0, I₃); x₀ + x₁ seen as 2 with sd 0.1: mean 2/2.01 each, variance 1 − 1/2.01."""
    rng = np.random.default_rng(0)
    points = temper(
        rng.standard_normal((4000, 3)), lambda x: -0.5 * ((x[:, 0] + x[:, 1] - 2) / 0.1) ** 2, rng
    )
    assert points.mean(0) == pytest.approx([2 / 2.01, 2 / 2.01, 0], abs=0.06)
    assert points.var(0) == pytest.approx([1 - 1 / 2.01, 1 - 1 / 2.01, 1], rel=0.1)
    assert (points[:, 0] + points[:, 1]).std() == pytest.approx(0.1 / np.sqrt(1.005), rel=0.1)


def test_two_modes_keep_their_weights() -> None:
    """Likelihood 0.7·N(2, 0.2) + 0.3·N(−2, 0.2) of x₀, under the even prior."""
    rng = np.random.default_rng(1)

    def log_likelihood(x: np.ndarray) -> np.ndarray:
        return np.logaddexp(
            np.log(0.7) - 0.5 * ((x[:, 0] - 2) / 0.2) ** 2,
            np.log(0.3) - 0.5 * ((x[:, 0] + 2) / 0.2) ** 2,
        )

    points = temper(rng.standard_normal((4000, 5)), log_likelihood, rng)
    assert (points[:, 0] > 0).mean() == pytest.approx(0.7, abs=0.06)


def test_no_information_leaves_the_prior() -> None:
    rng = np.random.default_rng(2)
    points = temper(rng.standard_normal((2000, 2)), lambda x: np.zeros(len(x)), rng)
    assert points.mean(0) == pytest.approx([0, 0], abs=0.1)
    assert points.std(0) == pytest.approx([1, 1], rel=0.08)

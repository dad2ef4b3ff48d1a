"""Sampling a posterior by tempering: particles that are led from the prior to it.

Sequential Monte Carlo (Del Moral, Doucet and Jasra, 2006, "Sequential Monte Carlo samplers") with
moves along differences of other particles (ter Braak, 2006, "A Markov chain Monte Carlo version of
the genetic algorithm differential evolution"), a random part of the coordinates at a time (Vrugt et
al., 2009, "DREAM"). Each half of the particles moves along the other half's, so a move leaves the
tempered posterior as it is.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

LogLikelihood = Callable[[np.ndarray], np.ndarray]
"""From points (N, P) to their log likelihoods (N,)."""

_MOVES = 8  # of every particle at each temperature
_FINAL_MOVES = 24
_CROSSOVER = np.array([0.1, 0.3, 1.0])  # shares of the coordinates that move together
_KEEP = 0.5  # effective share of particles after a rise of temperature
_LEAP = 0.1  # share of moves by a whole difference, from mode to mode


def temper(
    points: np.ndarray, log_likelihood: LogLikelihood, rng: np.random.Generator
) -> np.ndarray:
    """Lead draws from a standard-normal prior to the posterior.

    Args:
        points: draws from the prior, shape (N, P).
        log_likelihood: of points.
        rng: of all moves.

    Returns:
        N equally weighted points, (N, P).
    """
    value = log_likelihood(points)
    heat = 0.0
    while heat < 1:
        step = _next_step(value, 1 - heat)
        heat = 1.0 if step >= 1 - heat else heat + step
        weight = np.exp(step * (value - value.max()))
        places = (np.arange(len(points)) + rng.random()) / len(points)
        chosen = np.searchsorted(np.cumsum(weight) / weight.sum(), places)
        chosen = rng.permutation(np.minimum(chosen, len(points) - 1))
        points, value = points[chosen], value[chosen]
        for _ in range(_MOVES if heat < 1 else _FINAL_MOVES):
            points, value = _move(points, value, heat, log_likelihood, rng)
    return points


def _next_step(value: np.ndarray, most: float) -> float:
    """Return the largest rise of temperature that keeps enough particles in effect."""

    def effective(step: float) -> float:
        w = np.exp(step * (value - value.max()))
        return float(w.sum() ** 2 / (w @ w) / len(w))

    if effective(most) >= _KEEP:
        return most
    low, high = 0.0, most
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if effective(middle) >= _KEEP else (low, middle)
    return max(low, 1e-6)


def _move(
    points: np.ndarray,
    value: np.ndarray,
    heat: float,
    log_likelihood: LogLikelihood,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Move one half of the particles along differences within the other, then the other half."""
    half = len(points) // 2
    order = rng.permutation(len(points))
    points, value = points.copy(), value.copy()
    for mine, others in ((order[:half], order[half:]), (order[half:], order[:half])):
        size, dims = len(mine), points.shape[1]
        one, two = (points[others[rng.integers(len(others), size=size)]] for _ in range(2))
        part = rng.random((size, dims)) < rng.choice(_CROSSOVER, (size, 1))
        part[np.arange(size), rng.integers(dims, size=size)] = True
        width = 2.38 / np.sqrt(2 * part.sum(1, keepdims=True)) * rng.uniform(0.3, 1.1, (size, 1))
        width[rng.random((size, 1)) < _LEAP] = 1.0
        shift = width * (one - two) + rng.normal(0, 1e-2, part.shape)
        proposal = points[mine] + part * shift
        new = log_likelihood(proposal)
        gain = heat * (new - value[mine])
        gain += 0.5 * ((points[mine] ** 2).sum(1) - (proposal**2).sum(1))
        taken = np.log(rng.random(size)) < gain
        points[mine[taken]], value[mine[taken]] = proposal[taken], new[taken]
    return points, value

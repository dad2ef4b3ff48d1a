"""What `hadamard` holds of a fixed direction, against the law of a uniformly random subspace.

‖Aᵀx‖² of a unit x is Beta(d/2, (D − d)/2) there. So it is for directions of many weights, and not
for a single weight, which the docstring of `maps/hadamard.py` says.
"""

import numpy as np
import pytest
import torch
from scipy import stats

from subspan import maps

SEEDS = 400
SIZES = [(255, 511), (100, 5000)]  # two transforms that share a place; one transform


def shares(name: str, dim: int, ambient_dim: int) -> tuple[np.ndarray, np.ndarray]:
    """‖Aᵀx‖² of one weight, and of a direction of all of them, for each seed."""
    x = torch.zeros(2, ambient_dim, dtype=torch.float64)
    x[0, 0] = 1
    x[1] = torch.arange(ambient_dim).double().mul(1.7).cos()
    x[1] /= x[1].norm()
    found = []
    for seed in range(SEEDS):
        made = maps.make(name, dim=dim, ambient_dim=ambient_dim, seed=seed, dtype=torch.float64)
        found.append(made.adjoint(x).square().sum(1).numpy())
    one, many = np.array(found).T
    return one, many


@pytest.mark.parametrize(("dim", "ambient_dim"), SIZES)
def test_directions_of_many_weights_cannot_tell_it_from_a_random_subspace(dim, ambient_dim):
    _, many = shares("hadamard", dim, ambient_dim)
    assert stats.kstest(many, stats.beta(dim / 2, (ambient_dim - dim) / 2).cdf).pvalue > 1e-3


@pytest.mark.parametrize(("dim", "ambient_dim"), SIZES)
def test_a_single_weight_can(dim, ambient_dim):
    one, _ = shares("hadamard", dim, ambient_dim)
    law = stats.beta(dim / 2, (ambient_dim - dim) / 2)
    assert abs(one.mean() - law.mean()) < 4 * law.std() / SEEDS**0.5
    assert one.std() < 0.8 * law.std()
    assert stats.kstest(one, law.cdf).pvalue < 1e-3


def test_one_transform_gives_a_weight_one_of_two_shares():
    one, _ = shares("hadamard", 100, 5000)
    assert set(np.round(one, 12)) == {np.round(100 / (1024 * m), 12) for m in (4, 5)}


def test_an_orthonormal_map_has_the_uniform_law_about_a_single_weight():
    one, _ = shares("orthonormal", 20, 111)
    assert stats.kstest(one, stats.beta(20 / 2, 91 / 2).cdf).pvalue > 1e-3

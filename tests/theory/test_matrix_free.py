import numpy as np
import pytest
import torch

from subspan.errors import InputError
from subspan.streams import stream
from subspan.theory.lanczos import Operator
from subspan.theory.matrix_free import MatrixFreeWell
from subspan.theory.wells import quadratic_threshold


def well(dim, seed=0):
    rng = stream(seed, "matrix-free-test", dim)
    lam = np.exp(rng.uniform(np.log(1e-4), 0, dim))
    return lam, rng.standard_normal(dim)


@pytest.mark.parametrize("dim", [500, 10_000, 100_000])
def test_matrix_free_equals_explicit(dim):
    lam, delta = well(dim)
    measured = MatrixFreeWell.of(
        Operator.diagonal(torch.from_numpy(lam)),
        torch.from_numpy(delta),
        probes=60 if dim < 1000 else 5,
        steps=40,
    )
    drop = 0.5 * float(lam @ delta**2)
    assert measured.drop == pytest.approx(drop)
    assert measured.distance == pytest.approx(np.linalg.norm(delta))
    assert measured.negative_mass == pytest.approx(0, abs=1e-12)
    for share in (0.5, 0.05):
        for formula in ("exact", "paper"):
            exact = quadratic_threshold(lam, delta, share * drop, formula)
            estimate = measured.threshold(share * drop, formula)
            # κ is exact, so the only error is the probes'; full interval width as the bound
            assert abs(estimate.mean - exact) <= 4 * estimate.standard_error + estimate.bias
            assert estimate.high - estimate.low < 0.15 * exact


def test_all_lanczos_steps_and_a_full_orthogonal_set_of_probes_give_the_exact_value():
    lam, delta = well(30)
    measured = MatrixFreeWell.of(
        Operator.diagonal(torch.from_numpy(lam)), torch.from_numpy(delta), probes=400, steps=30
    )
    level = 0.1 * measured.drop
    exact = quadratic_threshold(lam, delta, level)
    assert measured.threshold(level).mean == pytest.approx(exact, rel=0.02)


def test_negative_curvature_counts_as_flat_and_is_reported():
    lam = np.concatenate([np.linspace(0.1, 1, 200), -np.linspace(0.01, 0.1, 100)])
    delta = np.ones(300)
    delta[200:] = 0
    measured = MatrixFreeWell.of(
        Operator.diagonal(torch.from_numpy(lam)), torch.from_numpy(delta), probes=20, steps=60
    )
    share = 0.055 * 100 / (0.55 * 200 + 0.055 * 100)
    assert measured.negative_mass == pytest.approx(share, rel=0.2)
    level = 0.2 * measured.drop
    exact = quadratic_threshold(lam, delta, level)
    estimate = measured.threshold(level)
    assert abs(estimate.mean - exact) <= 4 * estimate.standard_error + estimate.bias


def test_the_drop_leaves_negative_curvature_out_as_the_threshold_does():
    lam, delta = np.concatenate([np.full(50, 1.0), np.full(50, -0.9)]), np.ones(100)
    measured = MatrixFreeWell.of(
        Operator.diagonal(torch.from_numpy(lam)), torch.from_numpy(delta), probes=4, steps=10
    )
    assert measured.drop == pytest.approx(25)
    assert measured.negative_displacement == pytest.approx(45 / 95)
    assert measured.threshold(24.9).mean > 0
    assert measured.threshold(25.1).mean == 0


@pytest.mark.parametrize("tiny_value", [0.0, 1e-14, -1e-14])
def test_flat_directions_cost_nothing_however_far_the_start_lies_along_them(tiny_value):
    """Eigenvalues near zero need no cut-off: the answer is continuous there."""
    lam, delta = np.logspace(-2, 0, 60), np.full(60, 0.3)
    wide = np.concatenate([lam, np.full(140, tiny_value)])
    far = np.concatenate([delta, np.full(140, 5.0)])
    explicit = quadratic_threshold(lam, delta, 0.05)
    assert quadratic_threshold(np.maximum(wide, 0), far, 0.05) == pytest.approx(explicit, rel=1e-6)
    operator = Operator.diagonal(torch.from_numpy(wide))
    well = MatrixFreeWell.of(operator, torch.from_numpy(far), probes=200, steps=200)
    found = well.threshold(0.05)
    assert abs(found.mean - explicit) <= 4 * found.standard_error
    assert well.negative_mass < 1e-10


@pytest.mark.parametrize("steps", [1, 2, 12])
@pytest.mark.parametrize("name", ["eight decades", "slow power", "few stiff"])
def test_the_interval_holds_the_exact_value_where_lanczos_cannot_resolve_the_spectrum(name, steps):
    lam = {
        "eight decades": np.logspace(-8, 0, 3000),
        "slow power": 1 / np.arange(1, 3001),
        "few stiff": np.where(np.arange(3000) < 40, 1.0, 1e-5 * np.arange(1, 3001)),
    }[name]
    operator = Operator.diagonal(torch.from_numpy(lam))
    measured = MatrixFreeWell.of(operator, torch.ones(3000), probes=4, steps=steps)
    for share in (0.3, 1e-2, 1e-5):
        level = share * 0.5 * float(lam.sum())
        for formula in ("exact", "paper"):
            found = measured.threshold(level, formula)
            assert (
                found.low <= quadratic_threshold(lam, np.ones(3000), level, formula) <= found.high
            )
    assert measured.threshold(1e-5 * 0.5 * float(lam.sum())).bias > (1 if steps < 12 else 1e-9)


def test_bad_arguments_are_named():
    three, ones = Operator.diagonal(torch.ones(3)), torch.ones(3)
    for probes in (1, -1, 2.5):
        with pytest.raises(InputError, match="probes: expected an integer, 2 or more, got"):
            MatrixFreeWell.of(three, ones, probes=probes)
    with pytest.raises(InputError, match="steps: expected an integer, 1 or more, got 0"):
        MatrixFreeWell.of(three, ones, steps=0)
    with pytest.raises(InputError, match="seed: expected an integer"):
        MatrixFreeWell.of(three, ones, seed=0.5)
    with pytest.raises(InputError, match=r"start: expected shape \(3,\)"):
        MatrixFreeWell.of(three, torch.ones(2))
    well = MatrixFreeWell.of(three, ones, probes=np.int64(2), steps=np.int64(2), seed=np.int64(0))
    assert well.threshold(np.float32(0.5)) == well.threshold(0.5)
    for level in (0, -1, float("nan")):
        with pytest.raises(InputError, match="level: expected a finite number > 0, got"):
            well.threshold(level)
    with pytest.raises(InputError, match="formula"):
        well.threshold(0.5, "foo")
    with pytest.raises(InputError, match="confidence"):
        well.threshold(0.5, confidence=2)


def test_an_open_bracket_is_not_ok():
    lam = np.logspace(-8, 0, 20_000)
    operator = Operator.diagonal(torch.from_numpy(lam))
    measured = MatrixFreeWell.of(operator, torch.ones(20_000), probes=2, steps=15)
    found = measured.threshold(1e-5)
    assert found.bias > 0.1 * found.mean
    assert found.status == "not resolved"
    assert measured.threshold(0.3 * measured.drop).status == "ok"


def test_no_negative_curvature_is_a_share_of_zero_without_a_sign():
    well = MatrixFreeWell.of(Operator.diagonal(torch.ones(3)), torch.ones(3), probes=2, steps=2)
    assert [str(well.negative_mass), str(well.negative_displacement)] == ["0.0", "0.0"]

"""Law: on quadratics, the measured d* agrees with the exact formula within the transition width."""

import numpy as np
import pytest

import subspan as ss
from subspan.streams import normals
from subspan.theory import quadratic_threshold

D = 120
SPECTRA = {
    "log-uniform": np.logspace(-4, 0, D),
    "power law": np.arange(1, D + 1.0) ** -1.5,
    "two scales": np.r_[np.full(30, 1.0), np.full(D - 30, 1e-3)],
}


def displacement(kind, lam):
    z = normals(1, "test", count=D)
    direction = z if kind == "isotropic" else z / np.sqrt(lam + 1e-2)
    return 3 * direction / np.linalg.norm(direction)


def transition_width(problem, level, middle):
    """Dims from one draw in ten succeeding to nine in ten, by plain counting."""
    dims = [d for d in range(middle - 21, middle + 22, 3) if 1 <= d <= D]
    records = ss.run(problem, "random:gaussian", dims, repeats=20, seed=9, workers=1)
    wins = {d: sum(r.best_train_loss <= level for r in records if r.dim == d) for d in dims}
    return max(d for d in dims if wins[d] < 18) - min(d for d in dims if wins[d] > 2)


@pytest.mark.parametrize("kind", ["isotropic", "soft"])
@pytest.mark.parametrize("spectrum", SPECTRA)
def test_measured_threshold_agrees_with_the_exact_formula(spectrum, kind):
    lam = SPECTRA[spectrum]
    start = displacement(kind, lam)
    level = 0.003
    problem = ss.problems.load("quadratic", eigenvalues=lam, displacement=start)
    found = ss.threshold(
        problem, ss.RandomAffine("gaussian"), ss.LossBelow(level), delta=0.5, ratio=1.05,
        max_trials=80, workers=1,
    )  # fmt: skip
    exact = quadratic_threshold(lam, start, level, formula="exact")
    width = transition_width(problem, level, round(exact))
    assert 3 <= width < 30
    assert abs(found.value - exact) <= width
    paper = quadratic_threshold(lam, start, level, formula="paper")
    assert abs(found.value - exact) < abs(found.value - paper)


@pytest.mark.parametrize("name", ["orthonormal", "sparse", "hadamard"])
def test_every_map_that_is_made_to_be_uniform_agrees_too(name):
    # `partition` is not: its subspace keeps to the axes, which are those of this well.
    lam = SPECTRA["log-uniform"]
    start = displacement("isotropic", lam)
    level = 0.003
    problem = ss.problems.load("quadratic", eigenvalues=lam, displacement=start)
    found = ss.threshold(
        problem, ss.RandomAffine(name), ss.LossBelow(level), delta=0.5, ratio=1.05, max_trials=80,
        workers=1,
    )  # fmt: skip
    exact = quadratic_threshold(lam, start, level, formula="exact")
    assert abs(found.value - exact) <= transition_width(problem, level, round(exact))


def test_hadamard_is_uniform_where_it_spreads_one_transform_over_many_weights():
    ambient = 4096
    lam = np.arange(1, ambient + 1.0) ** -1.5
    z = normals(2, "test", count=ambient)
    start, level = 3 * z / np.linalg.norm(z), 4.5e-4
    exact = quadratic_threshold(lam, start, level, formula="exact")
    assert 64 < exact < 128  # n = 1024 groups of four weights
    problem = ss.problems.load("quadratic", eigenvalues=lam, displacement=start)
    hits = {
        name: sum(
            r.best_train_loss <= level
            for r in ss.run(problem, name, [round(exact)], repeats=40, seed=3, workers=1)
        )
        for name in ("random:hadamard", "random:gaussian")
    }
    assert 8 <= hits["random:gaussian"] <= 32
    assert abs(hits["random:hadamard"] - hits["random:gaussian"]) <= 16


def test_a_start_inside_the_sub_level_set_needs_no_dimension():
    problem = ss.problems.load("quadratic", eigenvalues=np.ones(20), displacement=np.full(20, 0.01))
    found = ss.threshold(problem, ss.RandomAffine("gaussian"), ss.LossBelow(0.1), workers=1)
    assert (found.value, found.status) == (0, "below range")


def test_a_goal_on_a_metric_that_the_problem_lacks_is_refused():
    problem = ss.problems.load("quadratic", eigenvalues=[1, 2, 3], displacement=[1, 1, 1])
    with pytest.raises(ss.InputError, match="it reports no train accuracy"):
        ss.threshold(problem, ss.RandomAffine(), ss.AccuracyAbove(0.5), workers=1)

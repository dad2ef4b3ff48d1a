import dataclasses
import math

import numpy as np
import pytest
import torch

from subspan.errors import InputError
from subspan.goals import LossBelow
from subspan.problems import Quadratic
from subspan.streams import normals, stream
from subspan.theory.angle_search import AngleSearch
from subspan.theory.cone import ConeEstimate, _estimate, cone_threshold
from subspan.theory.ellipsoid import distances_to_cone
from subspan.theory.gordon import certified_miss_dim, polar_certified_miss_dim
from subspan.theory.linearize import linearize
from subspan.theory.wells import quadratic_threshold

SPECTRA = {
    "log-uniform": np.logspace(-4, 0, 300),
    "power": np.arange(1, 301) ** -1.5,
    "sphere": np.ones(300),
    "few stiff": np.where(np.arange(300) < 50, 1.0, 1e-4),
}


@pytest.mark.parametrize("share", [0.3, 0.01])
@pytest.mark.parametrize("name", SPECTRA)
def test_quadratics_agree_with_the_exact_distance_in_every_direction(name, share):
    lam = SPECTRA[name]
    delta = stream(1, name).standard_normal(300)
    problem = Quadratic(lam, 3 * delta / np.linalg.norm(delta))
    level = share * 0.5 * float(lam @ problem.displacement.numpy() ** 2)
    found = cone_threshold(problem, f"loss<={level}", directions=8, steps=1200)
    g = np.stack([normals(0, "cone", k, count=300) for k in range(8)])
    squared = distances_to_cone(g, lam, problem.displacement.numpy(), level)
    exact = 300 * squared / (g * g).sum(1)
    assert found.ok
    np.testing.assert_allclose(found.values, exact, rtol=0.05)
    formula = quadratic_threshold(lam, problem.displacement, level)
    assert found.mean == pytest.approx(formula, rel=0.05, abs=3 * found.standard_error)


def test_every_point_reported_lies_in_the_level_set(tiny, monkeypatch):
    """The angle of the best point is recorded only where the loss is at most ε."""
    seen = []
    record = AngleSearch._record

    def spy(self, excess):
        before = self.best.clone()
        record(self, excess)
        better = self.best < before
        losses = [float(tiny.loss(w, tiny.batch())) for w in self.weights()[better]]
        seen.extend(losses)

    monkeypatch.setattr(AngleSearch, "_record", spy)
    cone_threshold(tiny, "loss<=0.3", directions=3, steps=300)
    assert seen
    assert max(seen) <= 0.3 + 1e-9


def test_agrees_between_network_and_its_tangent_where_the_network_is_linear(tiny):
    """A level just below the start is met close by, where the network equals its tangent."""
    at = tiny.init(0)
    level = float(tiny.loss(at, tiny.batch())) * 0.999
    own = cone_threshold(tiny, f"loss<={level}", at=at, directions=4, radii=[0.01, 0.02], steps=300)
    tangent = cone_threshold(
        linearize(tiny, at), f"loss<={level}", at=at, directions=4, radii=[0.01, 0.02], steps=300
    )
    assert own.mean == pytest.approx(tangent.mean, abs=0.3)


def test_start_inside_needs_nothing_and_lower_levels_need_more(tiny):
    values = [
        cone_threshold(tiny, f"loss<={e}", directions=4, steps=300).mean for e in (9, 0.5, 0.2)
    ]
    assert values[0] == 0
    assert values[1] < values[2] < tiny.ambient_dim


def test_minibatches_and_subsets(tiny):
    whole = cone_threshold(tiny, "loss<=0.5", directions=4, steps=300)
    batches = cone_threshold(tiny, "loss<=0.5", directions=4, steps=300, batch_size=20)
    assert batches.mean == pytest.approx(whole.mean, rel=0.25)
    assert batches.mean >= whole.mean - 0.1  # noise finds worse points, never better ones
    fewer = cone_threshold(tiny, "loss<=0.5", directions=4, steps=300, rows=10)
    assert fewer.mean != whole.mean


def test_status_tells_what_went_wrong():
    goal, nan = LossBelow(0.1), float("nan")
    agree = np.array([[10.0, 12.0, 14.0], [10.1, 12.1, 14.1]])

    def judged(values, cosine=0.0, height=1.0):
        stationarity = np.full_like(values, cosine), height * values
        return _estimate(values, 100, goal, 0.95, stationarity)

    assert judged(agree).status == "ok"
    assert judged(agree).values == (10.0, 12.0, 14.0)
    assert judged(agree).residual == 0
    assert judged(agree * [[1], [1.2]]).status == "radii disagree"
    lost = np.array([[10.0, 12.0, nan], [10.0, 12.0, nan]])
    assert judged(lost).status == "not reached"
    assert judged(agree, cosine=-0.2).status == "not converged"
    assert judged(agree, height=0.8).status == "not converged"
    assert judged(agree, height=0.8).residual == pytest.approx(0.2)


@pytest.mark.parametrize(("share", "directions"), [(0.7, 3), (0.3, 8)])
def test_at_the_default_steps_a_search_that_stalls_does_not_say_ok(share, directions):
    """λ = i^-1.5: both radii stall together, up to a third above the exact distance."""
    lam = np.arange(1, 301) ** -1.5
    delta = stream(1, "power1.5").standard_normal(300)
    problem = Quadratic(lam, 3 * delta / np.linalg.norm(delta))
    delta = problem.displacement.numpy()
    level = share * 0.5 * float(lam @ delta**2)
    found = cone_threshold(problem, f"loss<={level}", directions=directions)
    g = np.stack([normals(0, "cone", k, count=300) for k in range(directions)])
    exact = 300 * distances_to_cone(g, lam, delta, level) / (g * g).sum(1)
    if found.ok:
        assert found.mean == pytest.approx(exact.mean(), rel=0.05)
    else:
        assert found.status in ("not converged", "radii disagree")
        assert found.mean > 1.05 * exact.mean()


def test_same_seed_same_estimate(tiny):
    a, b, c = (cone_threshold(tiny, "loss<=1", s, directions=2, steps=50).values for s in (0, 0, 1))
    assert a == b != c


def test_width_and_transition_follow_from_the_values():
    estimate = ConeEstimate(25.0, 20, 30, 0.95, 2, "ok", 1.0, 0.0, (25.0, 25.0), (25.0,), 100)
    assert estimate.width**2 == pytest.approx(75)
    assert estimate.polar_width == pytest.approx(5)
    assert float(estimate.transition.probability(25)) == pytest.approx(0.5)
    assert float(estimate.transition.probability(estimate.at_delta())) == pytest.approx(0.9)
    assert float(estimate.transition.probability(estimate.at_delta(0.3))) == pytest.approx(0.7)


def test_certified_misses_share_the_risk_between_the_width_and_the_theorem():
    values = (2000.0, 2100.0, 2200.0)
    head = (2100.0, 1900, 2300, 0.95, 3, "ok", 60.0, 0.0, values, (2100.0,), 2410)
    estimate = ConeEstimate(*head, one_start=True)
    distances = np.sqrt(values)
    assert estimate.certified_miss_dim("polar") < polar_certified_miss_dim(
        estimate.polar_width, 0.975
    )
    least = distances.mean() - 4.3027 * distances.std(ddof=1) / np.sqrt(3)  # Student, 2 degrees
    assert estimate.certified_miss_dim("polar") == polar_certified_miss_dim(least, 0.975)
    widths = np.sqrt(2410 - np.array(values))
    most = widths.mean() + 4.3027 * widths.std(ddof=1) / np.sqrt(3)
    for form in ("gordon", "sharp"):
        assert estimate.certified_miss_dim(form) == certified_miss_dim(
            most, 2410, 0.975, constants=form
        )
        assert estimate.certified_miss_dim(form) < certified_miss_dim(
            estimate.width, 2410, 0.975, constants=form
        )
    doubted = dataclasses.replace(estimate, status="radii disagree")
    assert doubted.certified_miss_dim("gordon") is None
    with pytest.raises(InputError, match="form: unknown name 'gordn'"):
        estimate.certified_miss_dim("gordn")


def test_a_mean_over_starts_certifies_nothing_and_one_start_does(tiny):
    """Half the starts see d* = 25 and half 100: at d = 26 … 49 those of the first half hit."""
    values = (25.0, 100.0) * 4
    shared = (62.5, 30, 95, 0.95, 8, "ok", 14.0, 0.0, values, (62.5,), 2410)
    for form in ("gordon", "sharp", "polar"):
        assert ConeEstimate(*shared).certified_miss_dim(form) is None
        assert ConeEstimate(*shared, one_start=True).certified_miss_dim(form) is not None
    own = cone_threshold(tiny, "loss<=1", directions=2, steps=100)
    same = cone_threshold(tiny, "loss<=1", directions=2, steps=100, at=tiny.init(0))
    tangent = cone_threshold(linearize(tiny), "loss<=1", directions=2, steps=100)
    assert (own.one_start, same.one_start, tangent.one_start) == (False, True, True)


def test_bad_input_is_named(tiny):
    for argument, value in (
        ("steps", 0), ("steps", 2.5), ("batch_size", -1), ("rows", 0), ("rows", 1.5),
        ("radii", [math.nan]), ("radii", [1, math.inf]), ("confidence", 95),
        ("at", torch.zeros(3)), ("at", torch.full((tiny.ambient_dim,), math.nan)),
        ("at", np.zeros(3)), ("radii", 2.0), ("radii", ("a",)), ("radii", []),
    ):  # fmt: skip
        with pytest.raises(InputError, match=f"^{argument}: expected "):
            cone_threshold(tiny, "loss<=1", **{argument: value})
    with pytest.raises(InputError, match="goal: expected a training loss above 0"):
        cone_threshold(tiny, "accuracy>=0.5")
    with pytest.raises(InputError, match="directions"):
        cone_threshold(tiny, "loss<=1", directions=1)
    with pytest.raises(InputError, match="radii"):
        cone_threshold(tiny, "loss<=1", radii=[])
    with pytest.raises(InputError, match="level that the search can reach"):
        cone_threshold(tiny, "loss<=1e-9", steps=2)
    assert torch.get_default_dtype() == torch.float32

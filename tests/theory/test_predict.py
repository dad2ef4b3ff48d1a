import math

import numpy as np
import pytest
import torch

from subspan.errors import InputError
from subspan.goals import LossBelow
from subspan.problems import Quadratic
from subspan.streams import derive, stream
from subspan.theory.path import level_at_goal
from subspan.theory.predict import predict_threshold
from subspan.theory.wells import quadratic_threshold


@pytest.fixture(scope="module")
def well():
    return Quadratic(np.logspace(-2, 0, 200), np.linspace(0.1, 0.3, 200))


@pytest.mark.parametrize("formula", ["exact", "paper"])
def test_a_quadratic_centred_at_its_minimum_gives_the_formula(well, formula):
    level = 0.1 * float(well.loss(well.init(0)))
    found = predict_threshold(
        well, f"loss<={level}", centers={level: torch.zeros(200)}, formula=formula, probes=60
    )
    exact = quadratic_threshold(well.eigenvalues, well.displacement, level, formula)
    estimate = found.at_goal.estimate
    assert abs(found.value - exact) <= 4 * estimate.standard_error + estimate.bias
    assert found.status == "ok"
    assert found.low < exact < found.high
    assert found.value < found.at_delta(0.3) < found.at_delta() < 200
    assert found.at_goal.well_drop == pytest.approx(found.at_goal.true_drop)


class Unaware(Quadratic):
    """A quadratic that does not say where its minimum is."""

    minimum = None


def test_the_path_reaches_the_same_well_as_its_centre_goes_down(well):
    level = 0.3 * float(well.loss(well.init(0)))
    exact = quadratic_threshold(well.eigenvalues, well.displacement, level)
    unaware = Unaware(well.eigenvalues, well.displacement)
    found = predict_threshold(unaware, f"loss<={level}", center=0.01, probes=40)
    assert found.value == pytest.approx(exact, rel=0.1)
    assert found.at_goal.slope > 0
    assert found.status == "ok"


@pytest.mark.parametrize("share", [0.7, 0.3])
def test_a_well_fitted_off_the_minimum_is_doubted_and_a_known_minimum_used(share):
    """λ = i^-1.5: at loss ε/4 the point of the path is far from the minimum."""
    lam = np.arange(1, 301) ** -1.5
    delta = stream(1, "power1.5").standard_normal(300)
    delta *= 3 / np.linalg.norm(delta)
    level = share * 0.5 * float(lam @ delta**2)
    exact = quadratic_threshold(lam, delta, level)
    off = predict_threshold(Unaware(lam, delta), f"loss<={level}")
    assert off.value < 0.7 * exact
    assert off.status == "doubtful"
    assert "the centre is not a minimum: towards w₀ its slope is" in off.at_goal.notes[0]
    known = predict_threshold(Quadratic(lam, delta), f"loss<={level}", probes=40)
    estimate = known.at_goal.estimate
    assert abs(known.value - exact) <= 4 * estimate.standard_error + estimate.bias
    assert abs(known.value - exact) < 0.05 * exact
    assert (known.status, known.at_goal.slope, known.at_goal.center_loss) == ("ok", 0, 0)


def test_levels_share_one_run_and_lower_ones_need_more(tiny):
    found = predict_threshold(tiny, "loss<=0.2", levels=[0.3, 0.1], probes=4, lanczos_steps=25)
    assert [p.level for p in found.levels] == [0.3, 0.2, 0.1]
    values = [p.estimate.mean for p in found.levels]
    assert 0 < values[0] < values[1] < values[2] < tiny.ambient_dim
    assert found.value == values[1]
    assert found.curvature == "gauss-newton"
    assert all(p.center_loss <= 0.25 * p.level for p in found.levels)


def test_it_says_when_the_quadratic_picture_cannot_hold(tiny):
    inside = predict_threshold(tiny, "loss<=50")
    assert inside.value == 0
    assert inside.status == "ok"
    assert "at or above the initial loss" in inside.at_goal.notes[0]
    lost = predict_threshold(tiny, "loss<=0.01", train_steps=20)
    assert lost.value is None
    assert lost.at_delta() is None
    assert lost.status == "not reached"
    flat = predict_threshold(tiny, "loss<=0.8", probes=2, lanczos_steps=20)
    assert flat.value is flat.low is flat.high is flat.at_delta() is flat.transition is None
    assert flat.status == "no well"
    assert any("puts w₀ inside" in note for note in flat.at_goal.notes)
    short = predict_threshold(tiny, "loss<=0.9", train_steps=60, center=0.05, probes=2)
    assert "short of the centre" in short.at_goal.notes[0]
    # an untrained network's Hessian has negative curvature; level between its loss and w₀'s
    bent = predict_threshold(
        tiny, "loss<=1.27", centers={1.27: tiny.init(11)}, start=tiny.init(8), curvature="hessian"
    )
    assert bent.at_goal.negative_mass > 0.1
    assert not any("the run stopped" in note for note in bent.at_goal.notes)
    high = predict_threshold(tiny, "loss<=0.9", centers={0.9: tiny.init(8)}, start=tiny.init(8))
    assert high.value is None
    assert "the centre given has loss" in high.at_goal.notes[0]
    assert any("is negative and counted as flat" in note for note in bent.at_goal.notes)


def test_an_accuracy_is_predicted_at_the_loss_where_the_run_first_meets_it(tiny):
    options = {"probes": 2, "lanczos_steps": 15}
    found = predict_threshold(tiny, "accuracy>=0.9", **options)
    assert str(found.asked) == "accuracy>=0.9"
    level = level_at_goal(tiny, tiny.init(derive(0, "init", 0)), found.asked, 0)
    assert found.goal == LossBelow(level)
    assert found.value == predict_threshold(tiny, found.goal, **options).value
    assert "full-space training first meets accuracy>=0.9" in found.at_goal.notes[0]
    assert found.status == "doubtful"
    assert predict_threshold(tiny, "loss<=0.5", **options).asked == LossBelow(0.5)
    with pytest.raises(InputError, match=r"accuracy>=1, where the run of 20 steps came to 0\.\d+"):
        predict_threshold(tiny, "accuracy>=1", train_steps=20)


def test_lanczos_steps_that_leave_the_threshold_open_are_said():
    lam = np.logspace(-8, 0, 2000)
    found = predict_threshold(
        Quadratic(lam, np.ones(2000)), "loss<=1e-5", probes=2, lanczos_steps=20
    )
    assert found.at_goal.estimate.status == "not resolved"
    assert found.status == "doubtful"
    assert any("20 Lanczos steps leave d* between" in note for note in found.at_goal.notes)


def test_weights_may_be_arrays(tiny):
    options = {"probes": 2, "lanczos_steps": 10}
    start, center = tiny.init(derive(0, "init", 0)), tiny.init(1)
    a, b = (
        predict_threshold(tiny, "loss<=5", start=s, centers={5.0: c, 9.0: None}, **options)
        for s, c in ((start, center), (start.numpy(), center.numpy()))
    )
    assert a == b


def test_same_seed_same_prediction(tiny):
    a, b, c = (
        predict_threshold(tiny, "loss<=0.3", s, probes=2, lanczos_steps=15).value for s in (0, 0, 1)
    )
    assert a == b != c


def test_bad_input_is_named(tiny):
    with pytest.raises(InputError, match="expected a loss above 0"):
        predict_threshold(tiny, "loss<=0")
    with pytest.raises(InputError, match="the problem has no test loss"):
        predict_threshold(tiny, "test:loss<=1")
    with pytest.raises(InputError, match="center"):
        predict_threshold(tiny, "loss<=1", center=1)
    with pytest.raises(InputError, match=r"curvature.*Did you mean 'hessian'"):
        predict_threshold(tiny, "loss<=1", curvature="hesian")
    with pytest.raises(InputError, match="centers"):
        predict_threshold(tiny, "loss<=1", centers={})
    for argument, value in (
        ("levels", [-1]), ("levels", [math.inf]), ("levels", [math.nan]), ("rows", 1.5),
        ("rows", 0), ("probes", 1), ("lanczos_steps", 0), ("train_steps", -1),
        ("start", torch.zeros(3)), ("start", torch.full((tiny.ambient_dim,), math.nan)),
        ("levels", ["a"]), ("levels", 0.5), ("center", "x"), ("center", math.nan),
        ("centers", [tiny.init(0)]), ("start", np.zeros(3)), ("start", "x"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=f"^{argument}: expected "):
            predict_threshold(tiny, "loss<=1", **{argument: value})
    with pytest.raises(InputError, match="formula: unknown name 'papr'"):
        predict_threshold(tiny, "loss<=1", formula="papr")

import math

import numpy as np
import pytest
import torch

from subspan.errors import InputError
from subspan.goals import AccuracyAbove
from subspan.problems import Quadratic
from subspan.theory.path import level_at_goal, mean_loss, training_path


def test_points_stand_where_the_levels_are_crossed(tiny):
    start = tiny.init(0)
    levels = [0.8, 0.5, 0.3]
    path = training_path(tiny, start, levels, seed=0, batch_size=20)
    for level in levels:
        point = path[level]
        assert 0.95 * level <= point.loss <= level
        assert point.loss == pytest.approx(float(tiny.loss(point.weights, tiny.batch())))
    assert path[0.8].step <= path[0.5].step <= path[0.3].step


def test_a_level_out_of_reach_gives_the_lowest_point(tiny):
    path = training_path(tiny, tiny.init(0), [1e-9], seed=0, steps=40)
    assert 1e-9 < path[1e-9].loss < mean_loss(tiny, tiny.init(0), None)


def test_divergence_restarts_with_a_smaller_step():
    stiff = Quadratic([500.0, 1.0], [1.0, 1.0])
    path = training_path(stiff, stiff.init(0), [1.0], seed=0, lr=0.05)
    assert 0 < path[1.0].loss <= 1.0
    assert torch.isfinite(path[1.0].weights).all()


def test_same_seed_same_path_other_seed_another(tiny):
    a, b, c = (
        training_path(tiny, tiny.init(0), [0.5], s, batch_size=10)[0.5].weights for s in (0, 0, 1)
    )
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_the_level_of_an_accuracy_is_the_loss_where_the_path_first_has_it(tiny):
    start, goal = tiny.init(0), AccuracyAbove(0.9)
    level = level_at_goal(tiny, start, goal, 0)
    assert level < mean_loss(tiny, start, None)
    # Training down to that loss gives the accuracy; down to a little more does not.
    path = training_path(tiny, start, [level, 1.05 * level], seed=0)
    assert tiny.evaluate(path[level].weights).accuracy >= 0.9
    assert tiny.evaluate(path[1.05 * level].weights).accuracy < 0.9
    assert level_at_goal(tiny, start, AccuracyAbove(0.95), 0) < level


def test_a_goal_that_has_no_level_is_refused(tiny):
    start = tiny.init(0)
    with pytest.raises(InputError, match="initial weights do not meet"):
        level_at_goal(tiny, start, AccuracyAbove(0.0), 0)
    with pytest.raises(InputError, match="the problem has no test accuracy"):
        level_at_goal(tiny, start, AccuracyAbove(0.5, "test"), 0)
    with pytest.raises(InputError, match="where the run of 20 steps came to"):
        level_at_goal(tiny, start, AccuracyAbove(1.0), 0, steps=20)
    with pytest.raises(InputError, match="the problem has no train accuracy"):
        level_at_goal(Quadratic([1.0], [1.0]), torch.ones(1), AccuracyAbove(0.5), 0)


def test_mean_loss_of_a_subset_is_over_its_rows(tiny):
    w, rows = tiny.init(0), torch.arange(7)
    assert mean_loss(tiny, w, rows) == pytest.approx(float(tiny.loss(w, tiny.batch(rows))))
    assert not math.isclose(mean_loss(tiny, w, rows), mean_loss(tiny, w, None))


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("levels", [math.nan]), ("levels", [-1]), ("levels", [50.0]), ("levels", ["a"]),
        ("levels", 0.5), ("steps", -5), ("batch_size", 0), ("lr", -1), ("lr", math.nan),
        ("momentum", 5), ("momentum", 1), ("momentum", -0.1), ("check_every", 0),
        ("indices", [40]), ("start", torch.zeros(3)), ("start", torch.full((43,), math.inf)),
    ],
)  # fmt: skip
def test_bad_arguments_of_a_path_are_named(tiny, argument, value):
    arguments = {"start": tiny.init(0), "levels": [0.5], "seed": 0, argument: value}
    with pytest.raises(InputError, match=f"^{argument}: expected "):
        training_path(tiny, **arguments)


def test_a_path_takes_arrays_and_rows_as_lists(tiny):
    start, rows = tiny.init(0), [0, 2, 4, 6, 8]
    tensors = training_path(tiny, start, [0.5], 0, indices=torch.tensor(rows), steps=200)
    arrays = training_path(tiny, start.numpy(), np.array([0.5]), 0, indices=rows, steps=200)
    assert torch.equal(arrays[0.5].weights, tensors[0.5].weights)

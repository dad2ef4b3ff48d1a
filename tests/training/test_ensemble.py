import dataclasses

import pytest
import torch
from torch import nn

from subspan import maps
from subspan.errors import InputError
from subspan.problems import Problem, Quadratic, convolutions, load, resnet
from subspan.spec import TrainSpec
from subspan.subspaces import BurnIn, Draw, RandomAffine
from subspan.training.batches import Batches
from subspan.training.ensemble import train
from subspan.training.outcome import Outcome


def conv_problem(**options):
    x = torch.linspace(-2, 2, 60 * 8 * 8).reshape(60, 1, 8, 8).sin()
    y = (x.mean((1, 2, 3)) > 0).long()

    def make():
        return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))

    return Problem(make, (x, y), name="conv", **options)


def ensemble(problem, spec, dims, method=None, seed=0):
    draws = [Draw(d, seed, r) for r, d in enumerate(dims)]
    subspaces = (method or RandomAffine()).subspaces(problem, draws)
    seeds = [d.batch_seed for d in draws]
    alone = [train(problem, [s], spec, [b])[0] for s, b in zip(subspaces, seeds, strict=True)]
    return train(problem, subspaces, spec, seeds), alone


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    ("map_name", "optimizer"),
    [*((name, "adam") for name in maps.names()), ("partition", "sgd"), ("gaussian", "legacy_adam")],
)
def test_a_trial_in_an_ensemble_equals_the_same_trial_alone(map_name, optimizer, dtype):
    """In float64, the law; on a CPU it holds to the bit, and in float32 too."""
    problem = load("digits-mlp", subset=300).to(dtype=getattr(torch, dtype))
    spec = TrainSpec(optimizer, lr=0.05, steps=20, batch_size=32, eval_every=5, dtype=dtype)
    together, alone = ensemble(problem, spec, [3, 40, 40, 7, 100], RandomAffine(map_name))
    for one, other in zip(together, alone, strict=True):
        assert torch.equal(one.theta, other.theta)
        assert one.curve == other.curve
        assert one.curve[-1].train_loss != one.curve[0].train_loss


def test_conv_ensemble_equals_trials_alone():
    problem = conv_problem().to(dtype=torch.float64)
    spec = TrainSpec(lr=0.05, steps=10, batch_size=16, dtype="float64")
    together, alone = ensemble(problem, spec, [3, 20, 9])
    for one, other in zip(together, alone, strict=True):
        assert torch.equal(one.theta, other.theta)


def resnet_problem(**options):
    rows = torch.randn(20, 1, 8, 8, generator=torch.Generator().manual_seed(0))

    def make():
        blocks = resnet.ResidualBlock(4, 4, 1), resnet.ResidualBlock(4, 8, 2)
        ends = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)
        return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), *blocks, *ends)

    return Problem(make, (rows, torch.arange(20) % 3), name="resnet", **options)


@pytest.mark.parametrize("way", convolutions.WAYS)
@pytest.mark.parametrize(("make", "steps"), [(conv_problem, 10), (resnet_problem, 2)])
def test_conv_ensemble_as_one_program_equals_trials_one_by_one(make, steps, way):
    """BatchNorm's statistics among them: to 1e-9 in float64, as sums have other orders."""
    spec = TrainSpec("sgd", lr=0.05, steps=steps, batch_size=5, dtype="float64")
    found = []
    for vectorize in (True, False):
        problem = make(vectorize=vectorize).to(dtype=torch.float64).convolving(way)
        draws = [Draw(d, 0, r) for r, d in enumerate([3, 20])]
        subspaces = RandomAffine().subspaces(problem, draws)
        found.append(train(problem, subspaces, spec, [d.batch_seed for d in draws]))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one.theta, other.theta, rtol=1e-9, atol=1e-12)
        assert one.curve[-1].train_loss == pytest.approx(other.curve[-1].train_loss, rel=1e-9)
        assert one.theta.abs().max() > 1e-4


def test_full_batch_and_early_stops_leave_neighbours_alone():
    problem = load("digits-mlp", subset=300)
    spec = TrainSpec(lr=0.05, steps=60, batch_size=None, eval_every=5, stop_at="loss<=1.5")
    together, alone = ensemble(problem, spec, [4, 30, 60, 120, 200])
    assert {r.outcome for r in together} == {Outcome.STOPPED, Outcome.FINISHED}
    assert len({r.steps for r in together}) >= 3
    for one, other in zip(together, alone, strict=True):
        assert torch.equal(one.theta, other.theta)
        assert (one.outcome, one.steps, one.curve) == (other.outcome, other.steps, other.curve)
        assert (one.curve[-1].train_loss <= 1.5) == (one.outcome is Outcome.STOPPED)


def test_divergence_is_an_outcome_and_disturbs_nobody():
    problem = load("digits-mlp", subset=300)
    spec = TrainSpec("sgd", lr=0.05, steps=30, batch_size=32, eval_every=3)
    draws = [Draw(d, 0, r) for r, d in enumerate([20, 30, 40])]
    subspaces = RandomAffine().subspaces(problem, draws)
    steep = maps.ColumnsMap(1e20 * subspaces[1].map.dense().T)
    subspaces[1] = dataclasses.replace(subspaces[1], map=steep)
    seeds = [d.batch_seed for d in draws]
    results = train(problem, subspaces, spec, seeds)
    assert [r.outcome for r in results] == [Outcome.FINISHED, Outcome.DIVERGED, Outcome.FINISHED]
    assert results[1].steps == 3
    for k in (0, 2):
        alone = train(problem, [subspaces[k]], spec, [seeds[k]])[0]
        assert torch.equal(alone.theta, results[k].theta)


def test_training_is_plain_autograd_and_pytorchs_adam():
    """The whole trainer against an ordinary PyTorch loop."""
    problem = load("digits-mlp", subset=300).to(dtype=torch.float64)
    draw = Draw(25, 0, 0)
    (subspace,) = RandomAffine("gaussian").subspaces(problem, [draw])
    spec = TrainSpec(lr=0.05, steps=40, batch_size=64, schedule="linear", dtype="float64")
    result = train(problem, [subspace], spec, [draw.batch_seed])[0]

    dense = subspace.map.dense()
    theta = torch.zeros(25, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([theta], lr=0.05, eps=1e-7)
    batches = Batches(draw.batch_seed, 300, 64)
    for step in range(40):
        optimizer.param_groups[0]["lr"] = 0.05 * (1 - step / 40)
        optimizer.zero_grad()
        problem.loss(subspace.offset + dense @ theta, problem.batch(batches.at(step))).backward()
        optimizer.step()
    torch.testing.assert_close(result.theta, theta.detach(), rtol=1e-9, atol=1e-12)
    final = problem.evaluate(subspace.offset + dense @ theta.detach())
    assert result.curve[-1].train_loss == pytest.approx(final.loss, rel=1e-9)
    assert result.curve[-1].train_accuracy == final.accuracy


def test_batches_are_permutations_in_any_order():
    batches = Batches(3, 10, 3)
    epoch = torch.cat([batches.at(s) for s in range(3)])
    assert len(set(epoch.tolist())) == 9
    late = batches.at(7)
    assert torch.equal(Batches(3, 10, 3).at(7), late)
    assert torch.equal(batches.at(0), epoch[:3])
    assert not torch.equal(Batches(4, 10, 3).at(0), epoch[:3])
    assert len(Batches(3, 10, 64).at(5)) == 10


def test_burn_in_takes_exactly_t_steps_of_momentum_sgd():
    problem = load("digits-mlp", subset=300).to(dtype=torch.float64)
    draw = Draw(5, 0, 0)
    (subspace,) = BurnIn(3).subspaces(problem, [draw])
    assert subspace.search_steps == 3
    w = problem.init(draw.init_seed).requires_grad_()
    optimizer = torch.optim.SGD([w], lr=0.05, momentum=0.9)
    batches = Batches(draw.search_seed, 300, 128)
    for step in range(3):
        optimizer.zero_grad()
        problem.loss(w, problem.batch(batches.at(step))).backward()
        optimizer.step()
    torch.testing.assert_close(subspace.offset, w.detach(), rtol=1e-10, atol=1e-12)


def test_burn_in_zero_is_random_affine():
    problem = load("digits-mlp", subset=100)
    draw = Draw(5, 0, 0)
    zero, random = BurnIn(0), RandomAffine()
    assert zero.config() == random.config()
    one, other = zero.subspaces(problem, [draw])[0], random.subspaces(problem, [draw])[0]
    assert torch.equal(one.offset, other.offset)
    assert one.map.checksum() == other.map.checksum()
    assert one.search_steps == 0


def test_start_is_evaluated_where_the_offset_was_trained():
    problem = load("digits-mlp", subset=300)
    spec = TrainSpec(lr=0.05, steps=4, stop_at="loss<=2.2")
    draw = Draw(5, 0, 0)
    subspaces = BurnIn(40).subspaces(problem, [draw])
    result = train(problem, subspaces, spec, [draw.batch_seed])[0]
    assert (result.outcome, result.steps, result.curve[0].step) == (Outcome.STOPPED, 0, 0)


def test_exact_is_the_least_squares_minimum():
    problem = Quadratic([1.0, 0.5, 0.1, 0.0], [1.0, -1.0, 2.0, 5.0])
    draw = Draw(2, 0, 0)
    subspaces = RandomAffine("gaussian").subspaces(problem, [draw])
    spec = problem.default_spec
    exact = train(problem, subspaces, spec, [0])[0]
    long = train(
        problem, subspaces, TrainSpec("adam", lr=0.05, steps=4000, schedule="linear"), [0]
    )[0]
    assert exact.curve[-1].train_loss == pytest.approx(long.curve[-1].train_loss, rel=1e-6)
    digits = load("digits-mlp", subset=50)
    subspaces = RandomAffine().subspaces(digits, [draw])
    with pytest.raises(InputError, match="'exact' on an analytic problem only"):
        train(digits, subspaces, TrainSpec("exact"), [0])


def test_a_goal_met_at_the_last_step_cuts_nothing_short():
    problem = load("digits-mlp", subset=300)
    draw = Draw(60, 0, 0)
    subspaces = RandomAffine().subspaces(problem, [draw])
    spec = TrainSpec(lr=0.05, steps=20, batch_size=64, eval_every=20, stop_at="loss<=100")
    result = train(problem, subspaces, spec, [draw.batch_seed])[0]
    assert (result.outcome, result.steps) == (Outcome.FINISHED, 20)

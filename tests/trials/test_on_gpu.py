"""Training on a GPU: its numbers, what waits for it, its memory, and what a record says."""

import dataclasses

import pytest
import torch

import subspan as ss
from subspan.problems import Problem, convolutions, load, models, resnet
from subspan.spec import TrainSpec
from subspan.subspaces import Draw, RandomAffine
from subspan.training.ensemble import train
from subspan.training.outcome import Outcome
from subspan.trials.gpu_memory import bytes_a_trial, fitting
from subspan.trials.problem_trainable import ProblemTrainable

pytestmark = pytest.mark.gpu

SPEC = TrainSpec(lr=0.05, steps=6, batch_size=16, eval_every=3, dtype="float64")


def images(make, shape, rows=48):
    x = torch.randn(rows, *shape, generator=torch.Generator().manual_seed(0))
    y = torch.arange(rows) % 3
    return Problem(make, (x, y), (x[:20], y[:20]), name="images", eval_rows=10)


PROBLEMS = {
    "digits": lambda: load("digits-mlp", subset=300),
    "conv2": lambda: images(lambda: models.conv_net((16, 32), (1, 12, 12), 3), (1, 12, 12)),
    "resnet20": lambda: images(lambda: resnet.resnet20((1, 28, 28), 3), (1, 28, 28)),
}


def ensemble(problem, spec, map_name="hadamard"):
    draws = [Draw(d, 0, r) for r, d in enumerate((3, 20, 9))]
    subspaces = RandomAffine(map_name).subspaces(problem, draws)
    return train(problem, subspaces, spec, [d.batch_seed for d in draws])


@pytest.mark.parametrize("way", convolutions.WAYS)
@pytest.mark.parametrize("name", PROBLEMS)
def test_an_ensemble_on_a_gpu_is_that_of_the_cpu(name, way):
    problem = PROBLEMS[name]().to(dtype=torch.float64)
    there = problem.to("cuda").convolving(way)
    assert there.vectorized
    for one, other in zip(ensemble(there, SPEC), ensemble(problem, SPEC), strict=True):
        assert one.theta.device.type == "cuda"
        torch.testing.assert_close(one.theta.cpu(), other.theta, rtol=1e-6, atol=1e-9)
        assert [p.step for p in one.curve] == [3, 6]
        for point, expected in zip(one.curve, other.curve, strict=True):
            assert dict(point.metrics) == pytest.approx(dict(expected.metrics), rel=1e-6)


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("map_name", ss.maps.names())
def test_no_step_waits(name, map_name):
    problem = PROBLEMS[name]().to("cuda")
    draws = [Draw(d, 0, r) for r, d in enumerate((3, 20, 9))]
    subspaces = RandomAffine(map_name).subspaces(problem, draws)
    seeds = [d.batch_seed for d in draws]
    spec = TrainSpec(lr=0.05, steps=6, batch_size=16)
    train(problem, subspaces, spec, seeds)  # traced, and ways measured
    begun = []

    def watch(step, weights):
        if not begun:
            torch.cuda.set_sync_debug_mode("error")
        begun.append(step)

    try:
        train(problem, subspaces, spec, seeds, evaluate=False, on_step=watch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert begun == [1, 2, 3, 4, 5, 6]


def test_the_quicker_convolution_is_in_the_record():
    problem = PROBLEMS["conv2"]().to("cuda")
    spec = TrainSpec(lr=0.05, steps=6, batch_size=16)
    records = ss.run(problem, "random", [3, 9], 2, spec, workers=1)
    assert {r.provenance["convolutions"] for r in records} <= set(convolutions.WAYS)
    assert all(r.outcome is Outcome.FINISHED for r in records)


def test_a_record_names_the_gpu():
    problem = load("digits-mlp", subset=300).to("cuda")
    (record,) = ss.run(problem, "random", [3], 1, TrainSpec(lr=0.05, steps=2), workers=1)
    assert record.provenance["device"] == f"cuda: {torch.cuda.get_device_name()}"
    assert record.provenance["compiled_maps"] is False


def test_the_width_is_measured():
    problem = PROBLEMS["resnet20"]().to("cuda")
    batch = dataclasses.replace(problem.default_spec, batch_size=16)
    problem.default_spec = batch
    assert bytes_a_trial(problem) > 16 * 28 * 28 * 16 * 4 * 19  # its feature maps, about
    assert fitting(problem) >= 1


def test_where_memory_ends_the_ensemble_is_narrower():
    """A GPU of which a process may take a few trials' worth."""
    problem = PROBLEMS["resnet20"]().to("cuda")
    spec = TrainSpec(lr=0.05, steps=2, batch_size=32)
    pairs = [(3, repeat) for repeat in range(16)]
    wide = ProblemTrainable(problem, RandomAffine())
    wide.width = 16
    wide.train(pairs[:1], spec, 0)
    torch.cuda.reset_peak_memory_stats()
    wide.train(pairs[:2], spec, 0)
    peak, total = torch.cuda.max_memory_allocated(), torch.cuda.mem_get_info()[1]
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(min(1.0, 2 * peak / total))
    try:
        records = wide.train(pairs, spec, 0)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert wide.width < 16
    assert all(r.outcome is Outcome.FINISHED for r in records)

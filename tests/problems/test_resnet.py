import pytest
import torch

import subspan as ss
from subspan.problems import Problem, names
from subspan.problems.catalogue import catalogue
from subspan.problems.models import lecun_normal
from subspan.problems.resnet import resnet20, wide_resnet
from subspan.testing import check_problem


def images(rows: int, shape: tuple[int, int, int]):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(rows, *shape, generator=generator), torch.arange(rows) % 10


def small(build, shape=(3, 32, 32)) -> Problem:
    def make():
        return build(shape, 10)

    return Problem(make, images(24, shape), images(12, shape), init=lecun_normal(make))


@pytest.mark.parametrize(
    ("build", "grey", "colour"),
    [(resnet20, 272_186, 272_474), (wide_resnet, 3_086_730, 3_087_018)],
)
def test_the_papers_parameter_counts(build, grey, colour) -> None:
    with torch.device("meta"):
        for shape, count in (((1, 28, 28), grey), ((3, 32, 32), colour)):
            assert sum(p.numel() for p in build(shape, 10).parameters()) == count


def test_they_stand_in_the_registry_for_every_source() -> None:
    sizes = {entry.name: entry.ambient_dim for entry in catalogue()}
    for source, count in (("mnist", 272_186), ("cifar10", 272_474), ("svhn", 272_474)):
        assert sizes[f"{source}-resnet20"] == count
    assert sizes["cifar100-wrn16-4"] == 3_110_148
    assert {f"{s}-vit" for s in ("mnist", "cifar10", "cifar100")} <= set(names())


def test_resnet20_keeps_the_laws_of_a_problem() -> None:
    check_problem(small(lambda shape, classes: resnet20((3, 28, 28), classes), (3, 28, 28)), rows=4)


def test_norms_take_the_statistics_of_the_batch() -> None:
    problem = small(resnet20)
    assert problem.batch_norm
    w = problem.init(0)
    x, _ = problem.batch()
    alone, among = problem.outputs(w, x[:4])[0], problem.outputs(w, x[:8])[0]
    assert not torch.allclose(alone, among, atol=1e-3)
    torch.testing.assert_close(
        problem.outputs(w, 3 * x[:8]), problem.outputs(w, x[:8]), rtol=1e-2, atol=1e-2
    )


@pytest.mark.parametrize("build", [resnet20, lambda s, c: wide_resnet(s, c, width=1, blocks=1)])
def test_a_few_steps_in_a_subspace_lower_the_loss(build) -> None:
    problem = small(build)
    spec = ss.TrainSpec(lr=0.05, steps=6, batch_size=24)
    (trial,) = ss.run(problem, ss.BurnIn(1, "partition"), [2000], 1, spec, workers=1)
    assert trial.curve[-1].train_loss < trial.curve[0].train_loss


def test_methods_take_norm_parameters_for_biases() -> None:
    problem = small(resnet20)
    assert ss.BiasesAndNorms().max_dim(problem) == 1376 + 10 + 192
    assert ss.LastLayer().max_dim(problem) == 650

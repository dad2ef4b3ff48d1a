import math

import pytest
import torch

from subspan.errors import InputError
from subspan.problems import data, load, models, names
from subspan.problems.registry import PROBLEMS
from subspan.testing import check_problem

# The paper's counts (official code).
COUNTS = {
    ("conv2", (1, 28, 28)): 20_490,
    ("conv2", (3, 32, 32)): 25_578,
    ("conv3", (1, 28, 28)): 61_514,
    ("conv3", (3, 32, 32)): 66_570,
    ("conv4", (1, 28, 28)): 130_890,
    ("conv4", (3, 32, 32)): 135_306,
}


@pytest.mark.parametrize(("net", "image"), COUNTS)
def test_parameter_counts_of_the_paper(net, image):
    module = models.conv_net(models.CONV_CHANNELS[net], image, 10)
    assert sum(p.numel() for p in module.parameters()) == COUNTS[net, image]
    assert module(torch.zeros(2, *image)).shape == (2, 10)


# Li et al. (2018) and `uber-research/intrinsic-dimension`: the networks of the outside table.
LI = {"mnist-lenet": 44_426, "cifar10-lenet": 62_006, "cifar10-mlp": 656_810}


@pytest.mark.parametrize("name", LI)
def test_networks_of_li_et_al(name):
    _, _, make, _ = PROBLEMS[name].args
    init = PROBLEMS[name].keywords["init"](0)
    assert {k: v.shape for k, v in init.items()} == {
        k: v.shape for k, v in make().named_parameters()
    }
    assert sum(value.numel() for value in init.values()) == LI[name]
    for key, value in init.items():
        if value.ndim > 1:  # Keras' he_normal: variance 2 / fan-in, the last layer's too
            wanted = math.sqrt(2 / math.prod(value.shape[1:]))
            assert float(value.std()) == pytest.approx(wanted, rel=0.15), key


def test_lenet_pools_by_the_maximum():
    net = models.lenet((1, 28, 28), 10)
    assert [type(layer).__name__ for layer in net[:7]] == [
        *("Conv2d", "ReLU", "MaxPool2d", "Conv2d", "ReLU", "MaxPool2d", "Flatten")
    ]
    assert net(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_registered_names():
    expected = {"digits-mlp", "quadratic", "mnist-mlp"} | {
        f"{source}-{net}" for source in data.SOURCES for net in ("conv2", "conv3", "conv4")
    }
    assert expected <= set(names())


@pytest.mark.parametrize("name", ["digits-mlp", "quadratic"])
def test_embedded_problems_keep_the_laws(name):
    check_problem(load(name))


def test_digits():
    problem = load("digits-mlp")
    assert problem.ambient_dim == 2410
    assert problem.train_size == 1437
    x, _ = problem.batch()
    assert len(problem.batch(split="test")[1]) == 360
    assert float(x.mean(0).abs().max()) < 1e-6
    assert float(x.max() - x.min()) <= 2.0
    w = problem.layout.split(problem.init(0))
    assert float(w["1.weight"].std()) == pytest.approx(math.sqrt(2 / 64), rel=0.05)
    assert float(w["3.weight"].std()) == pytest.approx(math.sqrt(1 / 32), rel=0.15)
    assert not w["1.bias"].any()
    assert not w["3.bias"].any()
    assert load("digits-mlp", subset=1000).identity != problem.identity
    standardized = load("digits-mlp", standardize=True).batch()[0]
    assert float(standardized.std(0).max()) == pytest.approx(1, rel=1e-3)


def test_lecun_normal():
    init = models.lecun_normal(lambda: models.conv_net((16, 32), (1, 28, 28), 10))(0)
    kernel = init["3.weight"]
    assert float(kernel.std()) == pytest.approx((9 * 16) ** -0.5, rel=0.05)
    limit = 2 / 0.87962566 * (9 * 16) ** -0.5
    assert float(kernel.abs().max()) <= limit
    assert float(kernel.abs().max()) > 0.95 * limit
    assert not init["3.bias"].any()


def test_mnist_as_in_the_paper(data_dir):
    problem = load("mnist-conv2", data_dir=data_dir, subset=3000)
    assert problem.ambient_dim == 20_490
    x, _ = problem.batch()
    assert x.shape == (3000, 1, 28, 28)
    assert float(x.mean(0).abs().max()) < 1e-5
    assert len(problem.batch(split="test")[0]) == 10_000
    # the folder of the data set itself serves as well
    same = load("mnist-conv2", data_dir=data_dir / "mnist", subset=3000)
    assert same.identity == problem.identity
    check_problem(load("mnist-mlp", data_dir=data_dir, subset=300))


def test_cifar10(data_dir):
    problem = load("cifar10-conv2", data_dir=data_dir, subset=100)
    assert problem.ambient_dim == 25_578
    assert problem.batch()[0].shape == (100, 3, 32, 32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: load("digits-mpl"), "Did you mean 'digits-mlp'"),
        (lambda: load("digits-mlp", subset=0), "subset: expected an integer in 1 … 1437, got 0"),
        (lambda: load("digits-mlp", subset=5000), "got 5000"),
        (lambda: load("digits-mlp", data_dir="x"), "option: expected one that 'digits-mlp' has"),
        (lambda: load("mnist-mlp", data_dir="/nowhere"), "data_dir: expected a folder with"),
        (lambda: load("quadratic", eigenvalues=[1, -1]), "none below 0"),
        (lambda: load("quadratic", eigenvalues=[1.0], displacement=[1, 2]), "displacement"),
        (lambda: load("quadratic", eigenvalues=[float("nan")]), "finite"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InputError, match=message):
        call()

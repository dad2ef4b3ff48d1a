"""Evaluation hands images over with their channels last where nothing but the time may differ."""

import pytest
import torch
from torch import nn

import subspan as ss
from subspan.problems import evaluation
from subspan.problems.channels_last import channels_last, takes_channels_last
from subspan.problems.models import CONV_CHANNELS, conv_net, lenet, mlp
from subspan.problems.resnet import resnet20, wide_resnet

IMAGE = (3, 32, 32)


def small(*more):
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), *more, nn.Flatten(), nn.Linear(4, 5))


class ByView(nn.Module):
    def forward(self, x):
        return x.view(len(x), -1)


class Own(nn.Sequential):
    def forward(self, x):
        return super().forward(x.view(len(x), -1))


def with_a_hook():
    module = small()
    module[0].register_forward_hook(lambda module, given, out: out.view(len(out), -1))
    return module


@pytest.mark.parametrize(
    "module",
    [
        conv_net(CONV_CHANNELS["conv2"], IMAGE, 10),
        lenet((3, 32, 32), 10),
        resnet20((3, 32, 32), 10),
        wide_resnet((3, 32, 32), 10),
        small(nn.BatchNorm2d(4), nn.Sequential(nn.MaxPool2d(2))),
    ],
)
def test_stacks_of_layers_take_it(module):
    assert takes_channels_last(module)


@pytest.mark.parametrize(
    "module",
    [
        mlp(784, 20, 10),
        small(ByView()),
        Own(nn.Conv2d(3, 4, 3), nn.Linear(3, 3)),
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()),  # its outputs would lie otherwise
        nn.Sequential(nn.Conv2d(4, 4, 3, groups=4), nn.Flatten(), nn.Linear(4, 5)),
        with_a_hook(),
        nn.Sequential(),
    ],
)
def test_all_else_does_not(module):
    assert not takes_channels_last(module)


@pytest.mark.parametrize("channels", [1, 3])
def test_only_images_change_and_only_how_they_lie(channels):
    x = torch.randn(5, channels, 4, 4)
    laid = channels_last(x)
    assert torch.equal(laid, x)
    assert laid.stride() == (16 * channels, 1, 4 * channels, channels)  # as convolutions ask
    for other in (torch.randn(5, 3), {"x": x}, (x, x), torch.randn(5, 3, 4)):
        assert channels_last(other) is other


@pytest.mark.parametrize("make", [lambda: resnet20(IMAGE, 10), lambda: conv_net((4, 8), IMAGE, 10)])
def test_evaluation_is_the_same_but_for_rounding(make, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, *IMAGE, generator=generator)
    y = torch.randint(10, (40,), generator=generator)
    problem = ss.Problem(make, (x, y), name="images", eval_rows=None)
    assert not problem.vectorized
    weights, seen = problem.init(0), []

    def watched(given):
        seen.append(given.shape)
        return channels_last(given)

    monkeypatch.setattr(evaluation, "channels_last", watched)
    found = problem.evaluate(weights)
    assert seen, "images went another way"
    monkeypatch.setattr(evaluation, "channels_last", lambda given: given)
    plain = problem.evaluate(weights)
    assert found.loss == pytest.approx(plain.loss, rel=1e-5)
    assert found.accuracy == plain.accuracy


@pytest.mark.parametrize(
    ("make", "eval_rows", "rows"),
    [
        (lambda: small(), None, 128),
        (lambda: small(), 100, 100),
        (lambda: small(), 600, 600),  # all at once
        (lambda: small(nn.BatchNorm2d(4)), 300, 300),  # whose statistics are those of a part
        (lambda: small(ByView(), nn.Unflatten(1, (4, 1, 1))), None, 512),
    ],
)
def test_images_in_parts_go_by_fewer_but_with_batch_norm(make, eval_rows, rows, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(600, 3, 3, 3, generator=generator)
    y = torch.randint(5, (600,), generator=generator)
    problem = ss.Problem(make, (x, y), name="images", eval_rows=eval_rows)
    weights, seen = problem.init(0), []
    whole = problem.loss(weights, problem.batch())
    outputs = evaluation.Evaluator._one

    def watched(self, weights, x, y):
        seen.append(len(x))
        return outputs(self, weights, x, y)

    monkeypatch.setattr(evaluation.Evaluator, "_one", watched)
    found = problem.evaluate(weights)
    assert seen[0] == rows
    assert sum(seen) == 600
    if not problem.batch_norm:
        assert found.loss == pytest.approx(float(whole), rel=1e-5)


def test_a_module_that_asks_how_its_input_lies_is_evaluated_all_the_same():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(12, 3, 3, 3, generator=generator)
    y = torch.randint(5, (12,), generator=generator)

    def make():
        return nn.Sequential(nn.Conv2d(3, 4, 3), ByView(), nn.Linear(4, 5))

    problem = ss.Problem(make, (x, y), name="by view")
    assert problem.evaluate(problem.init(0)).loss > 0

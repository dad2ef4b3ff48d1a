import math

import pytest
import torch

from subspan.optimizers import OPTIMIZERS, find
from subspan.spec import TrainSpec
from subspan.training.optimizers import learning_rate


def gradients(steps=30, size=5):
    return torch.linspace(-1, 1, steps * size, dtype=torch.float64).reshape(steps, size).sin()


def run(name, spec, by_direction=False):
    theta = torch.zeros(5, dtype=torch.float64)
    optimizer = find(name).load()(theta, spec)
    path = []
    for g in gradients():
        if by_direction:
            theta = theta - spec.lr * optimizer.direction(g)
        else:
            optimizer.step(theta, g, spec.lr)
        path.append(theta.clone())
    return torch.stack(path)


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("adam", lambda p: torch.optim.Adam(p, lr=0.05, eps=1e-7)),
        ("sgd", lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9)),
    ],
)
def test_against_pytorch(name, reference):
    leaf = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    optimizer = reference([leaf])
    expected = []
    for g in gradients():
        leaf.grad = g.clone()
        optimizer.step()
        expected.append(leaf.detach().clone())
    torch.testing.assert_close(run(name, TrainSpec(lr=0.05)), torch.stack(expected))
    by_direction = run(name, TrainSpec(lr=0.05), by_direction=True)
    torch.testing.assert_close(by_direction, torch.stack(expected))


def test_legacy_adam_starts_at_lr_and_falls_to_its_steady_state():
    spec = TrainSpec(lr=0.05)
    theta = torch.zeros(1, dtype=torch.float64)
    optimizer = find("legacy_adam").load()(theta, spec)
    previous = theta.clone()
    moves = []
    for _ in range(20_000):
        optimizer.step(theta, torch.ones(1, dtype=torch.float64), spec.lr)
        moves.append(float(previous - theta))
        previous = theta.clone()
    assert moves[0] == pytest.approx(0.05, rel=1e-5)
    assert moves[-1] == pytest.approx(0.05 * math.sqrt(0.001) / 0.1, rel=1e-5)


def test_schedules():
    def rates(schedule):
        spec = TrainSpec(lr=1.0, schedule=schedule)
        return [learning_rate(spec, s, 4) for s in range(5)]

    assert rates("constant") == [1.0] * 5
    assert rates("linear") == pytest.approx([1, 0.75, 0.5, 0.25, 0])
    assert rates("cosine") == pytest.approx([1, 0.5 + 0.25 * 2**0.5, 0.5, 0.5 - 0.25 * 2**0.5, 0])


def test_keep_drops_the_others_state():
    spec = TrainSpec(lr=0.05)
    for name in (name for name, facts in OPTIMIZERS.items() if facts.kind == "steps"):
        whole, part = torch.zeros(5, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
        optimizer = find(name).load()(whole, spec)
        picks = torch.tensor([1, 3])
        for i, g in enumerate(gradients()):
            if i == 10:
                part = whole[picks].clone()
                optimizer.keep(picks)
            if i < 10:
                optimizer.step(whole, g, 0.05)
            else:
                optimizer.step(part, g[picks], 0.05)
        torch.testing.assert_close(part, run(name, spec)[-1][picks])

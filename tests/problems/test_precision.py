"""Training under bfloat16 autocast: what is rounded, what is not, and where it is refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import subspan as ss
from subspan.errors import InputError
from subspan.problems.analytic import Quadratic


class Passes(nn.Module):
    """Notes the dtype of what its parts hand on."""

    seen: torch.dtype | None = None

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = torch.relu(self.one(x))
        type(self).seen = hidden.dtype
        return self.two(hidden)


def rows(n: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(n, 6, generator=torch.Generator().manual_seed(0))
    return x, (x[:, 0] > 0).long() + (x[:, 1] > 1).long()


def problem(**options: object) -> ss.Problem:
    return ss.Problem(Passes, rows(), rows(16), **options)  # type: ignore[arg-type]


def test_outputs_are_those_of_autocast_and_come_in_float32() -> None:
    whole = problem()
    rounded = whole.in_precision("bfloat16")
    weights, x = whole.init(0), rows()[0]
    got = rounded.outputs(weights, x)
    assert Passes.seen == torch.bfloat16
    module = Passes()
    module.load_state_dict(whole.layout.split(weights))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        expected = module(x)
    assert got.dtype == torch.float32
    assert torch.equal(got, expected.float())
    assert whole.outputs(weights, x).dtype == torch.float32
    assert Passes.seen == torch.float32


@pytest.mark.parametrize("vectorize", [True, False])
def test_gradients_are_float32_and_rounded_to_two_digits_or_three(vectorize: bool) -> None:
    whole = problem(vectorize=vectorize)
    rounded = whole.in_precision("bfloat16")
    assert rounded.vectorized == vectorize
    weights = torch.stack([whole.init(0), whole.init(1)])
    batch = whole.batch(torch.stack([torch.arange(32), torch.arange(32, 64)]))
    exact, got = (one.grads(weights, batch)[1] for one in (whole, rounded))
    assert got.dtype == torch.float32
    off = (got - exact).norm() / exact.norm()
    assert 2**-12 < off < 2**-5  # bfloat16 has eight bits


def test_a_trial_says_its_precision_and_trains_as_well() -> None:
    specs = [
        ss.TrainSpec(lr=0.05, steps=60, batch_size=16, dtype=d) for d in ("float32", "bfloat16")
    ]
    records = [
        ss.run(problem(), "random", dims=[30], repeats=1, spec=spec, workers=1)[0] for spec in specs
    ]
    plain, rounded = records
    assert rounded.trial.spec["dtype"] == "bfloat16"
    assert plain.trial.key != rounded.trial.key
    losses = [record.curve[-1].train_loss for record in records]
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.1)


def test_dropout_trains_under_autocast_with_the_masks_of_float32() -> None:
    def make() -> nn.Module:
        return nn.Sequential(nn.Linear(6, 64), nn.Dropout(0.5), nn.Linear(64, 3))

    whole = ss.Problem(make, rows(), rows(16), dropout="train")
    batch = whole.batch(torch.arange(32)[None])
    found = [
        one.train_grads(one.init(0)[None], batch, [7])[1][0]
        for one in (whole, whole.in_precision("bfloat16"))
    ]
    assert torch.equal(found[0] == 0, found[1] == 0)
    assert 0 < (found[0] - found[1]).norm() < 2**-5 * found[0].norm()


@pytest.mark.parametrize("optimizer", ["lbfgs", "levenberg_marquardt", "spsa", "cma", "exact"])
def test_searches_that_compare_losses_refuse_it(optimizer: str) -> None:
    with pytest.raises(InputError, match="bfloat16"):
        ss.TrainSpec(optimizer, dtype="bfloat16")


def test_problems_without_a_module_refuse_it() -> None:
    with pytest.raises(InputError, match="dtype"):
        Quadratic().in_precision("bfloat16")
    assert Quadratic().in_precision("float32").dtype == torch.float32


def test_a_rounding_problem_is_another_and_gives_the_plain_one_back() -> None:
    whole = problem()
    rounded = whole.in_precision("bfloat16")
    assert rounded.identity != whole.identity
    assert rounded.in_precision("bfloat16") is rounded
    plain = rounded.in_precision("float32")
    assert plain.identity == whole.identity
    weights, x = whole.init(0), rows()[0]
    assert torch.equal(plain.outputs(weights, x), whole.outputs(weights, x))
    assert not torch.equal(rounded.outputs(weights, x), whole.outputs(weights, x))

"""What methods take and refuse, before any training."""

import json
import math

import numpy as np
import pytest
import torch

from subspan.canonical import canonical_json
from subspan.errors import InputError
from subspan.problems import Problem
from subspan.subspaces import (
    BiasesAndNorms,
    BurnIn,
    Draw,
    FixedFactorLowRank,
    LastLayer,
    LotteryTicket,
    PruneAtInit,
    RandomAffine,
    RandomMask,
)
from subspan.subspaces.full_space import FullSpace


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"lr": math.nan}, "lr: expected a positive number up to 1e.30, or 'auto', got nan"),
        ({"lr": "a"}, "lr: expected a positive number, got 'a'"),
        ({"lr": "auto"}, "lr: expected a positive number, got 'auto'"),
        ({"lr": -1}, "lr: expected a positive number up to 1e.30, or 'auto', got -1"),
        ({"momentum": 2}, r"momentum: expected a number in \[0, 1\), got 2"),
        ({"batch_size": 0}, "batch_size: expected a positive integer, got 0"),
    ],
)
@pytest.mark.parametrize("make", [FullSpace, lambda **k: BurnIn(2, **k), LotteryTicket])
def test_settings_of_a_search_are_checked_at_once(make, given, message) -> None:
    with pytest.raises(InputError, match=message):
        make(**given)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BurnIn(-1), "burn-in steps: expected an integer, 0 or more, got -1"),
        (lambda: BurnIn(True), "burn-in steps: expected an integer"),
        (lambda: LotteryTicket(epochs="2"), "epochs: expected a finite number > 0, got '2'"),
        (lambda: LotteryTicket(epochs=None), "epochs: expected a finite number > 0, got None"),
        (lambda: LotteryTicket(epochs=math.inf), "epochs: expected a finite number > 0, got inf"),
        (lambda: LotteryTicket(epochs=0), "epochs: expected a finite number > 0, got 0"),
        (lambda: LotteryTicket(rounds=0), "rounds: expected an integer, 1 or more, got 0"),
        (lambda: LotteryTicket(rewind=-1), "rewind: expected an integer, 0 or more, got -1"),
        (lambda: LotteryTicket(rewind="start"), "rewind: expected a step, or 'end', got 'start'"),
        (lambda: LotteryTicket(scope="layers"), "scope: unknown name 'layers'. Did you mean"),
        (lambda: LotteryTicket(biases="no"), "biases: expected True or False, got 'no'"),
        (lambda: RandomMask(biases="no"), "biases: expected True or False, got 'no'"),
        (lambda: RandomMask(None), "scope: unknown name 'None'"),
        (lambda: PruneAtInit("snip", biases=1), "biases: expected True or False, got 1"),
        (lambda: PruneAtInit("snip", batches=0), "batches: expected an integer, 1 or more, got 0"),
        (lambda: PruneAtInit("grasp"), "criterion: unknown name 'grasp'"),
        (lambda: LastLayer(None), "map: expected a name: .*hadamard.*, got None"),
        (lambda: LastLayer(layer=3), "layer: expected the name of a submodule, or None, got 3"),
        (lambda: BiasesAndNorms(5), "map: expected a name: .*, got 5"),
        (lambda: FixedFactorLowRank("hadamart"), "map: unknown name 'hadamart'. Did you mean"),
        (lambda: RandomAffine(None), "map: expected a name: .*, got None"),
        (lambda: BurnIn(2, None), "map: expected a name: .*, got None"),
        (lambda: Draw(-1, 0, 0), "dim: expected an integer, 1 or more, got -1"),
        (lambda: Draw(0, 0, 0), "dim: expected an integer, 1 or more, got 0"),
        (lambda: Draw(2.5, 0, 0), r"dim: expected an integer, 1 or more, got 2\.5"),
        (lambda: Draw(1, "a", 0), "seed: expected an integer, got 'a'"),
        (lambda: Draw(1, 0, -1), "repeat: expected an integer, 0 or more, got -1"),
    ],
)
def test_an_argument_out_of_range_is_named(make, message) -> None:
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (BurnIn(np.int64(4), lr=np.float64(0.1)), BurnIn(4, lr=0.1)),
        (BurnIn(4, batch_size=np.int32(64)), BurnIn(4, batch_size=64)),
        (
            LotteryTicket(np.float32(1.5), np.int64(2), np.int64(3)),
            LotteryTicket(1.5, 2, 3),
        ),
        (PruneAtInit("snip", batches=np.int64(2)), PruneAtInit("snip", batches=2)),
    ],
)
def test_numbers_of_numpy_make_the_same_method(one, other) -> None:
    assert canonical_json(one.config()) == canonical_json(other.config())
    assert json.loads(canonical_json(one.config())) == one.config()


def test_a_draw_of_numpy_integers_is_that_of_plain_ones() -> None:
    draw = Draw(np.int64(5), np.int32(1), np.uint8(2))
    assert draw == Draw(5, 1, 2)
    assert type(draw.dim) is type(draw.seed) is type(draw.repeat) is int


@pytest.mark.parametrize(
    ("method", "text"),
    [
        (
            BurnIn(4, lr=1, momentum=0),
            '{"batch_size":128,"lr":1,"map":"hadamard","momentum":0,"name":"burn-in","steps":4}',
        ),
        (
            LotteryTicket(2, 3, "end"),
            '{"batch_size":128,"biases":true,"epochs":2.0,"lr":0.05,"momentum":0.9,'
            '"name":"lottery-ticket","rewind":"end","rounds":3,"scope":"global"}',
        ),
        (LastLayer(), '{"map":"hadamard","name":"last-layer"}'),
    ],
)
def test_configs_keep_the_text_that_trials_are_known_by(method, text) -> None:
    assert canonical_json(method.config()) == text


@pytest.mark.parametrize("method", [BurnIn(8, lr=1e20), LotteryTicket(6, rewind="end", lr=1e20)])
def test_a_search_that_diverges_is_refused(digits, method) -> None:
    with pytest.raises(InputError, match=r"search: expected one that converges.*lr=1e\+20 now"):
        method.subspaces(digits, [Draw(4, 0, 0)])


class HeadFirst(torch.nn.Module):
    """Makes its head before its body."""

    def __init__(self) -> None:
        super().__init__()
        self.head = torch.nn.Linear(8, 10)
        self.body = torch.nn.Linear(64, 8)

    def forward(self, x):
        return self.head(torch.relu(self.body(x)))


def test_a_layer_can_be_named_where_the_last_one_registered_is_another(digits) -> None:
    problem = Problem(HeadFirst, digits.batch())
    with pytest.raises(InputError, match=r"got 'body.weight', and 'head.weight' is used after it"):
        LastLayer().max_dim(problem)
    named = LastLayer(layer="head")
    assert named.max_dim(problem) == 90
    assert named.config() == {"name": "last-layer", "map": "hadamard", "layer": "head"}
    (whole,) = named.subspaces(problem, [Draw(90, 0, 0)])
    assert whole.map.indices.tolist() == list(range(90))
    (part,) = named.subspaces(problem, [Draw(7, 0, 0)])
    assert not part.map(torch.ones(7))[90:].any()
    assert LastLayer(layer="head.weight").max_dim(problem) == 80
    with pytest.raises(InputError, match="at most 90, the weights of 'head'"):
        named.subspaces(problem, [Draw(91, 0, 0)])
    with pytest.raises(InputError, match=r"layer: unknown name 'haed'. Did you mean 'head'\?"):
        LastLayer(layer="haed").max_dim(problem)

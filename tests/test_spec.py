import numpy as np
import pytest

from subspan.canonical import digest
from subspan.errors import InputError
from subspan.spec import TrainSpec


def test_round_trip_and_pinned_hashes():
    # A trial's key is made of these: a new field must leave them alone (see `_LATER_FIELDS`).
    assert digest(TrainSpec().to_json()) == "3bf13d7895f06de0aaf5a55df9600dd2"
    spec = TrainSpec(optimizer="sgd", steps=7, batch_size=None, stop_at="loss<=0.1")
    assert digest(spec.to_json()) == "52920b5bb494c3ea8afec342a6858a5b"
    assert TrainSpec.from_json(spec.to_json()) == spec


def test_steps():
    assert TrainSpec(epochs=5, batch_size=128).total_steps(60_000) == 5 * 468
    assert TrainSpec(epochs=0.5, batch_size=128).total_steps(60_000) == 234
    assert TrainSpec(epochs=3, batch_size=None).total_steps(1000) == 3
    assert TrainSpec(steps=9).total_steps(1000) == 9
    assert TrainSpec(epochs=2, batch_size=5000).total_steps(1000) == 2
    assert TrainSpec().replace(steps=4).epochs is None


@pytest.mark.parametrize(("name", "steps"), [("lbfgs", 1000), ("levenberg_marquardt", 60)])
def test_second_order_searches_take_the_whole_training_set(name, steps):
    spec = TrainSpec(name)
    assert (spec.batch_size, spec.steps, spec.total_steps(1000)) == (None, steps, steps)
    changed = TrainSpec(epochs=7, batch_size=128).replace(optimizer=name)
    assert (changed.batch_size, changed.total_steps(1000)) == (None, 7)
    assert TrainSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"optimizer": "adma"}, "Did you mean 'adam'"),
        ({"schedule": "cos"}, "Did you mean"),
        ({"dtype": "float16"}, "unknown name 'float16'"),
        ({"lr": 0.0}, "lr: expected a positive number"),
        ({"lr": float("nan")}, "lr"),
        ({"steps": 0}, "steps: expected a positive integer, got 0"),
        ({"steps": 1.5}, "steps"),
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": "full"}, "None takes the full training set"),
        ({"momentum": 1.0}, r"momentum: expected a number in \[0, 1\)"),
        ({"betas": (0.9, 1.0)}, "betas"),
        ({"betas": 0.9}, "betas"),
        ({"betas": (0.9, 0.99, 0.999)}, "betas"),
        ({"eps": float("nan")}, "eps"),
        ({"eps": -1.0}, "eps"),
        ({"momentum": "a"}, "momentum"),
        ({"epochs": 1, "steps": 1}, "one of the two"),
        ({"stop_at": "loss=1"}, "goal"),
    ],
)
def test_bad_fields(fields, message):
    with pytest.raises(InputError, match=message):
        TrainSpec(**fields)


def test_equal_numbers_make_equal_trials():
    written = TrainSpec(epochs=50.0, lr=1, batch_size=np.int64(32))
    assert digest(written.to_json()) == digest(
        TrainSpec(epochs=50, lr=1.0, batch_size=32).to_json()
    )

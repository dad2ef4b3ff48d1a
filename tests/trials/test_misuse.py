"""What a user takes for another thing: refused by name, before anything is trained."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

import subspan as ss
from subspan.errors import InputError


@ss.trainable(name="mine", max_dim=9)
def mine(trial):
    return {"val:accuracy": float(trial.dim >= 3)}


@ss.trainable(name="silent", max_dim=9)
def silent(trial):
    return {"loss": 1.0}


@ss.trainable(name="nothing", max_dim=9)
def nothing(trial):
    return None


@ss.trainable(name="half", max_dim=9)
def half(trial):
    return {"val:accuracy": 1.0} if trial.repeat % 2 else {"loss": 1.0}


def regression(**options):
    x = torch.linspace(-1, 1, 32).reshape(16, 2)
    return ss.Problem(
        lambda: torch.nn.Linear(2, 1), (x, x[:, :1]), loss="mse", name="line", **options
    )


def classifier(**options):
    x = torch.linspace(-1, 1, 32).reshape(16, 2)
    y = (x[:, 0] > 0).long()
    return ss.Problem(lambda: torch.nn.Linear(2, 2), (x, y), name="halves", **options)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ss.run(mine, dims=[3], spec=ss.TrainSpec(lr=0.5)), "spec: expected a LoopSpec"),
        (
            lambda: ss.run(classifier(), "random", dims=[3], spec=mine.default_spec),
            "spec: expected a TrainSpec",
        ),
        (lambda: ss.threshold(mine, "val:accuracy>=0.9"), "Write goal='val:accuracy>=0.9'"),
        (lambda: ss.threshold(mine, goal="accuracy>=0.9"), "It reports val:accuracy"),
        (lambda: ss.threshold(half, goal="val:accuracy>=0.9"), "in 4 of 8 trials"),
        (lambda: ss.threshold(nothing, goal="loss<=0.1"), "It reports nothing"),
        (
            lambda: ss.compare([mine, silent], dims=[3], repeats=6, metric="val:accuracy"),
            "val:accuracy, which silent does not. It reports train:loss",
        ),
        (lambda: ss.threshold(regression(), "random", "perplexity<=3"), "targets which are no"),
        (lambda: ss.threshold(classifier(), "random", "r2>=0.8"), "targets which are labels"),
        (lambda: classifier(metrics=["mean_absolute_error"]), "targets which are labels"),
    ],
)
def test_what_is_taken_for_another_thing(call, message):
    with pytest.raises(InputError) as refused:
        call()
    assert message in str(refused.value)


def test_threads_are_refused():
    with ThreadPoolExecutor(2) as pool, pytest.raises(InputError, match="one of processes"):
        ss.run(mine, dims=[3], executor=pool)


def test_a_record_is_told_by_what_was_reported():
    @ss.trainable(name="own", max_dim=9)
    def own(trial):
        return {"val:wins": 2.0}

    (record,) = ss.run(own, dims=[3], repeats=1)
    assert "last val:wins 2," in repr(record)
    with pytest.raises(InputError, match=r"metrics.register\('wins', 'higher'\)"):
        record.best("wins", "val")
    assert record.best("wins", "val", higher=True) == 2.0

"""float32 is float32 in training: PyTorch's switches of TF32 are off within, and put back."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import torch

import subspan as ss
from subspan.problems.module import Problem
from subspan.problems.precision import full_precision
from subspan.theory import cone_threshold, hessian, predict_threshold

NEWER = [
    (f"{library.__name__.rpartition('.')[2]}.{name}", part)
    for library in (torch.backends.cuda, torch.backends.cudnn, torch.backends.mkldnn)
    for name in ("matmul", "conv", "rnn")
    if hasattr(part := getattr(library, name, None), "fp32_precision")
]


def flags() -> dict[str, Any]:
    """What PyTorch may round of float32, by name; None where it refuses to say by older names."""
    told: dict[str, Any] = {name: part.fp32_precision for name, part in NEWER}
    for name, read in (
        ("convolutions", lambda: torch.backends.cudnn.allow_tf32),
        ("products", torch.get_float32_matmul_precision),
    ):
        try:
            told[name] = read()
        except RuntimeError:
            told[name] = None
    return told


def rounds(told: dict[str, Any]) -> list[str]:
    exact = ("none", "ieee", "highest", False, None)
    return [name for name, value in told.items() if value not in exact]


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = flags()
    yield
    torch.backends.cudnn.allow_tf32 = before.pop("convolutions")
    torch.set_float32_matmul_precision(before.pop("products"))
    for name, part in NEWER:
        part.fp32_precision = before[name]
    assert flags() | before == flags()


def by_older_names() -> None:
    torch.set_float32_matmul_precision("medium")
    torch.backends.cudnn.allow_tf32 = True


def by_newer_names() -> None:
    for _, part in NEWER:
        part.fp32_precision = "tf32"


def for_all() -> None:
    torch.backends.fp32_precision = "tf32"  # type: ignore[attr-defined]


def nothing() -> None:
    pass


NEW = pytest.mark.skipif(len(NEWER) < 4, reason="this PyTorch has the older names alone")
WAYS = [
    nothing,
    by_older_names,
    pytest.param(by_newer_names, marks=NEW),
]


@pytest.mark.parametrize("allow", WAYS)
def test_all_is_off_within_and_as_before_after(allow: Any) -> None:
    allow()
    before = flags()
    assert rounds(before)  # PyTorch's own default rounds convolutions
    with full_precision():
        assert rounds(flags()) == []
        with full_precision():
            pass
        assert rounds(flags()) == []
    assert flags() == before
    with pytest.raises(ZeroDivisionError), full_precision():
        _ = 1 / 0
    assert flags() == before


@NEW
def test_what_is_allowed_for_all_is_off_too() -> None:
    before = torch.backends.fp32_precision  # type: ignore[attr-defined]
    for_all()
    try:
        assert len(rounds(flags())) >= len(NEWER)
        with full_precision():
            assert rounds(flags()) == []
        assert len(rounds(flags())) >= len(NEWER)
    finally:
        torch.backends.fp32_precision = before  # type: ignore[attr-defined]


def test_threads_that_overlap_do_not_switch_it_on_for_each_other() -> None:
    before, first_left, entered = flags(), threading.Event(), threading.Event()
    seen: list[list[str]] = []

    def second() -> None:
        with full_precision():
            entered.set()
            assert first_left.wait(10)
            seen.append(rounds(flags()))

    with full_precision():
        thread = threading.Thread(target=second)
        thread.start()
        assert entered.wait(10)
    first_left.set()
    thread.join(10)
    assert seen == [[]]
    assert flags() == before


@pytest.fixture
def within(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What might be rounded at each loss and gradient of a problem."""
    seen: list[list[str]] = []
    for name in ("loss", "grads", "evaluate_many"):
        own = getattr(Problem, name)

        def noted(*args: Any, own: Any = own, **kwargs: Any) -> Any:
            seen.append(rounds(flags()))
            return own(*args, **kwargs)

        monkeypatch.setattr(Problem, name, noted)
    return seen


SPEC = ss.TrainSpec(steps=2, lr=0.1)


@pytest.mark.parametrize(
    "work",
    [
        lambda p: ss.run(p, "random", dims=[0, 4], repeats=1, spec=SPEC, executor="inline"),
        lambda p: ss.run(p, "burn-in:2", dims=[4], repeats=1, spec=SPEC, executor="inline"),
        lambda p: ss.run(
            p, "random", dims=[4], repeats=1, spec=SPEC.replace(compile=True), executor="inline"
        ),
        lambda p: predict_threshold(p, "loss<=2", train_steps=5, lanczos_steps=3, probes=2),
        lambda p: cone_threshold(p, "loss<=2.25", steps=100, directions=2),
        lambda p: hessian(p, p.init(0))(torch.ones(p.ambient_dim)),
    ],
    ids=["random", "burn-in", "compile", "predict", "cone", "hessian"],
)
def test_training_and_theory_are_in_full_precision(within: list[list[str]], work: Any) -> None:
    problem = ss.problems.load("digits-mlp", subset=60)
    within.clear()  # what the problem tried of itself
    by_older_names()
    before = flags()
    work(problem)
    assert within
    assert all(each == [] for each in within)
    assert flags() == before

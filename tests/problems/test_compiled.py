"""Gradients by `torch.compile`: the same numbers, taken where measuring says that they pay."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import subspan as ss
from subspan.problems import compiled
from subspan.problems.analytic import Quadratic
from subspan.problems.compiled import Compilation, CompiledGrads, decide
from subspan.problems.resnet import ResidualBlock
from subspan.problems.transforms import RandomCrop

MANY = 10**9  # steps, for which any compiling would pay


def images(n: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 2, 6, 6, generator=generator)
    return x, torch.randint(0, 3, (n,), generator=generator)


def convolutional() -> nn.Module:
    parts = nn.Conv2d(2, 4, 3), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16, 3)
    return nn.Sequential(*parts)


def residual() -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 4, 3), ResidualBlock(4, 4, 1), nn.Flatten(), nn.Linear(64, 3))


def dense() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(72, 8), nn.Tanh(), nn.Linear(8, 3))


def times(monkeypatch: pytest.MonkeyPatch, plain: float, quick: float) -> None:
    """Have the two ways take so many milliseconds."""
    told = {"plain": plain, "compiled": quick}
    monkeypatch.setattr(compiled, "milliseconds", lambda ways, device: {w: told[w] for w in ways})


def steps(problem: ss.Problem, trials: int, seed: int) -> tuple[torch.Tensor, Any]:
    """Weights (K, D) and batches of 16 rows, as a step of training has them."""
    weights = torch.stack([problem.init(seed + k) for k in range(trials)])
    rows = [torch.arange(k, k + 16) for k in range(trials)]
    return weights, problem.batch(torch.stack(rows))


@pytest.mark.parametrize("make", [dense, convolutional, residual])
def test_gradients_are_those_of_plain_pytorch(
    make: Callable[[], nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    times(monkeypatch, 2.0, 1.0)
    plain = ss.Problem(make, images()).to(dtype=torch.float64)
    quick, found = plain.compiled(16, 3, MANY, backend="aot_eager")
    assert found.taken, found.why
    assert quick is not plain
    weights, batch = steps(plain, 3, 5)
    losses, gradients = quick.grads(weights, batch)
    expected_losses, expected = plain.grads(weights, batch)
    torch.testing.assert_close(losses, expected_losses, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradients, expected, rtol=1e-10, atol=1e-12)


def test_a_trial_gets_the_same_bits_alone_and_beside_others() -> None:
    quick, _ = ss.Problem(dense, images()).compiled(16, 3, 1, True, backend="aot_eager")
    weights, (x, y) = steps(quick, 3, 0)
    losses, gradients = quick.grads(weights, (x, y))
    for k in range(3):
        loss, gradient = quick.grads(weights[k : k + 1], (x[k : k + 1], y[k : k + 1]))
        assert torch.equal(loss[0], losses[k])
        assert torch.equal(gradient[0], gradients[k])


def test_other_shapes_are_not_compiled_anew() -> None:
    plain = ss.Problem(dense, images())
    quick, _ = plain.compiled(16, 1, 1, True, backend="eager")
    quick._compiled._program = None  # type: ignore[union-attr,assignment]  # which raises if called
    weights, batch = plain.init(0)[None], plain.batch(torch.arange(8)[None])
    assert torch.equal(quick.grads(weights, batch)[1], plain.grads(weights, batch)[1])


@pytest.mark.parametrize(
    ("options", "batch_size"),
    [({}, None), ({"transform": RandomCrop(2)}, 16)],
    ids=["full batch", "transform"],
)
def test_batches_of_training_are_those_it_is_compiled_for(
    options: dict[str, Any], batch_size: int | None
) -> None:
    problem = ss.Problem(convolutional, images(), **options)
    quick, found = problem.compiled(batch_size, 1, 1, True, backend="eager")
    assert found.taken, found.why
    called: list[int] = []
    program = quick._compiled._program  # type: ignore[union-attr]

    def noted(*arguments: Any) -> Any:
        called.append(1)
        return program(*arguments)

    quick._compiled._program = noted  # type: ignore[union-attr]
    spec = ss.TrainSpec(steps=3, batch_size=batch_size, lr=0.1)
    ss.run(quick, "random", dims=[4], repeats=1, spec=spec, executor="inline")
    assert len(called) == 3


def test_bfloat16_is_compiled_as_it_is() -> None:
    rounded = ss.Problem(convolutional, images()).in_precision("bfloat16")
    quick, found = rounded.compiled(16, 1, 1, True, backend="aot_eager")
    assert found.taken, found.why
    weights, batch = steps(rounded, 1, 3)
    near = rounded.grads(weights, batch)[1]
    torch.testing.assert_close(quick.grads(weights, batch)[1], near, rtol=0, atol=1e-3)


def test_another_dtype_is_plain_again() -> None:
    quick, _ = ss.Problem(dense, images()).compiled(16, 1, 1, True, backend="eager")
    assert quick._compiled is not None
    assert quick.to(dtype=torch.float64)._compiled is None
    assert quick.in_precision("bfloat16")._compiled is None


def test_compiling_is_not_tried_where_it_cannot_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    times(monkeypatch, 10.0, 1.0)
    problem = ss.Problem(dense, images())
    same, found = problem.compiled(16, 1, 100, backend="eager")
    assert same is problem
    assert (found.taken, found.steps, found.plain_ms) == (False, 100, 10.0)
    assert found.seconds is None
    assert "1 s of gradients ahead" in found.why
    assert problem.compiled(16, 1, 100_000, backend="eager")[1].taken


def test_what_is_no_quicker_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    times(monkeypatch, 1.0, 1.0)
    problem = ss.Problem(dense, images())
    same, found = problem.compiled(16, 1, MANY, backend="eager")
    assert same is problem
    assert (found.taken, found.plain_ms, found.compiled_ms) == (False, 1.0, 1.0)
    assert found.seconds is not None
    assert "no quicker" in found.why


def test_other_numbers_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    times(monkeypatch, 2.0, 1.0)
    problem = ss.Problem(dense, images())
    sample = problem._like_a_step(16, 1, 1)

    class Wrong(CompiledGrads):
        def __call__(self, weights: torch.Tensor, batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
            losses, gradients = super().__call__(weights, batch)
            return losses, gradients + 1e-3 * gradients.norm() / gradients.numel() ** 0.5

    def decided(kind: type[CompiledGrads]) -> Compilation:
        made = lambda: kind(problem.loss, *sample, "eager")  # noqa: E731
        return decide(made, problem.grads, problem._exact_grads, sample, MANY)[1]

    assert decided(CompiledGrads).taken
    assert not decided(Wrong).taken
    assert "other numbers" in decided(Wrong).why


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(72, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.dense(x.flatten(1))
        return out if out.sum() > 0 else -out


def test_what_cannot_be_traced_or_compiled_stays_plain() -> None:
    for make, backend in ((Branches, "eager"), (dense, "no such backend")):
        problem = ss.Problem(make, images(), vectorize=False)
        same, found = problem.compiled(16, 1, MANY, backend=backend)
        assert same is problem
        assert found.why.startswith("cannot: ")
        assert not found.taken


def test_what_draws_masks_or_has_no_module_stays_plain() -> None:
    def dropping() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(72, 3))

    drops = ss.Problem(dropping, images(), dropout="train")
    same, found = drops.compiled(16, 1, MANY)
    assert same is drops
    assert not found.taken
    assert "dropout" in found.why
    analytic: Quadratic = ss.problems.load("quadratic")  # type: ignore[assignment]
    assert analytic.compiled(None, 1, MANY)[1].why == "the problem has no module"


def test_what_was_settled_before_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = ss.Problem(dense, images())
    times(monkeypatch, 2.0, 1.0)
    same, found = problem.compiled(16, 1, MANY, False, backend="eager")
    assert same is problem
    assert "go on from" in found.why
    times(monkeypatch, 1.0, 2.0)
    other, found = problem.compiled(16, 1, 1, True, backend="eager")
    assert other is not problem
    assert found.taken
    assert "go on from" in found.why


def test_time_is_measured_in_turns_and_told_in_milliseconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, turns = itertools.count(), []
    monkeypatch.setattr(compiled, "_now", lambda device: next(clock) / 1e3)
    ways = {name: lambda name=name: turns.append(name) for name in ("one", "two")}
    found = compiled.milliseconds(ways, torch.device("cpu"))
    assert turns[:4] == ["one", "two", "one", "two"]
    assert found == pytest.approx({"one": 1.0, "two": 1.0})


# --- a whole ensemble in one program, as on a GPU ------------------------------------------------


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a CPU compile as a GPU does: the batched gradient of an ensemble."""
    monkeypatch.setattr(ss.Problem, "_compiles_together", True)


def counted(quick: ss.Problem) -> list[int]:
    """Note how many trials the compiled program is called with, each time."""
    called: list[int] = []
    program = quick._compiled._program  # type: ignore[union-attr]

    def noted(*inputs: Any) -> Any:
        called.append(len(inputs[0]))
        return program(*inputs)

    quick._compiled._program = noted  # type: ignore[union-attr]
    return called


def near(quick: ss.Problem, plain: ss.Problem, sample: tuple[torch.Tensor, Any]) -> None:
    losses, gradients = quick.grads(*sample)
    expected_losses, expected = plain.grads(*sample)
    torch.testing.assert_close(losses, expected_losses, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradients, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.usefixtures("together")
@pytest.mark.parametrize("make", [dense, convolutional, residual])
@pytest.mark.parametrize("batch_size", [16, None], ids=["batches", "full batch"])
def test_an_ensemble_in_one_program_has_the_gradients_of_each(
    make: Callable[[], nn.Module], batch_size: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    times(monkeypatch, 2.0, 1.0)
    plain = ss.Problem(make, images(), vectorize=True).to(dtype=torch.float64)
    quick, found = plain.compiled(batch_size, 4, MANY, backend="aot_eager")
    assert found.taken, found.why
    assert found.to_json()["ensemble"] == 4
    called = counted(quick)
    alone = ss.Problem(make, images(), vectorize=False).to(dtype=torch.float64)
    for trials, asked in ((4, [4]), (3, [4]), (2, [4]), (1, []), (5, [])):
        weights = torch.stack([plain.init(10 + k) for k in range(trials)])
        _, batch = plain._like_a_step(batch_size, trials, 1)
        near(quick, plain, (weights, batch))
        near(quick, alone, (weights, batch))
        assert called == 2 * asked  # fewer are filled up to four, down to half as many
        called.clear()


@pytest.mark.usefixtures("together")
def test_one_wrong_trial_of_an_ensemble_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    times(monkeypatch, 2.0, 1.0)
    problem = ss.Problem(dense, images())
    sample = problem._like_a_step(16, 4, 1)

    class Wrong(CompiledGrads):
        def __call__(self, weights: torch.Tensor, batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
            losses, gradients = super().__call__(weights, batch)
            gradients[2] *= 1.001
            return losses, gradients

    def decided(kind: type[CompiledGrads]) -> Compilation:
        made = lambda: kind(problem.loss, *sample, "eager", together=True)  # noqa: E731
        return decide(made, problem.grads, problem._exact_grads, sample, MANY)[1]

    assert decided(CompiledGrads).taken
    assert not decided(Wrong).taken
    assert "other numbers" in decided(Wrong).why


def test_on_a_cpu_trials_are_compiled_one_by_one() -> None:
    problem = ss.Problem(dense, images(), vectorize=True)
    quick, found = problem.compiled(16, 3, 1, True, backend="eager")
    assert found.ensemble is None
    assert "ensemble" not in found.to_json()
    called = counted(quick)
    quick.grads(*steps(quick, 3, 0))
    assert called == [quick.ambient_dim] * 3


@pytest.mark.parametrize(
    ("device", "together", "how"),
    [
        ("cuda", True, {"mode": "reduce-overhead"}),
        ("cuda", False, {"mode": "reduce-overhead"}),
        ("mps", True, {"options": {"compile_threads": 1}}),
        ("cpu", False, {"options": {"compile_threads": 1}}),
    ],
)
def test_a_gpu_is_to_replay_graphs_of_the_whole_ensemble(
    monkeypatch: pytest.MonkeyPatch, device: str, together: bool, how: dict[str, Any]
) -> None:
    """The tensors are a CPU's: PyTorch without CUDA makes no others that autograd takes."""
    given: list[dict[str, Any]] = []
    monkeypatch.setattr(torch, "compile", lambda graph, **options: given.append(options) or graph)
    told, looked_at = compiled._how, []

    def on_device(of: torch.device, backend: str) -> dict[str, Any]:
        looked_at.append(of)
        return told(torch.device(device), backend)

    monkeypatch.setattr(compiled, "_how", on_device)

    def loss(w: torch.Tensor, batch: Any) -> torch.Tensor:
        return (batch[0] @ w - batch[1]).square().mean()

    weights, x = torch.zeros(3, 5), torch.zeros(3, 7, 5)
    made = CompiledGrads(loss, weights, (x, x[..., 0]), together=together)
    assert looked_at == [weights.device]
    assert made._graphs == ("mode" in how)
    shapes = [n.meta["val"].shape for n in made._program.graph.nodes if n.op == "placeholder"]
    assert shapes[0] == ((3, 5) if together else (5,))
    (options,) = given
    assert options == {"fullgraph": True, "dynamic": False, "backend": "inductor", **how}


@pytest.mark.parametrize("together", [True, False])
def test_what_a_graph_writes_over_was_copied(together: bool) -> None:
    """CUDA graphs return the same memory at every call."""
    problem = ss.Problem(dense, images())
    weights, batch = steps(problem, 3, 0)
    quick = CompiledGrads(problem.loss, weights, batch, "eager", together=together)
    program, held = quick._program, []

    def replayed(*inputs: torch.Tensor) -> Any:
        found = program(*inputs)
        held.extend(t.clone() for t in found if len(held) < 2)
        for own, new in zip(held, found, strict=True):
            own.copy_(new)
        return tuple(held)

    quick._program, quick._graphs = replayed, True
    first = quick(weights, batch)
    quick(weights + 1, batch)
    expected = problem.grads(weights, batch)
    torch.testing.assert_close(first[0], expected[0])
    torch.testing.assert_close(first[1], expected[1])


@pytest.mark.gpu
@pytest.mark.parametrize("make", [dense, convolutional])
def test_a_gpu_compiles_the_ensemble(make: Callable[[], nn.Module]) -> None:
    problem = ss.Problem(make, images()).to("cuda")
    quick, found = problem.compiled(16, 3, 1, True)
    assert found.taken, found.why
    assert found.ensemble == 3
    for seed in range(4):  # the first calls record the graph
        weights = torch.stack([problem.init(seed + k) for k in range(3)])
        _, batch = problem._like_a_step(16, 3, 1)
        expected = problem.grads(weights, batch)[1]
        torch.testing.assert_close(quick.grads(weights, batch)[1], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.usefixtures("together")
@pytest.mark.parametrize("make", [dense, convolutional])
def test_inductor_compiles_an_ensemble(make: Callable[[], nn.Module]) -> None:
    plain = ss.Problem(make, images(), vectorize=True).to(dtype=torch.float64)
    quick, found = plain.compiled(16, 3, 1, True)
    assert found.taken, found.why
    called = counted(quick)
    near(quick, plain, steps(plain, 3, 3))
    near(quick, plain, steps(plain, 2, 3))
    assert called == [3, 3]


@pytest.mark.slow
def test_inductor_compiles_a_network_that_convolves(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = ss.Problem(convolutional, images())
    quick, found = problem.compiled(16, 1, 1, True)
    assert found.taken, found.why
    assert found.seconds > 0
    assert found.plain_ms > 0
    assert found.compiled_ms > 0
    weights, batch = steps(problem, 1, 3)
    expected = problem.grads(weights, batch)[1]
    torch.testing.assert_close(quick.grads(weights, batch)[1], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_without_a_compiler_training_is_plain(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    from torch._inductor import config

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    with config.patch({"cpp.cxx": ("no-such-compiler",)}):
        problem = ss.Problem(dense, images())
        same, found = problem.compiled(13, 1, MANY)
    assert same is problem
    assert found.why.startswith("cannot: ")

"""The four checks, one for each column: the library against plain PyTorch on the same weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

import subspan as ss
from subspan.problems.base import AbstractProblem
from subspan.streams import derive
from subspan.subspaces.base import Subspace
from subspan.theory import gauss_newton, hessian, linearize
from subspan.training.ensemble import train

from . import plain
from .case import Case, Column, run

_COARSE, _FINE = 2e-4, 1e-8  # of the largest number, in float32 and in float64
_LEAST = 1e-2  # smaller numbers are compared as if the largest were this
_H = 1e-5  # step of central differences
_THETA = 2e-5  # of a gradient in θ, which is float32 whatever the module is


def check(case: Case, column: Column) -> None:
    """Run one cell: raise `AssertionError` where a number differs from plain PyTorch's."""
    _CHECKS[column](case)


def check_problem(case: Case) -> None:
    """Loss, gradient and evaluation; and trained steps."""
    problem = _problem(case, case.make)
    _same_function(case, problem, batch_statistics=True)


def check_attach(case: Case) -> None:
    """Output and gradient in θ are those of w + Aθ; `detach` and `merge` leave what they say."""
    dtype = torch.float64 if case.exact else torch.float32
    module = plain.prepared(case, dtype, batch_statistics=True)
    before = _State(module)
    dim = min(6, len(plain.flat(module)))
    handle = ss.attach(module, dim, map="partition", seed=3)
    assert handle.ambient_dim == len(plain.flat(plain.prepared(case, dtype, batch_statistics=True)))
    matrix = ss.maps.make("partition", dim=dim, ambient_dim=handle.ambient_dim, seed=3).dense()
    theta = 0.3 * torch.linspace(-1, 1, dim)
    with torch.no_grad():
        handle.theta.copy_(theta)
    reference = plain.prepared(case, dtype, batch_statistics=True)
    weights = plain.flat(reference) + matrix @ theta
    plain.write(reference, weights)
    moved = plain.flat(reference).clone()
    want = plain.value(case, reference, dtype)

    inputs, targets = plain.data(case, dtype)
    output = run(module, inputs)
    loss = case.plain_loss(output, targets)
    loss.backward()
    fine = _FINE if case.exact else _COARSE
    _close("output", _numbers(output), _numbers(want.output), fine)
    assert handle.theta.grad is not None, "no gradient reached θ"
    wanted = matrix.to(torch.float64).T @ want.gradient.to(torch.float64)
    _close("gradient", handle.theta.grad, wanted, _THETA if case.exact else _COARSE)

    handle.detach()
    before.check_same(module)
    again = ss.attach(module, dim, map="partition", seed=3)
    with torch.no_grad():
        again.theta.copy_(theta)
    again.merge()
    _close("merged weights", plain.flat(module), moved, fine)
    _close("merged output", _numbers(run(module, inputs)), _numbers(want.output), fine)


def check_fine_tuning(case: Case) -> None:
    """At θ = 0 the loss is the model's in evaluation mode; gradient and steps as of `Problem`."""
    module = plain.lived_in(case, case.make())
    before = _State(module)
    data = case.data() if case.given is None else case.given()
    options = {k: v for k, v in case.options.items() if k == "transform" or v == "train"}
    problem = ss.adapters.fine_tuning(module, data, loss=case.loss, **options)
    own = next(p.dtype for p in module.parameters() if p.requires_grad)
    start = plain.prepared(case, own, batch_statistics=False)
    _close("start", problem.init(0), plain.flat(start), 0.0)
    want = plain.value(case, start, own)
    _close("loss at θ = 0", problem.evaluate(problem.init(0)).loss, want.loss, _COARSE)
    _same_function(case, problem, batch_statistics=False)
    before.check_same(module)


def check_theory(case: Case) -> None:
    """H v against differences of plain gradients, G v against JᵀBJv, the tangent at its point."""
    problem = _problem(case, case.make).to(dtype=torch.float64)
    weights = _somewhere(problem)
    v = torch.sin(torch.arange(len(weights), dtype=torch.float64) + 1)
    batch = problem.batch()

    tangent = linearize(problem, weights)
    want = plain.value_at(case, weights, torch.float64, batch_statistics=True)
    fine, rough = (_COARSE, 1e-2) if case.rounds else (_FINE, 2e-4)
    _close("tangent's loss", tangent.loss(weights, batch), want.loss, fine)
    leaf = weights.clone().requires_grad_()
    slope = torch.autograd.grad(tangent.loss(leaf, batch), leaf)[0]
    _close("tangent's gradient", slope, want.gradient, fine)

    found = hessian(problem, weights)(v)
    _close("H v", found, _curvature(case, weights, v), rough)
    if isinstance(want.output, torch.Tensor):
        found = gauss_newton(problem, weights)(v)
        _close("G v", found, _plain_gauss_newton(case, weights, v), rough)


def _curvature(case: Case, weights: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """H v: central differences of plain gradients, or a second backward pass."""
    if case.one_way:
        with sdpa_kernel(SDPBackend.MATH):  # the fused one has no second derivative
            module, output, targets = _plain_output(case, weights)
        slope = _pull(case.plain_loss(output, targets), module, create_graph=True)
        return _pull((slope * v).sum(), module)
    h = 1e-4 if case.rounds else _H
    ahead, behind = (
        plain.value_at(case, weights + s * v, torch.float64, batch_statistics=True).gradient
        for s in (h, -h)
    )
    return (ahead - behind) / (2 * h)


def _plain_gauss_newton(case: Case, weights: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Jᵀ B J v: B, and J too where it can, by central differences, Jᵀ by a plain backward pass."""
    module, output, targets = _plain_output(case, weights)
    at = output.detach()
    if case.one_way:
        probe = torch.zeros_like(at, requires_grad=True)
        pulled = _pull(output, module, probe, create_graph=True)
        (moved,) = torch.autograd.grad((pulled * v).sum(), probe)
    else:
        ahead, behind = (_plain_output(case, weights + s * v)[1].detach() for s in (_H, -_H))
        moved = (ahead - behind) / (2 * _H)

    def slope(outputs: torch.Tensor) -> torch.Tensor:
        leaf = outputs.clone().requires_grad_()
        return torch.autograd.grad(case.plain_loss(leaf, targets), leaf)[0]

    bent = (slope(at + _H * moved) - slope(at - _H * moved)) / (2 * _H)
    module, output, _ = _plain_output(case, weights)
    output.backward(bent)
    return plain.gradient(module)


def _plain_output(case: Case, weights: torch.Tensor) -> tuple[nn.Module, Any, torch.Tensor]:
    module = plain.prepared(case, torch.float64, batch_statistics=True)
    plain.write(module, weights)
    inputs, targets = plain.data(case, torch.float64)
    return module, run(module, inputs), targets


def _pull(value: torch.Tensor, module: nn.Module, *into: Any, **options: Any) -> torch.Tensor:
    """Return the gradient of a value in a module's weights, (D,)."""
    parameters = list(plain.trainable(module).values())
    parts = torch.autograd.grad(
        value, parameters, *into, allow_unused=True, materialize_grads=True, **options
    )
    return torch.cat([g.reshape(-1) for g in parts])


def _same_function(case: Case, problem: AbstractProblem, *, batch_statistics: bool) -> None:
    """Loss, gradients of two weight vectors at once and evaluation are plain PyTorch's."""
    dtype = torch.float64 if case.exact else torch.float32
    fine = _FINE if case.exact else _COARSE
    exact = problem.to(dtype=dtype)
    weights = torch.stack([_somewhere(exact), _somewhere(exact, 2)])
    values = [plain.value_at(case, w, dtype, batch_statistics=batch_statistics) for w in weights]
    _close("loss", exact.loss(weights[0], exact.batch()), values[0].loss, fine)
    every = torch.arange(exact.train_size).expand(2, -1)
    losses, gradients = exact.grads(weights, exact.batch(every))
    _close("losses", losses, torch.stack([v.loss for v in values]), fine)
    _close("gradients", gradients, torch.stack([v.gradient for v in values]), fine)
    found = torch.tensor([e.loss for e in exact.evaluate_many(weights)], dtype=torch.float64)
    _close("evaluation", found, torch.stack([v.loss for v in values]), fine)
    if exact.noisy:
        _same_training(case, exact, weights, batch_statistics=batch_statistics)
    _train(exact)


def _same_training(
    case: Case, problem: AbstractProblem, weights: torch.Tensor, *, batch_statistics: bool
) -> None:
    """Gradients of training are plain PyTorch's on transformed rows, in training mode, at a seed.

    The transform's generator and PyTorch's own stand at what the library derives from the seed.
    """
    dtype = torch.float64 if case.exact else torch.float32
    seeds = [3, 4]
    every = torch.arange(problem.train_size).expand(2, -1)
    losses, gradients = problem.train_grads(weights, problem.batch(every), seeds)
    values = [
        plain.training_value(
            case,
            w,
            dtype,
            batch_statistics=batch_statistics,
            transform_seed=derive(seed, "transform"),
            dropout_seed=derive(seed, "dropout"),
        )
        for w, seed in zip(weights, seeds, strict=True)
    ]
    fine = _FINE if case.exact else _COARSE
    _close("losses of training", losses, torch.stack([v.loss for v in values]), fine)
    _close("gradients of training", gradients, torch.stack([v.gradient for v in values]), fine)


def _somewhere(problem: AbstractProblem, seed: int = 1) -> torch.Tensor:
    """Return weights near the initial ones, where no symmetry hides a wrong number."""
    start = problem.init(0)
    noise = torch.randn(len(start), generator=torch.Generator().manual_seed(seed))
    return start + 0.1 * noise.to(start)


def _train(problem: AbstractProblem) -> None:
    """Train two trials for two steps, in two dimensions."""
    rows, dtype = problem.train_size, str(problem.dtype).removeprefix("torch.")
    spec = ss.TrainSpec(steps=2, batch_size=rows, lr=0.01, dtype=dtype)
    linear_map = ss.maps.make("partition", dim=2, ambient_dim=problem.ambient_dim, seed=0)
    subspace = Subspace(problem.init(0), linear_map.to("cpu", problem.dtype))
    results = train(problem, [subspace, subspace], spec, [0, 1])
    assert [result.outcome for result in results] == ["finished", "finished"]


def _problem(case: Case, make: Callable[[], nn.Module]) -> ss.Problem:
    """Return the case's `Problem`; evaluated five rows at a time where rows do not mix."""
    data = case.data() if case.given is None else case.given()
    return ss.Problem(make, data, loss=case.loss, **{**_CHUNKS, **case.options})


_CHUNKS = {"eval_rows": 5}


class _State:
    """What a module holds: tensors bit for bit, modes, classes, gradients asked for."""

    def __init__(self, module: nn.Module) -> None:
        self._parts = {n: (type(m), m.training) for n, m in module.named_modules()}
        self._tensors = _tensors(module)
        self._copies = {n: _bits(t) for n, t in self._tensors.items()}
        self._asks = {n: t.requires_grad for n, t in self._tensors.items()}

    def check_same(self, module: nn.Module) -> None:
        parts = {n: (type(m), m.training) for n, m in module.named_modules()}
        assert parts == self._parts
        now = _tensors(module)
        assert list(now) == list(self._tensors)
        for name, tensor in now.items():
            assert tensor is self._tensors[name], f"{name} is another tensor than before"
            assert tensor.requires_grad == self._asks[name], name
            same = _bits(tensor) == self._copies[name]
            assert same, f"{name} has changed"


def _tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    parameters = module.named_parameters(remove_duplicate=False)
    return {**dict(parameters), **dict(module.named_buffers(remove_duplicate=False))}


def _bits(tensor: torch.Tensor) -> Any:
    if isinstance(tensor, nn.UninitializedParameter | nn.UninitializedBuffer):
        return None
    return tensor.detach().contiguous().reshape(-1).view(torch.uint8).tolist()


def _numbers(output: Any) -> torch.Tensor:
    """Return all floating-point numbers of an output, whatever holds them, as one vector."""
    found: list[torch.Tensor] = []

    def collect(value: Any) -> None:
        if isinstance(value, torch.Tensor):
            if value.is_floating_point() or value.is_complex():
                found.append(torch.view_as_real(value) if value.is_complex() else value)
        elif isinstance(value, dict):
            for part in value.values():
                collect(part)
        elif isinstance(value, list | tuple):
            for part in value:
                collect(part)
        elif hasattr(value, "__dict__"):
            collect(vars(value))

    collect(output)
    assert found, f"no numbers in {type(output).__name__}"
    return torch.cat([t.detach().double().reshape(-1) for t in found])


def _close(what: str, found: Any, wanted: Any, tolerance: float) -> None:
    """Raise where a number differs by more than `tolerance` of the largest one wanted.

    NaN must stand where NaN is wanted, and nowhere else.
    """
    found, wanted = (torch.as_tensor(t).detach().double() for t in (found, wanted))
    assert found.shape == wanted.shape, f"{what}: shape {found.shape} for {wanted.shape}"
    finite = torch.isfinite(wanted)
    assert torch.equal(torch.isfinite(found), finite), f"{what}: {found} for {wanted}"
    if finite.any():
        scale = max(float(wanted[finite].abs().max()), _LEAST)
        off = float((found - wanted)[finite].abs().max())
        assert off <= tolerance * scale, f"{what}: {found} for {wanted}, {off:.2g} off"


_CHECKS: dict[str, Callable[[Case], None]] = {
    "problem": check_problem,
    "attach": check_attach,
    "fine_tuning": check_fine_tuning,
    "theory": check_theory,
}

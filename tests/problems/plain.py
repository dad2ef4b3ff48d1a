"""Plain PyTorch: a fresh module, weights written into its parameters, forward and backward."""

from __future__ import annotations

import torch

from subspan.streams import scoped_torch_rng


def call(module, x):
    if isinstance(x, dict):
        return module(**x)
    return module(*x) if isinstance(x, tuple) else module(x.clone())


def loss_and_gradient(make, weights, x, y, loss, select=lambda out: out, train=False):
    """Return the loss () and the gradient (D,) of a fresh module's trainable parameters."""
    with scoped_torch_rng(0, "module"):
        module = make().train(train)
    own = [p for p in module.parameters() if p.requires_grad]
    with torch.no_grad():
        for p, part in zip(own, weights.split([p.numel() for p in own]), strict=True):
            p.copy_(part.view(p.shape))
    value = loss(select(call(module, x)), y)
    value.backward()
    grads = [torch.zeros_like(p) if p.grad is None else p.grad.to_dense() for p in own]
    return value.detach(), torch.cat([g.reshape(-1) for g in grads])


def assert_equals_plain(
    problem, make, loss=torch.nn.functional.cross_entropy, rows=6, trials=2, **options
):
    """The problem's losses, gradients and evaluation are plain PyTorch's, at weights of its own."""
    generator = torch.Generator().manual_seed(5)
    start = torch.stack([problem.init(seed) for seed in range(trials)])
    w = start + 0.3 * torch.randn(start.shape, generator=generator).to(start.dtype)
    pad = torch.zeros(problem.ambient_dim, dtype=torch.bool)
    for name, (mask, value) in problem._stateless.held.items():
        pad[problem.layout.slices[name]] = mask.expand(value.shape).flatten()
    w = torch.where(pad, start, w)
    kept = w.clone()
    picks = torch.stack([torch.arange(rows) + k for k in range(trials)])
    losses, gradients = problem.grads(w, problem.batch(picks))
    wide = {torch.bfloat16: 0.05, torch.float64: 1e-10}.get(problem.dtype, 1e-4)
    for k in range(trials):
        x, y = problem.batch(picks[k])
        value, gradient = loss_and_gradient(make, w[k], x, y, loss, **options)
        torch.testing.assert_close(losses[k], value, rtol=wide, atol=wide)
        scale = float(gradient.abs().max())
        torch.testing.assert_close(gradients[k], gradient, rtol=0, atol=wide * scale)
        assert scale > 0
        x, y = problem.batch()
        whole, gradient = loss_and_gradient(make, w[k], x, y, loss, **options)
        assert abs(problem.evaluate(w[k]).loss - float(whole)) <= wide * max(1, abs(float(whole)))
        leaf = w[k].clone().requires_grad_()
        value = problem.loss(leaf, (x, y))
        (found,) = torch.autograd.grad(value, leaf)
        scale = float(gradient.abs().max())
        torch.testing.assert_close(found, gradient, rtol=0, atol=wide * scale)
    assert torch.equal(w, kept)  # the caller's weights

"""Small modules, and a reference: the same module with w = base + A θ written out by hand."""

from __future__ import annotations

import torch
from torch import nn
from torch.func import functional_call

from subspan import maps
from subspan.adapters import attach
from subspan.maps import hadamard, partition, strips
from subspan.maps.sliced import tabulated


def seeded(make, seed: int = 0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def mlp() -> nn.Module:
    return seeded(lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)))


def batch_norm_net() -> nn.Module:
    return seeded(
        lambda: nn.Sequential(
            nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3)
        )
    )


class Tied(nn.Module):
    """A tiny language model whose output layer shares the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 6)
        self.block = nn.Linear(6, 6)
        self.head = nn.Linear(6, 11, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(torch.tanh(self.block(self.embedding(ids))))


def tied() -> nn.Module:
    return seeded(Tied)


def inputs(rows: int = 5, seed: int = 1) -> torch.Tensor:
    return torch.randn(rows, 6, generator=torch.Generator().manual_seed(seed))


def coordinates(dim: int, seed: int = 2) -> torch.Tensor:
    return torch.randn(dim, generator=torch.Generator().manual_seed(seed))


def put(handle, theta: torch.Tensor) -> None:
    with torch.no_grad():
        handle.theta.copy_(theta)


def flat(module: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().reshape(-1) for p in module.parameters()])


def by_hand(module: nn.Module, x: torch.Tensor, theta: torch.Tensor, map: str, seed: int = 0):
    """Outputs of the plain module at base + A θ, and the gradient of their square sum in θ."""
    sizes = [p.numel() for p in module.parameters()]
    A = maps.make(map, dim=len(theta), ambient_dim=sum(sizes), seed=seed)
    weights = (flat(module) + A(theta)).requires_grad_()
    parts = {
        name: part.view(p.shape)
        for (name, p), part in zip(module.named_parameters(), weights.split(sizes), strict=True)
    }
    out = functional_call(module, parts, (x,))
    (gradient,) = torch.autograd.grad(out.square().sum(), weights)
    return out.detach(), A.adjoint(gradient)


def state(module: nn.Module) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in module.state_dict().items()}


def same_state(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return list(one) == list(other) and all(torch.equal(one[k], other[k]) for k in one)


class Net(nn.Module):
    """Linear layers one after another, each `uses` times in a row."""

    def __init__(self, depth: int, uses: int = 1) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(6, 6) for _ in range(depth))
        self.uses = uses

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            for _ in range(self.uses):
                x = torch.tanh(layer(x))
        return x


def attached_net(name: str = "partition", depth: int = 3, uses: int = 1, dim: int = 23, **kwargs):
    """Return a `Net` in a subspace, at some θ, and its handle."""
    module = seeded(lambda: Net(depth, uses))
    handle = attach(module, dim, name, **kwargs)
    put(handle, coordinates(dim))
    return module, handle


def let_small_maps_be_large(monkeypatch) -> None:
    """Make maps of a few dozen numbers as those of millions: signed indices, hands, strips."""
    monkeypatch.setattr(partition, "LARGEST_SHUFFLED", 8)
    monkeypatch.setattr(tabulated, "LARGEST_SHUFFLED", 8)
    monkeypatch.setattr(partition, "_LINE", 2)
    monkeypatch.setattr(partition, "_TILE", 8)
    monkeypatch.setattr(partition, "_CHUNK_WEIGHTS", 24)
    monkeypatch.setattr(hadamard, "_LARGEST", 8)
    monkeypatch.setattr(hadamard, "_FEW", 64)
    monkeypatch.setattr(hadamard, "_SPREAD", 8)
    monkeypatch.setattr(strips, "_LINE", 2)
    monkeypatch.setattr(strips, "_STRIPS", 4)
    monkeypatch.setattr(strips, "_PRIMES", (3,))
    monkeypatch.setattr(strips, "_CHUNK", 24)
    monkeypatch.setattr(strips, "_PANEL", 3)

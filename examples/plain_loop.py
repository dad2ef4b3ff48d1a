"""A network on scikit-learn's digits trained in d numbers, in a plain PyTorch loop.

python examples/plain_loop.py --dim 200 --out digits.safetensors
"""

from __future__ import annotations

import argparse

import torch
from sklearn.datasets import load_digits
from torch import nn

import subspan as ss


def make() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(64, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Dropout(0.1), nn.Linear(128, 10)
    )


def accuracy(module: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    module.eval()
    with torch.inference_mode():
        return float((module(x).argmax(1) == y).float().mean())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--dim", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--out", default="digits.safetensors")
    options = parser.parse_args()

    digits = load_digits()
    x = torch.tensor(digits.data, dtype=torch.float32) / 16
    y = torch.tensor(digits.target)
    train_x, train_y, test_x, test_y = x[:1437], y[:1437], x[1437:], y[1437:]

    module = make()
    handle = ss.attach(module, dim=options.dim, map="hadamard", seed=0)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.1)
    for _ in range(options.epochs):
        module.train()
        for rows in torch.randperm(len(train_x)).split(64):
            loss = nn.functional.cross_entropy(module(train_x[rows]), train_y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    ss.save(handle, options.out)
    again = make()
    ss.load(again, options.out).merge()
    assert torch.equal(again.eval()(test_x), module.eval()(test_x))
    print(f"d = {handle.dim} of D = {handle.ambient_dim}")
    print(f"test accuracy {accuracy(again, test_x, test_y):.3f}")


if __name__ == "__main__":
    main()

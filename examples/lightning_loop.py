"""The same network under Lightning; the subspace is saved beside the checkpoint.

python examples/lightning_loop.py --dim 200 --out digits
"""

from __future__ import annotations

import argparse
from pathlib import Path

import lightning
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import subspan as ss


class Digits(lightning.LightningModule):
    def __init__(self, dim: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
        self.subspace = ss.attach(self.net, dim=dim, map="hadamard", seed=0)

    def training_step(self, batch: list[torch.Tensor]) -> torch.Tensor:
        x, y = batch
        return nn.functional.cross_entropy(self.net(x), y)

    def validation_step(self, batch: list[torch.Tensor]) -> None:
        x, y = batch
        self.log("accuracy", (self.net(x).argmax(1) == y).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.1)


class SaveSubspace(lightning.Callback):
    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        ss.save(module.subspace, self.path)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--dim", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("digits"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)

    digits = load_digits()
    x = torch.tensor(digits.data, dtype=torch.float32) / 16
    data = TensorDataset(x, torch.tensor(digits.target))
    train = DataLoader(torch.utils.data.Subset(data, range(1437)), batch_size=64, shuffle=True)
    test = DataLoader(torch.utils.data.Subset(data, range(1437, len(data))), batch_size=360)

    module = Digits(options.dim)
    trainer = lightning.Trainer(
        max_epochs=options.epochs,
        accelerator="cpu",
        default_root_dir=options.out,
        callbacks=[SaveSubspace(options.out / "subspan.safetensors")],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, train, test)
    print(f"d = {module.subspace.dim} of D = {module.subspace.ambient_dim}")
    print(f"test accuracy {float(trainer.callback_metrics['accuracy']):.3f}")


if __name__ == "__main__":
    main()

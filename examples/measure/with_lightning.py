"""How many degrees of freedom does a Lightning module need?

subspan threshold examples/measure/with_lightning.py:digits --goal "test:accuracy>=0.8"
"""

import logging
import warnings

import lightning
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import subspan as ss

logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
data = load_digits()
x = torch.tensor(data.data, dtype=torch.float32) / 16
y = torch.tensor(data.target)


class Digits(lightning.LightningModule):
    def __init__(self, dim: int, seed: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        if dim:
            ss.attach(self.net, dim=dim, seed=seed)

    def training_step(self, batch):
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.1)

    def accuracy(self) -> float:
        with torch.no_grad():
            return float((self.net(x[1437:]).argmax(1) == y[1437:]).float().mean())


class Report(lightning.Callback):
    def __init__(self, trial) -> None:
        self.trial = trial

    def on_train_epoch_end(self, trainer, module) -> None:
        accuracy = {"test:accuracy": module.accuracy()}
        trainer.should_stop = self.trial.report(step=trainer.global_step, **accuracy)


@ss.trainable(name="digits with Lightning", max_dim=4_810)
def digits(trial):
    module = Digits(trial.dim, trial.seed)
    if trial.dim == 0:
        return {"test:accuracy": module.accuracy()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = lightning.Trainer(
            max_epochs=5, accelerator="cpu", callbacks=[Report(trial)], logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        loader = DataLoader(TensorDataset(x[:1437], y[:1437]), batch_size=128, shuffle=True)
        trainer.fit(module, loader)
    return {"test:accuracy": module.accuracy()}

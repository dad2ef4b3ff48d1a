"""How many degrees of freedom does a plain loop need: a DataLoader, dropout, augmentation?

subspan threshold examples/measure/plain.py:digits --goal "test:accuracy>=0.8" --store runs.db
"""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import subspan as ss

data = load_digits()
images = torch.tensor(data.images, dtype=torch.float32)[:, None] / 16
labels = torch.tensor(data.target)
train = TensorDataset(images[:1437], labels[:1437])


def build() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 10)
    )


@ss.trainable(name="digits with dropout", max_dim=4_810)
def digits(trial):
    model = build()  # PyTorch's global generator is seeded from the trial
    if trial.dim:
        ss.attach(model, dim=trial.dim, seed=trial.seed)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    for epoch in range(1 if trial.dim == 0 else 6):
        if trial.dim:
            model.train()
            for x, y in DataLoader(train, batch_size=128, shuffle=True):
                x = x.roll(tuple(torch.randint(-1, 2, (2,)).tolist()), (2, 3))  # shifted by a pixel
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(x), y).backward()
                optimizer.step()
        model.eval()
        with torch.no_grad():
            accuracy = (model(images[1437:]).argmax(1) == labels[1437:]).float().mean()
        if trial.report(step=12 * (epoch + bool(trial.dim)), **{"test:accuracy": accuracy}):
            break

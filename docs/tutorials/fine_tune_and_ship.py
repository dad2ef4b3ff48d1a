"""How many numbers does fine-tuning need? Measure it, train that many, ship them in one file."""

import copy
from pathlib import Path

import torch
from sklearn.datasets import load_digits

import subspan as ss
from subspan.adapters import fine_tuning

digits = load_digits()
images = torch.tensor(digits.data / 16, dtype=torch.float32)
digit = torch.tensor(digits.target)

# A "pretrained" network: it tells 0–4 from 5–9. Yours comes from a hub.
torch.manual_seed(0)
pretrained = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 2))


def train(module, labels, steps):
    """Any loop of yours; `module.parameters()` is all it knows."""
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(module(images[:1400]), labels[:1400]).backward()
        optimizer.step()


def accuracy(module, labels):
    """The share of rows that were not trained on and come out right."""
    with torch.no_grad():
        return (module(images[1400:]).argmax(1) == labels[1400:]).float().mean().item()


train(pretrained, (digit >= 5).long(), 100)

# The new task: odd or even. How many random degrees of freedom does it need from here?
parity = digit % 2
problem = fine_tuning(
    pretrained,
    train=(images[:1400], parity[:1400]),
    test=(images[1400:], parity[1400:]),
    name="parity",
)
estimate = ss.threshold(
    problem, "random", "accuracy>=0.9", spec=ss.TrainSpec(lr=0.02, epochs=5), seed=0, workers=1
)
print(f"{estimate} of D = {problem.ambient_dim:,}")

# Train that many, with room, in a loop of your own.
tuned = copy.deepcopy(pretrained)
handle = ss.attach(tuned, dim=min(2 * (estimate.high or 256), problem.ambient_dim), seed=0)
train(tuned, parity, 200)
ss.save(handle, "parity.safetensors")
print(f"{handle.theta.numel()} numbers, {Path('parity.safetensors').stat().st_size:,} bytes")

# At the other end: the same pretrained weights and the file. Other weights are refused.
shipped = ss.load(copy.deepcopy(pretrained), "parity.safetensors")
plain = shipped.merge()  # a plain module again
print(f"accuracy {accuracy(pretrained, parity):.3f} before, {accuracy(plain, parity):.3f} after")
assert accuracy(plain, parity) == accuracy(tuned, parity)

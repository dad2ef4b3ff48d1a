"""Is your adapter better than a random subspace of as many numbers? LoRA against the null."""

import numpy as np
import torch
from sklearn.datasets import load_digits

import subspan as ss

digits = load_digits()
images = torch.tensor(digits.data / 16, dtype=torch.float32)
digit = torch.tensor(digits.target)
order = np.random.default_rng(0).permutation(len(digit))
train, val, test = order[:1000], order[1000:1300], order[1300:]

# A "pretrained" network: it tells 0–4 from 5–9. Yours comes from a hub.
torch.manual_seed(0)
body = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 2))
optimizer = torch.optim.Adam(body.parameters(), lr=0.01)
for _ in range(200):
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(body(images[train]), (digit[train] >= 5).long()).backward()
    optimizer.step()
weights = {name: value.clone() for name, value in body.state_dict().items()}


def pretrained(seed):
    """The module that is fine-tuned, a fresh one each time."""
    module = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 2))
    module.load_state_dict(weights)
    return module


# The new task: odd or even. Each way trains as many numbers as d says.
parity = digit % 2
lora = ss.tuning.method("lora", targets=["0", "2"])
null = ss.tuning.method("subspace", map="partition")
print("LoRA can train", list(lora.counts(pretrained(0), 1000)), "numbers")


def ways(method):
    """What trains a trial of a method."""
    return ss.tuning.trainable(
        method,
        pretrained,
        (images[train], parity[train]),
        {"val": (images[val], parity[val]), "test": (images[test], parity[test])},
        max_dim=1000,
        steps=50,
        lr=(1e-3, 1e-1),
        side="at",
    )


table = ss.compare(
    [ways(null), ways(lora)],
    dims=[260],
    repeats=6,
    spec=ss.LoopSpec(
        lr="auto"
    ),  # each way's own at each d, with equal effort, by the goal's metric
    goals=["val:accuracy>=0.95"],
    metric="test:accuracy",
    seed=0,
    workers=1,
)
for row in table.rows:
    print(f"{row.method}, {row.dim} numbers: {row.value:.3f} [{row.low:.3f}, {row.high:.3f}]")
print("\n".join(table.summary()))

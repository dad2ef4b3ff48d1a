"""How many degrees of freedom does *my* network need? From a module to d* and a page."""

import torch

import subspan as ss

# Your data: rows first. Here two classes, told apart by the sign of a sum.
rows = torch.randn(400, 16, generator=torch.Generator().manual_seed(0))
labels = (rows.sum(1) > 0).long()


def make_network() -> torch.nn.Module:
    """Your network, made anew; it is initialised from the trial's seed."""
    return torch.nn.Sequential(torch.nn.Linear(16, 24), torch.nn.ReLU(), torch.nn.Linear(24, 2))


problem = ss.Problem(
    make_network,
    train=(rows[:300], labels[:300]),
    test=(rows[300:], labels[300:]),
    loss="cross_entropy",
    name="sign-of-sum",
)
print(f"D = {problem.ambient_dim:,}")

# d*: the fewest random degrees of freedom with which training reaches the goal.
estimate = ss.threshold(
    problem,
    "random",
    "accuracy>=0.95",
    spec=ss.TrainSpec(lr=0.05, epochs=20, batch_size=32),
    seed=0,
    store="runs.db",
    workers=1,
)
print(estimate)
assert estimate.high is None or estimate.high < problem.ambient_dim

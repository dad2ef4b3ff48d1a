"""A training loop of your own: subspan says d and seed. Then the same by ask and tell."""

import torch

import subspan as ss

rows = torch.randn(256, 10, generator=torch.Generator().manual_seed(0))
target = rows @ torch.linspace(-1, 1, 10)


def train(dim: int, seed: int) -> float:
    """Fit a linear model in `dim` random directions; return how much of the variance is left."""
    weights = torch.zeros(10)
    if dim:
        draw = torch.Generator().manual_seed(seed)
        directions = torch.linalg.qr(torch.randn(10, dim, generator=draw)).Q
        weights = directions @ torch.linalg.lstsq(rows @ directions, target[:, None]).solution[:, 0]
    return float((rows @ weights - target).square().mean() / target.square().mean())


@ss.trainable(name="linear-fit", max_dim=10, version="1")
def linear_fit(trial):
    """One trial: `trial.dim` and `trial.seed` are given, metrics come back by name."""
    return {"val:unexplained": train(trial.dim, trial.seed)}


estimate = ss.threshold(linear_fit, goal="val:unexplained<=0.3", seed=0, workers=1)
print(estimate)

# The same where your scheduler calls: ask for trials, tell what came of them.
study = ss.ThresholdStudy("val:unexplained<=0.3", max_dim=10, seed=0)
while not study.done:
    for asked in study.ask(8):
        study.tell(asked, {"val:unexplained": train(asked.dim, asked.seed)})
print(study.estimate)
assert study.estimate.status == estimate.status

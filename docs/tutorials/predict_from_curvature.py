"""Predict d* from the curvature at the end of one full-space run, then measure it."""

import torch

import subspan as ss

rows = torch.randn(300, 8, generator=torch.Generator().manual_seed(0))
labels = (rows[:, 0] + 0.5 * rows[:, 1] > 0).long()
problem = ss.Problem(
    lambda: torch.nn.Sequential(torch.nn.Linear(8, 12), torch.nn.Tanh(), torch.nn.Linear(12, 2)),
    train=(rows, labels),
    loss="cross_entropy",
    name="half-space",
)

# No training in any subspace: one run in full space, then products with the Gauss–Newton matrix.
prediction = ss.theory.predict_threshold(
    problem, "loss<=0.3", seed=0, train_steps=1500, probes=2, lanczos_steps=30
)
found = prediction.at_goal
print(f"predicted: P = 1/2 at d = {prediction.value}, status {found.estimate.status}")
print(f"           P = 0.9 at d = {prediction.at_delta(0.1)} at most, were it a convex cone")

# Held against the measurement. `doubtful` means what it says: docs/theory.md tells how far off
# such predictions were.
estimate = ss.threshold(
    problem, "random", "loss<=0.3", spec=ss.TrainSpec(lr=0.05, epochs=20), seed=0, workers=1
)
print(f"measured:  {estimate}")
assert prediction.ambient_dim == problem.ambient_dim

"""A metric: its sums over outputs and targets, and which way is better."""

import torch

import subspan as ss
from subspan.metrics import METRICS, Metric


def brier(outputs, targets):
    """The sum over rows of |softmax(outputs) − one-hot(targets)|²; it is divided by the rows."""
    chances = torch.softmax(outputs.double(), dim=1)
    wanted = torch.nn.functional.one_hot(targets, outputs.shape[1])
    return (chances - wanted).square().sum()[None]


METRICS["brier"] = Metric("brier", "lower", 0.0, 2.0, brier, classes=True)

problem = ss.problems.load("digits-mlp", subset=60)
spec = ss.TrainSpec(steps=3, batch_size=16, stop_at="test:brier<=0.001")  # a goal by its name
(record,) = ss.run(problem, "random", [4], 1, spec, workers=1)
assert 0 < record.best("brier", "test") < 2

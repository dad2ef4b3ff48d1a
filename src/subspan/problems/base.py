"""`AbstractProblem`: a training problem as a function of one flat weight vector."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import torch

from subspan.errors import invalid, unknown
from subspan.problems.compiled import Compilation
from subspan.spec import TrainSpec

Batch = tuple[Any, Any] | None
"""Inputs and targets, each a tensor or a tuple or dict of tensors; None for analytic problems."""


class Evaluation(NamedTuple):
    """Mean loss and accuracy (a fraction) over a whole split; NaN where there is none."""

    loss: float
    accuracy: float


class AbstractProblem(abc.ABC):
    """A network, its data and its loss, as a function of w ∈ R^D.

    Laws (`subspan.testing.problem_conformance`): `loss` is pure, differentiable and vmappable
    over a leading axis of `weights`; `grads` equals a loop of autograd over `loss`; `init` is a
    function of its seed alone; `evaluate` over the training set equals `loss` on all of it.

    Attributes:
        name: as the user wrote it.
        identity: plain JSON data that fixes the problem, a digest of its data among it; part of
            every trial's key.
        ambient_dim: D.
        train_size: rows of the training set; 0 for analytic problems.
        default_spec: a `TrainSpec` that trains it well.
        device: where weights and data live.
        dtype: floating-point type of weights and data.
        splits: names of its data.
        noisy: whether training draws noise: `train_grads` is then another thing than `grads`.
        counts_hits: whether `grads` tells hits; training draws no noise then.
        metrics: what every trial's record holds, on each split.
        origin: `"name"` and `"options"` that `load` makes it of; None where it was made otherwise.
    """

    name: str
    identity: dict[str, Any]
    ambient_dim: int
    train_size: int
    default_spec: TrainSpec
    device: torch.device
    dtype: torch.dtype
    splits: tuple[str, ...] = ("train", "test")
    noisy: bool = False
    counts_hits: bool = False
    metrics: tuple[str, ...] = ("loss", "accuracy")
    origin: dict[str, Any] | None = None

    @abc.abstractmethod
    def init(self, seed: int) -> torch.Tensor:
        """Return initial weights, shape (D,), drawn from the stream of `seed`."""

    @abc.abstractmethod
    def batch(self, indices: torch.Tensor | None = None, split: str = "train") -> Batch:
        """Return the rows `indices` (shape (B,) or (K, B)) of a split; None means all rows.

        Analytic problems return None.
        """

    @abc.abstractmethod
    def loss(self, weights: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the mean loss of weights (D,) on a batch, shape (); differentiable."""

    @abc.abstractmethod
    def evaluate_many(self, weights: torch.Tensor, split: str = "train") -> list[Evaluation]:
        """Evaluate each row of weights (K, D) on a whole split (`"train"` or `"test"`)."""

    @abc.abstractmethod
    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """Return this problem on another device or in another dtype.

        Raises:
            InputError: the device is not there.
        """

    def in_precision(self, name: str) -> Self:
        """Return this problem as a spec's `dtype` asks for: float32, float64 or bfloat16.

        Raises:
            InputError: bfloat16, of a problem without a module that runs under autocast.
        """
        if name == "bfloat16":
            raise invalid("dtype", expected="float32 or float64 for this problem", got=name)
        return self.to(dtype=getattr(torch, name))

    def compiled(
        self, batch_size: int | None, trials: int, steps: int, settled: bool | None = None
    ) -> tuple[Self, Compilation]:
        """Return this problem with compiled gradients where that pays, and what was found.

        Args:
            batch_size: rows of a step; None: all.
            trials: how many are advanced at once.
            steps: that are ahead in this process.
            settled: what was decided before, for trials that these go on from; None: nothing.
        """
        return self, Compilation(False, "the problem has no module")

    def evaluate(self, weights: torch.Tensor, split: str = "train") -> Evaluation:
        """Evaluate weights (D,) on a whole split."""
        return self.evaluate_many(weights[None], split)[0]

    def measure_many(
        self, weights: torch.Tensor, split: str, metrics: Sequence[str]
    ) -> list[dict[str, float]]:
        """Return metrics by name for each row of weights (K, D) on a whole split.

        What is NaN where there is none, accuracy or the loss on other data, is left out.

        Raises:
            InputError: the problem has no such metric.
        """
        for name in metrics:
            self.check_metric(name)
        found = self.evaluate_many(weights, split)
        return [
            {
                name: value
                for name in metrics
                if (value := getattr(one, name)) == value or (name, split) == ("loss", "train")
            }
            for one in found
        ]

    def split_size(self, split: str) -> int:
        """Return how many rows a split has; 0 where there are none, or nobody can tell."""
        return self.train_size if split == "train" else 0

    def rows_at_once(self, split: str) -> int:
        """Return how many rows of a split an evaluation takes at once, at most."""
        return self.split_size(split)

    def measure_rows(
        self, weights: torch.Tensor, split: str, rows: torch.Tensor, metric: str
    ) -> list[float] | None:
        """Return a metric for each row of weights (K, D) on some rows of a split, for a glance.

        Args:
            weights: as said.
            split: of the data.
            rows: which of its rows, (n,), int64.
            metric: its name.

        Returns:
            None where the metric is one of whole splits alone: each glance is an evaluation then.
        """
        return None

    def evaluate_rows(
        self, weights: torch.Tensor, split: str, rows: torch.Tensor
    ) -> list[Evaluation] | None:
        """Evaluate each row of weights (K, D) on some rows (n,) of a split.

        Returns:
            None where whole splits alone are evaluated.
        """
        return None

    def check_metric(self, name: str) -> None:
        """Refuse a metric that cannot be measured here.

        Raises:
            InputError: as said.
        """
        if name not in self.metrics:
            raise unknown("goal metric", name, list(self.metrics))

    def warm_up(self, trials: int, batch_size: int | None) -> None:  # noqa: B027
        """Do here, once, what `grads` of this many trials else does at its first call."""

    def grads(
        self, weights: torch.Tensor, batch: Batch, hits: list[torch.Tensor] | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return losses (K,) and full-space gradients (K, D) of weights (K, D).

        The batch has a leading axis K: each row of weights has its own.

        Args:
            weights: as said.
            batch: as said.
            hits: gains the accuracies (K,) of the outputs that the losses are of, where the problem
                `counts_hits`; None: they are not wanted.
        """
        in_dims = (0, None if batch is None else 0)
        gradients, losses = torch.func.vmap(torch.func.grad_and_value(self.loss), in_dims)(
            weights, batch
        )
        return losses, gradients

    def train_grads(
        self, weights: torch.Tensor, batch: Batch, seeds: Sequence[int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return losses (K,) and gradients (K, D) for a step of training, as `grads` does.

        Args:
            weights: (K, D).
            batch: with a leading axis K.
            seeds: for each row of weights, that of the noise of this step; none where the problem
                is not `noisy`. What a row gets depends on its seed alone.
        """
        return self.grads(weights, batch)

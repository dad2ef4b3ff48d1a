"""Rows of the table: losses, and kinds of data."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from subspan.problems import transforms

from .case import Case, integers, normals, refused
from .rows_layers import CLASSES, ROWS, WIDTH, convolutional, images, mlp, tokens, vectors


def line(outputs: int = 1) -> nn.Module:
    """A net of `outputs` numbers."""
    return nn.Sequential(nn.Linear(WIDTH, 4), nn.Tanh(), nn.Linear(4, outputs))


class Tagger(nn.Module):
    """A class for each token, (n, length) → (n, classes, length)."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(11, 4), nn.Linear(4, CLASSES)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(torch.tanh(self.embedding(ids))).transpose(1, 2)


def token_labels() -> tuple[torch.Tensor, torch.Tensor]:
    """A class for each token, −100 where there is none; the more of those the later the row."""
    labels = integers(CLASSES, ROWS, 4, seed=5)
    labels[torch.arange(ROWS * 4).view(ROWS, 4) % 13 > 12 - torch.arange(ROWS)[:, None]] = -100
    labels[:, 0] = integers(CLASSES, ROWS)
    return tokens()[0], labels


def sorted_rows() -> tuple[torch.Tensor, torch.Tensor]:
    """Classes in order, so that parts of the rows are unlike each other."""
    return normals(ROWS, WIDTH), torch.arange(ROWS) * CLASSES // ROWS


def some_ignored() -> tuple[torch.Tensor, torch.Tensor]:
    """A third of the labels are −100."""
    x, y = sorted_rows()
    y[::3] = -100
    return x, y


def numbers(outputs: int = 1):
    """Regression targets."""
    return lambda: (normals(ROWS, WIDTH), normals(ROWS, outputs, seed=7))


def bits() -> tuple[torch.Tensor, torch.Tensor]:
    """Several labels for each row, as floats of 0 and 1."""
    return normals(ROWS, WIDTH), integers(2, ROWS, CLASSES).float()


def weighted() -> nn.Module:
    """Class weights."""
    return nn.CrossEntropyLoss(weight=torch.tensor([1.0, 9.0, 3.0]))


def _weighted(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    weight = torch.tensor([1.0, 9.0, 3.0], dtype=output.dtype)
    return nn.functional.cross_entropy(output, targets, weight)


def gaussian(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Gaussian −log likelihood of a mean and a log variance, which goes below zero."""
    mean, log_variance = output.chunk(2, 1)
    return nn.functional.gaussian_nll_loss(mean, targets, (log_variance - 4).exp())


def contrast(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Each row against all rows beside it: no mean over rows."""
    unit = nn.functional.normalize(output, dim=1)
    return nn.functional.cross_entropy(unit @ unit.T / 0.5, torch.arange(len(output)))


def _summed(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(output, targets, reduction="sum")


def strings() -> tuple[torch.Tensor, np.ndarray]:
    """Labels that are words."""
    return vectors()[0], np.array(["cat", "dog", "eel"])[vectors()[1].numpy()]


def _codes(labels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.unique(labels, return_inverse=True)[1])


def _not_a_number() -> tuple[torch.Tensor, torch.Tensor]:
    x, y = vectors()
    x[3, 1] = torch.nan
    return x, y


class NamedItems(Dataset[Any]):
    """Items of NumPy arrays, inputs by name, targets as lists of whole numbers."""

    def __init__(self, ids: torch.Tensor, targets: torch.Tensor) -> None:
        self.ids, self.targets = ids, targets

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> tuple[dict[str, Any], list[int]]:
        return {"ids": self.ids[index].numpy()}, self.targets[index].tolist()


class Jittered(TensorDataset):
    """Noise at each reading."""

    def __getitem__(self, index: int) -> Any:
        x, y = super().__getitem__(index)
        return x + torch.randn(x.shape), y


class Stream(IterableDataset[Any]):
    """Rows one after the other."""

    def __iter__(self) -> Any:
        return zip(*vectors(), strict=True)


def jitter(inputs: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return rows with a little noise."""
    return inputs + 0.1 * torch.randn(inputs.shape, generator=generator)


_CROP_AND_FLIP = (transforms.RandomCrop(1), transforms.RandomHorizontalFlip())
_MSE = nn.functional.mse_loss
_FLAT = "(n,) against (n, 1), which would be broadcast"

LOSSES = (
    Case("cross-entropy", mlp, vectors),
    Case("class weights", mlp, sorted_rows, weighted(), _weighted),
    Case("ignored targets (−100)", mlp, some_ignored),
    Case("label smoothing", mlp, vectors, nn.CrossEntropyLoss(label_smoothing=0.2)),
    Case("soft labels", mlp, lambda: (vectors()[0], normals(ROWS, CLASSES).softmax(1))),
    Case("a label for each token, −100 among them", Tagger, token_labels),
    Case("multi-label (`BCEWithLogitsLoss`)", mlp, bits, nn.BCEWithLogitsLoss()),
    Case("regression", line, numbers(), "mse"),
    Case("regression, several numbers", lambda: line(4), numbers(4), "mse"),
    Case("Huber loss", line, numbers(), nn.HuberLoss()),
    Case("losses below zero (Gaussian −log likelihood)", lambda: line(2), numbers(), gaussian),
    Case(
        "Poisson loss",
        line,
        lambda: (vectors()[0], integers(5, ROWS, 1).float()),
        nn.PoissonNLLLoss(),
    ),
    Case(
        "`functools.partial`",
        mlp,
        vectors,
        functools.partial(nn.functional.cross_entropy, label_smoothing=0.1),
    ),
    Case("sums in place of means", mlp, vectors, nn.CrossEntropyLoss(reduction="sum"), _summed),
    Case(
        "contrastive loss, rows against rows", mlp, vectors, contrast, options={"eval_rows": None}
    ),
    Case(
        "`nn.MSELoss` of (n, 1) against (n,)",
        line,
        lambda: (vectors()[0], normals(ROWS)),
        nn.MSELoss(),
        lambda o, t: _MSE(o[:, 0], t),
        **refused(_FLAT, "shape", "problem", "fine_tuning", "theory"),
    ),
)

DATA = (
    Case("token numbers", Tagger, lambda: (tokens()[0], integers(CLASSES, ROWS, 4))),
    Case(
        "string labels",
        mlp,
        strings,
        targets=_codes,
        **refused("number them first", "Number the labels", "problem", "fine_tuning", "theory"),
    ),
    Case("NumPy arrays", mlp, lambda: tuple(t.numpy() for t in vectors())),
    Case(
        "labels of 32 bits",
        mlp,
        lambda: (vectors()[0], vectors()[1].int()),
        targets=lambda y: y.long(),
    ),
    Case(
        "a map-style `Dataset`",
        mlp,
        vectors,
        given=lambda: TensorDataset(*vectors()),
    ),
    Case(
        "a `Dataset` of arrays and whole numbers, inputs by name",
        Tagger,
        lambda: ({"ids": tokens()[0]}, integers(CLASSES, ROWS, 4)),
        given=lambda: NamedItems(tokens()[0], integers(CLASSES, ROWS, 4)),
    ),
    Case(
        "a `Dataset` that augments at random",
        mlp,
        vectors,
        given=lambda: Jittered(*vectors()),
        **refused("use `transform=`", "the same numbers", "problem", "fine_tuning", "theory"),
    ),
    Case(
        "an iterable-style `Dataset`",
        mlp,
        vectors,
        given=Stream,
        **refused("a trainable's job", "a stream", "problem", "fine_tuning", "theory"),
    ),
    Case(
        "augmentation (`transform=`) of images",
        convolutional,
        images,
        options={"transform": transforms.Compose(*_CROP_AND_FLIP)},
    ),
    Case(
        "augmentation and dropout",
        lambda: nn.Sequential(nn.Dropout(0.3), mlp()),
        vectors,
        options={"transform": jitter, "dropout": "train"},
    ),
    Case(
        "augmentation from the global generator",
        mlp,
        vectors,
        options={"transform": lambda x, generator: x + torch.randn_like(x)},
        **refused("it has a generator", "global generator", "problem", "fine_tuning", "theory"),
    ),
    Case("float64 data", mlp, lambda: (vectors()[0].double(), vectors()[1])),
    Case("imbalanced classes", mlp, lambda: (vectors()[0], (torch.arange(ROWS) == 7).long())),
    Case("one class", mlp, lambda: (vectors()[0], torch.ones(ROWS, dtype=torch.int64))),
    Case("a class that the labels lack", mlp, lambda: (vectors()[0], vectors()[1] % 2)),
    Case(
        "NaN in the data",
        mlp,
        _not_a_number,
        **refused("rows are named", "NaN", "problem", "fine_tuning", "theory"),
    ),
)

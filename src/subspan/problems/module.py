"""`Problem`: any `nn.Module` with data and a loss, as a function of one flat weight vector."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import nn
from torch.func import functional_call

from subspan.canonical import digest, tensor_digest
from subspan.errors import invalid, unknown
from subspan.problems.base import AbstractProblem, Batch, Evaluation
from subspan.problems.checks import (
    Data,
    batched,
    check_fit,
    check_targets,
    checked_split,
    refuse_dropout,
    refused,
)
from subspan.problems.layout import Layout
from subspan.problems.losses import LOSSES, OutputLoss, loss_name, without_addresses
from subspan.problems.traced import TracedGrads
from subspan.spec import TrainSpec
from subspan.streams import scoped_torch_rng

_EVAL_ROWS = 512
_IDENTITY_ROWS = 16


class Problem(AbstractProblem):
    """A module, its data and its loss, as a function of w ∈ R^D.

    The module runs in evaluation mode, so its loss is a function of w and the batch alone, except
    that BatchNorm always normalises by the statistics of the current batch (Larsen et al., 2022):
    in training the minibatch, in evaluation the evaluation batch, which is the whole split unless
    `eval_rows` says otherwise.

    Args:
        make_module: returns a fresh module. Its own random initialisation is used, drawn
            reproducibly from the seed that `init` is given. Parameters with `requires_grad=False`
            are constants, no part of w: they keep the values that `make_module` gives them when
            the problem is made, drawn from a fixed seed.
        train: inputs (n, ...) and targets (n, ...). Class labels are integers.
        test: the same for the test split; None: the problem has none.
        loss: `"cross_entropy"`, `"mse"`, or a function of (outputs, targets) that returns the
            mean over rows. Accuracy is reported where the targets are class labels, which are
            integers (n,).
        name: for records and files. Trials are told apart by it, by the loss's name, the module's
            structure and constants, the initial weights of seed 0, the loss of the first 16 rows
            there to four digits, and a digest of the data. Give another name where problems
            differ in code that none of these shows.
        default_spec: a `TrainSpec` that trains the problem well.
        init: returns initial weights as named tensors from a seed, in place of `make_module`'s
            own initialisation.
        dropout: `"refuse"` a module with active dropout, or switch it `"off"`.
        eval_rows: rows per evaluation batch; None: 512, or the whole split with BatchNorm.
        vectorize: whether many weights run as one batched program, which asks of the module that
            `torch.func.vmap` takes it; None: as `vectorized` says.

    Raises:
        InputError: data are NaN, of unequal length, or do not fit the module; labels are out of
            range; the module has mutable buffers other than BatchNorm's, or active dropout.
    """

    def __init__(
        self,
        make_module: Callable[[], nn.Module],
        train: Data,
        test: Data | None = None,
        loss: str | OutputLoss = "cross_entropy",
        name: str = "problem",
        *,
        default_spec: TrainSpec | None = None,
        init: Callable[[int], dict[str, torch.Tensor]] | None = None,
        dropout: Literal["refuse", "off"] = "refuse",
        eval_rows: int | None = None,
        vectorize: bool | None = None,
        identity: dict[str, Any] | None = None,
    ) -> None:
        if isinstance(make_module, nn.Module):
            raise invalid(
                "make_module",
                expected="a function that returns a fresh module",
                got="a module",
                remedy="Pass the function that makes it, e.g. lambda: nn.Linear(5, 2).",
            )
        if not isinstance(name, str) or not name:
            raise invalid("name", expected="a name", got=repr(name))
        self.name, self._make_module, self._init = name, make_module, init
        self.device, self.dtype = torch.device("cpu"), torch.float32
        if isinstance(loss, str) and loss not in LOSSES:
            raise unknown("loss", loss, list(LOSSES))
        self._loss_of_outputs = LOSSES[loss] if isinstance(loss, str) else loss
        self._splits = {"train": checked_split(train, "train", self.dtype)}
        if test is not None:
            self._splits["test"] = checked_split(test, "test", self.dtype)
        check_targets(self._splits, loss)
        with scoped_torch_rng(0, "module"):
            module = make_module()
        self.batch_norm = _use_batch_statistics(module)
        refuse_dropout(module, dropout)
        parameters = dict(module.named_parameters())
        self.layout = Layout.of({n: p for n, p in parameters.items() if p.requires_grad})
        self.ambient_dim = self.layout.ambient_dim
        if not self.ambient_dim:
            raise invalid(
                "make_module",
                expected="a module with parameters to train",
                got="frozen ones alone (requires_grad=False)" if parameters else "none",
            )
        whole = {split: self.batch(None, split) for split in self._splits}
        self._classes = check_fit(module, loss, self._loss_of_outputs, whole)
        self.module = module
        self.train_size = len(self._splits["train"][0])
        self.default_spec = default_spec or TrainSpec(epochs=5, schedule="cosine")
        self._eval_rows = eval_rows or (None if self.batch_norm else _EVAL_ROWS)
        self._convolutional = any(isinstance(m, nn.modules.conv._ConvNd) for m in module.modules())
        self._vectorize = vectorize
        self._traced = TracedGrads(self.loss)
        self.identity = identity or self._own_identity(loss, eval_rows)

    def __repr__(self) -> str:
        rows = ", ".join(f"{len(x):,} {name}" for name, (x, _) in self._splits.items())
        return f"<Problem {self.name}: D = {self.ambient_dim:,}, {rows} rows, {self.device}>"

    @property
    def vectorized(self) -> bool:
        """Whether many weights run as one batched program: always on a GPU; on a CPU unless the
        module convolves, where a grouped convolution is slower than a loop."""
        if self._vectorize is not None:
            return self._vectorize
        return self.device.type != "cpu" or not self._convolutional

    def init(self, seed: int) -> torch.Tensor:
        """Return initial weights, shape (D,), drawn from the stream of `seed`."""
        if self._init is not None:
            tensors = self._init(seed)
        else:
            with scoped_torch_rng(seed, "init"):
                tensors = dict(self._make_module().named_parameters())
        return self.layout.flatten(tensors).detach().to(self.device, self.dtype)

    def batch(self, indices: torch.Tensor | None = None, split: str = "train") -> Data:
        """Return rows `indices` (shape (B,) or (K, B)) of a split; None means all rows."""
        x, y = self._split(split)
        if indices is not None:
            x, y = _rows(x, indices), _rows(y, indices)
        # Images lie in memory as (..., height, width, channels), the layout convolutions like.
        return (x.movedim(-1, -3) if self._is_image(split) else x), y

    def outputs(self, weights: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Return the module's outputs with weights (D,) on inputs (n, ...)."""
        if weights.shape[-1] != self.ambient_dim:
            raise invalid(
                "weights",
                expected=f"shape (..., {self.ambient_dim})",
                got=f"shape {tuple(weights.shape)}",
            )
        try:
            result: torch.Tensor = functional_call(self.module, self.layout.split(weights), (x,))
        except ValueError as error:
            if not self.batch_norm or len(x) > 1:
                raise
            raise invalid(
                "batch_size",
                expected="two rows or more in every batch, over which BatchNorm normalises",
                got="one",
                remedy="Raise batch_size, or eval_rows if it leaves the last row alone.",
            ) from error
        return result

    def loss_of_outputs(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean loss of outputs (n, ...) against targets, shape ()."""
        return self._loss_of_outputs(outputs, targets)

    def loss(self, weights: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the mean loss of weights (D,) on a batch, shape (); differentiable."""
        assert batch is not None
        return self._loss_of_outputs(self.outputs(weights, batch[0]), batch[1])

    def grads(self, weights: torch.Tensor, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return losses (K,) and gradients (K, D) of weights (K, D), a batch for each row."""
        assert batch is not None
        if not self.vectorized:
            return self._one_by_one(weights, batch)
        with batched(lambda: self._one_by_one(weights[:1], (batch[0][:1], batch[1][:1]))):
            return self._traced(weights, batch)

    def _one_by_one(self, weights: torch.Tensor, batch: Data) -> tuple[torch.Tensor, torch.Tensor]:
        losses, gradients = [], []
        for row, x, y in zip(weights, *batch, strict=True):
            leaf = row.detach().requires_grad_()
            value = self.loss(leaf, (x, y))
            gradients.append(torch.autograd.grad(value, leaf)[0])
            losses.append(value.detach())
        return torch.stack(losses), torch.stack(gradients)

    def warm_up(self, trials: int, batch_size: int | None) -> None:
        """Trace the batched gradient, so that workers forked later find it ready."""
        if self.vectorized:
            rows = min(batch_size or self.train_size, self.train_size)
            indices = torch.zeros(trials, rows, dtype=torch.int64, device=self.device)
            weights = torch.zeros(trials, self.ambient_dim, device=self.device, dtype=self.dtype)
            self.grads(weights, self.batch(indices))

    @torch.no_grad()
    def evaluate_many(self, weights: torch.Tensor, split: str = "train") -> list[Evaluation]:
        """Evaluate each row of weights (K, D) on a whole split; NaN where there is none."""
        if split not in self._splits:
            self._check_split(split)
            return [Evaluation(math.nan, math.nan)] * len(weights)
        if not self.vectorized and len(weights) > 1:
            return [self.evaluate(row, split) for row in weights]
        x, y = self.batch(None, split)
        losses = torch.zeros(len(weights), dtype=torch.float64)
        hits = torch.zeros(len(weights), dtype=torch.float64)
        for xs, ys in zip(*(t.split(self._eval_rows or len(y)) for t in (x, y)), strict=True):
            loss, hit = self._evaluate_rows(weights, xs, ys)
            losses += loss.double().cpu() * len(ys)
            hits += hit.double().cpu()
        accuracy = hits / len(y) if self._classes else torch.full_like(hits, math.nan)
        return [
            Evaluation(float(loss), float(acc))
            for loss, acc in zip(losses / len(y), accuracy, strict=True)
        ]

    def _evaluate_rows(
        self, weights: torch.Tensor, x: torch.Tensor, y: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        def one(row: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            out = self.outputs(row, x)
            hits = (out.argmax(1) == y).sum() if self._classes else out.new_zeros(())
            return self._loss_of_outputs(out, y), hits

        if not self.vectorized:
            loss, hits = one(weights[0], x)
            return loss[None], hits[None]
        # Each trial gets its own view of x: a shared one would join the trials' products into
        # one, whose last bits depend on how many trials there are.
        with batched(lambda: one(weights[0], x)):
            return torch.func.vmap(one)(weights, x.expand(len(weights), *x.shape))

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """Return this problem on another device or in another dtype."""
        target, dtype = torch.device(device or self.device), dtype or self.dtype
        if target == self.device and dtype == self.dtype:
            return self
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__)
        new.device, new.dtype = target, dtype
        new.module = copy.deepcopy(self.module).to(target, dtype)
        new._splits = {
            name: (_moved(x, target, dtype), _moved(y, target, dtype))
            for name, (x, y) in self._splits.items()
        }
        new._traced = TracedGrads(new.loss)
        return new

    @torch.no_grad()
    def _own_identity(self, loss: str | OutputLoss, eval_rows: int | None) -> dict[str, Any]:
        """Return what trials know the problem by where no identity is given.

        Code cannot be hashed: a loss or a `forward` shows by the loss of the first rows at the
        initial weights of seed 0, to the four digits that machines agree on.
        """
        named = itertools.chain(self.module.named_parameters(), self.module.named_buffers())
        constants = {name: t for name, t in named if name not in self.layout.names}
        start = self.init(0)
        rows = self.batch(torch.arange(min(_IDENTITY_ROWS, self.train_size)))
        shape = f"rows of shape {tuple(rows[0].shape[1:])}"
        with refused("train", "inputs that the module and the loss take", shape, "They"):
            value = float(self.loss(start, rows))
        own: dict[str, Any] = {
            "name": self.name,
            "kind": "module",
            "loss": loss_name(loss),
            "module": digest(
                [without_addresses(self.module), self.layout.names, self.layout.shapes]
            ),
            "constants": digest([[n, str(t.dtype), _bits(t)] for n, t in constants.items()]),
            "init": tensor_digest(start),
            "loss_at_init": f"{value:.3e}",
            "data": tensor_digest(*(t for split in self._splits.values() for t in split)),
        }
        if eval_rows and self.batch_norm:
            own["eval_rows"] = eval_rows
        return own

    def _split(self, split: str) -> Data:
        self._check_split(split)
        if split not in self._splits:
            raise invalid(
                "split", expected="'train': the problem has no test data", got=repr(split)
            )
        return self._splits[split]

    @staticmethod
    def _check_split(split: str) -> None:
        if split not in ("train", "test"):
            raise invalid("split", expected="'train' or 'test'", got=repr(split))

    def _is_image(self, split: str) -> bool:
        return self._splits[split][0].ndim == 4


def _rows(tensor: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """Return `tensor[indices]`; on a CPU ten times faster than by indexing."""
    return tensor.index_select(0, indices.flatten()).unflatten(0, indices.shape)


def _bits(tensor: torch.Tensor) -> str:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return tensor_digest(np.array(tensor.shape), flat.view(torch.uint8))


def _moved(tensor: torch.Tensor, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    return tensor.to(device, dtype) if tensor.is_floating_point() else tensor.to(device)


def _use_batch_statistics(module: nn.Module) -> bool:
    """Make every BatchNorm normalise by its current batch; say whether there is one."""
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.track_running_stats = False
        norm.running_mean = norm.running_var = norm.num_batches_tracked = None
    return bool(norms)

"""`Problem`: any `nn.Module` with data and a loss, as a function of one flat weight vector.

Length: one class, whose arguments are its documentation; what it rests on has files of its own.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset

from subspan.canonical import digest, tensor_digest
from subspan.errors import InputError, invalid, text_name, unknown
from subspan.metrics import parse
from subspan.printable import printable, shown
from subspan.problems import convolutions, devices, structure
from subspan.problems import dropout as dropout_that_trains
from subspan.problems.aliases import Watch
from subspan.problems.augmentation import Augmentation, Transform
from subspan.problems.base import AbstractProblem, Batch, Evaluation
from subspan.problems.channels_last import IMAGES_AT_ONCE, takes_channels_last
from subspan.problems.checks import (
    batched,
    check_fit,
    check_targets,
    logits,
    not_batchable,
    refused,
)
from subspan.problems.compiled import INDUCTOR, Compilation, CompiledGrads, decide
from subspan.problems.dataset import pair
from subspan.problems.evaluation import Evaluator
from subspan.problems.given_identity import check_identity
from subspan.problems.identity import identity_of
from subspan.problems.losses import LOSSES, OutputLoss, loss_name, loss_on
from subspan.problems.measured import OfAllRows, OwnMetric, measure, metric_for, own_metrics
from subspan.problems.own import OwnModules, parameters_of, trained
from subspan.problems.padding import check_held, held_rows, padding_rows
from subspan.problems.parameters import explained
from subspan.problems.precision import full_precision
from subspan.problems.reduction import Reduction, find
from subspan.problems.rows import Data, checked_split, first_rows, telling_rows
from subspan.problems.selfcheck import batchable, choose, refuse_late, writes_into
from subspan.problems.stateless import Stateless
from subspan.problems.structure import Tensors
from subspan.problems.traced import TracedGrads
from subspan.spec import TrainSpec
from subspan.streams import scoped_torch_rng

_EVAL_ROWS = 512
_IDENTITY_ROWS = 16
_AUGMENTED_ROWS = 8  # on which a transform is tried


class Problem(AbstractProblem):
    """A module, its data and its loss, as a function of w ∈ R^D.

    The module runs in evaluation mode, so its loss is a function of w and the batch alone, except
    that BatchNorm always normalises by the statistics of the current batch (Larsen et al., 2022):
    in training the minibatch, in evaluation the evaluation batch, which is the whole split unless
    `eval_rows` says otherwise.

    When it is made, its outputs, loss and gradient on a few rows are compared with plain PyTorch's
    on the same weights. A module that reads weights late or by unusual ways (checkpointing, hooks
    on saved tensors, lists of parameters) runs in a slower way that agrees, and is refused if there
    is none. Rows that training does not move (`padding_idx`) count in D and stay as they are.

    Args:
        make_module: returns a fresh module, which the problem keeps and writes into. Its own random
            initialisation is used, drawn reproducibly from the seed that `init` is given.
            Parameters with `requires_grad=False` are constants, no part of w: they keep the values
            that `make_module` gives them when the problem is made, drawn from a fixed seed.
            `dtype` is that of its parameters; the data follow. A run has the dtype of its
            `TrainSpec`.
        train: inputs (n, ...) and targets (n, ...). Inputs that are a tuple are the module's
            arguments in order, those that are a mapping its arguments by name. Class labels are
            integers (n,), or (n, ...) for outputs (n, ..., classes) or (n, classes, ...); -100, or
            the `ignore_index` of the loss, does not count. Or a map-style data set of PyTorch's,
            with items (input, target) of tensors, arrays, numbers or Pillow's images, or tuples or
            mappings of them: it is read once, into memory, and gives the trials of its tensors.
            One that augments at random is refused: see `transform`.
            Tensors up to 64 MiB are copied; a later write into a larger one is refused.
        test: the same for the test split; None: the problem has none.
        loss: `"cross_entropy"`, `"mse"`, or a function of (outputs, targets) that returns the
            mean over rows, which may be negative. Accuracy is reported where the targets are class
            labels. Targets may be a tuple or a mapping of tensors where it takes them. Evaluation
            in parts follows the loss: a weighted mean (class weights, ignored labels) or a sum is
            put together as such, and one that couples rows is taken of the whole split at once.
        name: for records and files. Trials are told apart by it and by all that makes the problem:
            what the loss, `init` and the module hold and the code that they run
            (`subspan.problems.identity`), constants, initial weights, and a digest of the data.
        default_spec: a `TrainSpec` that trains the problem well.
        init: returns initial weights as named tensors from a seed, in place of `make_module`'s
            own initialisation.
        dropout: `"refuse"` a module with active dropout, switch it `"off"`, or let it `"train"`:
            gradients of training are then those of the module in training mode, with masks drawn
            from a stream of the trial and the step, trial by trial (nothing is batched over
            trials but evaluation). Evaluation, searches by gradient alone (SNIP) and the theory's
            tools run without dropout.
        eval_rows: rows per evaluation batch; None: 512, or the whole split with BatchNorm. A split
            of more images goes by 128 where that is quicker; with BatchNorm never.
        vectorize: whether many weights run as one batched program, which asks of the module that
            `torch.func.vmap` takes it; None: as `vectorized` says.
        identity: plain JSON data by which trials know the problem, in place of all that; another
            one whenever the problem changes. Needed where the loss or the module holds what cannot
            be told from others, such as a generator.
        outputs: returns what counts of the module's output; None: its `logits` where it has them,
            else all of it, which must be a tensor unless the loss is a function.
        batch_statistics: False: BatchNorm's running statistics stand, as in `fine_tuning`, and so
            do other buffers that change in training mode.
        transform: augmentation of training batches: `transform(inputs, generator) -> inputs`, of
            the inputs (B, ...) of one trial's batch as the module takes them, with a CPU
            `torch.Generator` from a stream of the trial and the step; it draws from that alone and
            returns as many rows. Training alone sees it: evaluation, goals, searches by gradient
            alone and the theory's tools take the rows as they are. `subspan.problems.transforms`
            holds some.
        splits: further data by name, as `{"val": (inputs, targets)}`: evaluated as `test` is, and
            goals and records name them, as `val:accuracy>=0.9`.
        metrics: what every record holds beside loss and accuracy: names of registered metrics
            (`subspan.metrics.METRICS`), or functions of (outputs, targets) of a
            whole split, by name. They change nothing in training; goals may ask for them. One that
            is not finite is on no curve: the record's `reason` names it, and the trial diverged
            where it stayed so. One that is no number fails the trial.

    Raises:
        InputError: data are NaN, of unequal length, or do not fit the module; a data set is empty,
            a stream, ragged or random; labels are out of range; the module has complex parameters,
            mutable buffers other than BatchNorm's, or active dropout, writes into its weights, or
            is the same object at each call; training draws noise that a seed does not settle; no
            identity is given and the problem cannot be told from others.
    """

    def __init__(
        self,
        make_module: Callable[[], nn.Module],
        train: Data | Dataset[Any],
        test: Data | Dataset[Any] | None = None,
        loss: str | OutputLoss = "cross_entropy",
        name: str = "problem",
        *,
        default_spec: TrainSpec | None = None,
        init: Callable[[int], dict[str, torch.Tensor]] | None = None,
        dropout: Literal["refuse", "off", "train"] = "refuse",
        eval_rows: int | None = None,
        vectorize: bool | None = None,
        identity: dict[str, Any] | None = None,
        outputs: Callable[[Any], Any] | None = None,
        batch_statistics: bool = True,
        metrics: Mapping[str, OwnMetric] | Iterable[str] | None = None,
        transform: Transform | None = None,
        splits: Mapping[str, Data | Dataset[Any]] | None = None,
    ) -> None:
        if isinstance(make_module, nn.Module):
            raise invalid(
                "make_module",
                expected="a function that returns a fresh module",
                got="a module",
                remedy="Pass the function that makes it, e.g. lambda: nn.Linear(5, 2).",
            )
        text_name("name", name)
        check_identity(identity)
        if isinstance(loss, str) and loss not in LOSSES:
            raise unknown("loss", loss, list(LOSSES))
        self.name, self._init = name, init
        made = OwnModules(make_module, batch_statistics, dropout)
        self._made, self.device, self.dtype = made, torch.device("cpu"), made.dtype
        given = {"train": train} if test is None else {"train": train, "test": test}
        further = dict(splits or {})
        for split in further:
            if parse(f"{split}:loss")[1] != split or split in AbstractProblem.splits:
                expected = "names other than train and test"
                raise invalid("splits", expected=expected, got=shown(split))
        self.splits = (*AbstractProblem.splits, *further)
        given |= further
        self._splits = {
            split: checked_split(pair(data, split), split, self.dtype)
            for split, data in given.items()
        }
        check_targets(self._splits, loss)
        self._watch = Watch(structure.leaves(tuple(self._splits.values())))
        known = None if identity else made.identity()  # before a pass leaves traces in it
        whole = {split: self.batch(None, split) for split in self._splits}
        module, reference = made.two(first_rows(whole["train"])[0], fresh=init is None)
        self.batch_norm = made.batch_norm
        self.module, self.layout = module, trained(module)
        self.ambient_dim = self.layout.ambient_dim
        select, function = outputs or logits, LOSSES[loss] if isinstance(loss, str) else loss
        try:
            self._labels = check_fit(
                module,
                select,
                loss,
                function,
                whole,
                evaluation=not batch_statistics and dropout != "train",
            )
        except InputError as error:
            raise explained(error, made.kinds, self.dtype) from error.__cause__
        self._loss, self._function = loss, function
        self._loss_of_outputs = self._labels.loss(function)
        self.train_size = structure.row_count(self._splits["train"][1])
        self.default_spec = default_spec or TrainSpec(
            epochs=5,
            schedule="cosine",
            dtype="float64" if self.dtype == torch.float64 else "float32",
        )
        self._eval_rows = eval_rows or (None if self.batch_norm else _EVAL_ROWS)
        self._images = takes_channels_last(module)
        self._convolutional = any(isinstance(m, nn.modules.conv._ConvNd) for m in module.modules())
        self._stateless = Stateless(module, self.layout, select, bystanders=parameters_of(loss))
        rows = padding_rows(module, self.layout)
        if rows:
            self._stateless.held = held_rows(rows, self.layout, self.init(0))
        self._trial = self._self_check(reference)
        self._noisy = self._training_pass(reference) if dropout == "train" else None
        self._augmentation = None if transform is None else self._augmented(transform)
        self.noisy = self._noisy is not None or self._augmentation is not None
        self._batchable: bool | None = None
        self._vectorize, self._traced = vectorize, TracedGrads(self.loss)
        self._compiled: CompiledGrads | None = None
        self.convolutions: str | None = None
        if vectorize and not self._runs_batched():
            raise not_batchable()
        self._own_metrics = own_metrics(metrics)
        self.metrics = (*AbstractProblem.metrics, *self._own_metrics)
        for own in self._own_metrics:
            self.check_metric(own)
        self.identity = identity or self._own_identity(loss, eval_rows, known)
        if identity is None:
            self.identity |= self._later_identity(outputs, transform)
        if self._noisy is not None:
            self.identity |= {"dropout": "train"}
        if self._own_metrics:
            self.identity |= {"metrics": {n: m.identity for n, m in self._own_metrics.items()}}
        self._stateless.forget()
        if self._noisy is not None:
            self._noisy.forget()
        self._nan_is_plain = False

    def _self_check(self, reference: nn.Module) -> torch.Tensor:
        """Choose how the module gets its weights; return those at which that was tried."""
        x, y = telling_rows(self.batch(), 8 if self.batch_norm else 2)
        one = self._stateless
        with scoped_torch_rng(0, "module"):
            with torch.no_grad():
                one.clone_inputs = writes_into(lambda rows: structure.call(one.module, rows), x)
            plain = dataclasses.replace(one, module=reference, way="written")
            return choose(one, plain, x, lambda out: self._loss_of_outputs(out, y))

    def _training_pass(self, reference: nn.Module) -> Stateless:
        x, y = telling_rows(self.batch(), 8 if self.batch_norm else 2)
        return dropout_that_trains.training_pass(
            self._stateless, self._made, reference, x, lambda out: self._loss_of_outputs(out, y)
        )

    def _augmented(self, transform: Transform) -> Augmentation:
        x, y = telling_rows(self.batch(), _AUGMENTED_ROWS)
        found = Augmentation(transform, x)
        shape = f"rows of shape {structure.shown(found.example)}"
        with torch.no_grad(), refused("transform", "inputs that the module takes", shape, "They"):
            self.loss(self._trial, (found.example, y))
        return found

    @full_precision()
    def _runs_batched(self) -> bool:
        """Return whether many weights run as one program, as tried on a few rows."""
        if self._batchable is None:
            rows = telling_rows(self.batch(), 8 if self.batch_norm else 2)
            weights = self._trial.to(self.device, self.dtype)
            as_one = self._evaluator(True).as_one
            with torch.enable_grad(), scoped_torch_rng(0, "module"):
                self._batchable = batchable(
                    self._stateless, weights, rows, self.loss, lambda w, b: as_one(w, *b)
                )
                if not self._batchable and (self._vectorize or self.device.type != "cpu"):
                    # Rounding takes a ReLU of a deep network across its kink now and then.
                    one, loss = self._exact_loss()
                    self._batchable = batchable(
                        one, weights.double(), rows, loss, lambda w, b: as_one(w.to(self.dtype), *b)
                    )
        return self._batchable

    def __repr__(self) -> str:
        counts = {name: structure.row_count(y) for name, (_, y) in self._splits.items()}
        rows = ", ".join(f"{count:,} {name}" for name, count in counts.items())
        name, size = printable(self.name), f"D = {self.ambient_dim:,}"
        return f"<Problem {name}: {size}, {rows} rows, {self.device}>"

    @property
    def vectorized(self) -> bool:
        """Whether many weights run as one batched program: where that gives what a loop gives, and
        on a CPU unless the module convolves, where a grouped convolution is slower than a loop."""
        if self._vectorize is not None:
            return self._vectorize
        return (self.device.type != "cpu" or not self._convolutional) and self._runs_batched()

    @functools.cached_property
    def reduction(self) -> Reduction:
        """How losses of parts of the data make the loss of the whole."""

        def outputs(x: Tensors) -> Any:
            weights = self._trial.to(self.device, self.dtype)  # where no two rows are alike
            return self.outputs(weights, x)

        found = find(self._loss, self._loss_of_outputs, outputs, self.batch())
        return found.to(self.device)

    def init(self, seed: int) -> torch.Tensor:
        """Return initial weights, shape (D,), drawn from the stream of `seed`."""
        if self._init is not None:
            tensors = self._init(seed)
        else:
            tensors = dict(self._made.fresh(seed, "init").named_parameters())
        flat = self.layout.flatten(tensors).detach().to(self.device, self.dtype)
        check_held(self._stateless.held, self.layout, flat)
        return flat

    def batch(self, indices: torch.Tensor | None = None, split: str = "train") -> Data:
        """Return rows `indices` (shape (B,) or (K, B)) of a split; None means all rows."""
        x, y = self._split(split)
        if indices is not None:
            x, y = (structure.mapped(lambda t: _rows(t, indices), part) for part in (x, y))
        # Images lie in memory as (..., height, width, channels), the layout convolutions like.
        return (x.movedim(-1, -3) if self._is_image(split) else x), y

    def outputs(self, weights: torch.Tensor, x: Tensors) -> Any:
        """Return the module's outputs with weights (D,) on inputs (n, ...)."""
        self._check_weights(weights)
        try:
            return self._stateless.outputs(weights, x)
        except ValueError as error:
            raise self._explained(error, x) from error

    def loss_of_outputs(self, outputs: Any, targets: Tensors) -> torch.Tensor:
        """Return the mean loss of outputs (n, ...) against targets, shape ()."""
        return self._loss_of_outputs(outputs, targets)

    def loss(self, weights: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Return the mean loss of weights (D,) on a batch, shape (); differentiable."""
        assert batch is not None
        x, y = batch
        self._check_weights(weights)
        try:
            return self._stateless.loss(weights, x, lambda out: self._loss_of_outputs(out, y))
        except ValueError as error:
            raise self._explained(error, x) from error

    def _check_weights(self, weights: torch.Tensor) -> None:
        if weights.shape[-1] != self.ambient_dim:
            raise invalid(
                "weights",
                expected=f"shape (..., {self.ambient_dim})",
                got=f"shape {tuple(weights.shape)}",
            )

    def _explained(self, error: ValueError, x: Tensors) -> ValueError:
        if not self.batch_norm or structure.row_count(x) > 1 or isinstance(error, InputError):
            return error
        return invalid(
            "batch_size",
            expected="two rows or more in every batch, over which BatchNorm normalises",
            got="one",
            remedy="Raise batch_size, or eval_rows if it leaves the last row alone.",
        )

    def train_grads(
        self, weights: torch.Tensor, batch: Batch, seeds: Sequence[int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return losses (K,) and gradients (K, D) with the transform and the dropout of training.

        Args:
            weights: (K, D).
            batch: a batch for each row of weights, as it lies in the data.
            seeds: of the noise that each row draws.

        Raises:
            InputError: the transform returns what it must not.
        """
        if self._augmentation is not None:
            assert batch is not None
            batch = self._augmentation(batch[0], seeds), batch[1]
        if self._noisy is None:
            return self.grads(weights, batch)
        assert batch is not None
        losses, gradients = self._one_by_one(weights, batch, seeds)
        self._refuse_late(weights, batch, gradients, seeds)
        return losses, gradients

    @property
    def counts_hits(self) -> bool:  # type: ignore[override]
        """Whether `grads` tells hits: where gradients are taken trial by trial, whose outputs are
        at hand (a batched program would be slower by it), and all labels count."""
        every = bool(self._labels.classes) and not self._labels.gaps
        return every and not (self.vectorized or self.noisy or self._compiled)

    def _loss_and_hits(self, weights: torch.Tensor, batch: Data) -> tuple[torch.Tensor, Any]:
        """Return the loss () of weights (D,) on a batch, and the accuracy () of its outputs."""
        (x, y), hits = batch, []

        def of_outputs(out: Any) -> torch.Tensor:
            hits.append(self._labels.hits(out, y) / y.numel())
            return self._loss_of_outputs(out, y)

        try:
            return self._stateless.loss(weights, x, of_outputs), hits[0]
        except ValueError as error:
            raise self._explained(error, x) from error

    def grads(
        self, weights: torch.Tensor, batch: Batch, hits: list[torch.Tensor] | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return losses (K,) and gradients (K, D) of weights (K, D), a batch for each row.

        Neither the transform nor dropout is at work: `train_grads` has those.
        """
        assert batch is not None
        if self._compiled is not None and self._compiled.fits(weights, batch):
            losses, gradients = self._compiled(weights, batch)
        elif not self.vectorized:
            losses, gradients = self._one_by_one(weights, batch, hits=hits)
        else:
            with batched(lambda: self._one_by_one(weights[:1], batch)):
                self._choose_convolutions(weights, batch)
                losses, gradients = self._traced(weights, batch)
        self._refuse_late(weights, batch, gradients)
        return losses, gradients

    def _choose_convolutions(self, weights: torch.Tensor, batch: Data) -> None:
        """Take the way of convolving that is the quickest here, at the first step of many trials.

        Not on a CPU, where the same trial has the same record each time.
        """
        if self.convolutions or not self._convolutional or self.device.type == "cpu":
            return
        ways = {way: self.convolving(way)._traced for way in convolutions.WAYS}
        programs = {name: functools.partial(way, weights, batch) for name, way in ways.items()}
        chosen = self.convolving(convolutions.quickest(programs, self.device))
        self._stateless, self._traced = chosen._stateless, TracedGrads(self.loss)
        self.convolutions = chosen.convolutions

    def convolving(self, way: str) -> Self:
        """Return this problem with convolutions of many trials done in one of two ways.

        Args:
            way: `"grouped"`, one grouped convolution, or `"products"`, batched matrix products: the
                same but for rounding (`subspan.problems.convolutions`). Trials one after another
                are not concerned.

        Raises:
            InputError: it is neither.
        """
        if way not in convolutions.WAYS:
            raise unknown("convolutions", way, list(convolutions.WAYS))
        new = copy.copy(self)
        new._stateless = dataclasses.replace(self._stateless, products=way == "products")
        new.convolutions = way
        new._traced = TracedGrads(new.loss)
        return new

    def _refuse_late(
        self,
        weights: torch.Tensor,
        batch: Data,
        gradients: torch.Tensor,
        seeds: Sequence[int] | None = None,
    ) -> None:
        """Hold the first gradient that is NaN at finite weights against plain PyTorch's, once.

        On a CPU alone: another device would have to be waited for at each step, and there the trial
        diverges at its next evaluation.
        """
        one = self._stateless if seeds is None else self._noisy
        assert one is not None
        if self._nan_is_plain or one.way != "swapped" or self.device.type != "cpu":
            return
        if not gradients.sum().isnan():  # one pass, where all is well
            return
        found = (gradients.isnan().any(1) & weights.isfinite().all(1)).nonzero()
        if not len(found):
            return
        k = int(found[0, 0])
        x, y = structure.row(batch, k)
        if seeds is None:
            own = one.to(self.device, self.dtype, self._made.again(one.module))
        else:
            own = dropout_that_trains.moved(one, self.device, self.dtype, self._made)
            own.noise = seeds[k]
        plain = dataclasses.replace(own, way="written")
        refuse_late(plain, weights[k], x, lambda out: self._loss_of_outputs(out, y))
        self._nan_is_plain = True

    def _one_by_one(
        self,
        weights: torch.Tensor,
        batch: Data,
        seeds: Sequence[int] | None = None,
        hits: list[torch.Tensor] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        losses, gradients, accuracies = [], [], []
        for k, row in enumerate(weights):
            leaf = row.detach().requires_grad_()
            own = structure.row(batch, k)
            if hits is not None:
                value, accuracy = self._loss_and_hits(leaf, own)
                accuracies.append(accuracy)
            elif seeds is None:
                value = self.loss(leaf, own)
            else:
                value = self._noisy_loss(leaf, own, seeds[k])
            gradients.append(torch.autograd.grad(value, leaf)[0])
            losses.append(value.detach())
        if hits is not None:
            hits.append(torch.stack(accuracies))
        return torch.stack(losses), torch.stack(gradients)

    def _noisy_loss(self, weights: torch.Tensor, batch: Data, seed: int) -> torch.Tensor:
        assert self._noisy is not None
        (x, y), self._noisy.noise = batch, seed
        try:
            return self._noisy.loss(weights, x, lambda out: self._loss_of_outputs(out, y))
        except ValueError as error:
            raise self._explained(error, x) from error

    @full_precision()
    def warm_up(self, trials: int, batch_size: int | None) -> None:
        """Trace the batched gradient, so that workers forked later find it ready."""
        if self.vectorized and self._noisy is None:
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
        return self._evaluate_on(weights, self.batch(None, split))

    def _evaluate_on(self, weights: torch.Tensor, data: Data) -> list[Evaluation]:
        judge = self._evaluator(self.vectorized)
        each = weights[None] if self.vectorized else weights[:, None]
        rows = self._eval_rows
        if judge.images and not self.batch_norm and rows and structure.row_count(data[1]) > rows:
            rows = min(rows, IMAGES_AT_ONCE)  # in parts anyway
        found = [judge.evaluate(w, data, rows, lambda: self.reduction) for w in each]
        return [Evaluation(*pair) for pair in torch.cat(found).tolist()] if found else []

    def split_size(self, split: str) -> int:
        """Return how many rows a split has; 0 where there is no such data."""
        return structure.row_count(self._splits[split][1]) if split in self._splits else 0

    def rows_at_once(self, split: str) -> int:
        """Return how many rows of a split an evaluation takes at once, at most."""
        size = self.split_size(split)
        most = self._eval_rows or size
        if self._evaluator(self.vectorized).images and not self.batch_norm:
            most = min(most, IMAGES_AT_ONCE)
        return min(size, most)

    @torch.no_grad()
    def evaluate_rows(
        self, weights: torch.Tensor, split: str, rows: torch.Tensor
    ) -> list[Evaluation]:
        """Evaluate each row of weights (K, D) on some rows (n,) of a split."""
        return self._evaluate_on(weights, self.batch(rows, split))

    @torch.no_grad()
    def measure_rows(
        self, weights: torch.Tensor, split: str, rows: torch.Tensor, metric: str
    ) -> list[float] | None:
        """Return a metric for each row of weights (K, D) on some rows; None of a user's own."""
        if isinstance(self._own_metrics.get(metric), OfAllRows):
            return None
        data = self.batch(rows, split)
        if metric in AbstractProblem.metrics:
            return [getattr(one, metric) for one in self._evaluate_on(weights, data)]
        wanted = [metric_for(self._own_metrics, metric, self._labels)]
        found = measure(self.outputs, data, weights, wanted, self._labels, self._eval_rows)
        return [one[metric] for one in found]

    def _evaluator(self, vectorized: bool) -> Evaluator:
        images = self._images and self.device.type == "cpu"
        return Evaluator(self.outputs, self._loss_of_outputs, self._labels, vectorized, images)

    def measure_many(
        self, weights: torch.Tensor, split: str, metrics: Sequence[str]
    ) -> list[dict[str, float]]:
        """Return metrics by name for each row of weights (K, D); none of a split there is not."""
        usual = AbstractProblem.metrics
        wanted = [metric_for(self._own_metrics, m, self._labels) for m in metrics if m not in usual]
        self._check_split(split)
        if split not in self._splits:
            return [{} for _ in weights]
        there = [m for m in metrics if m == "loss" or (m == "accuracy" and self._labels.classes)]
        found = [
            {m: getattr(one, m) for m in there}
            for one in (self.evaluate_many(weights, split) if there else weights)
        ]
        if wanted:
            data = self.batch(None, split)
            more = measure(self.outputs, data, weights, wanted, self._labels, self._eval_rows)
            found = [one | other for one, other in zip(found, more, strict=True)]
        return found

    def check_metric(self, name: str) -> None:
        """Refuse a metric that is neither this problem's nor registered for its targets.

        Raises:
            InputError: as said.
        """
        if name not in AbstractProblem.metrics:
            metric_for(self._own_metrics, name, self._labels)

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """Return this problem on another device or in another dtype.

        Raises:
            InputError: the device is not there, or dropout draws there what no seed settles.
        """
        target, dtype = torch.device(device or self.device), dtype or self.dtype
        if target == self.device and dtype == self.dtype:
            return self
        if self._noisy is not None:
            dropout_that_trains.check_device(self._noisy, target)
        if target != self.device:
            target = devices.find(target)
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__)
        new.device, new.dtype = target, dtype
        if target != self.device:
            new.convolutions = None  # another may be quicker there
        if "reduction" in new.__dict__:
            new.__dict__["reduction"] = self.reduction.to(target)
        new._stateless = self._stateless.to(target, dtype, self._made.again(self.module))
        new.module = new._stateless.module
        if self._noisy is not None:
            new._noisy = dropout_that_trains.moved(self._noisy, target, dtype, self._made)
        new._splits = {
            name: structure.mapped(lambda t: structure.moved(t, target, dtype), split)
            for name, split in self._splits.items()
        }
        new._function = loss_on(self._function, target, dtype)
        new._loss_of_outputs = self._labels.loss(new._function)
        new._traced, new._compiled = TracedGrads(new.loss), None
        return new

    def in_precision(self, name: str) -> Self:
        """Return this problem as a spec's `dtype` asks for: float32, float64 or bfloat16."""
        autocast = torch.bfloat16 if name == "bfloat16" else None
        moved = self.to(dtype=torch.float32) if autocast else super().in_precision(name)
        if moved._stateless.autocast == autocast:
            return moved
        new = copy.copy(moved)
        new._batchable = moved._runs_batched()  # tried before anything is rounded
        new._stateless = dataclasses.replace(moved._stateless, autocast=autocast)
        if moved._noisy is not None:
            new._noisy = dataclasses.replace(moved._noisy, autocast=autocast)
        new._traced, new._compiled = TracedGrads(new.loss), None
        new.identity = {k: v for k, v in moved.identity.items() if k != "autocast"}
        if autocast:
            new.identity["autocast"] = name
        return new

    def compiled(
        self,
        batch_size: int | None,
        trials: int,
        steps: int,
        settled: bool | None = None,
        backend: str = INDUCTOR,
    ) -> tuple[Self, Compilation]:
        """Do as `AbstractProblem.compiled` says, by a backend of `torch.compile`."""
        if self._noisy is not None:
            return self, Compilation(False, "dropout draws its masks step by step")
        if self._stateless.way == "written":
            return self, Compilation(False, "gradients come by the module's own parameters alone")
        new, together = copy.copy(self), self._compiles_together
        new._compiled, found = decide(
            lambda: CompiledGrads(
                self.loss, *self._like_a_step(batch_size, trials, 0), backend, together=together
            ),
            self.grads,
            self._exact_grads,
            self._like_a_step(batch_size, trials, 1),
            steps,
            settled,
        )
        found = dataclasses.replace(found, ensemble=trials if together else None)
        return (new if found.taken else self), found

    @property
    def _compiles_together(self) -> bool:
        """Whether one compiled program takes a whole ensemble: not on a CPU, where so a trial does
        not depend on the trials beside it."""
        return self.device.type != "cpu" and self.vectorized

    def _like_a_step(self, batch_size: int | None, trials: int, seed: int) -> tuple[Any, Data]:
        """Return weights (K, D) and a batch that lie in memory as those of training do."""
        weights = torch.stack([self.init(seed)] * trials)
        if batch_size is None:
            batch: Data = structure.expanded(self.batch(), trials)
        else:
            count = min(batch_size, self.train_size)
            first = seed * (self.train_size - count)
            rows = torch.arange(first, first + count, device=self.device)
            batch = self.batch(torch.stack([rows] * trials))
        if self._augmentation is not None:
            batch = self._augmentation(batch[0], [seed] * trials), batch[1]
        return weights, batch

    def _exact_grads(self, weights: torch.Tensor, batch: Data) -> tuple[torch.Tensor, torch.Tensor]:
        """Return losses (K,) and gradients (K, D) in float64."""
        loss = self._exact_loss()[1]
        losses, gradients = [], []
        for k, row in enumerate(weights):
            leaf = row.detach().double().requires_grad_()
            value = loss(leaf, structure.row(batch, k))
            losses.append(value.detach())
            gradients.append(torch.autograd.grad(value, leaf)[0])
        return torch.stack(losses), torch.stack(gradients)

    def _exact_loss(self) -> tuple[Stateless, Callable[[torch.Tensor, Batch], torch.Tensor]]:
        """Return the module and the loss of weights (D,) and a batch, in float64."""
        exact, device = torch.float64, self.device
        module = self._made.again(self.module)
        one = dataclasses.replace(self._stateless.to(device, exact, module), autocast=None)
        of_outputs = self._labels.loss(loss_on(self._function, device, exact))

        def loss(leaf: torch.Tensor, batch: Batch) -> torch.Tensor:
            x, y = structure.mapped(lambda t: structure.moved(t, device, exact), batch)
            return one.loss(leaf, x, lambda out: of_outputs(out, y))

        return one, loss

    @torch.no_grad()
    def _own_identity(
        self, loss: str | OutputLoss, eval_rows: int | None, module: Any
    ) -> dict[str, Any]:
        """Return what trials know the problem by where no identity is given.

        The loss of the first rows at the initial weights of seed 0, to the four digits that
        machines agree on, is there besides all that the loss, the initialisation and the module
        (its identity) hold.
        """
        named = itertools.chain(self.module.named_parameters(), self.module.named_buffers())
        constants = {name: t for name, t in named if name not in self.layout.names}
        start = self.init(0)
        rows = self.batch(torch.arange(min(_IDENTITY_ROWS, self.train_size)))
        shape = f"rows of shape {structure.shown(rows[0])}"
        with refused("train", "inputs that the module and the loss take", shape, "They"):
            value = float(self.loss(start, rows))
        own: dict[str, Any] = {
            "name": self.name,
            "kind": "module",
            "loss": loss_name(loss),
            "module": digest([module, self.layout.names, self.layout.shapes]),
            "constants": digest([[n, str(t.dtype), _bits(t)] for n, t in constants.items()]),
            "init": tensor_digest(start, self.init(1)),
            "loss_at_init": f"{value:.3e}",
            "data": tensor_digest(*structure.leaves(tuple(self._splits.values()))),
        }
        if not isinstance(loss, str):
            own["loss_holds"] = digest(identity_of(loss, "loss"))
        if self._init is not None:
            own["init_holds"] = digest(identity_of(self._init, "init"))
        if eval_rows and self.batch_norm:
            own["eval_rows"] = eval_rows
        return own

    def _later_identity(
        self, outputs: Callable[[Any], Any] | None, transform: Transform | None
    ) -> dict[str, Any]:
        """Return what problems have that came later: inputs by name, outputs, further splits, …"""
        own: dict[str, Any] = {}
        shape = structure.names(self._splits["train"])
        if shape != ["", ""]:
            own["fields"] = shape
        if outputs is not None:
            own["outputs"] = [loss_name(outputs), digest(identity_of(outputs, "outputs"))]
        if self._made.running_statistics:
            own["batch_norm"] = "running statistics"
        if transform is not None:
            own["transform"] = digest(identity_of(transform, "transform"))
        if self._splits.keys() - AbstractProblem.splits:
            own["splits"] = list(self._splits)
        return own

    def _split(self, split: str) -> Data:
        self._check_split(split)
        if split not in self._splits:
            raise invalid(
                "split", expected="'train': the problem has no test data", got=repr(split)
            )
        self._watch.check()
        return self._splits[split]

    def _check_split(self, split: str) -> None:
        if split not in self.splits:
            names = " or ".join(map(repr, self.splits))
            raise invalid("split", expected=names, got=repr(split))

    def _is_image(self, split: str) -> bool:
        x = self._splits[split][0]
        return isinstance(x, torch.Tensor) and x.ndim == 4


def _rows(tensor: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """Return `tensor[indices]`; on a CPU ten times faster than by indexing."""
    return tensor.index_select(0, indices.flatten()).unflatten(0, indices.shape)


def _bits(tensor: torch.Tensor) -> str:
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return tensor_digest(np.array(tensor.shape), flat.view(torch.uint8))

"""`trainable`: fine-tuning by a method as what trains a trial.

So every method, in `threshold` and `compare`, is trained by one loop, with the same batches in the
same repeat, at d trained numbers, and its learning rate is searched as any function's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import nn

from subspan.adapters.digests import tensors_digest
from subspan.canonical import digest, tensor_digest
from subspan.errors import InputError, real, unknown, whole
from subspan.problems import structure
from subspan.problems.checks import logits
from subspan.problems.losses import LOSSES, OutputLoss, loss_name
from subspan.problems.rows import as_tensors
from subspan.problems.structure import Tensors
from subspan.streams import scoped_torch_rng, stream
from subspan.trials import function as functions
from subspan.trials.function import FunctionTrainable, RunningTrial
from subspan.tuning import own
from subspan.tuning.counts import Setting, Side
from subspan.tuning.methods import TuningMethod

_MASK = "attention_mask"
_NUMBERS = "numbers"

Rows = tuple[Any, Any]


def trainable(
    method: TuningMethod,
    make: Callable[[int], nn.Module],
    train: Rows,
    splits: dict[str, Rows],
    *,
    max_dim: int,
    steps: int,
    batch_size: int = 32,
    loss: str | OutputLoss = "cross_entropy",
    lr: float | tuple[float, float] = (1e-4, 1e-1),
    lr_unit: Callable[[int], float] | None = None,
    head_lr: float | None = None,
    lr_factors: Mapping[str, float] | None = None,
    side: Side = "at",
    evaluate_every: int | None = None,
    eval_rows: int = 256,
    name: str | None = None,
) -> FunctionTrainable:
    """Return what fine-tunes a module by a method at `trial.dim` trained numbers.

    Adam, whose learning rate falls to 0 in a line. Nothing is trained at d = 0: the module is
    measured as it is. A count that the method cannot make is the outcome `failed`, with the counts
    near it in the reason; `side="below"` trains the nearest count below and reports it.

    Reported at the end, or every so many steps: of each split `loss`, and `accuracy` where targets
    are classes; of training, `loss` over the last quarter of the steps, and `numbers`, how many
    were trained.

    Args:
        method: from `method`.
        make: from a seed to the module to be fine-tuned, the pretrained weights in it; the seed is
            the trial's, for what is drawn anew, as a head.
        train: (inputs, targets), inputs a tensor, a tuple, or a mapping from `forward`'s names.
            Columns that `attention_mask` says no row of a batch uses are cut off at the end.
        splits: the same of what is measured, by name: `"val"` to choose learning rates by,
            `"test"` to report.
        max_dim: the largest d that trials may ask for.
        steps: of training.
        batch_size: rows of a step; passes through the rows have an order of their own.
        loss: as of `Problem`.
        lr: passed on to Adam, a number or the range in which it is searched.
        lr_unit: from d to what multiplies `lr`, where the best one is known to change with d, as
            √(D / d) in a subspace of unit columns; None: 1.
        head_lr: Adam's learning rate for the method's `head`, as it is (no `lr_unit`), which falls
            to 0 in the same way; None: that of the other numbers.
        lr_factors: from a part of a parameter's name to what multiplies its learning rate, as
            `{"lora_B": 16.0}` for LoRA+ (Hayou et al., 2024); the first that fits; not the head's
            where that has a rate of its own.
        side: as of `TuningMethod.nearest`.
        evaluate_every: measure the splits every so many steps, and stop where the goal is met;
            None: at the end alone.
        eval_rows: rows of a batch that is measured.
        name: trials are known by it; None: the method's.

    Raises:
        InputError: rows do not fit, or a number is out of range.
    """
    steps, batch_size = whole("steps", steps, low=1), whole("batch_size", batch_size, low=1)
    if evaluate_every is not None:
        evaluate_every = whole("evaluate_every", evaluate_every, low=1)
    if head_lr is not None:
        head_lr = real("head_lr", head_lr, low=0.0)
    factors = {k: real(f"lr_factors[{k!r}]", v, low=0.0) for k, v in (lr_factors or {}).items()}
    if isinstance(loss, str) and loss not in LOSSES:
        raise unknown("loss", loss, list(LOSSES))
    function = LOSSES[loss] if isinstance(loss, str) else loss
    rows = _rows(train, "train")
    measured = {key: _rows(value, key) for key, value in splits.items()}
    unit = lr_unit or (lambda _: 1.0)
    settings: dict[int, Setting] = {}  # counted once: the seed changes no shape

    def groups(module: nn.Module, rate: float) -> list[dict[str, Any]]:
        trained = {n: p for n, p in module.named_parameters() if p.requires_grad}
        of_head = {n for n in trained if any(own.within(n, part) for part in method.head)}
        for part in factors:
            if not any(part in n for n in trained):
                raise unknown("lr_factors", part, sorted(trained))
        rates = {n: rate * next((f for k, f in factors.items() if k in n), 1.0) for n in trained}
        if head_lr is not None:
            rates |= dict.fromkeys(of_head, head_lr)
        alike: dict[float, list[nn.Parameter]] = {}
        for n, own_rate in rates.items():
            alike.setdefault(own_rate, []).append(trained[n])
        return [{"params": some, "lr": own_rate} for own_rate, some in alike.items()]

    def loop(trial: RunningTrial) -> dict[str, float]:
        module = make(trial.seed)
        if not trial.dim:
            return {_NUMBERS: 0.0, **_measure(module, measured, function, eval_rows)}
        if trial.dim not in settings:
            settings[trial.dim] = method.nearest(module, trial.dim, side)
        setting = settings[trial.dim]
        module = method.apply(module, setting, trial.seed)
        assert trial.lr is not None
        rate, step, tail = trial.lr * unit(setting.numbers), 0, math.nan
        with scoped_torch_rng(trial.seed, "tuning", "training"):
            for step, tail in _training(  # noqa: B007
                module, rows, function, groups(module, rate), steps, batch_size, trial.seed
            ):
                if step < steps and evaluate_every and step % evaluate_every == 0:
                    found = _measure(module, measured, function, eval_rows)
                    if trial.report(found, step=step):
                        break
        found = _measure(module, measured, function, eval_rows)
        trial.report({"loss": tail, _NUMBERS: float(setting.numbers), **found}, step=step)
        return {}

    identity = digest(
        [
            [method.name, method.targets, method.head, sorted(map(repr, method.options.items()))],
            [steps, batch_size, loss_name(loss), side, evaluate_every],
            [None if lr_unit is None else unit(d) for d in (1, 1000)],
            tensors_digest({k: v for k, v in make(0).state_dict().items()}),
            {key: tensor_digest(*_flat(value)) for key, value in measured.items()},
            tensor_digest(*_flat(rows)),
            _peft_version(method),
            # other keys stay as they were
            *([] if head_lr is None else [["head_lr", head_lr]]),
            *([] if not factors else [["lr_factors", list(factors.items())]]),
        ]
    )
    made = functions.trainable(
        name=name or method.name, max_dim=max_dim, version=identity[:16], lr=lr
    )
    return made(loop)


def _training(
    module: nn.Module,
    rows: tuple[Tensors, Tensors],
    loss: OutputLoss,
    groups: list[dict[str, Any]],
    steps: int,
    batch_size: int,
    seed: int,
) -> Iterator[tuple[int, float]]:
    """Yield after each step its number and the mean loss over the last quarter so far."""
    optimizer = torch.optim.Adam(groups)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: 1 - done / steps)
    draws = stream(seed, "tuning", "batches")
    queue: list[int] = []
    tail: list[float] = []
    x, y = rows
    for step in range(1, steps + 1):
        while len(queue) < batch_size:
            queue += draws.permutation(structure.row_count(y)).tolist()
        picked, queue = torch.tensor(queue[:batch_size]), queue[batch_size:]
        module.train()
        value = loss(_outputs(module, _taken(x, picked)), _taken(y, picked))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        schedule.step()
        if 4 * step > 3 * steps:
            tail.append(float(value.detach()))
        yield step, sum(tail) / len(tail) if tail else float(value.detach())


@torch.no_grad()
def _measure(
    module: nn.Module,
    splits: dict[str, tuple[Tensors, Tensors]],
    loss: OutputLoss,
    eval_rows: int,
) -> dict[str, float]:
    module.eval()
    found = {}
    for name, (x, y) in splits.items():
        total, hits, count = 0.0, 0, structure.row_count(y)
        classes = isinstance(y, torch.Tensor) and y.ndim == 1 and not y.is_floating_point()
        for picked in _by_length(x, count).split(eval_rows):
            out, target = _outputs(module, _taken(x, picked)), _taken(y, picked)
            total += float(loss(out, target)) * len(picked)
            if classes:
                hits += int((out.argmax(1) == target).sum())
        found[f"{name}:loss"] = total / count
        if classes:
            found[f"{name}:accuracy"] = hits / count
    return found


def _outputs(module: nn.Module, x: Tensors) -> Any:
    return logits(structure.call(module, x))


def _by_length(x: Tensors, count: int) -> torch.Tensor:
    """The order of rows in which those of like length are together."""
    if isinstance(x, dict) and _MASK in x:
        return x[_MASK].sum(1).argsort(stable=True)
    return torch.arange(count)


def _taken(value: Tensors, picked: torch.Tensor) -> Any:
    """Some rows, less the columns at the end that none of them uses."""
    found = structure.mapped(lambda t: t[picked], value)
    if not (isinstance(found, dict) and _MASK in found):
        return found
    mask = found[_MASK]
    used = mask.any(0).nonzero()
    length = int(used.max()) + 1 if len(used) else mask.shape[1]
    return {k: v[:, :length] if v.shape[:2] == mask.shape else v for k, v in found.items()}


def _rows(split: Rows, name: str) -> tuple[Tensors, Tensors]:
    if not (isinstance(split, tuple | list) and len(split) == 2):
        raise InputError(f"{name}: expected (inputs, targets), got {type(split).__name__}.")
    x, y = (as_tensors(part, f"{name} {kind}") for part, kind in zip(split, _PARTS, strict=True))
    counts = structure.row_count(x), structure.row_count(y)
    if counts[0] != counts[1] or not counts[0]:
        raise InputError(f"{name}: expected as many targets as inputs, got {counts}.")
    return x, y


_PARTS = ("inputs", "targets")


def _flat(rows: tuple[Tensors, Tensors]) -> list[torch.Tensor]:
    return [*structure.leaves(rows[0]), *structure.leaves(rows[1])]


def _peft_version(method: TuningMethod) -> str | None:
    if method.facts.config is None:
        return None
    import peft

    return str(peft.__version__)

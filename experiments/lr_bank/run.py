"""Banks of real trials over (d, lr): what a design that chooses both is tried on.

Every trial is trained to the end, so that any goal, and any early stop, can be replayed from its
curve. The learning rate is lr = ρ·‖w₀‖/√d at the same nine ρ for every d. Trials are kept in a
store beside the bank, so the same command goes on where it was cut off.

    nice python experiments/lr_bank/run.py digits-mlp --out /tmp/banks
    nice python experiments/lr_bank/run.py mnist-mlp --out /tmp/banks --data-dir data/mnist
    nice python experiments/lr_bank/run.py cifar10-lenet --out /tmp/banks --data-dir data/cifar10
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

import subspan as ss
from subspan.problems import data, models, resnet
from subspan.subspaces.registry import parse_method
from subspan.trials.runner import TrialRunner

RHOS = tuple(0.0125 * 2**k for k in range(9))  # .0125 … 3.2


@dataclass(frozen=True)
class Bank:
    """What is trained: a loader of the problem, dims, repeats (some at once), and the training."""

    load: Callable[[str | None], ss.Problem]
    dims: tuple[int, ...]
    repeats: int
    together: int = 1
    spec: ss.TrainSpec | None = None


def _digits(_: str | None) -> ss.Problem:
    return ss.problems.load("digits-mlp")


def _images(
    source: str,
    make: Callable[[], torch.nn.Module],
    rows: int,
    data_dir: str | None,
    eval_rows: int | None = None,
) -> ss.Problem:
    """The registered problem's training rows without its test split, which costs more here."""
    train, _ = data.centred(data.images(source, data_dir), rows)
    init = models.lecun_normal(make)
    return ss.Problem(make, train, name=f"{source}-bank", init=init, eval_rows=eval_rows)


class LeNet(torch.nn.Sequential):
    """The network of PyTorch's tutorial on CIFAR-10; D = 62,006."""

    def __init__(self) -> None:
        nn = torch.nn
        super().__init__(
            *(nn.Conv2d(3, 6, 5), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
            *(nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
        )


_MLP = partial(models.mlp, 784, 200, 200, 10)
_CONV2 = partial(models.conv_net, models.CONV_CHANNELS["conv2"], (1, 28, 28), 10)
_RESNET20 = partial(resnet.resnet20, (3, 32, 32), 10)


def _four(epochs: int) -> ss.TrainSpec:
    return ss.TrainSpec(epochs=epochs, batch_size=128, schedule="linear")


BANKS = {
    "digits-mlp": Bank(
        _digits, (8, 16, 32, 48, 64, 96, 128, 192, 256, 512, 1024, 2410), 8, together=4
    ),
    "mnist-mlp": Bank(
        partial(_images, "mnist", _MLP, 5000),
        (32, 100, 200, 400, 800, 1600, 6400, 65536),
        repeats=4,
        spec=_four(4),
    ),
    "mnist-conv2": Bank(
        partial(_images, "mnist", _CONV2, 3000),
        (16, 64, 128, 256, 512, 1024, 4096, 16384),
        repeats=4,
        spec=_four(4),
    ),
    "cifar10-lenet": Bank(
        partial(_images, "cifar10", LeNet, 5000),
        (512, 768, 1024),
        repeats=2,
        spec=_four(8),
    ),
    "cifar10-resnet20": Bank(
        lambda data_dir: _images("cifar10", _RESNET20, 500, data_dir, eval_rows=500),
        (256, 768, 2304),
        repeats=2,
        spec=ss.TrainSpec(epochs=5, batch_size=50, schedule="linear"),
    ),
    # Where its accuracy still grows with d and trials scatter little.
    "cifar10-resnet20-2000": Bank(
        lambda data_dir: _images("cifar10", _RESNET20, 2000, data_dir, eval_rows=1000),
        (512, 1024, 2048),
        repeats=2,
        spec=ss.TrainSpec(epochs=5, batch_size=64, schedule="linear", dtype="bfloat16"),
    ),
}


def training_parser(description: str) -> argparse.ArgumentParser:
    """Return a parser of what every script takes that trains a bank's problem into a store."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("name", choices=list(BANKS))
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--data-dir")
    return parser


def loaded(options: argparse.Namespace) -> tuple[ss.Problem, ss.TrainSpec]:
    """Return the problem that was named, and its training; one thread from here on."""
    torch.set_num_threads(1)
    bank = BANKS[options.name]
    problem = bank.load(options.data_dir)
    return problem, bank.spec or problem.default_spec


def main() -> None:
    """Train what the store does not hold yet, and write the bank."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=list(BANKS))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data-dir")
    parser.add_argument("--dims", type=int, nargs="+", help="some of them, not all")
    parser.add_argument("--places", type=int, nargs="+", help="of the grid of rho, from 0; not all")
    options = parser.parse_args()
    torch.set_num_threads(1)
    bank = BANKS[options.name]
    bank = replace(bank, dims=tuple(options.dims or bank.dims))
    places = options.places or range(len(RHOS))
    rhos = [RHOS[place] for place in places]
    problem = bank.load(options.data_dir)
    spec = bank.spec or problem.default_spec
    norm = float(problem.init(0).norm())
    options.out.mkdir(parents=True, exist_ok=True)
    curves: dict[tuple[int, int, int], list[tuple[float, float]]] = {}
    with TrialRunner(problem, store=options.out / f"{options.name}.db", workers=1) as runner:
        # All cells before more repeats: what is there is a bank at any time.
        for first in range(0, bank.repeats, bank.together):
            repeats = range(first, first + bank.together)
            for dim in bank.dims:
                for k, rho in enumerate(rhos):
                    chosen = spec.replace(lr=rho * norm / math.sqrt(dim))
                    plan = [(dim, repeat) for repeat in repeats]
                    records = runner.run(parse_method("random"), plan, spec=chosen, seed=0)
                    for repeat, record in zip(repeats, records, strict=True):
                        points = [(p.train_loss, p.train_accuracy) for p in record.curve]
                        curves[dim, k, repeat] = points
            path = options.out / f"{options.name}.npz"
            _write(path, bank, rhos, problem, norm, curves, repeats.stop)
            print(f"{options.name}: {repeats.stop} of {bank.repeats} repeats", flush=True)


def _write(
    path: Path,
    bank: Bank,
    rhos: list[float],
    problem: ss.Problem,
    norm: float,
    curves: dict[tuple[int, int, int], list[tuple[float, float]]],
    repeats: int,
) -> None:
    """Write loss and accuracy at each evaluation, (dim, ρ, repeat, evaluation), NaN once diverged.

    Best values to date are what goals read, and compress well.
    """
    points = max(len(curve) for curve in curves.values())
    shape = (len(bank.dims), len(rhos), repeats, points)
    loss, accuracy = np.full(shape, np.nan), np.full(shape, np.nan)
    for i, dim in enumerate(bank.dims):
        for k in range(len(rhos)):
            for r in range(repeats):
                curve = np.array(curves[dim, k, r]).reshape(-1, 2)
                loss[i, k, r, : len(curve)] = np.minimum.accumulate(curve[:, 0])
                accuracy[i, k, r, : len(curve)] = np.maximum.accumulate(curve[:, 1])
    temporary = path.with_suffix(".tmp.npz")
    np.savez_compressed(
        temporary,
        dims=np.array(bank.dims),
        rhos=np.array(rhos),
        ambient_dim=problem.ambient_dim,
        norm=norm,
        loss=loss.astype(np.float32),
        accuracy=accuracy.astype(np.float32),
    )
    temporary.replace(path)


if __name__ == "__main__":
    main()

"""Does a lottery subspace found from one initialisation serve another, and better than a random?

A lottery subspace of the official code (unit columns of momentum SGD's differences) is searched
from every initialisation. Each is trained from in its own subspace, in that of the next
initialisation, and in a random one, with the same order of batches. Of two learning rates the one
with the higher training accuracy counts; what is told is test accuracy.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from subspan.comparison.paired import mean_interval
from subspan.estimate import Estimate
from subspan.problems.base import AbstractProblem
from subspan.report.figure import SERIES
from subspan.reproduction import Lab, Step, Trials
from subspan.spec import TrainSpec
from subspan.subspaces.base import Draw, Method
from subspan.subspaces.lottery_subspace import LotterySubspace
from subspan.subspaces.random_affine import RandomAffine
from subspan.subspaces.saved import SavedSubspace, save_subspace
from subspan.trials.trial import TrialRecord

KINDS = OWN, OTHER, RANDOM = "own subspace", "another's subspace", "random subspace"
# Reference: the official fork's log, 3 epochs of MNIST, mean of 5 seeds: own, another's.
REFERENCE = {8: (0.890, 0.574), 32: (0.974, 0.800), 128: (0.986, 0.885), 512: (0.969, 0.948)}
OFFICIAL, RHO, NORM = 0.05, 0.4, 7.6  # lr, or ρ = lr·√d/‖w₀‖ of random subspaces at their best
RATES = {"lr = 0.05": lambda dim: OFFICIAL, "ρ = 0.4": lambda dim: RHO * NORM / dim**0.5}
CONFIDENCE = 0.95
# A tenth of the rows and of the search's steps, so as many epochs as the reference: 22 and 3.
SCALES: dict[str, dict[str, Any]] = {
    "cpu": {"subset": 6000, "every": 2, "starts": 5, "dims": (8, 32, 128, 512)},
    "full": {"subset": None, "every": 5, "starts": 5, "dims": (8, 32, 128, 512, 1024, 2048)},
}


def steps(lab: Lab) -> Iterator[Step]:
    """The searches; then, for each initialisation, its trials."""
    for start in range(lab["starts"] + 1):
        yield Step(f"search from initialisation {start}", lambda start=start: _donor(lab, start))
    for start in range(lab["starts"]):
        for rate in RATES:
            for kind in KINDS:
                yield Step(
                    f"{kind} from initialisation {start}, {rate}",
                    lambda start=start, rate=rate, kind=kind: _trials(lab, kind, start, rate),
                )


def numbers(trials: Trials) -> dict[str, Estimate]:
    """Mean test accuracy of each, and the differences within an initialisation."""
    found: dict[str, Estimate] = {}
    cells = _cells(trials)
    for (kind, dim, rate), records in cells.items():
        found[f"{kind}, d = {dim}, {rate}"] = _mean(_tested(records))
    for dim in sorted({dim for _, dim, _ in cells}):
        best = {kind: _tested(_best(cells, kind, dim)) for kind in KINDS}
        for one, other in ((OWN, OTHER), (OTHER, RANDOM)):
            away = {start: best[one][start] - best[other][start] for start in best[one]}
            found[f"{one} minus {other}, d = {dim}"] = _mean(away, -1.0)
    return found


def draw(trials: Trials) -> Figure:
    """Accuracy over d, each at its better rate, and the reference."""
    figure = Figure(figsize=(6.8, 4.4), layout="constrained")
    axes, cells = figure.subplots(), _cells(trials)
    dims = sorted({dim for _, dim, _ in cells})
    for i, kind in enumerate(KINDS):
        line = [_mean(_tested(_best(cells, kind, dim))) for dim in dims]
        shift = [dim * 1.05 ** (i - 1) for dim in dims]
        axes.vlines(shift, [e.low for e in line], [e.high for e in line], SERIES[i])
        axes.plot(shift, [e.value for e in line], "o-", color=SERIES[i], label=kind)
        if kind != RANDOM:
            values = [both[i] for both in REFERENCE.values()]
            label = f"{kind}, official fork, all rows"
            axes.plot(list(REFERENCE), values, "x:", color=SERIES[i], label=label)
    axes.set(xscale="log", xlabel="d", ylabel="test accuracy", ylim=(0, 1))
    axes.set_xticks(dims, [f"{dim:,}" for dim in dims])
    axes.set_xticks([], minor=True)
    axes.grid(linewidth=0.4)
    axes.legend(fontsize=8, loc="lower right")
    return figure


def _problem(lab: Lab) -> AbstractProblem:
    return lab.load("mnist-conv2", subset=lab["subset"])


def _donor(lab: Lab, start: int) -> Path:
    """The file of the subspace that an initialisation's search found."""
    path = lab.store.with_suffix(f".donor-{start}.safetensors")
    if not path.exists():
        problem, most = _problem(lab), max(lab["dims"])
        method = LotterySubspace(most, lab["every"], coordinates="unit")
        found = method.subspaces(problem, [Draw(most, start, 0)])[0]
        unfinished = path.with_suffix(".new")
        save_subspace(found, unfinished, problem)
        unfinished.replace(path)
    return path


def _trials(lab: Lab, kind: str, start: int, rate: str) -> None:
    problem = _problem(lab)
    method: Method = RandomAffine()
    if kind != RANDOM:
        donor = start if kind == OWN else start + 1
        method = SavedSubspace(_donor(lab, donor), transfer=kind == OTHER)
    for dim in lab["dims"]:
        lr = float(f"{RATES[rate](dim):.2g}")
        spec = TrainSpec(lr=lr, epochs=3, batch_size=128, schedule="linear", eval_every=10**6)
        lab.run(problem, method=method, dims=[dim], repeats=1, spec=spec, seed=start)


Cells = dict[tuple[str, int, str], dict[int, TrialRecord]]


def _cells(trials: Trials) -> Cells:
    """The trial of each initialisation, by kind, d and learning rate."""
    found: Cells = {}
    for experiment in trials.experiments:
        method = experiment.experiment.method
        kind = RANDOM if method["name"] == "random" else OTHER if method["transfer"] else OWN
        rate = list(RATES)[experiment.lr != OFFICIAL]
        for record in experiment.records:
            found.setdefault((kind, record.dim, rate), {})[record.trial.seed] = record
    return {key: found[key] for key in sorted(found, key=lambda k: (KINDS.index(k[0]), *k[1:]))}


def _best(cells: Cells, kind: str, dim: int) -> dict[int, TrialRecord]:
    """The trials at the learning rate whose mean training accuracy is higher."""

    def trained(records: dict[int, TrialRecord]) -> float:
        return sum(record.final("accuracy", "train") for record in records.values())

    return max((cells[kind, dim, rate] for rate in RATES), key=trained)


def _tested(records: dict[int, TrialRecord]) -> dict[int, float]:
    """Test accuracy at the end, by initialisation."""
    return {start: record.final("accuracy", "test") for start, record in records.items()}


def _mean(values: dict[int, float], least: float = 0.0) -> Estimate:
    """The mean, with Student's interval over initialisations, as far as it lies in [least, 1]."""
    value, low, high = mean_interval(list(values.values()), CONFIDENCE)
    return Estimate(value, max(low, least), min(high, 1.0), CONFIDENCE, len(values))

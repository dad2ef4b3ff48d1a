"""`subspan experiment`: one of the paper's experiments or ours, trained or checked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from subspan.cli import options
from subspan.cli.console import cell, print_json, print_table, say, watch
from subspan.errors import StoreError, invalid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from subspan.estimate import Estimate
    from subspan.reproduction import Deviation, ExperimentFolder


def command(
    name: Annotated[
        str | None, typer.Argument(help="An experiment; without one, all are listed.")
    ] = None,
    scale: Annotated[
        str,
        typer.Option(help="cpu (at most two hours on two cores) or full (the paper's setting)."),
    ] = "cpu",
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Hold the committed trials against expected.json, without training."
        ),
    ] = False,
    accept: Annotated[
        bool,
        typer.Option("--accept", help="Take what was trained as what is expected from now on."),
    ] = False,
    folder: Annotated[Path, typer.Option(help="The folder of the experiments.")] = Path(
        "experiments"
    ),
    data_dir: options.DataDir = None,
    device: options.Device = None,
    workers: options.Workers = None,
    json: options.Json = False,
) -> None:
    """Train one of the experiments and hold its numbers against what is expected of them."""
    from subspan import reproduction

    if name is None and not check:
        _list(folder, json)
        return
    if name is None:
        found = [reproduction.find(one, folder) for one in reproduction.names(folder)]
        found = found or [reproduction.find("", folder)]
    else:
        found = [reproduction.find(name, folder)]
    if check:
        _check(found, json)
        return
    _train(found[0], scale, accept, data_dir, device, workers, json)


def _list(folder: Path, json: bool) -> None:
    from subspan import reproduction

    every = [reproduction.find(one, folder) for one in reproduction.names(folder) or [""]]
    rows = [{"name": e.name, "question": e.question, "run": e.trials.exists()} for e in every]
    if json:
        print_json(rows)
        return
    print_table(
        ("name", "run", "question"),
        ([row["name"], "yes" if row["run"] else "not run", row["question"]] for row in rows),
    )


def _train(
    experiment: ExperimentFolder,
    scale: str,
    accept: bool,
    data_dir: Path | None,
    device: str | None,
    workers: int | None,
    json: bool,
) -> None:
    from subspan import reproduction
    from subspan.problems import devices
    from subspan.report.figure import save_figure
    from subspan.reproduction import bands
    from subspan.reproduction.trials import export
    from subspan.trials.stores.registry import open_store

    settings = experiment.settings(scale)
    if device is not None:
        devices.find(device)
    if accept and scale != "cpu":
        raise invalid("--accept", expected="the scale cpu", got=repr(scale))
    work = experiment.work(scale)
    options.check_folder("--folder", experiment.path)
    with watch(work) as progress:
        running = {"progress": progress, **options.given(workers=workers)}
        lab = reproduction.Lab(scale, settings, work, data_dir, running, device)
        cost = reproduction.train(experiment, lab, progress)
    with open_store(work, readonly=True) as opened:
        trials = reproduction.Trials(opened)
    numbers = experiment.module.numbers(trials)
    if accept:
        export(work, experiment.trials)
        bands.write(experiment.expected, bands.to_json(numbers, cost))
        drawn = save_figure(experiment.module.draw(trials), experiment.figure)
    else:
        drawn = save_figure(experiment.module.draw(trials), work.with_suffix(""))
    wrong = (
        reproduction.deviations(numbers, experiment.read_expected())
        if experiment.expected.exists() and scale == "cpu"
        else []
    )
    if json:
        print_json(
            {
                "experiment": experiment.name,
                "scale": scale,
                "numbers": {n: e.to_json() for n, e in numbers.items()},
                "deviations": [{"name": d.name, "why": d.why} for d in wrong],
                "figures": drawn,
                "store": work,
            }
        )
    else:
        _print(numbers)
        say(f"trials in {work}, figure {drawn[0]}")
    _refuse(experiment, wrong, not json)


def _check(found: list[ExperimentFolder], json: bool) -> None:
    from subspan import reproduction
    from subspan.trials.stores.sql import Store

    rows = []
    for experiment in found:
        if not experiment.trials.exists():
            raise StoreError(
                f"{experiment.name}: expected trials in trials.db, got none. `subspan experiment "
                f"{experiment.name} --accept` makes them."
            )
        with Store(experiment.trials, readonly=True) as opened:
            bad = [reproduction.Deviation(key, why) for key, why in opened.damaged()]
            numbers = experiment.module.numbers(reproduction.Trials(opened)) if not bad else {}
        wrong = bad or reproduction.deviations(numbers, experiment.read_expected())
        rows.append((experiment, numbers, wrong))
    if json:
        print_json(
            [
                {
                    "experiment": e.name,
                    "numbers": {n: value.to_json() for n, value in numbers.items()},
                    "deviations": [{"name": d.name, "why": d.why} for d in wrong],
                }
                for e, numbers, wrong in rows
            ]
        )
    for experiment, numbers, wrong in rows:
        if not json and not wrong:
            say(f"{experiment.name}: {len(numbers)} numbers, all as expected")
    for experiment, _, wrong in rows:
        _refuse(experiment, wrong, not json)


def _print(numbers: dict[str, Estimate]) -> None:
    rows = [[n, cell(e.value), cell(e.low), cell(e.high), e.status] for n, e in numbers.items()]
    print_table(("number", "value", "low", "high", "status"), rows)


def _refuse(experiment: ExperimentFolder, wrong: Sequence[Deviation], shown: bool) -> None:
    if not wrong:
        return
    if shown:
        for deviation in wrong:
            say(f"{deviation.name}: {deviation.why}")
    raise StoreError(f"{experiment.name}: {len(wrong)} numbers are not what is expected.")

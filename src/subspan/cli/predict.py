"""`subspan predict`: what curvature and the cone say of d*, without training in any subspace."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from subspan.cli import options
from subspan.cli.console import cell, complain, noting, print_json, print_pairs, say
from subspan.cli.target import load_problem

if TYPE_CHECKING:
    from subspan.goals import Goal
    from subspan.success import ThresholdEstimate
    from subspan.theory import ConeEstimate, Prediction

_SMALL = 100_000  # weights; below it threads cost more time than they save


def command(
    problem: options.ProblemName,
    goal: Annotated[
        str,
        typer.Option(
            help="loss<=LEVEL on the training set; other goals are predicted at the training loss "
            "at which training in full space meets them."
        ),
    ],
    seed: options.Seed = 0,
    directions: Annotated[int, typer.Option(help="Directions of the cone search.")] = 6,
    steps: Annotated[int, typer.Option(help="Steps of the cone search.")] = 1000,
    rows: Annotated[
        int | None, typer.Option(help="Measure on that many random training rows.")
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            "--store",
            help="Where the predictions are noted, beside trials that are laid over them in the "
            "figure. What is noted is not computed again.",
        ),
    ] = None,
    json: options.Json = False,
    figure: options.FigureStem = None,
    data_dir: options.DataDir = None,
    subset: options.Subset = None,
    device: options.Device = None,
) -> None:
    """Predict d* from the geometry of the loss: curvature, the cone, Gordon's theorem."""
    import torch

    import subspan
    from subspan.errors import InputError, whole
    from subspan.theory import cone_threshold, predict_threshold

    options.check_figure(figure)
    directions, steps = whole("directions", directions, low=2), whole("steps", steps, low=1)
    rows = None if rows is None else whole("rows", rows, low=1)
    wanted = subspan.parse_goal(goal)
    loaded = load_problem(problem, data_dir, subset, device)
    loaded.check_metric(wanted.metric)
    if loaded.ambient_dim < _SMALL:
        torch.set_num_threads(1)
    with noting(store):
        measured = None if store is None else from_store(store, loaded.identity, wanted)
        complain("curvature: one training run in full space, then Lanczos, unless it is noted …")
        prediction = predict_threshold(loaded, wanted, seed, rows=rows, store=store)
        complain("cone: the smallest angles between random directions and the sub-level set …")
        try:
            cone = cone_threshold(
                loaded,
                prediction.goal,
                seed,
                directions=directions,
                steps=steps,
                rows=rows,
                store=store,
            )
        except InputError:  # not without saying what curvature found
            complain(f"curvature: {_centre(prediction)}, {prediction.status}")
            raise
    certified = {form: cone.certified_miss_dim(form) for form in ("gordon", "sharp", "polar")}
    drawn = draw(prediction, cone, measured, figure)
    if json:
        print_json(
            {
                **_plain(prediction),
                "cone": {**cone.to_json(), "at_90_percent": cone.at_delta()},
                "certified_miss": certified,
                "measured": None if measured is None else measured.to_json(),
                "figures": drawn,
            }
        )
        return
    at = prediction.at_goal
    say(f"{problem}, {wanted}, D = {loaded.ambient_dim:,}")
    print_pairs(
        ("curvature", f"{_centre(prediction)}  {prediction.curvature} well, {prediction.status}"),
        *(("", f"  ({note})") for note in at.notes),
        ("cone", f"{_centre(cone)}  estimates the geometric lower bound; {cone.status}"),
        ("", f"  (by starting radius: {', '.join(f'{v:.4g}' for v in cone.by_radius)})"),
        *(
            (name, _certified(certified[form], cone, condition))
            for name, form, condition in (
                ("Gordon", "gordon", "if the search found the width"),
                ("sharp", "sharp", "likewise, with sharper constants"),
                ("polar", "polar", "if the cone is convex and its angles found"),
            )
        ),
        ("measured", None if measured is None else f"{_band(measured)}  {_training(measured)}"),
        ("", measured.remark or None if measured is not None else None),
        ("figure", ", ".join(map(str, drawn)) or None),
        ("noted in", store),
    )


def from_store(store: str, identity: dict[str, Any], goal: Goal) -> ThresholdEstimate | None:
    """Return what a store's trials say of the random subspace, which a prediction is about.

    As a report has it: at the best learning rate where that was searched, else of the trials of
    one learning rate that settle it best. Other methods start or span elsewhere.
    """
    from subspan.report.noted import measured_at
    from subspan.report.stored import experiments
    from subspan.success.noted import noted
    from subspan.trials.stores.registry import open_store

    with open_store(store, readonly=True) as opened:
        told = measured_at(identity, goal, experiments(opened), tuple(noted(opened)))
    if not told:
        complain(
            f"{store}: no trials of this problem that tell d* for {goal} in a random subspace; "
            "predictions alone."
        )
    return told[0] if told else None


def draw(
    prediction: Prediction,
    cone: ConeEstimate,
    measured: ThresholdEstimate | None,
    stem: Path | None,
) -> list[Path]:
    """Draw the predictions on one axis where a figure is wanted; return the files."""
    if stem is None:
        return []
    from subspan.report.figure import save_figure
    from subspan.report.prediction import draw_prediction, prediction_data

    return save_figure(draw_prediction(prediction_data(prediction, cone, measured)), stem)


def _plain(prediction: Prediction) -> dict[str, Any]:
    at = prediction.at_goal
    return {
        "goal": str(prediction.asked),
        "level": prediction.goal.level,
        "value": prediction.value,
        "low": prediction.low,
        "high": prediction.high,
        "at_90_percent": prediction.at_delta(),
        "status": prediction.status,
        "notes": list(at.notes),
        "ambient_dim": prediction.ambient_dim,
        "curvature": prediction.curvature,
        "formula": prediction.formula,
        "center_loss": at.center_loss,
        "distance": at.distance,
        "negative_mass": at.negative_mass,
        "initial_loss": prediction.initial_loss,
    }


def _training(measured: ThresholdEstimate) -> str:
    optimizer = "" if measured.experiment is None else f"{measured.experiment.spec['optimizer']}, "
    rate = "" if measured.lr is None else f"at the best learning rate, {measured.lr:.2g}, "
    return f"{optimizer}{rate}{measured.status}, {measured.trials} trials"


def _band(estimate: Any) -> str:
    return f"d* ≈ {_whole(estimate.value)}  [{_whole(estimate.low)}, {_whole(estimate.high)}]"


def _certified(dim: int | None, cone: ConeEstimate, condition: str) -> str:
    if dim is None and cone.ok:
        return "no certificate: each direction has initial weights of its own"
    if dim is None:
        return "no certificate: the cone search is not to be trusted that far"
    return f"d ≤ {dim} misses, {condition}" if dim else "certifies no miss"


def _centre(estimate: Prediction | ConeEstimate) -> str:
    """Say the transition's centre, with its band, and the d of 90 % success."""
    if estimate.value is None:
        return "no estimate"
    low, high = _whole(estimate.low), _whole(estimate.high)
    return f"centre {_whole(estimate.value)} [{low}, {high}], 90 % at {_whole(estimate.at_delta())}"


def _whole(value: float | None) -> str:
    return cell(None if value is None else round(value))

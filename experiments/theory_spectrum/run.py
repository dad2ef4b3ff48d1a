"""Spectra of digits-mlp: Hessian and Gauss–Newton matrix at w₀ and where its wells are centred.

Stochastic Lanczos quadrature, held against the dense spectra: D = 2,410 is small enough for both.

    python experiments/theory_spectrum/run.py       # writes spectrum.png and results.json
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import torch

import subspan as ss
from subspan.report.figure import save_figure
from subspan.report.spectrum import draw_spectrum, spectrum_data
from subspan.streams import derive
from subspan.theory.curvature import gauss_newton, hessian
from subspan.theory.lanczos import Operator, density_measures
from subspan.theory.path import mean_loss, training_path

SEED, LEVEL, PROBES, STEPS = 0, 0.1, 8, 160
CUTS = [1e-4, 1e-3, 1e-2, 1e-1]


def dense(operator: Operator) -> np.ndarray:
    """Return all eigenvalues, from D products."""
    eye = torch.eye(operator.dim, dtype=operator.dtype)
    matrix = torch.cat([operator(rows) for rows in eye.split(64)]).double()
    return torch.linalg.eigvalsh(0.5 * (matrix + matrix.T)).numpy()


def summary(values: np.ndarray, weights: np.ndarray) -> dict[str, object]:
    negative = -float(np.minimum(values, 0) @ weights)
    return {
        "largest": round(float(values.max()), 3),
        "smallest": round(float(values.min()), 4),
        "trace": round(float(values @ weights), 3),
        "negative share": abs(round(negative / float(np.abs(values) @ weights), 4)),
        "eigenvalues above": {f"{c:g}": round(float(weights[values > c].sum()), 1) for c in CUTS},
    }


def main() -> None:
    torch.set_num_threads(1)
    start = time.process_time()
    here = Path(__file__).parent
    problem = ss.problems.load("digits-mlp")
    w0 = problem.init(derive(SEED, "init", 0))
    center = training_path(problem, w0, [LEVEL / 4], SEED)[LEVEL / 4].weights
    operators = {
        "Hessian at w₀": hessian(problem, w0),
        "Hessian at loss 0.025": hessian(problem, center),
        "Gauss–Newton at loss 0.025": gauss_newton(problem, center),
    }
    measures = {k: density_measures(op, PROBES, STEPS, SEED) for k, op in operators.items()}
    results: dict[str, object] = {
        "command": "python experiments/theory_spectrum/run.py",
        "seed": SEED,
        "problem": problem.name,
        "ambient_dim": problem.ambient_dim,
        "loss at w0": round(mean_loss(problem, w0, None), 4),
        "loss at the centre": round(mean_loss(problem, center, None), 5),
        "probes": PROBES,
        "lanczos_steps": STEPS,
    }
    for name, operator in operators.items():
        nodes = np.concatenate([n for n, _ in measures[name]])
        weights = np.concatenate([w for _, w in measures[name]]) / PROBES
        values = dense(operator)
        results[name] = {
            "lanczos": summary(nodes, weights),
            "dense": summary(values, np.ones_like(values)),
        }
    note = f"{problem.name}, {PROBES} probes of {STEPS} Lanczos steps, seed {SEED}"
    figure = draw_spectrum(spectrum_data(measures), "Curvature of digits-mlp", note)
    save_figure(figure, here / "spectrum", ("png",))
    results["cpu_seconds"] = round(time.process_time() - start, 1)
    (here / "results.json").write_text(
        json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    print(json.dumps(results, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()

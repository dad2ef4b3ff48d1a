"""digits-mlp on the settings of earlier work: where are losses 1.0, 0.5 and 0.25 reached?

The first 1,000 rows, standardised, full batch, 600 Adam steps at 0.05 decaying linearly to 0,
Gaussian map. Earlier work found d = 64–70, ≈ 96 and ≈ 128, by eye. The problem's defaults differ:
1,437 rows, centred but not standardised, batches of 128, 50 epochs (550 steps).

    python experiments/digits_levels/run.py
"""

from __future__ import annotations

import json
from pathlib import Path

import subspan as ss

HERE = Path(__file__).parent
EARLIER = {1.0: "64–70", 0.5: "96", 0.25: "128"}


def main() -> None:
    problem = ss.problems.load("digits-mlp", subset=1000, standardize=True)
    spec = ss.TrainSpec(lr=0.05, steps=600, batch_size=None, schedule="linear", eval_every=50)
    rows = []
    for level, earlier in EARLIER.items():
        for delta in (0.5, 0.1):
            found = ss.threshold(
                problem,
                ss.RandomAffine("gaussian"),
                ss.LossBelow(level),
                spec=spec,
                delta=delta,
                seed=0,
                store=HERE / "runs.db",
                max_dim=512,
            )
            rows.append(
                {
                    "level": level,
                    "delta": delta,
                    **{k: getattr(found, k) for k in ("value", "low", "high", "status", "trials")},
                    "earlier": earlier,
                }
            )
            print(json.dumps(rows[-1], ensure_ascii=False), flush=True)
    (HERE / "results.json").write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()

"""The dip of lottery subspaces: nested subspaces in which more dims train worse, and its remedy.

Every column of the table is the same spans in other coordinates; only Adam's steps differ.

    python experiments/dip/run.py --data-dir DATA
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import subspan as ss

HERE = Path(__file__).parent
COORDINATES = ("unit", "sigma")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-dir")
    parser.add_argument("--problem", default="mnist-conv2")
    parser.add_argument("--subset", type=int)
    parser.add_argument("--dims", default="8,32,128,256,512")
    parser.add_argument("--snapshots", type=int, default=512)
    parser.add_argument("--epochs", type=float, default=5)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--optimizer", default="legacy_adam")
    parser.add_argument("--store", default=str(HERE / "runs.db"))
    parser.add_argument("--out", default=str(HERE / "results.json"))
    args = parser.parse_args()

    options = {} if args.data_dir is None else {"data_dir": args.data_dir}
    problem = ss.problems.load(args.problem, subset=args.subset, **options)
    spec = ss.TrainSpec(optimizer=args.optimizer, lr=0.05, epochs=args.epochs, batch_size=128)
    dims = [int(d) for d in args.dims.split(",")]
    rows = []
    for coordinates in COORDINATES:
        method = ss.LotterySubspace(snapshots=args.snapshots, coordinates=coordinates)
        records = ss.run(
            problem,
            method,
            dims=dims,
            repeats=args.repeats,
            spec=spec,
            seed=args.seed,
            store=args.store,
            workers=args.workers,
        )
        for dim in dims:
            own = [r for r in records if r.dim == dim]
            rows.append(
                {
                    "coordinates": coordinates,
                    "dim": dim,
                    "best_test_accuracy": [round(100 * r.best_test_accuracy, 2) for r in own],
                    "best_train_loss": [round(r.best_train_loss, 5) for r in own],
                }
            )
            print(rows[-1], flush=True)
    command = "python experiments/dip/run.py " + " ".join(
        f"--{name.replace('_', '-')} {value}"
        for name, value in vars(args).items()
        if name in ("problem", "subset", "dims", "snapshots", "epochs", "repeats", "optimizer")
        and value is not None
    )
    table = {"command": command, "environment": records[0].provenance, "rows": rows}
    Path(args.out).write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()

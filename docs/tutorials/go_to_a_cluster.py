"""From a laptop to a cluster: the same call, another executor, one store that all share."""

from concurrent.futures import ProcessPoolExecutor

import subspan as ss

problem = ss.problems.load("digits-mlp", subset=200)
spec = ss.TrainSpec(lr=0.05, epochs=2)
plan = {"dims": [8, 32], "repeats": 3, "spec": spec, "seed": 0}


def numbers(trials):
    """What was trained, and how good it got."""
    return [(trial.dim, trial.trial.repeat, trial.best_train_loss) for trial in trials]


if __name__ == "__main__":
    # On this machine, in this process.
    here = ss.run(problem, "random", **plan, executor="inline")

    # Anything with submit(function, *arguments) -> Future: here Python's own processes. Dask's
    # client.get_executor(), mpi4py's MPIPoolExecutor, submitit's AutoExecutor do as well.
    with ProcessPoolExecutor(2) as pool:
        there = ss.run(problem, "random", **plan, executor=pool, workers=2, store="runs.db")
    assert numbers(there) == numbers(here), "a record does not depend on where it was trained"

    # Jobs on one store share its trials: what is there is not trained again. Under SLURM each job
    # of an array gives this same call, with store="postgresql+psycopg://host/name".
    again = ss.run(problem, "random", **plan, store="runs.db", progress=print, workers=1)
    assert [trial.key for trial in again] == [trial.key for trial in there]
    print(f"{len(again)} trials in runs.db")

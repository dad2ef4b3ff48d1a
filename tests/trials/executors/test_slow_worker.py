"""Pieces go to whoever is free: a worker whose core another process took holds no other up."""

import os
import time
from pathlib import Path

import subspan as ss

TRIALS = 20


@ss.trainable(name="one of two workers stands still", max_dim=TRIALS)
def waits_at_the_first(trial):
    """At d = 1 stand still, as without a core, until all other trials are done."""
    folder = Path(os.environ["SUBSPAN_TEST_FOLDER"])
    if trial.dim > 1:
        (folder / str(trial.dim)).touch()
        return {"loss": 0.0}
    until = time.monotonic() + 60
    while (done := len(list(folder.iterdir()))) < TRIALS - 1 and time.monotonic() < until:
        time.sleep(0.01)
    return {"loss": float(done)}


def test_a_slow_worker_holds_no_other_up(tmp_path, monkeypatch):
    monkeypatch.setenv("SUBSPAN_TEST_FOLDER", str(tmp_path))
    found = ss.run(waits_at_the_first, dims=range(1, TRIALS + 1), repeats=1, workers=2)
    assert found[0].final_train_loss == TRIALS - 1  # the other worker did them all meanwhile

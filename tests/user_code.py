"""What a user writes, read by type checkers (`test_public_api.py`); never run."""

from __future__ import annotations

import torch

import subspan as ss

x, y = torch.rand(20, 5), torch.arange(20) % 2
problem = ss.Problem(
    lambda: torch.nn.Linear(5, 2), train=(x, y), test=(x, y), loss="cross_entropy", name="mine"
)
spec: ss.TrainSpec = ss.TrainSpec(optimizer="adam", lr=0.05, epochs=5, batch_size=128)
trials: list[ss.TrialRecord] = ss.run(problem, "random", dims=[1, 2], repeats=2, spec=spec)
best: float = trials[0].best_train_loss
surface = ss.success_surface(trials, goals=[ss.LossBelow(0.1), "accuracy>=0.9"])
rows: int = len(surface.to_frame())
estimate = ss.threshold(problem, ss.RandomAffine(map="gaussian"), "loss<=0.1", store="runs.db")
value: int | None = estimate.value
interval: tuple[int | None, int | None] = (estimate.low, estimate.high)
table = ss.compare(problem, ["random", "burn-in:64"], dims=[1, 2], repeats=5)
words: list[str] = table.summary()


@ss.trainable(name="mine", max_dim=10, version="1")
def mine(trial):  # type: ignore[no-untyped-def]
    return {"val:accuracy": 0.5}


found = ss.threshold(mine, goal="val:accuracy>=0.82")
figure = ss.report.draw_success_curve(ss.report.success_curve_data(found), style="column")
page = ss.report.write_page("runs.db", "report.html")
headline: tuple[str, ...] = page.headline
module = torch.nn.Linear(3, 3)
handle: ss.Handle = ss.attach(module, dim=2, map="partition", seed=0)
ss.save(handle, "tuned.safetensors")

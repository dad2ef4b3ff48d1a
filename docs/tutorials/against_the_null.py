"""Is a method any better than chance? Hold it against the random subspace at equal d."""

import subspan as ss

problem = ss.problems.load("digits-mlp")
table = ss.compare(
    problem,
    ["random", "burn-in:16", "random-mask"],  # "random" is the null
    dims=[16, 64],
    repeats=6,
    spec=ss.TrainSpec(lr=0.05, epochs=3),
    seed=0,
    workers=1,
)
print(table.to_frame()[["method", "dim", "value", "low", "high", "verdict"]])
print("\n".join(table.summary()))
print(table.footer)
assert table.null == "random"

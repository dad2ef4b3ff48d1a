"""Your own pruning method against the null: does it choose better than chance at equal d?"""

import subspan as ss
from subspan.maps import CoordinateMap
from subspan.subspaces import Draw, Method, Subspace
from subspan.testing import check_method


class LargestAtInit(Method):
    """Train the d weights that are largest at initialisation; the others stay where they are."""

    def config(self):
        """What tells this method from others, in plain JSON: it goes into every trial's key."""
        return {"name": "largest-at-init"}

    def subspaces(self, problem, draws: list[Draw]):
        """For each draw (a dim and its seeds), where training starts and in which directions."""
        found = []
        for draw in draws:
            start = problem.init(draw.init_seed)
            kept = start.abs().topk(draw.dim).indices.sort().values
            found.append(
                Subspace(start, CoordinateMap(kept, problem.ambient_dim, dtype=problem.dtype))
            )
        return found


problem = ss.problems.load("digits-mlp", subset=400)

# The laws that every method keeps: the same draw gives the same subspace, whatever its neighbours.
check_method(LargestAtInit, problem, dims=(4, 9), through_init=True)

# The null first: random directions; then random weights, and the choice. Equal d, paired repeats.
table = ss.compare(
    problem,
    ["random", "random-mask", LargestAtInit()],
    dims=[64],
    repeats=7,
    spec=ss.TrainSpec(lr=0.05, epochs=5),
    seed=0,
    workers=1,
)
print(table.to_frame()[["method", "dim", "value", "low", "high", "verdict"]])
print("\n".join(table.summary()))  # and how many repeats a verdict would take
assert "largest-at-init" in table.methods
assert table.null == "random"

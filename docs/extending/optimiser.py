"""An optimiser: one step for many trials at once, and the facts that belong to its name."""

import subspan as ss
from subspan.optimizers import OPTIMIZERS, OptimizerFacts
from subspan.testing import check_optimizer
from subspan.training.optimizers import Optimizer


class Signs(Optimizer):
    """θ ← θ − lr · sign(gradient)."""

    def __init__(self, theta, spec):
        """No state: `theta` has shape (trials, d), `spec` is the `TrainSpec`."""

    def step(self, theta, gradient, lr):
        """Move θ in place."""
        theta.sub_(gradient.sign(), alpha=lr)

    def keep(self, positions):
        """Forget all trials but those at `positions`; there is nothing to forget."""


OPTIMIZERS["signs"] = OptimizerFacts(Signs, full_batch=True, steps=4)

problem = ss.problems.load("digits-mlp", subset=60)
check_optimizer("signs", problem, lr=0.01)
assert ss.run(problem, "random", [4], 1, ss.TrainSpec("signs", lr=0.01), workers=1)[0].steps == 4

"""A method: where a trial starts, and in which d directions it may move."""

import torch

import subspan as ss
from subspan.maps import CoordinateMap
from subspan.subspaces import Method, Subspace
from subspan.subspaces.registry import METHODS, Form
from subspan.testing import check_method


class Tail(Method):
    """The last d weights before a gap."""

    named_by = ("gap",)  # its label: tail:3

    def __init__(self, gap: int):
        """Leave out the last `gap` weights."""
        self.gap = gap

    def config(self):
        """Plain JSON that fixes the method; a part of each trial's key."""
        return {"name": "tail", "gap": self.gap}

    def max_dim(self, problem):
        """The largest d it can offer."""
        return problem.ambient_dim - self.gap

    def subspaces(self, problem, draws):
        """One subspace for each draw of a dim and seeds."""
        end = self.max_dim(problem)
        if any(draw.dim > end for draw in draws):
            raise ss.InputError(f"dim: expected at most {end}")
        return [
            Subspace(
                problem.init(draw.init_seed),
                CoordinateMap(
                    torch.arange(end - draw.dim, end), problem.ambient_dim, dtype=problem.dtype
                ),
            )
            for draw in draws
        ]


METHODS["tail"] = Form(Tail, "gap", required=True)  # `--method tail:3`

problem = ss.problems.load("digits-mlp", subset=60)
check_method(lambda: ss.parse_method("tail:3"), problem, (4, 9), nested=True, through_init=True)

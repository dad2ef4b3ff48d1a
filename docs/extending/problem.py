"""A problem with a name: `subspan threshold xor`, `ss.problems.load("xor", noise=0.5)`."""

import torch

import subspan as ss
from subspan.problems.registry import PROBLEMS
from subspan.testing import check_problem


def xor(noise=0.0, subset=None):
    """Its parameters are the options of `load` and, where they have flags, of the command line."""
    x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]).repeat(8, 1)[:subset]
    return ss.Problem(
        lambda: torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)),
        (x + noise, (x[:, 0] != x[:, 1]).long()),
        name="xor",
        default_spec=ss.TrainSpec(lr=0.1, steps=50, batch_size=None),
    )


PROBLEMS["xor"] = xor

check_problem(ss.problems.load("xor"))
assert ss.problems.load("xor", noise=0.5).ambient_dim == 22

"""Problems: a network, its data and its loss as a function of one flat weight vector."""

from subspan.problems import transforms
from subspan.problems.analytic import Quadratic
from subspan.problems.base import AbstractProblem, Evaluation
from subspan.problems.layout import Layout
from subspan.problems.module import Problem
from subspan.problems.registry import load, names

__all__ = [
    "AbstractProblem",
    "Evaluation",
    "Layout",
    "Problem",
    "Quadratic",
    "load",
    "names",
    "transforms",
]

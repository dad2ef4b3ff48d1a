"""Subspaces: ways to choose an affine subspace of the weights."""

from subspan.subspaces.base import Draw, Method, Subspace
from subspan.subspaces.burn_in import BurnIn
from subspan.subspaces.random_affine import RandomAffine
from subspan.subspaces.registry import parse_method

__all__ = ["BurnIn", "Draw", "Method", "RandomAffine", "Subspace", "parse_method"]

"""Subspaces: ways to choose an affine subspace of the weights."""

from subspan.subspaces.angles import principal_angles
from subspan.subspaces.base import Draw, Method, Subspace
from subspan.subspaces.biases import BiasesAndNorms
from subspan.subspaces.burn_in import BurnIn
from subspan.subspaces.last_layer import LastLayer
from subspan.subspaces.lottery_subspace import LotterySubspace, Trajectory
from subspan.subspaces.lottery_ticket import LotteryTicket
from subspan.subspaces.low_rank import FixedFactorLowRank
from subspan.subspaces.pruning_at_init import PruneAtInit
from subspan.subspaces.random_affine import RandomAffine
from subspan.subspaces.random_mask import RandomMask
from subspan.subspaces.registry import parse_method
from subspan.subspaces.saved import SavedSubspace, load_subspace, save_subspace

__all__ = [
    "BiasesAndNorms",
    "BurnIn",
    "Draw",
    "FixedFactorLowRank",
    "LastLayer",
    "LotterySubspace",
    "LotteryTicket",
    "Method",
    "PruneAtInit",
    "RandomAffine",
    "RandomMask",
    "SavedSubspace",
    "Subspace",
    "Trajectory",
    "load_subspace",
    "parse_method",
    "principal_angles",
    "save_subspace",
]

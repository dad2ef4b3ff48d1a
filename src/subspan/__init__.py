"""`subspan`: how many degrees of freedom does training need?

The public names, re-exported on first use, so that `import subspan` and `subspan --help` do not
wait for PyTorch.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from subspan import adapters as adapters
    from subspan import maps as maps
    from subspan import metrics as metrics
    from subspan import problems as problems
    from subspan import report as report
    from subspan import subspaces as subspaces
    from subspan import testing as testing
    from subspan import theory as theory
    from subspan.adapters import Handle as Handle
    from subspan.adapters import load as load
    from subspan.adapters import save as save
    from subspan.adapters.attach import attach as attach
    from subspan.comparison.compare import compare as compare
    from subspan.errors import InputError as InputError
    from subspan.errors import StoreError as StoreError
    from subspan.errors import SubspanError as SubspanError
    from subspan.goals import AccuracyAbove as AccuracyAbove
    from subspan.goals import Goal as Goal
    from subspan.goals import LossBelow as LossBelow
    from subspan.goals import MetricGoal as MetricGoal
    from subspan.goals import parse_goal as parse_goal
    from subspan.problems.module import Problem as Problem
    from subspan.spec import TrainSpec as TrainSpec
    from subspan.streams import stream as stream
    from subspan.subspaces import BiasesAndNorms as BiasesAndNorms
    from subspan.subspaces import BurnIn as BurnIn
    from subspan.subspaces import FixedFactorLowRank as FixedFactorLowRank
    from subspan.subspaces import LastLayer as LastLayer
    from subspan.subspaces import LotterySubspace as LotterySubspace
    from subspan.subspaces import LotteryTicket as LotteryTicket
    from subspan.subspaces import PruneAtInit as PruneAtInit
    from subspan.subspaces import RandomAffine as RandomAffine
    from subspan.subspaces import RandomMask as RandomMask
    from subspan.subspaces import SavedSubspace as SavedSubspace
    from subspan.subspaces import load_subspace as load_subspace
    from subspan.subspaces import parse_method as parse_method
    from subspan.subspaces import principal_angles as principal_angles
    from subspan.subspaces import save_subspace as save_subspace
    from subspan.success.diagnosis import diagnose as diagnose
    from subspan.success.study import ThresholdStudy as ThresholdStudy
    from subspan.success.surface import success_surface as success_surface
    from subspan.success.threshold import threshold as threshold
    from subspan.trials.function import LoopSpec as LoopSpec
    from subspan.trials.function import trainable as trainable
    from subspan.trials.run import run as run
    from subspan.trials.stores.sql import Store as Store
    from subspan.trials.trial import Trial as Trial
    from subspan.trials.trial import TrialRecord as TrialRecord

# Public name → the module that defines it; a module's own name stands for itself. A test holds
# this table and the imports above equal.
_HOMES = {
    "AccuracyAbove": "subspan.goals",
    "BiasesAndNorms": "subspan.subspaces",
    "BurnIn": "subspan.subspaces",
    "FixedFactorLowRank": "subspan.subspaces",
    "Goal": "subspan.goals",
    "Handle": "subspan.adapters",
    "InputError": "subspan.errors",
    "LastLayer": "subspan.subspaces",
    "LoopSpec": "subspan.trials.function",
    "LossBelow": "subspan.goals",
    "LotterySubspace": "subspan.subspaces",
    "LotteryTicket": "subspan.subspaces",
    "MetricGoal": "subspan.goals",
    "Problem": "subspan.problems.module",
    "PruneAtInit": "subspan.subspaces",
    "RandomAffine": "subspan.subspaces",
    "RandomMask": "subspan.subspaces",
    "SavedSubspace": "subspan.subspaces",
    "Store": "subspan.trials.stores.sql",
    "StoreError": "subspan.errors",
    "SubspanError": "subspan.errors",
    "ThresholdStudy": "subspan.success.study",
    "TrainSpec": "subspan.spec",
    "Trial": "subspan.trials.trial",
    "TrialRecord": "subspan.trials.trial",
    "adapters": "subspan.adapters",
    "attach": "subspan.adapters.attach",
    "compare": "subspan.comparison.compare",
    "diagnose": "subspan.success.diagnosis",
    "load": "subspan.adapters",
    "load_subspace": "subspan.subspaces",
    "maps": "subspan.maps",
    "metrics": "subspan.metrics",
    "parse_goal": "subspan.goals",
    "parse_method": "subspan.subspaces",
    "principal_angles": "subspan.subspaces",
    "problems": "subspan.problems",
    "report": "subspan.report",
    "run": "subspan.trials.run",
    "save": "subspan.adapters",
    "save_subspace": "subspan.subspaces",
    "stream": "subspan.streams",
    "subspaces": "subspan.subspaces",
    "success_surface": "subspan.success.surface",
    "testing": "subspan.testing",
    "theory": "subspan.theory",
    "threshold": "subspan.success.threshold",
    "trainable": "subspan.trials.function",
}

__all__ = [*_HOMES, "__version__"]


def _version() -> str:
    try:
        return importlib.metadata.version("subspan")
    except importlib.metadata.PackageNotFoundError:  # run from a checkout that is not installed
        return "0+unknown"


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value: Any = _version()
    elif name in _HOMES:
        module = importlib.import_module(_HOMES[name])
        value = module if _HOMES[name] == f"subspan.{name}" else getattr(module, name)
    else:
        raise AttributeError(f"module 'subspan' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

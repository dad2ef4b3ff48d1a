"""Adapters: a user's own module in a subspace, and its file of a seed and d numbers."""

from subspan.adapters.attach import attach
from subspan.adapters.export import export
from subspan.adapters.files import load, save
from subspan.adapters.handle import Handle, handles
from subspan.adapters.pretrained import fine_tuning
from subspan.adapters.tuning_counts import Setting, trained_numbers
from subspan.adapters.tuning_loop import tuning_trainable
from subspan.adapters.tuning_methods import TuningMethod, tuning_method, tuning_names

__all__ = [
    "Handle",
    "Setting",
    "TuningMethod",
    "attach",
    "export",
    "fine_tuning",
    "handles",
    "load",
    "save",
    "trained_numbers",
    "tuning_method",
    "tuning_names",
    "tuning_trainable",
]

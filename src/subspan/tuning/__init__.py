"""Ways to fine-tune, `peft`'s and ours, at a count of trained numbers that each can make."""

from subspan.tuning.counts import Setting, trained_numbers
from subspan.tuning.loop import trainable
from subspan.tuning.methods import TuningMethod, method, names

__all__ = [
    "Setting",
    "TuningMethod",
    "method",
    "names",
    "trainable",
    "trained_numbers",
]

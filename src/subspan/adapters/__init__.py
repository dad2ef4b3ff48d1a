"""Adapters: a user's own module in a subspace, and its file of a seed and d numbers."""

from subspan.adapters.attach import attach
from subspan.adapters.export import export
from subspan.adapters.files import load, save
from subspan.adapters.handle import Handle, handles
from subspan.adapters.pretrained import fine_tuning

__all__ = [
    "Handle",
    "attach",
    "export",
    "fine_tuning",
    "handles",
    "load",
    "save",
]

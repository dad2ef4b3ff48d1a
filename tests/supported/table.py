"""The table: every row, by section."""

from __future__ import annotations

from .adapters import ADAPTERS
from .case import Case
from .huggingface import MODELS
from .rows_forwards import FORWARDS
from .rows_layers import HELD, LAYERS
from .rows_losses import DATA, LOSSES

SECTIONS: dict[str, tuple[Case, ...]] = {
    "layers": LAYERS,
    "weights and how they are held": HELD,
    "the forward pass": FORWARDS,
    "losses": LOSSES,
    "data": DATA,
}
SLOW: dict[str, tuple[Case, ...]] = {
    "model types of Hugging Face's transformers": MODELS,
    "adapters of Hugging Face's peft": ADAPTERS,
}

"""The table: every row, by section."""

from __future__ import annotations

from .case import Case
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
SLOW: dict[str, tuple[Case, ...]] = {}

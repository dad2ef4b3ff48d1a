"""Maps cut along the weights, for whoever holds weights tensor by tensor."""

from subspan.maps.sliced.base import SlicedMap
from subspan.maps.sliced.make import make_sliced

__all__ = ["SlicedMap", "make_sliced"]

"""Why that many: predict the threshold training dimension from the geometry of the loss."""

from subspan.theory.gordon import certified_miss_dim, escape_probability, local_angular_dim
from subspan.theory.statistical_dimension import Transition, hit_dim, miss_dim
from subspan.theory.wells import hitting_dims, quadratic_threshold
from subspan.theory.width import gaussian_width

__all__ = [
    "Transition",
    "certified_miss_dim",
    "escape_probability",
    "gaussian_width",
    "hit_dim",
    "hitting_dims",
    "local_angular_dim",
    "miss_dim",
    "quadratic_threshold",
]

"""Why that many: predict the threshold training dimension from the geometry of the loss."""

from subspan.theory.cone import ConeEstimate, cone_threshold
from subspan.theory.curvature import gauss_newton, hessian
from subspan.theory.gordon import (
    certified_miss_dim,
    escape_probability,
    local_angular_dim,
    polar_certified_miss_dim,
    polar_escape_probability,
)
from subspan.theory.linearize import linearize
from subspan.theory.matrix_free import MatrixFreeWell
from subspan.theory.predict import Prediction, predict_threshold
from subspan.theory.statistical_dimension import Transition, hit_dim, miss_dim
from subspan.theory.wells import hitting_dims, quadratic_threshold
from subspan.theory.width import gaussian_width

__all__ = [
    "ConeEstimate",
    "MatrixFreeWell",
    "Prediction",
    "Transition",
    "certified_miss_dim",
    "cone_threshold",
    "escape_probability",
    "gauss_newton",
    "gaussian_width",
    "hessian",
    "hit_dim",
    "hitting_dims",
    "linearize",
    "local_angular_dim",
    "miss_dim",
    "polar_certified_miss_dim",
    "polar_escape_probability",
    "predict_threshold",
    "quadratic_threshold",
]

"""Why that many: predict the threshold training dimension from the geometry of the loss."""

from subspan.theory.coding import integer_bits, vector_bits
from subspan.theory.cone import ConeEstimate, cone_threshold
from subspan.theory.curvature import gauss_newton, hessian
from subspan.theory.ellipsoid import (
    distances_to_cone,
    ellipsoid_from_outside_support,
    ellipsoid_from_outside_width,
    squared_distances,
)
from subspan.theory.generalization import (
    GeneralizationBound,
    generalization_bound,
    occam_bound,
)
from subspan.theory.gordon import (
    certified_miss_dim,
    escape_probability,
    local_angular_dim,
    polar_certified_miss_dim,
    polar_escape_probability,
)
from subspan.theory.lanczos import Operator, density_measures, smoothed_density, top_eigenpairs
from subspan.theory.linearize import LinearizedProblem, linearize
from subspan.theory.matrix_free import MatrixFreeWell
from subspan.theory.mean import MeanEstimate
from subspan.theory.path import PathPoint, training_path
from subspan.theory.predict import predict_threshold
from subspan.theory.prediction import LevelPrediction, Prediction
from subspan.theory.spectra import Spectra, spectroscopy
from subspan.theory.statistical_dimension import Transition, hit_dim, miss_dim
from subspan.theory.wells import hitting_dims, quadratic_threshold
from subspan.theory.width import (
    ball_from_outside_width,
    ball_support,
    ball_width,
    cap_stat_dim,
    cap_support,
    cap_width,
    ellipsoid_support,
    ellipsoid_width,
    gaussian_width,
    l1_ball_support,
    l1_ball_width,
    l1_descent_cone_stat_dim,
    points_support,
    project_onto_sphere,
    subspace_support,
    subspace_width,
)

__all__ = [
    "ConeEstimate",
    "GeneralizationBound",
    "LevelPrediction",
    "LinearizedProblem",
    "MatrixFreeWell",
    "MeanEstimate",
    "Operator",
    "PathPoint",
    "Prediction",
    "Spectra",
    "Transition",
    "ball_from_outside_width",
    "ball_support",
    "ball_width",
    "cap_stat_dim",
    "cap_support",
    "cap_width",
    "certified_miss_dim",
    "cone_threshold",
    "density_measures",
    "distances_to_cone",
    "ellipsoid_from_outside_support",
    "ellipsoid_from_outside_width",
    "ellipsoid_support",
    "ellipsoid_width",
    "escape_probability",
    "gauss_newton",
    "gaussian_width",
    "generalization_bound",
    "hessian",
    "hit_dim",
    "hitting_dims",
    "integer_bits",
    "l1_ball_support",
    "l1_ball_width",
    "l1_descent_cone_stat_dim",
    "linearize",
    "local_angular_dim",
    "miss_dim",
    "occam_bound",
    "points_support",
    "polar_certified_miss_dim",
    "polar_escape_probability",
    "predict_threshold",
    "project_onto_sphere",
    "quadratic_threshold",
    "smoothed_density",
    "spectroscopy",
    "squared_distances",
    "subspace_support",
    "subspace_width",
    "top_eigenpairs",
    "training_path",
    "vector_bits",
]

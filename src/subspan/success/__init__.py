"""Success probability and the threshold training dimension, from trial records."""

from subspan.success.design import ThresholdDesign as ThresholdDesign
from subspan.success.diagnosis import Diagnosis as Diagnosis
from subspan.success.diagnosis import diagnose as diagnose
from subspan.success.estimate import ThresholdEstimate as ThresholdEstimate
from subspan.success.estimate import estimate_from_counts as estimate_from_counts
from subspan.success.estimate import fit_threshold as fit_threshold
from subspan.success.posterior import Count as Count
from subspan.success.posterior import Range as Range
from subspan.success.surface import SuccessSurface as SuccessSurface
from subspan.success.surface import success_surface as success_surface
from subspan.success.threshold import threshold as threshold

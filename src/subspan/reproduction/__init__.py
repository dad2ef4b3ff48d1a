"""The experiments of `experiments/`: each trained by one command, and checked without training."""

from subspan.reproduction.bands import Deviation as Deviation
from subspan.reproduction.bands import deviations as deviations
from subspan.reproduction.folder import ExperimentFolder as ExperimentFolder
from subspan.reproduction.folder import find as find
from subspan.reproduction.folder import names as names
from subspan.reproduction.lab import Lab as Lab
from subspan.reproduction.lab import Step as Step
from subspan.reproduction.lab import train as train
from subspan.reproduction.trials import Trials as Trials

"""Methods at equal degrees of freedom, against the random-subspace null."""

from subspan.comparison.compare import compare as compare
from subspan.comparison.paired import PairedTest as PairedTest
from subspan.comparison.paired import holm as holm
from subspan.comparison.paired import paired_test as paired_test
from subspan.comparison.paired import repeats_needed as repeats_needed
from subspan.comparison.table import ComparisonRow as ComparisonRow
from subspan.comparison.table import ComparisonTable as ComparisonTable

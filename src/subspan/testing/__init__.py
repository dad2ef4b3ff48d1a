"""Conformance suites that ship with the library, for your own maps, problems, stores, and so on.

Each is one function that raises `AssertionError` with what failed. A test that calls it on a
constructor holds the whole contract.
"""

from subspan.testing.design_conformance import check_design
from subspan.testing.executor_conformance import check_executor
from subspan.testing.map_conformance import check_map
from subspan.testing.method_conformance import check_method
from subspan.testing.optimizer_conformance import check_optimizer
from subspan.testing.problem_conformance import check_problem
from subspan.testing.store_conformance import check_store
from subspan.testing.trainable_conformance import check_trainable

__all__ = [
    "check_design",
    "check_executor",
    "check_map",
    "check_method",
    "check_optimizer",
    "check_problem",
    "check_store",
    "check_trainable",
]

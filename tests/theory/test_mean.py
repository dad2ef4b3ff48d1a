import numpy as np
import pytest

from subspan.errors import InputError
from subspan.theory.mean import MeanEstimate


def test_the_interval_is_students():
    found = MeanEstimate.of(np.array([1.0, 2.0, 3.0]), 0.95, bias=0.5)
    reach = 4.302653 / np.sqrt(3) + 0.5
    assert (found.value, found.samples) == (2.0, 3)
    assert found.low == pytest.approx(2 - reach)
    assert found.high == pytest.approx(2 + reach)


@pytest.mark.parametrize("values", [[1.0], [[1.0, 2.0]], [1.0, np.nan], [1.0, np.inf]])
def test_values_that_have_no_interval_are_refused(values):
    with pytest.raises(InputError, match=r"^values: expected "):
        MeanEstimate.of(np.array(values))

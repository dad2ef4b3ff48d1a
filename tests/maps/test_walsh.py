import pytest
import torch
from scipy.linalg import hadamard

from subspan.errors import InputError
from subspan.maps.walsh import walsh_hadamard


@pytest.mark.parametrize("power", range(12))
def test_against_scipy(power):
    n = 2**power
    x = torch.linspace(-1, 2, 3 * n, dtype=torch.float64).reshape(3, n).sin()
    expected = x @ torch.from_numpy(hadamard(n)).double() * n**-0.5
    torch.testing.assert_close(walsh_hadamard(x), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(walsh_hadamard(walsh_hadamard(x)), x, rtol=1e-12, atol=1e-12)


def test_refuses_other_lengths():
    with pytest.raises(InputError, match="power-of-two"):
        walsh_hadamard(torch.zeros(6))

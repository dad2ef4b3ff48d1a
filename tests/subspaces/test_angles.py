import math

import pytest
import torch

from subspan.errors import InputError
from subspan.maps import ColumnsMap, make
from subspan.subspaces import Draw, RandomAffine, principal_angles


def test_principal_angles_of_known_planes() -> None:
    tiny, wide = 1e-9, 1.2
    one = torch.zeros(2, 6, dtype=torch.float64)
    one[0, 0] = one[1, 1] = 1
    other = torch.zeros(3, 6, dtype=torch.float64)
    other[0, [0, 2]] = torch.tensor([math.cos(tiny), math.sin(tiny)], dtype=torch.float64)
    other[1, [1, 3]] = torch.tensor([math.cos(wide), math.sin(wide)], dtype=torch.float64)
    other[2, 5] = 7.0
    for pair in ((one, other), (other, one)):
        angles = principal_angles(*map(ColumnsMap, pair))
        torch.testing.assert_close(angles, torch.tensor([tiny, wide]).double(), rtol=1e-6, atol=0)


def test_principal_angles_of_different_spaces_are_refused() -> None:
    maps = [make("gaussian", dim=2, ambient_dim=n, seed=0) for n in (5, 6)]
    with pytest.raises(InputError, match="R\\^5"):
        principal_angles(*maps)


def test_principal_angles_of_subspaces_are_refused_with_the_remedy(digits) -> None:
    (made,) = RandomAffine().subspaces(digits, [Draw(2, 0, 0)])
    with pytest.raises(InputError, match=r"one: expected a map, got a Subspace. Pass one\.map"):
        principal_angles(made, made.map)
    with pytest.raises(InputError, match="other: expected a map, got a int"):
        principal_angles(made.map, 3)

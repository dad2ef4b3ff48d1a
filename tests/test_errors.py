import numpy as np
import pytest
import torch

from subspan.errors import InputError, check_confidence, real, whole


@pytest.mark.parametrize("value", [3, np.int64(3), np.array(3), torch.tensor(3)])
def test_whole_takes_every_kind_of_integer(value):
    found = whole("n", value, low=3, high=3)
    assert found == 3
    assert type(found) is int


@pytest.mark.parametrize(
    "value", [1.5, 3.0, True, np.True_, "3", None, torch.ones(2), -1, 6, torch.tensor(2.0)]
)
def test_whole_refuses_what_is_none_or_outside(value):
    with pytest.raises(InputError, match=r"^n: expected an integer in 0 … 5, got .*\.$"):
        whole("n", value, low=0, high=5)


@pytest.mark.parametrize("value", [0.5, np.float32(0.5), np.array(0.5), torch.tensor(0.5)])
def test_real_takes_every_kind_of_number(value):
    found = real("x", value, low=0.5)
    assert found == 0.5
    assert type(found) is float


@pytest.mark.parametrize(
    "value", [-1, 0, "1", None, 1j, True, 10**400, float("nan"), float("inf"), np.ones(2)]
)
def test_real_refuses_what_is_none_or_outside(value):
    with pytest.raises(InputError, match=r"^x: expected a finite number > 0, got .*\.$"):
        real("x", value, low=0, strict=True)


def test_the_wanted_interval_is_said():
    for wanted, limits in {
        "a finite number, ": {},
        "a finite number ≥ 3, ": {"low": 3},
        "a number in [0, 3.142], ": {"low": 0, "high": np.pi},
        "a number in (0, 1), ": {"low": 0, "high": 1, "strict": True},
    }.items():
        with pytest.raises(InputError) as caught:
            real("x", float("nan"), **limits)
        assert f"expected {wanted}got nan" in str(caught.value)
    with pytest.raises(InputError, match="n: expected an integer, 2 or more, got shape"):
        whole("n", np.ones(3), low=2)


def test_confidence_is_a_probability_and_percent_is_explained():
    check_confidence(np.float32(0.9))
    with pytest.raises(InputError, match=r"Write 0\.95 for 95 %\."):
        check_confidence(95)
    for value in ("0.9", None, 0, 1, float("nan"), True):
        with pytest.raises(InputError, match=r"confidence: expected a number in \(0, 1\), got"):
            check_confidence(value)

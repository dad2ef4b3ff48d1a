"""Random crop and flip against loops over images, and the laws of their draws."""

import pytest
import torch

from subspan.errors import InputError
from subspan.problems import transforms


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def images(n=6, height=5, width=4):
    """Images of which no two, and no two shifts or mirrored forms, are alike; none is 0."""
    return torch.arange(1.0, n * 3 * height * width + 1).reshape(n, 3, height, width)


def shifted(image, down, right):
    """A loop over pixels: the image moved down and right, with zeros where nothing was."""
    _, height, width = image.shape
    out = torch.zeros_like(image)
    for i in range(height):
        for j in range(width):
            if 0 <= i - down < height and 0 <= j - right < width:
                out[:, i, j] = image[:, i - down, j - right]
    return out


def test_a_crop_is_a_shift_with_zeros():
    x = images()
    found = transforms.RandomCrop(2)(x, generator())
    assert found.shape == x.shape
    assert found.dtype == x.dtype
    moves = [(i, j) for i in range(-2, 3) for j in range(-2, 3)]
    for one, given in zip(found, x, strict=True):
        assert sum(torch.equal(one, shifted(given, *move)) for move in moves) == 1


def test_every_shift_is_as_likely_and_each_image_has_its_own():
    """χ² of the 9 shifts of padding 1 over 9,000 images: mean 8, below 35 with 1 − 3e-5."""
    x = torch.zeros(9000, 1, 3, 3)
    x[:, :, 1, 1] = 1.0  # where it comes to stand is the shift
    found = transforms.RandomCrop(1)(x, generator(3)).reshape(9000, 9)
    assert torch.equal(found.sum(1), torch.ones(9000))
    counts = found.sum(0)
    assert float(((counts - 1000) ** 2 / 1000).sum()) < 35
    beside = (found[1:] * found[:-1]).sum()  # neighbours with the same shift: 1 in 9
    assert abs(float(beside) - 8999 / 9) < 5 * (8999 / 9 * 8 / 9) ** 0.5


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_a_flip_mirrors_left_for_right_with_its_probability(probability):
    n = 2000
    x = images(n)
    found = transforms.RandomHorizontalFlip(probability)(x, generator(1))
    mirrored = x[..., [3, 2, 1, 0]]
    flipped = (found == mirrored).flatten(1).all(1)
    assert bool((flipped ^ (found == x).flatten(1).all(1)).all())
    assert abs(int(flipped.sum()) - probability * n) <= 5 * (
        probability * (1 - probability) * n
    ) ** 0.5  # fmt: skip


def test_compose_applies_one_after_the_other_drawing_on():
    x = images()
    crop, flip = transforms.RandomCrop(1), transforms.RandomHorizontalFlip()
    one = generator(5)
    expected = flip(crop(x, one), one)
    assert torch.equal(transforms.Compose(crop, flip)(x, generator(5)), expected)


@pytest.mark.parametrize("make", [transforms.RandomCrop, transforms.RandomHorizontalFlip])
def test_seeds_settle_the_draws_and_inputs_stay(make):
    x = images(64)
    kept = x.clone()
    first, again, other = (make()(x, generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(x, kept)


@pytest.mark.parametrize("make", [transforms.RandomCrop, transforms.RandomHorizontalFlip])
@pytest.mark.parametrize("inputs", [torch.zeros(4, 6), torch.zeros(4, 6, 6), {"a": torch.zeros(1)}])
def test_what_is_no_image_is_refused(make, inputs):
    with pytest.raises(InputError, match=r"transform: expected images \(n, channels, height"):
        make()(inputs, generator())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: transforms.RandomCrop(0), "padding: expected an integer, 1 or more, got 0"),
        (lambda: transforms.RandomCrop(1.5), "padding"),
        (lambda: transforms.RandomHorizontalFlip(1.5), "probability: expected a number in"),
        (lambda: transforms.Compose(), "transforms: expected functions"),
        (lambda: transforms.Compose(3), "transforms: expected functions"),
    ],
)
def test_arguments_out_of_range_are_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()

import itertools
import random

import numpy as np
import pytest
import torch

from subspan.errors import InputError
from subspan.streams import (
    derive,
    normals,
    scoped_torch_rng,
    stream,
    uniforms,
    watched_global_rngs,
    words,
)


def test_equal_paths_give_equal_streams_and_others_do_not():
    a, b = stream(0, "map", 1), stream(0, "map", 1)
    assert (a.integers(2**63, size=8) == b.integers(2**63, size=8)).all()


def test_no_collisions():
    paths = [
        (seed, *names)
        for seed in range(-2, 30)
        for names in itertools.chain(
            itertools.product(("a", "b", "ab", "1"), range(30)),
            [("ab",), ("a", "b"), (1,), ("1",), (1, 2), (12,), ("2", 1), ("",), ()],
        )
    ]
    first = {tuple(words(*path, start=0, count=2)) for path in paths}
    assert len(first) == len(paths)
    assert len({derive(*path) for path in paths}) == len(paths)


def test_words_are_the_same_in_any_chunking():
    whole = words(5, "x", start=0, count=103)
    for start, count in [(0, 1), (1, 7), (4, 4), (50, 53), (102, 1), (7, 0)]:
        assert (words(5, "x", start=start, count=count) == whole[start : start + count]).all()


def test_golden_words():
    # These are the bits under every map and every initial weight: they may never change.
    assert [hex(w) for w in words(0, "golden", start=0, count=3)] == GOLDEN_WORDS
    assert derive(0, "golden") == GOLDEN_SEED


GOLDEN_WORDS = ["0xd6603981c8d177e9", "0x7c5099b4c2014f2c", "0x58a2661274d781c3"]
GOLDEN_SEED = 1407468442239857829


def test_uniforms_and_normals():
    from scipy.stats import kstest

    assert kstest(uniforms(1, "u", count=20_000), "uniform").pvalue > 1e-3
    assert kstest(normals(1, "n", count=20_000), "norm").pvalue > 1e-3
    assert np.isfinite(normals(1, "n", count=20_000)).all()


def test_seeds_and_names_are_checked():
    with pytest.raises(InputError, match=r"seed: expected an integer, got 1\.5"):
        stream(1.5)
    with pytest.raises(InputError, match="names: expected strings or integers, got True"):
        stream(0, True)
    assert derive(np.int64(3), "x") == derive(torch.tensor(3), "x") == derive(3, "x")


def test_scoped_rng_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    with scoped_torch_rng(0, "x"):
        a = torch.rand(3)
    assert torch.equal(torch.get_rng_state(), before)
    with scoped_torch_rng(0, "x"):
        assert torch.equal(torch.rand(3), a)
    with scoped_torch_rng(1, "x"):
        assert not torch.equal(torch.rand(3), a)


@pytest.mark.parametrize(
    ("draw", "whose"),
    [
        (lambda: None, []),
        (lambda: torch.rand(1), ["PyTorch's"]),
        (lambda: np.random.rand(), ["NumPy's"]),  # noqa: NPY002
        (lambda: random.random(), ["Python's"]),
        (lambda: torch.rand(1, generator=torch.Generator()), []),
    ],
)
def test_draws_from_global_generators_are_seen(draw, whose):
    with watched_global_rngs() as moved:
        draw()
    assert moved == whose

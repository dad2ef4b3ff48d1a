"""Maps of more inner coordinates than a cache holds: dealt in tiles or lines, transformed in
strips.

Where the size does not matter the limits are made small, so that every edge is met.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from subspan import maps
from subspan.maps import hadamard, partition, strips
from subspan.maps.sliced import tabulated
from subspan.maps.sliced.make import make_sliced
from subspan.testing import check_map

NAMES = ("partition", "hadamard")


@pytest.fixture
def small(monkeypatch):
    """Let hands of more than 64 be dealt in tiles of 16, and Hadamard maps have 16 strips."""
    monkeypatch.setattr(partition, "LARGEST_SHUFFLED", 64)
    monkeypatch.setattr(partition, "_LINE", 4)
    monkeypatch.setattr(partition, "_TILE", 16)
    monkeypatch.setattr(partition, "_CHUNK_WEIGHTS", 48)
    monkeypatch.setattr(hadamard, "_LARGEST", 64)
    monkeypatch.setattr(hadamard, "_FEW", 16)
    monkeypatch.setattr(hadamard, "_SPREAD", 8)
    monkeypatch.setattr(strips, "_LINE", 4)
    monkeypatch.setattr(strips, "_STRIPS", 4)
    monkeypatch.setattr(strips, "_PRIMES", (5, 7))
    monkeypatch.setattr(strips, "_CHUNK", 56)
    monkeypatch.setattr(strips, "_PANEL", 5)
    monkeypatch.setattr(tabulated, "LARGEST_SHUFFLED", 64)


# whole tiles, a short line, hands that end within a tile, one hand, d = D
SIZES = [(80, 160), (81, 500), (99, 250), (200, 207), (131, 131), (20, 1000), (9, 90)]


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(("dim", "ambient_dim"), SIZES)
@pytest.mark.parametrize("name", NAMES)
def test_laws(name, dim, ambient_dim):
    check_map(
        lambda d, D, seed: maps.make(name, dim=d, ambient_dim=D, seed=seed, dtype=torch.float64),
        dim,
        ambient_dim,
        orthonormal=True,
    )


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(("dim", "ambient_dim"), SIZES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", NAMES)
def test_slices_make_up_the_map(name, dtype, dim, ambient_dim):
    whole = maps.make(name, dim=dim, ambient_dim=ambient_dim, seed=5, dtype=dtype)
    part = make_sliced(name, dim, ambient_dim, 5)
    theta = torch.linspace(-1, 2, dim, dtype=dtype).requires_grad_()
    v = torch.linspace(-2, 1, ambient_dim, dtype=dtype).sin()
    table = part.table(theta)
    cuts = [(a, min(a + 37, ambient_dim)) for a in range(0, ambient_dim, 37)]
    with torch.no_grad():
        assert torch.equal(torch.cat([part.read(table, a, b) for a, b in cuts]), whole(theta))
    into = torch.zeros_like(table)
    for a, b in cuts:
        part.collect(v[a:b], a, b, into)
    (pulled,) = torch.autograd.grad(table, theta, into)
    torch.testing.assert_close(pulled, whole.adjoint(v), rtol=1e-5, atol=1e-5)
    (recorded,) = torch.autograd.grad(part.read(part.expand(theta), 0, ambient_dim) @ v, theta)
    torch.testing.assert_close(recorded, pulled, rtol=1e-5, atol=1e-5)
    assert part.checksum() == whole.checksum()


@pytest.mark.usefixtures("small")
def test_the_hands_do_not_depend_on_how_many_are_dealt():
    few, many = (partition.deal(3, 81, count) for count in (200, 2000))
    for one, other in zip(few, many, strict=True):
        assert np.array_equal(one, other[:200])


@pytest.mark.usefixtures("small")
def test_any_two_weights_of_different_hands_share_a_coordinate_with_the_same_chance():
    dim, seeds = 80, 4000
    dealt = [partition.deal(seed, dim, 2 * dim) for seed in range(seeds)]
    places = np.array([place for place, _ in dealt])
    for weight in (0, 17, 79):
        partners = np.argmax(places[:, dim:] == places[:, weight, None], axis=1)
        counts = np.bincount(partners, minlength=dim)
        assert stats.chisquare(counts).pvalue > 1e-4
        assert stats.chisquare(np.bincount(places[:, weight], minlength=dim)).pvalue > 1e-4
    signs = np.array([negative for _, negative in dealt])
    assert abs(signs.mean() - 0.5) < 4 * 0.5 / signs.size**0.5


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(("dim", "ambient_dim"), SIZES)
@pytest.mark.parametrize("name", NAMES)
def test_an_adjoint_leaves_what_it_is_given(name, dim, ambient_dim):
    v = torch.linspace(-2, 1, ambient_dim).sin()
    before = v.clone()
    maps.make(name, dim=dim, ambient_dim=ambient_dim, seed=5).adjoint(v)
    assert torch.equal(v, before)


def groups(size: int, count: int) -> dict[str, np.ndarray]:
    """Which of about `count` directions each weight belongs to, -1 for none: what a network may
    have its stiff directions along."""
    weight, part = np.arange(size), count / size

    def alone(chosen: np.ndarray) -> np.ndarray:
        return np.where(chosen, np.cumsum(chosen) - 1, -1)

    return {
        "the first weights": alone(weight < count),
        "the last weights": alone(weight >= size - count),
        "a layer": alone((weight >= size // 3) & (weight < size // 3 + count)),
        "columns of a matrix": alone(weight % 96 < 96 * part),
        "multiples of a line": alone(weight % 64 < 64 * part),
        "rows of a matrix": alone((weight // 96) % round(1 / part) == 0),
        "every so many strips": alone((weight * 64 // size) % round(1 / part) == 0),
        "random weights": alone(np.random.default_rng(0).permutation(size) < count),
        "sums of neighbours": weight // -(-size // count),
        "sums across a matrix": weight % count,
        "sums across strips": weight % (size // 16),
    } | {
        f"columns of a matrix with {rows} rows": alone(weight % (size // rows) < count // rows)
        for rows in (8, 16, 32, 64, 128)
    }


def shares(name: str, dim: int, size: int) -> dict[str, np.ndarray]:
    """How much of each of these directions the subspace holds, in order."""
    dense = maps.make(name, dim=dim, ambient_dim=size, seed=0).dense()
    found = {}
    for key, group in groups(size, dim // 2).items():
        chosen = torch.from_numpy(group[group >= 0])
        sums = dense.new_zeros(int(chosen.max()) + 1, dim)
        sums.index_add_(0, chosen, dense[group >= 0])
        sums /= torch.bincount(chosen).sqrt()[:, None]
        found[key] = torch.linalg.eigvalsh(sums @ sums.T).numpy()
    return found


@pytest.mark.parametrize(("dim", "size"), [(2100, 17_001), (3000, 16_448), (2500, 16_400)])
def test_fixed_directions_cannot_tell_it_from_a_random_subspace(monkeypatch, dim, size):
    """Wachter (1980): the law of the product of two free projections, and its edges."""
    monkeypatch.setattr(hadamard, "_LARGEST", 2**13)
    for key, found in shares("hadamard", dim, size).items():
        a, b = dim / size, len(found) / size
        edges = [((a * (1 - b)) ** 0.5 + sign * (b * (1 - a)) ** 0.5) ** 2 for sign in (-1, 1)]
        assert found.min() > 0.85 * edges[0], key
        assert found.max() < 1.1 * edges[1], key
        assert abs(found.var() / (a * (1 - a) * b) - 1) < 0.06, key


def test_fixed_directions_tell_a_partition():
    found = shares("partition", 2100, 17_001)["random weights"]
    assert np.mean(found < 1e-6) > 0.1  # directions that it does not reach at all


def test_the_checksum_tells_every_dim(monkeypatch):
    monkeypatch.setattr(hadamard, "_LARGEST", 2**13)
    made = [maps.make("hadamard", dim=d, ambient_dim=17_001, seed=0) for d in range(2049, 2060)]
    assert len({a.checksum() for a in made}) == len(made)


def test_no_thetas_at_all():
    for name in NAMES:
        a = maps.make(name, dim=9000, ambient_dim=70_000, seed=0)
        assert a(torch.zeros(2, 0, 9000)).shape == (2, 0, 70_000)
        assert a.adjoint(torch.zeros(0, 70_000)).shape == (0, 9000)


GOLDEN = {
    "partition": "988300e0dcc292305befad27bc779a41",
    "hadamard": "fbd627b28b5848d91ac8807fa3f946c3",
}


@pytest.mark.parametrize("name", NAMES)
def test_golden_checksums_at_full_size(name):
    """Of dim=270_000, ambient_dim=600_001, seed=42, as in `test_maps.GOLDEN`."""
    dim, ambient_dim = 270_000, 600_001
    whole = maps.make(name, dim=dim, ambient_dim=ambient_dim, seed=42)
    assert whole.checksum() == GOLDEN[name]
    theta = torch.linspace(-1, 1, dim).sin()
    image = whole(theta)
    torch.testing.assert_close(image.norm(), theta.norm(), rtol=1e-4, atol=0)
    torch.testing.assert_close(whole.adjoint(image), theta, rtol=1e-4, atol=1e-4)


def test_a_graph_of_it_holds_no_memory_of_ours():
    from torch.fx.experimental.proxy_tensor import make_fx

    mixer = strips.Strips(9000, 70_000, 3)
    theta = torch.linspace(-1, 1, 9000).sin()
    graph = make_fx(lambda t: mixer.mix(t))(theta)
    assert torch.equal(graph(2 * theta), mixer.mix(2 * theta))

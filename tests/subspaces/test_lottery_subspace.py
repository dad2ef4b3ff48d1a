import pytest
import torch

from subspan.errors import InputError
from subspan.maps import ColumnsMap
from subspan.problems import load
from subspan.subspaces import Draw, LotterySubspace, Subspace, full_space, principal_angles
from subspan.subspaces.lottery_subspace import column_scales


@pytest.mark.parametrize("basis", ["differences", "displacements"])
def test_it_is_the_svd_of_a_plain_run(digits, plain_run, basis) -> None:
    problem, draw = digits.to(dtype=torch.float64), Draw(6, 3, 1)
    method = LotterySubspace(8, 3, basis=basis, rewind=4, coordinates="unit")
    (made,) = method.subspaces(problem, [draw])
    path = plain_run(problem, draw, 24)
    marks = path[::3]
    rows = marks.diff(dim=0) if basis == "differences" else marks[1:] - marks[0]
    _, sigma, right = torch.linalg.svd(rows, full_matrices=False)
    assert float(principal_angles(made.map, ColumnsMap(right[:6])).max()) < 1e-5
    torch.testing.assert_close(made.offset, path[4])
    (found,) = method.trajectories(problem, [draw])
    torch.testing.assert_close(found.singular_values, sigma, rtol=1e-6, atol=1e-12)


def test_the_whole_span_holds_the_trained_weights(digits, plain_run) -> None:
    problem, draw = digits.to(dtype=torch.float64), Draw(8, 0, 0)
    (made,) = LotterySubspace(8, 3, coordinates="unit").subspaces(problem, [draw])
    moved = plain_run(problem, draw, 24)[-1] - made.offset
    torch.testing.assert_close(made.map(made.map.adjoint(moved)), moved, atol=1e-9, rtol=0)


def test_coordinates_change_the_scale_of_columns_and_not_the_span(digits) -> None:
    problem, draws = digits.to(dtype=torch.float64), [Draw(10, 0, 0)]
    (unit,) = LotterySubspace(12, 2, coordinates="unit").subspaces(problem, draws)
    torch.testing.assert_close(unit.map.dense().norm(dim=0), torch.ones(10).double())
    for coordinates in ("root-sigma", "sigma"):
        method = LotterySubspace(12, 2, coordinates=coordinates)
        (made,) = method.subspaces(problem, draws)
        norms = made.map.dense().norm(dim=0)
        assert bool((norms.diff() <= 1e-12).all())
        assert float(norms[-1]) < 0.9 * float(norms[0])
        assert float(principal_angles(made.map, unit.map).max()) < 1e-6
        (path,) = method.trajectories(problem, draws)
        expected = column_scales(coordinates, path.singular_values[:10])
        assert expected is not None
        torch.testing.assert_close(norms, expected)
        assert float(norms.square().sum()) == pytest.approx(float(norms.sum()))
        assert float(norms.square().sum()) <= 10  # Adam's step is no longer than the null's


def test_scales_do_not_depend_on_how_long_the_search_was(digits) -> None:
    """Columns that the run hardly used count for nothing, and none beyond d counts at all."""
    sigma = torch.tensor([4.0, 2.0, 1.0], dtype=torch.float64)
    longer = torch.cat([sigma, torch.full((500,), 1e-9, dtype=torch.float64)])
    for coordinates in ("sigma", "root-sigma"):
        short, long = column_scales(coordinates, sigma), column_scales(coordinates, longer)
        torch.testing.assert_close(long[:3], short, rtol=1e-2, atol=0)
    small, large = LotterySubspace(12, 2).subspaces(digits, [Draw(3, 0, 0), Draw(9, 0, 0)])
    ratio = large.map.dense()[:, :3].norm() / small.map.dense().norm()
    torch.testing.assert_close(large.map.dense()[:, :3], ratio * small.map.dense())


def test_one_search_serves_all_dims_of_a_repeat(digits, monkeypatch) -> None:
    searches = []
    right = LotterySubspace._search

    def counted(self, problem, draws):
        searches.extend((d.seed, d.repeat) for d in draws)
        return right(self, problem, draws)

    monkeypatch.setattr(LotterySubspace, "_search", counted)
    draws = [Draw(d, 0, r) for d in (2, 5) for r in (0, 1)]
    LotterySubspace(6, 1).subspaces(digits, draws)
    LotterySubspace(6, 1, coordinates="unit").subspaces(digits, draws)
    assert searches == [(0, 0), (0, 1)]
    LotterySubspace(7, 1).subspaces(digits, draws[:1])
    LotterySubspace(6, 1).subspaces(load("digits-mlp", subset=300), draws[:1])
    assert len(searches) == 4


def test_the_cache_is_bounded() -> None:
    cache = full_space.SearchCache(limit=100)
    for i in range(10):
        cache.put(str(i), (torch.zeros(10),))  # 40 bytes each
    assert [i for i in range(10) if cache.get(str(i)) is not None] == [8, 9]
    cache.put("large", (torch.zeros(26),))
    assert cache.get("large") is None


def test_every_trial_is_charged_the_search_and_the_basis(digits) -> None:
    (made,) = LotterySubspace(6, 4).subspaces(digits, [Draw(3, 0, 0)])
    assert (made.search_steps, made.search_bits) == (24, 32 * 3 * 2410)
    assert isinstance(made, Subspace)


def test_more_dims_than_snapshots_is_refused(digits) -> None:
    with pytest.raises(InputError, match=r"at most 6, the snapshots .*snapshots=7"):
        LotterySubspace(6, 1).subspaces(digits, [Draw(7, 0, 0)])


def test_more_dims_than_directions_that_the_search_moved_in_is_refused() -> None:
    well = load("quadratic", eigenvalues=[1.0, 0.5, 0.1], displacement=[1.0, 1.0, 0.0])
    with pytest.raises(InputError, match=r"at most 2, the directions .* longer search"):
        LotterySubspace(3, 2).subspaces(well, [Draw(3, 0, 0)])


def test_a_search_that_diverges_is_refused(digits) -> None:
    with pytest.raises(InputError, match="diverged"):
        LotterySubspace(20, 1, lr=1e20).subspaces(digits, [Draw(2, 0, 0)])


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"snapshots": 0}, "snapshots"),
        ({"every": 1.5}, "every"),
        ({"rewind": -1}, "rewind"),
        ({"snapshots": 2, "every": 2, "rewind": 5}, "up to 4"),
        ({"basis": "difference"}, "Did you mean 'differences'"),
        ({"coordinates": "sigmas"}, "Did you mean 'sigma'"),
    ],
)
def test_bad_arguments(options, match) -> None:
    with pytest.raises(InputError, match=match):
        LotterySubspace(**options)

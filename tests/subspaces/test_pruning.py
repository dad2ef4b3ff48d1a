import itertools
import math

import pytest
import torch

from subspan import maps
from subspan.errors import InputError
from subspan.problems import Problem, load
from subspan.subspaces import (
    BiasesAndNorms,
    Draw,
    FixedFactorLowRank,
    LastLayer,
    LotteryTicket,
    PruneAtInit,
    RandomMask,
    parse_method,
)
from subspan.subspaces.full_space import FullSpace
from subspan.subspaces.low_rank import rank_for
from subspan.subspaces.pruning import _shares as shares_of
from subspan.subspaces.pruning import keep_highest, mask_bits, masked, vector_positions


def kept(problem, method, dim, repeat=0):
    (made,) = method.subspaces(problem, [Draw(dim, 0, repeat)])
    return made.map.indices, made


def test_global_keeps_the_highest_and_ties_go_to_the_earlier(digits) -> None:
    scores = torch.zeros(2410)
    scores[[7, 2400, 11]] = torch.tensor([3.0, 2.0, 1.0])
    chosen = keep_highest(scores, 5, digits.layout, scope="global", biases=True)
    assert chosen.tolist() == [0, 1, 7, 11, 2400]


def test_per_layer_gives_every_tensor_its_share_and_the_total_is_exact(digits) -> None:
    scores = torch.arange(2410.0)
    for keep in (1, 10, 241, 1000, 2409):
        chosen = keep_highest(scores, keep, digits.layout, scope="layer", biases=True)
        assert len(chosen) == len(chosen.unique()) == keep
        for part, size in zip(digits.layout.slices.values(), digits.layout.sizes, strict=True):
            inside = int(((chosen >= part.start) & (chosen < part.stop)).sum())
            assert abs(inside - keep * size / 2410) < 1


@pytest.mark.parametrize(
    "sizes", [(2048, 32, 320, 10), (5, 5, 5, 1), (7, 0, 3), (1, 1, 1, 1, 96), (3,)]
)
def test_no_tensor_gains_where_fewer_are_kept(sizes) -> None:
    before = [0] * len(sizes)
    for keep in range(1, sum(sizes) + 1):
        shares = shares_of(sizes, keep)
        assert sum(shares) == keep
        assert all(b <= s <= size for b, s, size in zip(before, shares, sizes, strict=True))
        before = shares
    assert before == list(sizes)


def test_shares_are_those_of_websters_method() -> None:
    # Divisors 1, 3, 5, … written out: 53, 24 and 23 weights, 10 kept (largest remainders: 5, 3, 2).
    assert shares_of((53, 24, 23), 10) == [6, 2, 2]


def test_what_a_round_pruned_per_layer_stays_pruned(digits) -> None:
    method, rounds = LotteryTicket(1, 60, scope="layer"), []
    right = method._prune

    def watched(scores, draw, layout, number):
        mask = right(scores, draw, layout, number)
        if scores.any():
            rounds.append(set(mask.tolist()))
        return mask

    method._prune = watched
    kept(digits, method, 1200)
    assert len(rounds) == 60
    assert all(later < earlier for earlier, later in itertools.pairwise(rounds))


def test_biases_are_kept_and_counted_when_left_out_of_pruning(digits) -> None:
    positions = vector_positions(digits.layout)
    assert len(positions) == 42
    chosen = keep_highest(-torch.arange(2410.0), 50, digits.layout, scope="global", biases=False)
    assert len(chosen) == 50
    assert set(positions.tolist()) <= set(chosen.tolist())
    with pytest.raises(InputError, match="more than 42"):
        keep_highest(torch.ones(2410), 42, digits.layout, scope="global", biases=False)


@pytest.mark.parametrize("method", [RandomMask(), PruneAtInit("synflow"), LotteryTicket(1)])
def test_a_mask_of_everything_is_refused(digits, method) -> None:
    with pytest.raises(InputError, match="keeps some of the 2410 weights and prunes some"):
        method.subspaces(digits, [Draw(2410, 0, 0)])


def test_a_mask_of_nothing_is_refused(digits) -> None:
    with pytest.raises(InputError, match="keeps some of the 2410 weights and prunes some, got 0"):
        keep_highest(torch.ones(2410), 0, digits.layout, scope="global", biases=True)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_scores_that_are_not_finite_are_refused(digits, value) -> None:
    scores = torch.zeros(2410).index_fill_(0, torch.tensor([7]), value)
    with pytest.raises(InputError, match="search diverged"):
        keep_highest(scores, 5, digits.layout, scope="global", biases=True)


def test_a_ticket_is_the_largest_trained_weights_rewound_exactly(digits, plain_run) -> None:
    problem = digits.to(dtype=torch.float64)
    path = plain_run(problem, Draw(100, 0, 0), 6)  # 400 rows: 3 steps an epoch
    for rewind, start in ((0, path[0]), (2, path[2]), ("end", path[6])):
        chosen, made = kept(problem, LotteryTicket(2, rewind=rewind), 100)
        largest = path[6].abs().argsort(descending=True)[:100].sort().values
        assert torch.equal(chosen, largest)
        torch.testing.assert_close(made.offset, masked(start, largest), rtol=1e-12, atol=1e-12)
    exact = FullSpace().weights_at(problem, [Draw(100, 0, 0)], [2])[0][0]
    _, made = kept(problem, LotteryTicket(2, rewind=2), 100)
    assert torch.equal(made.offset[made.map.indices], exact[made.map.indices])


def test_iterative_pruning_keeps_less_each_round_and_trains_the_mask(digits) -> None:
    problem = digits.to(dtype=torch.float64)
    first, _ = kept(problem, LotteryTicket(2, 1), 500)
    method = LotteryTicket(2, 2)
    sizes = []
    right = method._prune

    def watched(scores, draw, layout, number):
        mask = right(scores, draw, layout, number)
        if scores.any():
            sizes.append((number, set(mask.tolist())))
        return mask

    method._prune = watched
    final, made = kept(problem, method, 100)
    assert [number for number, _ in sizes] == [1, 2]
    assert len(sizes[0][1]) == round(math.sqrt(100 * 2410))
    assert set(final.tolist()) < sizes[0][1]
    assert len(final) == 100
    assert made.search_steps == 12
    one_shot, _ = kept(problem, LotteryTicket(2, 1), 100)
    assert not torch.equal(final, one_shot)
    assert len(first) == 500


def test_search_cost_of_rounds_that_start_at_the_rewind_point(digits) -> None:
    assert LotteryTicket(2, 3, rewind=2).search_steps(digits) == 6 + 2 * 4
    assert LotteryTicket(2, 3, rewind="end").search_steps(digits) == 18
    with pytest.raises(InputError, match="before the end of the search, below 6"):
        LotteryTicket(2, 1, rewind=6).subspaces(digits, [Draw(10, 0, 0)])


def test_mask_bits() -> None:
    assert mask_bits(1, 1024) == 10
    assert mask_bits(2, 4) == math.ceil(math.log2(6))


def test_snip_is_weight_times_gradient(digits) -> None:
    problem = digits.to(dtype=torch.float64)
    chosen, _ = kept(problem, PruneAtInit("snip", batch_size=400), 50)
    w = problem.init(Draw(50, 0, 0).init_seed).requires_grad_()
    problem.loss(w, problem.batch()).backward()
    assert torch.equal(chosen, (w * w.grad).abs().argsort(descending=True)[:50].sort().values)


def test_synflow_leaves_a_path_through_every_layer_and_sees_no_data(digits) -> None:
    chosen, made = kept(digits, PruneAtInit("synflow", iterations=30), 40)
    tensors = digits.layout.split(torch.zeros(2410).index_fill_(0, chosen, 1.0))
    assert all(bool(tensors[name].any()) for name in ("1.weight", "3.weight"))
    one_shot, _ = kept(digits, PruneAtInit("synflow", iterations=1), 40)
    assert not torch.equal(chosen, one_shot)
    other = load("digits-mlp", subset=50)
    assert torch.equal(kept(other, PruneAtInit("synflow", iterations=30), 40)[0], chosen)
    assert made.search_steps == 30


def test_synflow_refuses_norm_layers() -> None:
    x, y = torch.randn(8, 4, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 2
    problem = Problem(
        lambda: torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.LayerNorm(4)), (x, y)
    )
    with pytest.raises(InputError, match="Choose 'snip'"):
        PruneAtInit("synflow").subspaces(problem, [Draw(5, 0, 0)])


def test_random_masks_have_the_expected_overlap(digits) -> None:
    one, other = (set(kept(digits, RandomMask(), 1205, r)[0].tolist()) for r in (0, 1))
    assert 520 < len(one & other) < 685  # 602.5 expected, standard deviation 12


def test_methods_that_need_layers_refuse_an_analytic_problem() -> None:
    with pytest.raises(InputError, match="no layers"):
        RandomMask().subspaces(load("quadratic"), [Draw(5, 0, 0)])


def test_parts_move_their_own_weights_and_no_others(digits) -> None:
    last = digits.layout.slices["3.weight"].start
    vectors = vector_positions(digits.layout)
    for method, inside in (
        (LastLayer(), torch.arange(last, 2410)),
        (BiasesAndNorms(), vectors),
        (FixedFactorLowRank(), torch.tensor(sorted(set(range(2410)) - set(vectors.tolist())))),
    ):
        for dim in (7, 42):
            (made,) = method.subspaces(digits, [Draw(dim, 0, 0)])
            moved = made.map(torch.ones(dim)).nonzero()[:, 0]
            assert set(moved.tolist()) <= set(inside.tolist())
    for method, limit in ((LastLayer(), 330), (BiasesAndNorms(), 42), (FixedFactorLowRank(), 2368)):
        assert method.max_dim(digits) == limit
        with pytest.raises(InputError, match=f"at most {limit}"):
            method.subspaces(digits, [Draw(limit + 1, 0, 0)])


def test_low_rank_updates_have_the_rank_that_d_pays_for(digits) -> None:
    for dim, rank in ((42, 1), (43, 2), (84, 2), (126, 3)):
        (made,) = FixedFactorLowRank().subspaces(digits, [Draw(dim, 0, 0)])
        theta = torch.randn(dim, generator=torch.Generator().manual_seed(0))
        update = digits.layout.split(made.map(theta))
        assert int(torch.linalg.matrix_rank(update["1.weight"])) == rank
        assert int(torch.linalg.matrix_rank(update["3.weight"])) == rank
    assert rank_for([maps.Matrix(0, 3, 2), maps.Matrix(6, 4, 5)], 15) == 3  # 3·2 + 4·3


def test_low_rank_is_a_matrix_product() -> None:
    a = maps.LowRankMap.random([maps.Matrix(1, 3, 4)], 2, 14, 0, dtype=torch.float64)
    theta = torch.arange(6.0, dtype=torch.float64)
    update = a(theta)
    expected = theta.reshape(3, 2) @ a.factors[0]
    torch.testing.assert_close(update[1:13].reshape(3, 4), expected)
    assert not update[[0, 13]].any()


@pytest.mark.parametrize(
    ("text", "config"),
    [
        ("lottery-subspace:unit", {"name": "lottery-subspace", "coordinates": "unit"}),
        ("lottery-ticket:3", {"name": "lottery-ticket", "rounds": 3}),
        ("magnitude", {"name": "lottery-ticket", "rewind": "end"}),
        ("snip", {"name": "snip"}),
        ("synflow:layer", {"name": "synflow", "scope": "layer"}),
        ("random-mask:layer", {"name": "random-mask", "scope": "layer"}),
        ("last-layer:partition", {"name": "last-layer", "map": "partition"}),
        ("biases", {"name": "biases"}),
        ("low-rank-fixed-factor", {"name": "low-rank-fixed-factor"}),
        ("saved", None),
        ("lottery-ticket:many", None),
    ],
)
def test_methods_by_name(text, config) -> None:
    if config is None:
        with pytest.raises(InputError, match="method: expected"):
            parse_method(text)
    else:
        assert config.items() <= parse_method(text).config().items()


def test_an_option_that_a_method_lacks_is_refused() -> None:
    with pytest.raises(InputError, match="options that 'snip' takes, got map"):
        parse_method("snip", map="gaussian")

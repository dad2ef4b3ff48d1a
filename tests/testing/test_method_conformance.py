"""Every method passes the shipped suite, and the suite fails on methods that break a law."""

import pytest
import torch

from subspan import problems
from subspan.errors import InputError
from subspan.maps import ColumnsMap, CoordinateMap
from subspan.subspaces import (
    BiasesAndNorms,
    BurnIn,
    FixedFactorLowRank,
    LastLayer,
    LotterySubspace,
    LotteryTicket,
    Method,
    PruneAtInit,
    RandomAffine,
    RandomMask,
    SavedSubspace,
    Subspace,
    save_subspace,
)
from subspan.subspaces.base import Draw
from subspan.testing import check_method


@pytest.fixture(scope="module")
def problem():
    return problems.load("digits-mlp", subset=300)


def last_layer(draw):
    problem = problems.load("digits-mlp", subset=300).to(dtype=torch.float64)
    return problem.init(draw.init_seed), torch.eye(2410, dtype=torch.float64)[:, 2080:]


CASES = {
    "random": (RandomAffine, (3, 40), {"through_init": True}),
    "burn-in": (lambda: BurnIn(5), (3, 40), {}),
    "lottery-subspace": (
        lambda: LotterySubspace(20, 2),
        (3, 12),
        {"nested": True, "through_init": True},
    ),
    "lottery-subspace:unit": (
        lambda: LotterySubspace(20, 2, coordinates="unit", basis="displacements", rewind=5),
        (3, 12),
        {"nested": True},
    ),
    "lottery-ticket": (
        lambda: LotteryTicket(2),
        (30, 200),
        {"mask": True, "nested": True, "through_init": True},
    ),
    "lottery-ticket:3": (lambda: LotteryTicket(2, 3, rewind=2), (30, 200), {"mask": True}),
    "magnitude": (lambda: LotteryTicket(2, rewind="end", scope="layer"), (30, 200), {"mask": True}),
    "ticket without biases": (
        lambda: LotteryTicket(2, 2, biases=False, scope="layer"),
        (60, 200),
        {"mask": True},
    ),
    "snip": (
        lambda: PruneAtInit("snip", scope="layer"),
        (30, 200),
        {"mask": True, "nested": True, "through_init": True},
    ),
    "synflow": (
        lambda: PruneAtInit("synflow", iterations=10),
        (30, 200),
        {"mask": True, "through_init": True},
    ),
    "random-mask": (RandomMask, (30, 200), {"mask": True, "through_init": True}),
    "last-layer": (LastLayer, (30, 100), {"through_init": True}),
    "last layer whole": (LastLayer, (330,), {"through_init": True, "reference": last_layer}),
    "biases": (BiasesAndNorms, (5, 42), {"through_init": True}),
    "low-rank": (FixedFactorLowRank, (30, 84), {"through_init": True}),
}


@pytest.mark.parametrize("name", CASES)
def test_methods_keep_the_laws(name, problem):
    make, dims, claims = CASES[name]
    check_method(make, problem, dims, **claims)


def test_a_transferred_subspace_keeps_the_laws(problem, tmp_path):
    found = LotterySubspace(20, 2).subspaces(problem, [Draw(12, 0, 0)])[0]
    save_subspace(found, tmp_path / "s.safetensors", problem)
    check_method(
        lambda: SavedSubspace(tmp_path / "s.safetensors", transfer=True),
        problem,
        (3, 12),
        nested=True,
        through_init=True,
    )


class Flawed(Method):
    """Chosen weights through w₀, with one law broken."""

    flaw = ""
    calls = 0

    def config(self):
        return {"name": "flawed", "where": (1, 2) if self.flaw == "config" else "here"}

    def to_config(self):
        return {"name": "flawed", **({"where": "there"} if self.flaw == "arguments" else {})}

    def subspaces(self, problem, draws):
        Flawed.calls += self.flaw == "drift"
        return [self.one(problem, draw) for draw in draws]

    def one(self, problem, draw):
        paired = Draw(draw.dim, draw.seed, 0) if self.flaw == "repeat" else draw
        start = problem.init(paired.init_seed)
        kept = torch.arange(draw.dim) + Flawed.calls
        if self.flaw == "nested":
            kept = kept + draw.dim
        if self.flaw == "dim":
            kept = kept[:-1]
        chosen = CoordinateMap(kept, problem.ambient_dim, dtype=problem.dtype)
        if self.flaw == "rank":
            rows = chosen.dense().T.clone()
            rows[-1] = rows[0]
            chosen = ColumnsMap(rows)
        if self.flaw == "ensemble" and draw.dim > 3:
            start = start + 0.1
        return Subspace(start, chosen, 7 if self.flaw == "cost" else 0)

    def max_dim(self, problem):
        return 100 if self.flaw == "limit" else problem.ambient_dim


@pytest.mark.parametrize(
    ("flaw", "law"),
    [
        ("config", "round-trips"),
        ("arguments", "from_config takes what to_config gives"),
        ("drift", "to the bit"),
        ("repeat", "another repeat"),
        ("dim", "R\\^d"),
        ("rank", "dimension d"),
        ("cost", "search_steps"),
        ("nested", "nested"),
        ("ensemble", "initial weights"),
        ("limit", "refused"),
    ],
)
def test_the_suite_fails_on_a_broken_law(flaw, law, problem):
    kind = type("Broken", (Flawed,), {"flaw": flaw})
    Flawed.calls = 0
    with pytest.raises(AssertionError, match=law):
        check_method(kind, problem, (3, 12), nested=True, through_init=flaw != "repeat")


def test_the_suite_passes_the_method_without_a_flaw(problem):
    Flawed.calls = 0
    check_method(Flawed, problem, (3, 12), nested=True, through_init=True)


def test_the_suite_fails_on_a_mask_that_keeps_weights_it_pruned(problem):
    Flawed.calls = 0
    with pytest.raises(AssertionError, match="pruned weights are zero"):
        check_method(Flawed, problem, (3, 12), mask=True)


def test_the_suite_fails_on_a_span_that_is_not_the_reference(problem):
    def wrong(draw):
        wide = problem.to(dtype=torch.float64)
        return wide.init(draw.init_seed), torch.eye(2410, dtype=torch.float64)[:, 5 : 5 + draw.dim]

    Flawed.calls = 0
    with pytest.raises(AssertionError, match="reference"):
        check_method(Flawed, problem, (3, 12), reference=wrong)


class FlawedMask(RandomMask):
    """A random mask with one law broken."""

    flaw = ""

    def config(self):
        return {**super().config(), **({"share": float("nan")} if self.flaw == "nan" else {})}

    def subspaces(self, problem, draws):
        shift = 77 if self.flaw == "seed" else 0
        asked = [Draw(d.dim, d.seed + shift, d.repeat) for d in draws]
        if self.flaw == "first":  # all draws through the first one's initial weights
            asked = [Draw(d.dim, draws[0].seed, draws[0].repeat) for d in draws]
        bits = {"bits": 10**9, "many bits": 32 * 2410, "half a bit": 1.5, "negative": -1}
        made = super().subspaces(problem, asked)
        scale = 2.0 if self.flaw == "scaled" else 1.0
        return [Subspace(s.offset * scale, s.map, 0, bits.get(self.flaw, 0)) for s in made]


@pytest.mark.parametrize(
    ("flaw", "law"),
    [
        ("seed", r"initial weights are those of draw\.init_seed"),
        ("first", "initial weights under the mask"),
        ("scaled", "initial weights under the mask"),
        ("bits", "search_bits is at most 32 a number"),
        ("many bits", "search_bits is at most those of mask and kept weights"),
        ("half a bit", r"search_bits is a count: an integer, 0 or more, not 1\.5"),
        ("negative", "search_bits is a count"),
        ("nan", "config is plain JSON data"),
    ],
)
def test_the_suite_fails_on_a_mask_that_breaks_a_law(flaw, law, problem):
    kind = type("Broken", (FlawedMask,), {"flaw": flaw})
    with pytest.raises(AssertionError, match=law):
        check_method(kind, problem, (30, 60), mask=True, through_init=True)


def test_the_suite_passes_the_mask_without_a_flaw(problem):
    check_method(FlawedMask, problem, (30, 60), mask=True, through_init=True)


def test_the_suite_sees_initial_weights_of_another_seed_without_any_claim(problem):
    kind = type("Broken", (FlawedMask,), {"flaw": "seed"})
    with pytest.raises(AssertionError, match=r"draw\.init_seed"):
        check_method(kind, problem, (30, 60))


class Swapped(RandomAffine):
    """Goes through the weights of the other repeat where it is asked for both."""

    def subspaces(self, problem, draws):
        made = super().subspaces(problem, draws)
        starts = [s.offset for s in made][::-1]
        return [Subspace(start, s.map) for start, s in zip(starts, made, strict=True)]


def test_the_suite_fails_on_offsets_in_another_order(problem):
    with pytest.raises(AssertionError, match="alone"):
        check_method(Swapped, problem, (3, 40))


@pytest.mark.parametrize(
    ("dims", "claims", "message"),
    [
        ((), {}, r"dims: expected one or more, rising, got \[\]"),
        ((60, 30), {"mask": True}, r"dims: expected one or more, rising, got \[60, 30\]"),
        ((30, 30), {}, "dims: expected one or more, rising"),
        ((30,), {"nested": True}, r"two or more where nested spans are claimed, got \[30\]"),
        ((0, 30), {}, "dims: expected an integer, 1 or more, got 0"),
        (30, {}, "dims: expected a list of integers, got 30"),
    ],
)
def test_dims_with_which_no_law_could_fail_are_refused(dims, claims, message, problem):
    with pytest.raises(InputError, match=message):
        check_method(RandomMask, problem, dims, **claims)


def test_a_method_in_place_of_its_maker_is_refused(problem):
    with pytest.raises(InputError, match="make: expected a function that returns the method"):
        check_method(RandomMask(), problem, (30, 60))
    with pytest.raises(InputError, match="problem: expected a problem, got 'digits-mlp'"):
        check_method(RandomMask, "digits-mlp", (30, 60))

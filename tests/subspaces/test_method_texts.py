"""Methods as text: short arguments, arguments by name, lists, and what is refused."""

import re

import pytest

import subspan as ss
from subspan.errors import InputError
from subspan.subspaces.registry import METHODS, parse_methods


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("burn-in:64,lr=0.1", ss.BurnIn(64, lr=0.1)),
        ("burn-in:steps=64, map=sparse,nnz=3", ss.BurnIn(64, "sparse", nnz=3)),
        (
            "lottery-subspace:snapshots=2048,every=2,coordinates=unit",
            ss.LotterySubspace(2048, 2, coordinates="unit"),
        ),
        ("lottery-subspace:unit,basis=displacements", ss.LotterySubspace(
            coordinates="unit", basis="displacements"
        )),
        (
            "lottery-ticket:rounds=5,rewind=64,epochs=.5,scope=layer,biases=false",
            ss.LotteryTicket(0.5, 5, 64, scope="layer", biases=False),
        ),
        ("lottery-ticket:5,rewind=end", ss.LotteryTicket(rounds=5, rewind="end")),
        ("magnitude:layer", ss.LotteryTicket(rewind="end", scope="layer")),
        ("snip:layer,batches=2", ss.PruneAtInit("snip", scope="layer", batches=2)),
        ("synflow:iterations=10", ss.PruneAtInit("synflow", iterations=10)),
        ("random:sparse,nnz=5", ss.RandomAffine("sparse", nnz=5)),
    ],
)  # fmt: skip
def test_arguments_by_name(text, same) -> None:
    assert ss.parse_method(text).config() == same.config()


def test_a_saved_subspace_by_path_and_transfer(tmp_path) -> None:
    problem = ss.problems.load("digits-mlp", subset=100)
    (mask,) = ss.RandomMask().subspaces(problem, [ss.subspaces.Draw(5, 0, 0)])
    path = tmp_path / "a=b,c.safetensors"
    ss.save_subspace(mask, path, problem)
    for text, transfer in ((f"saved:{path}", False), (f"saved:{path},transfer=true", True)):
        method = ss.parse_method(text)
        assert isinstance(method, ss.SavedSubspace)
        assert (method.path, method.transfer) == (path, transfer)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("lottery-ticket:round=5", "'lottery-ticket': unknown name 'round'. Did you mean 'rounds'"),
        ("lottery-subspace:snapshot=5", "Did you mean 'snapshots'"),
        ("lottery-ticket,rounds=5", "Did you mean 'lottery-ticket'"),
        ("magnitude:rewind=3", "unknown name 'rewind'"),  # its name says "end"
        ("snip:iterations=3", "unknown name 'iterations'"),  # SynFlow's
        ("burn-in:64,nnz=3", "map 'hadamard'"),
        ("lottery-ticket:5,rounds=4", "rounds once"),
        ("lottery-ticket:rounds=many", "a whole number for rounds of 'lottery-ticket', got 'many'"),
        ("lottery-ticket:biases=no", "true or false for biases"),
        ("lottery-ticket:lr=fast", "a number for lr"),
        ("lottery-ticket:rounds=0", "rounds: expected an integer, 1 or more"),
        ("burn-in", "expected 'burn-in:STEPS'"),
        ("saved:", "expected 'saved:PATH'"),
        (None, "expected a method or its text, got None"),
        (ss.RandomMask, "Make one: RandomMask(…)"),
    ],
)  # fmt: skip
def test_what_is_refused(text, match) -> None:
    with pytest.raises(InputError, match=re.escape(match)):
        ss.parse_method(text)


def test_options_are_given_once() -> None:
    assert ss.parse_method("lottery-ticket:2", rewind=3).rewind == 3
    with pytest.raises(InputError, match="rounds once"):
        ss.parse_method("lottery-ticket:2", rounds=3)


def test_lists_keep_named_arguments_with_their_method() -> None:
    text = "random, burn-in:64,lr=0.1,lottery-ticket:rounds=5,rewind=64 ,random-mask"
    assert parse_methods(text) == [
        "random",
        "burn-in:64,lr=0.1",
        "lottery-ticket:rounds=5,rewind=64",
        "random-mask",
    ]
    for nothing in ("", " , "):
        with pytest.raises(InputError, match="methods: expected at least one method"):
            parse_methods(nothing)


def test_the_map_goes_to_those_that_take_one_and_name_none() -> None:
    chosen = parse_methods("random:sparse,burn-in:3,random-mask,last-layer", map="partition")
    assert chosen[0] == "random:sparse"
    assert chosen[2] == "random-mask"
    assert [chosen[1].map, chosen[3].map] == ["partition", "partition"]


@pytest.mark.parametrize("name", METHODS)
def test_the_short_argument_is_one_of_the_method(name) -> None:
    form = METHODS[name]
    assert form.short in form.arguments()
    assert not set(form.idle) & set(form.arguments())

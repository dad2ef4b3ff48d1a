import math

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from subspan.errors import InputError, StoreError
from subspan.problems import load
from subspan.subspaces import (
    BiasesAndNorms,
    Draw,
    LastLayer,
    LotterySubspace,
    LotteryTicket,
    RandomAffine,
    SavedSubspace,
    load_subspace,
    save_subspace,
)
from subspan.subspaces.base import Subspace
from subspan.subspaces.pruning import mask_bits
from subspan.subspaces.saved_file import checksum_of


@pytest.fixture(scope="module")
def lottery(digits):
    return LotterySubspace(12, 2).subspaces(digits, [Draw(10, 0, 0)])[0]


@pytest.fixture(scope="module")
def ticket(digits):
    return LotteryTicket(1).subspaces(digits, [Draw(10, 0, 0)])[0]


def parts(path):
    with safe_open(str(path), framework="pt") as file:
        return dict(file.metadata()), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


@pytest.mark.parametrize("method", [LotterySubspace(12, 2, rewind=3), LotteryTicket(1)])
def test_saved_and_loaded_is_the_same_to_the_bit(digits, tmp_path, method) -> None:
    (made,) = method.subspaces(digits, [Draw(10, 0, 0)])
    save_subspace(made, tmp_path / "s.safetensors", digits)
    back = load_subspace(tmp_path / "s.safetensors", digits)
    assert torch.equal(back.offset, made.offset)
    assert back.map.checksum() == made.map.checksum()
    assert (back.search_steps, back.search_bits) == (made.search_steps, made.search_bits)


def test_transfer_to_another_initialisation(digits, tmp_path) -> None:
    path = tmp_path / "s.safetensors"
    (made,) = LotterySubspace(12, 2).subspaces(digits, [Draw(10, 0, 0)])
    save_subspace(made, path, digits)
    (moved,) = SavedSubspace(path, transfer=True).subspaces(digits, [Draw(4, 5, 6)])
    assert torch.equal(moved.offset, digits.init(Draw(4, 5, 6).init_seed))
    own = LotterySubspace(12, 2).subspaces(digits, [Draw(4, 0, 0)])[0]
    torch.testing.assert_close(moved.map.dense(), own.map.dense())
    (kept,) = SavedSubspace(path).subspaces(digits, [Draw(10, 5, 6)])
    assert torch.equal(kept.offset, made.offset)
    ticket = LotteryTicket(1).subspaces(digits, [Draw(10, 0, 0)])[0]
    save_subspace(ticket, path, digits)
    (moved,) = SavedSubspace(path, transfer=True).subspaces(digits, [Draw(10, 5, 6)])
    start = digits.init(Draw(10, 5, 6).init_seed)
    assert torch.equal(moved.offset.nonzero()[:, 0], ticket.map.indices)
    assert torch.equal(moved.offset[ticket.map.indices], start[ticket.map.indices])
    with pytest.raises(InputError, match=r"expected 10, what s.safetensors holds, got 5"):
        SavedSubspace(path).subspaces(digits, [Draw(5, 0, 0)])


@pytest.mark.parametrize("coordinates", ["sigma", "root-sigma", "unit"])
def test_fewer_dims_of_a_file_are_the_lottery_subspace_of_those_dims(
    digits, tmp_path, coordinates
) -> None:
    method = LotterySubspace(12, 2, coordinates=coordinates)
    small, large = method.subspaces(digits, [Draw(4, 0, 0), Draw(10, 0, 0)])
    save_subspace(large, tmp_path / "s", digits)
    four, ten = SavedSubspace(tmp_path / "s").subspaces(digits, [Draw(4, 0, 0), Draw(10, 0, 0)])
    torch.testing.assert_close(four.map.dense(), small.map.dense(), rtol=1e-6, atol=1e-7)
    assert ten.map.checksum() == large.map.checksum()


def test_a_method_is_known_by_what_the_file_holds(digits, tmp_path) -> None:
    (made,) = LotteryTicket(1).subspaces(digits, [Draw(10, 0, 0)])
    (other,) = LotteryTicket(1).subspaces(digits, [Draw(10, 0, 1)])
    configs = []
    for name, subspace in (("a", made), ("b", made), ("c", other)):
        save_subspace(subspace, tmp_path / name, digits)
        configs.append(SavedSubspace(tmp_path / name).config())
    assert configs[0] == configs[1] != configs[2]


def test_a_subspace_of_another_network_is_refused(digits, tmp_path) -> None:
    (made,) = LotteryTicket(1).subspaces(digits, [Draw(10, 0, 0)])
    save_subspace(made, tmp_path / "s", digits)
    with pytest.raises(InputError, match=r"'quadratic'.*got one of 'digits-mlp' \(D = 2410\)"):
        load_subspace(tmp_path / "s", load("quadratic"))


def test_files_that_are_no_saved_subspace(digits, tmp_path) -> None:
    for name in ("9" * 5000, "a/" * 5000):  # too long for any file
        with pytest.raises(InputError, match="no file at"):
            SavedSubspace(name)
    with pytest.raises(InputError, match="no file at"):
        SavedSubspace(tmp_path / "none")
    (tmp_path / "text").write_text("hello, this is not a safetensors file at all")
    with pytest.raises(InputError, match="does not read as safetensors"):
        SavedSubspace(tmp_path / "text")
    save_file({"x": torch.zeros(2)}, tmp_path / "other")
    with pytest.raises(InputError, match="another safetensors file"):
        SavedSubspace(tmp_path / "other")


def test_every_damaged_byte_is_noticed(digits, lottery, ticket, tmp_path) -> None:
    for subspace in (lottery, ticket):
        save_subspace(subspace, tmp_path / "s", digits)
        raw = (tmp_path / "s").read_bytes()
        for at in range(0, len(raw), len(raw) // 40):
            flipped = bytearray(raw)
            flipped[at] ^= 0x40
            (tmp_path / "s").write_bytes(flipped)
            with pytest.raises(InputError):
                load_subspace(tmp_path / "s", digits)


def test_a_damaged_offset_is_refused_by_name(digits, ticket, tmp_path) -> None:
    save_subspace(ticket, tmp_path / "s", digits)
    meta, tensors = parts(tmp_path / "s")
    for value in (100.0, math.nan):
        tensors["offset"][5] = value
        save_file(tensors, tmp_path / "s", metadata=meta)
        with pytest.raises(InputError, match=r"the checksum that it was saved with.*is damaged"):
            load_subspace(tmp_path / "s", digits)


@pytest.mark.parametrize(
    "key", ["weights", "problem", "search_steps", "search_bits", "masked", "checksum"]
)
def test_a_file_that_lacks_a_field_is_refused(digits, ticket, tmp_path, key) -> None:
    save_subspace(ticket, tmp_path / "s", digits)
    meta, tensors = parts(tmp_path / "s")
    del meta[key]
    save_file(tensors, tmp_path / "s", metadata=meta)
    with pytest.raises(InputError, match=f"a file without {key} in"):
        SavedSubspace(tmp_path / "s")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"positions": None}, "without basis or positions"),
        ({"offset": None}, "without offset"),
        ({"offset": torch.zeros(1, 2410)}, "another 'offset'"),
        ({"positions": torch.zeros(10)}, "another 'positions'"),
        ({"more": torch.zeros(3)}, "another 'more'"),
        ({"offset": torch.full((2410,), math.inf)}, "a finite offset, got NaN or infinity"),
        ({"positions": torch.tensor([5, 5])}, "increasing positions below 2410"),
        ({"positions": None, "basis": torch.eye(3)}, r"R\^2410, as the offset, got R\^3"),
        ({"search_steps": "abc"}, "whole number of search_steps, got 'abc'"),
        ({"search_steps": "-5"}, "whole number of search_steps, got '-5'"),
        ({"search_bits": ""}, "whole number of search_bits, got ''"),
    ],
)
def test_files_that_were_made_by_hand_are_refused(
    digits, ticket, tmp_path, change, message
) -> None:
    save_subspace(ticket, tmp_path / "s", digits)
    meta, tensors = parts(tmp_path / "s")
    for name, value in change.items():
        home = meta if isinstance(value, str) else tensors
        home.pop(name, None)
        if value is not None:
            home[name] = value
    meta["checksum"] = checksum_of(meta, tensors)
    save_file(tensors, tmp_path / "s", metadata=meta)
    with pytest.raises(InputError, match=message):
        SavedSubspace(tmp_path / "s")


def test_an_older_format_is_refused(digits, ticket, tmp_path) -> None:
    save_subspace(ticket, tmp_path / "s", digits)
    meta, tensors = parts(tmp_path / "s")
    save_file(tensors, tmp_path / "s", metadata={**meta, "format": "subspan subspace 1"})
    with pytest.raises(InputError, match="'subspan subspace 2', got 'subspan subspace 1' in"):
        load_subspace(tmp_path / "s", digits)


@pytest.mark.parametrize(("method", "dim"), [(LastLayer(), 330), (BiasesAndNorms(), 42)])
def test_a_whole_layer_keeps_the_other_weights_when_it_is_transferred(
    digits, tmp_path, method, dim
) -> None:
    (made,) = method.subspaces(digits, [Draw(dim, 0, 0)])
    save_subspace(made, tmp_path / "s", digits)
    moved = SavedSubspace(tmp_path / "s", transfer=True)
    same, other = moved.subspaces(digits, [Draw(dim, 0, 0), Draw(dim, 0, 1)])
    assert torch.equal(same.offset, made.offset)
    assert torch.equal(other.offset, digits.init(Draw(dim, 0, 1).init_seed))
    assert same.search_bits == made.search_bits == 0


def test_bits_are_charged_for_what_is_used(digits, tmp_path) -> None:
    draws = [Draw(4, 0, 0), Draw(10, 0, 0)]
    method = LotterySubspace(12, 2, rewind=3)
    small, large = method.subspaces(digits, draws)
    save_subspace(large, tmp_path / "s", digits)
    own = SavedSubspace(tmp_path / "s").subspaces(digits, draws)
    assert [s.search_bits for s in own] == [small.search_bits, large.search_bits]
    moved = SavedSubspace(tmp_path / "s", transfer=True).subspaces(digits, draws)
    assert [s.search_bits for s in moved] == [32 * 4 * 2410, 32 * 10 * 2410]
    (tuned,) = LotteryTicket(1, rewind="end").subspaces(digits, [Draw(10, 0, 0)])
    save_subspace(tuned, tmp_path / "s", digits)
    for transfer, bits in ((False, tuned.search_bits), (True, mask_bits(10, 2410))):
        method = SavedSubspace(tmp_path / "s", transfer=transfer)
        assert method.subspaces(digits, [Draw(10, 0, 0)])[0].search_bits == bits
    assert tuned.search_bits == mask_bits(10, 2410) + 320


def test_a_file_that_changed_after_the_method_was_made_is_refused(
    digits, lottery, ticket, tmp_path
) -> None:
    save_subspace(lottery, tmp_path / "s", digits)
    method = SavedSubspace(tmp_path / "s")
    save_subspace(ticket, tmp_path / "s", digits)
    with pytest.raises(InputError, match="the file that this method was made from, got another"):
        method.subspaces(digits, [Draw(10, 0, 0)])


def test_what_cannot_be_saved_is_refused(digits, lottery, tmp_path) -> None:
    broken = lottery.offset.clone().index_fill_(0, torch.tensor([3]), math.nan)
    for subspace, problem, message in (
        (LotterySubspace(4), digits, "subspace: expected a Subspace, got a LotterySubspace"),
        (lottery, load("quadratic"), r"problem: expected the network .* \(D = 2410\), got"),
        (lottery, "digits-mlp", "problem: expected a problem, got a str"),
        (Subspace(broken, lottery.map), digits, "a finite offset, got NaN"),
        (Subspace(lottery.offset, lottery.map, 0, 1.5), digits, "search_bits: expected an integer"),
    ):
        with pytest.raises(InputError, match=message):
            save_subspace(subspace, tmp_path / "s", problem)
    assert not (tmp_path / "s").exists()


def test_paths_that_are_none_are_refused(digits, lottery) -> None:
    for use in (
        lambda: save_subspace(lottery, None, digits),
        lambda: load_subspace(None, digits),
        lambda: SavedSubspace(None),
    ):
        with pytest.raises(InputError, match="path: expected a path, got None"):
            use()


def test_transfer_is_a_truth_value(digits, lottery, tmp_path) -> None:
    save_subspace(lottery, tmp_path / "s", digits)
    with pytest.raises(InputError, match="transfer: expected True or False, got 'no'"):
        SavedSubspace(tmp_path / "s", transfer="no")


def test_random_maps_and_places_that_cannot_be_written(digits, tmp_path) -> None:
    (random,) = RandomAffine().subspaces(digits, [Draw(10, 0, 0)])
    with pytest.raises(InputError, match="A seed makes a random subspace again"):
        save_subspace(random, tmp_path / "s", digits)
    (made,) = LotteryTicket(1).subspaces(digits, [Draw(10, 0, 0)])
    with pytest.raises(StoreError, match="could not write"):
        save_subspace(made, tmp_path / "no" / "such" / "s", digits)

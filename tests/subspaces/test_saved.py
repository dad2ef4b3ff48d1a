import math

import pytest
import torch
from safetensors.torch import save_file

from subspan.errors import InputError, StoreError
from subspan.maps import ColumnsMap, make
from subspan.problems import load
from subspan.subspaces import (
    Draw,
    LotterySubspace,
    LotteryTicket,
    RandomAffine,
    SavedSubspace,
    load_subspace,
    principal_angles,
    save_subspace,
)


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
    torch.testing.assert_close(moved.map.dense(), made.map.dense()[:, :4])
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
    with pytest.raises(InputError, match="no file at"):
        SavedSubspace(tmp_path / "none")
    (tmp_path / "text").write_text("hello, this is not a safetensors file at all")
    with pytest.raises(InputError, match="does not read as safetensors"):
        SavedSubspace(tmp_path / "text")
    save_file({"x": torch.zeros(2)}, tmp_path / "other")
    with pytest.raises(InputError, match="another safetensors file"):
        SavedSubspace(tmp_path / "other")


def test_a_damaged_file_is_refused(digits, tmp_path) -> None:
    (made,) = LotterySubspace(12, 2).subspaces(digits, [Draw(10, 0, 0)])
    save_subspace(made, tmp_path / "s", digits)
    raw = bytearray((tmp_path / "s").read_bytes())
    raw[len(raw) // 3] ^= 0x08
    (tmp_path / "s").write_bytes(raw)
    with pytest.raises(InputError, match=r"damaged|finite"):
        load_subspace(tmp_path / "s", digits)


def test_random_maps_and_places_that_cannot_be_written(digits, tmp_path) -> None:
    (random,) = RandomAffine().subspaces(digits, [Draw(10, 0, 0)])
    with pytest.raises(InputError, match="A seed makes a random subspace again"):
        save_subspace(random, tmp_path / "s", digits)
    (made,) = LotteryTicket(1).subspaces(digits, [Draw(10, 0, 0)])
    with pytest.raises(StoreError, match="could not write"):
        save_subspace(made, tmp_path / "no" / "such" / "s", digits)


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

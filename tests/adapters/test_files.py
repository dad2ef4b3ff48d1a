"""`save` and `load`: what a file holds, how small it is, and all that is refused."""

from __future__ import annotations

import copy
import json
import resource
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from small_modules import (
    batch_norm_net,
    coordinates,
    inputs,
    mlp,
    put,
    same_state,
    state,
    tied,
)
from torch import nn

import subspan
from subspan import maps
from subspan.adapters import attach, files, handles, load, save
from subspan.streams import stream


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    handle = attach(mlp(), 7, seed=3)
    put(handle, coordinates(7))
    save(handle, tmp_path / "tuned.safetensors")
    return tmp_path / "tuned.safetensors"


# --- round trips ---------------------------------------------------------------------------------


@pytest.mark.parametrize("scales", [False, True])
@pytest.mark.parametrize("name", maps.names())
def test_round_trip_gives_equal_weights_to_the_bit(name, scales, tmp_path):
    module = mlp()
    handle = attach(module, 7, name, 3, modules=["0", "2.weight"], per_layer_scale=scales)
    put(handle, coordinates(7))
    if scales:
        with torch.no_grad():
            handle.scales.copy_(torch.tensor([0.3, 1.7]))
    save(handle, tmp_path / "f")
    fresh = mlp()
    again = load(fresh, tmp_path / "f")
    for one, other in zip(handle.weights, again.weights, strict=True):
        (a, name_a), (b, name_b) = one.sites[0], other.sites[0]
        assert torch.equal(getattr(a, name_a), getattr(b, name_b))
    assert torch.equal(fresh(inputs()), module(inputs()))
    assert repr(again) == repr(handle)
    again.detach()
    assert same_state(state(fresh), state(mlp()))


def test_tied_modules_and_two_subspaces(tmp_path):
    module = tied()
    one = attach(module, 5, modules=["block"])
    two = attach(module, 4, "hadamard", 1, modules=["embedding"])
    put(one, coordinates(5)), put(two, coordinates(4))
    save(one, tmp_path / "one"), save(two, tmp_path / "two")
    fresh = tied()
    load(fresh, tmp_path / "two"), load(fresh, tmp_path / "one")
    ids = torch.arange(10).view(2, 5)
    assert torch.equal(fresh(ids), module(ids))


def test_changed_buffers_travel_and_others_do_not(tmp_path):
    module = batch_norm_net()
    handle = attach(module, 7)
    save(handle, tmp_path / "before")
    module(inputs())
    save(handle, tmp_path / "after")
    assert (tmp_path / "before").stat().st_size < (tmp_path / "after").stat().st_size
    fresh = batch_norm_net()
    load(fresh, tmp_path / "after")
    assert torch.equal(fresh.eval()(inputs()), module.eval()(inputs()))
    handles(fresh)[0].detach()
    assert same_state(state(fresh), state(batch_norm_net()))


def test_loading_onto_the_same_subspace_takes_its_theta(saved):
    module = mlp()
    handle = attach(module, 7, seed=3)
    assert load(module, saved) is handle
    assert torch.equal(handle.theta, coordinates(7))
    other = mlp()
    attach(other, 7, seed=4)
    with pytest.raises(subspan.InputError, match=r"Call handle\.detach\(\) first"):
        load(other, saved)


def test_a_thousand_numbers_fit_six_kilobytes(tmp_path):
    layers = [nn.TransformerEncoderLayer(16, 2, 32) for _ in range(9)]
    module = nn.Sequential(*layers)
    assert len(list(module.parameters())) > 100
    handle = attach(module, 1000)
    put(handle, coordinates(1000))
    save(handle, tmp_path / "f")
    assert (tmp_path / "f").stat().st_size <= 6000
    sizes = {}
    for dtype in ("bfloat16", "int8"):
        save(handle, tmp_path / dtype, dtype=dtype)
        sizes[dtype] = (tmp_path / dtype).stat().st_size
    assert sizes["bfloat16"] <= (tmp_path / "f").stat().st_size - 1950
    assert sizes["int8"] <= sizes["bfloat16"] - 850  # its step costs a little


@pytest.mark.parametrize(("dtype", "error"), [("bfloat16", 2**-8), ("int8", 0.5 / 127)])
def test_quantised_theta_is_as_near_as_stated(dtype, error, tmp_path):
    handle = attach(mlp(), 50)
    put(handle, coordinates(50))
    save(handle, tmp_path / "f", dtype=dtype)
    again = load(mlp(), tmp_path / "f")
    assert again.theta.dtype == torch.float32
    gap = (again.theta - coordinates(50)).abs()
    bound = coordinates(50).abs() if dtype == "bfloat16" else coordinates(50).abs().max()
    assert (gap <= error * bound * 1.001).all()
    assert gap.max() > 0


def test_zero_theta_survives_int8(tmp_path):
    save(attach(mlp(), 5), tmp_path / "f", dtype="int8")
    assert torch.equal(load(mlp(), tmp_path / "f").theta, torch.zeros(5))


# --- what is refused -----------------------------------------------------------------------------


def refused(module, path, text):
    before = state(module)
    with pytest.raises(subspan.InputError, match=text):
        load(module, path)
    assert same_state(state(module), before)
    assert type(module) is type(mlp())
    assert not handles(module)


def test_another_base_model_is_refused_unless_forced(saved):
    module = mlp()
    with torch.no_grad():
        module[2].bias[0] += 1e-7
    refused(module, saved, "expected the base weights and buffers that the file was made on")
    handle = load(module, saved, force=True)
    assert torch.equal(handle.theta, coordinates(7))
    refused(mlp().bfloat16(), saved, "same dtype")


def test_a_different_frozen_part_is_refused_too(tmp_path):
    handle = attach(mlp(), 3, modules=["0"])
    save(handle, tmp_path / "f")
    module = mlp()
    with torch.no_grad():
        module[2].weight.zero_()
    refused(module, tmp_path / "f", "base weights")


def test_a_changed_architecture_is_refused_by_name(saved):
    refused(
        nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 3)),
        saved,
        r"0\.weight has shape \(9, 6\), not \(8, 6\); 0\.bias",
    )
    refused(nn.Sequential(nn.Linear(6, 8)), saved, r"2\.weight is missing")


def test_a_map_that_differs_is_refused_even_if_forced(saved, monkeypatch):
    import subspan.maps.partition as partition

    words = partition.words
    monkeypatch.setattr(partition, "words", lambda *a, **k: words(*a, **k) ^ np.uint64(1))
    refused(mlp(), saved, "Load it with that version and merge it")
    with pytest.raises(subspan.InputError, match="expected a map with checksum"):
        load(mlp(), saved, force=True)


def test_bad_arguments_of_save(tmp_path):
    handle = attach(mlp(), 3)
    with pytest.raises(subspan.InputError, match="dtype: unknown name 'int4'"):
        save(handle, tmp_path / "f", dtype="int4")
    with pytest.raises(subspan.InputError, match="path: expected a place that can be written"):
        save(handle, tmp_path / "none" / "f")
    put(handle, torch.tensor([0.0, float("nan"), 0.0]))
    with pytest.raises(subspan.InputError, match="theta: expected finite numbers"):
        save(handle, tmp_path / "f")
    assert list(tmp_path.iterdir()) == []


def test_files_that_are_none(tmp_path):
    with pytest.raises(subspan.InputError, match="path: expected a file"):
        load(mlp(), tmp_path / "missing")
    with pytest.raises(subspan.InputError, match="path: expected a file"):
        load(mlp(), tmp_path)
    from safetensors.torch import save_file

    save_file({"theta": torch.zeros(3)}, tmp_path / "other")
    with pytest.raises(subspan.InputError, match="without its header"):
        load(mlp(), tmp_path / "other")


# --- fuzz ----------------------------------------------------------------------------------------


def edited(blob: bytes, change) -> bytes:
    """The file with its header changed and written out again."""
    (size,) = struct.unpack("<Q", blob[:8])
    outer = json.loads(blob[8 : 8 + size])
    inner = json.loads(outer["__metadata__"]["subspan"])
    change(outer, inner)
    outer["__metadata__"]["subspan"] = json.dumps(inner)
    text = json.dumps(outer).encode()
    return struct.pack("<Q", len(text)) + text + blob[8 + size :]


def attempt(blob: bytes, path: Path) -> None:
    """Load bytes; only success or an `InputError` is allowed, and a refusal changes nothing."""
    path.write_bytes(blob)
    module = mlp()
    try:
        load(module, path)
    except subspan.InputError:
        assert same_state(state(module), state(mlp()))


def rejected(blob: bytes, path: Path) -> None:
    path.write_bytes(blob)
    refused(mlp(), path, ".")


def test_fuzz_truncations_and_random_bytes_are_refused(saved, tmp_path):
    blob = saved.read_bytes()
    random = stream(0, "fuzz")
    path = tmp_path / "bad"
    for cut in {0, 1, 7, 8, 9, len(blob) - 1, *random.integers(0, len(blob), 40).tolist()}:
        rejected(blob[:cut], path)
    for size in (0, 1, 8, 100, 5000):
        rejected(random.bytes(size), path)
    for _ in range(100):  # any one byte
        at = int(random.integers(len(blob)))
        rejected(
            blob[:at] + bytes([blob[at] ^ (1 << int(random.integers(8)))]) + blob[at + 1 :], path
        )
    rejected(blob + b"\0", path)


def test_fuzz_any_edited_field_is_refused(saved, tmp_path):
    blob = saved.read_bytes()
    assert edited(blob, lambda o, i: None) != b""
    attempt(edited(blob, lambda o, i: None), tmp_path / "same")
    header = files.container.read(saved, 10**6, 10**6).header
    values = [None, 0, -1, 8, 2**70, 1e308, True, "", "x", "partition", [], {}, [[1]], {"a": {}}]
    for field in files.container.FIELDS:
        for value in values:
            if header.get(field, ...) == value:
                continue
            rejected(edited(blob, lambda o, i, f=field, v=value: i.update({f: v})), tmp_path / "b")
        rejected(edited(blob, lambda o, i, f=field: i.pop(f)), tmp_path / "b")
    rejected(edited(blob, lambda o, i: i.update(extra=1)), tmp_path / "b")


def forged(saved: Path, path: Path, values=None, **fields) -> None:
    """A file with fields or tensors changed and its digest made right again."""
    content = files.container.read(saved, 10**6, 10**6)
    header = {k: v for k, v in content.header.items() if k not in ("format", "tensors")} | fields
    tensors = header.pop("tensors", content.tensors)
    files.container.write(path, header, tensors, {**content.values, **(values or {})})


def test_forged_files_with_a_right_digest_are_refused(saved, tmp_path):
    path = tmp_path / "forged"
    forged(saved, path)
    attempt(path.read_bytes(), tmp_path / "whole")
    zeros = torch.zeros
    for values, fields in [
        (None, {"seed": 4}),
        (None, {"map": "hadamard"}),
        (None, {"map": "os.system"}),
        (None, {"options": {"device": "cuda"}}),
        (None, {"options": {"nnz": 2}, "map": "sparse"}),
        (None, {"dim": 10**12}),
        ({"theta": zeros(84)}, {"dim": 84}),
        ({"theta": zeros(7, 1)}, {}),
        ({"theta": zeros(7, dtype=torch.int64)}, {}),
        ({"theta": zeros(7, dtype=torch.int8)}, {}),
        ({"step": zeros(1)}, {}),
        ({"theta": torch.full((7,), torch.nan)}, {}),
        ({"scales": zeros(5)}, {}),
        ({"buffer.nothing": zeros(5)}, {}),
        ({"buffer.0.weight": zeros(8, 6)}, {}),
        (None, {"tensors": []}),
        (None, {"tensors": [("0.weight", (8, 6))] * 2}),
        (None, {"tensors": [("0.weight", (10**9, 10**9))]}),
        (None, {"tensors": [("subspan_theta", (7,))]}),
        (None, {"rest": "drop"}),
        (None, {"base": ""}),
        (None, {"version": 3}),
    ]:
        forged(saved, path, values, **fields)
        refused(mlp(), path, ".")


def test_a_later_format_asks_for_an_upgrade(saved, tmp_path, monkeypatch):
    monkeypatch.setattr(files.container, "FORMAT", files.container.FORMAT + 1)
    save(attach(mlp(), 3), tmp_path / "f")
    monkeypatch.undo()
    refused(mlp(), tmp_path / "f", "Upgrade subspan")


def test_declared_sizes_do_not_cost_memory(saved, tmp_path):
    blob = saved.read_bytes()
    bomb = [("a" * 50, (1,))] * 10**6  # 70 MB of JSON in some 100 kB
    forged(saved, tmp_path / "bomb", tensors=bomb)
    del bomb
    deep = edited(blob, lambda o, i: i.update(tensors="["))
    huge = edited(blob, lambda o, i: o["theta"].update(shape=[2**40]))
    wide = edited(blob, lambda o, i: o["theta"].update(shape=[2**40], data_offsets=[0, 2**42]))
    long = struct.pack("<Q", 2**62) + blob[8:]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(mlp(), tmp_path / "bomb", "damaged")
    for bad in (deep, huge, wide, long):
        rejected(bad, tmp_path / "b")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB


def test_a_copy_of_a_module_saves_the_same_file(tmp_path):
    module = mlp()
    handle = attach(module, 7)
    put(handle, coordinates(7))
    save(handle, tmp_path / "one")
    save(handles(copy.deepcopy(module))[0], tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()

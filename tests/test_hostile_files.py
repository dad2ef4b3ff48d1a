"""Files that claim much or hold what no writer writes: refused by their header, by name."""

from __future__ import annotations

import copy
import json
import os
import resource
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import subspan
from subspan.adapters import attach, load, save
from subspan.canonical import canonical_json, strict_json
from subspan.errors import InputError, StoreError
from subspan.subspaces import SavedSubspace, load_subspace
from subspan.trials.stores.rows import record_digest
from subspan.trials.stores.sql import Store
from subspan.trials.trial import record_to_json

GIGABYTES = 8 * 2**30


def sparse(path: Path, header: dict[str, Any], size: int = GIGABYTES) -> None:
    """A file of a header and holes, which takes no room on the disk."""
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + size)
    assert os.stat(path).st_blocks * 512 < 2**20


def grown(call: Any) -> int:
    """Kilobytes by which the largest memory of this process grew."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    call()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before


def test_a_sparse_file_of_numbers_is_refused_by_its_header(tmp_path: Path) -> None:
    save(attach(nn.Linear(6, 4), 7), tmp_path / "f")
    blob = (tmp_path / "f").read_bytes()
    (length,) = struct.unpack("<Q", blob[:8])
    outer = json.loads(blob[8 : 8 + length])
    inner = json.loads(outer["__metadata__"]["subspan"])
    for name, dim in (("theta", GIGABYTES // 4), ("buffer.x", 7)):
        header = copy.deepcopy(outer)
        header["__metadata__"]["subspan"] = json.dumps({**inner, "dim": dim})
        header[name] = {"dtype": "F32", "shape": [GIGABYTES // 4], "data_offsets": [0, GIGABYTES]}
        if name != "theta":
            header["theta"]["data_offsets"] = [GIGABYTES, GIGABYTES + 28]
        sparse(tmp_path / "big", header, GIGABYTES + (28 if name != "theta" else 0))

        def refused() -> None:
            with pytest.raises(InputError, match="path: expected at most"):
                load(nn.Linear(6, 4), tmp_path / "big")

        assert grown(refused) < 100_000


def test_a_sparse_subspace_is_refused_by_its_header(tmp_path: Path) -> None:
    problem = subspan.problems.load("digits-mlp", subset=50)
    width = 2**16
    texts = ("weights", "problem", "search_steps", "search_bits", "checksum")
    meta = {
        **dict.fromkeys(texts, "0"),
        "format": "subspan subspace 2",
        "masked": "no",
    }
    rows = (GIGABYTES - 4 * width) // (4 * width)
    cut = 4 * width
    header = {
        "__metadata__": meta,
        "offset": {"dtype": "F32", "shape": [width], "data_offsets": [0, cut]},
        "basis": {"dtype": "F32", "shape": [rows - 1, width]},
    }
    header["basis"]["data_offsets"] = [cut, cut + 4 * width * (rows - 1)]
    if rows - 1 > width:
        pytest.fail("more rows than weights would be refused for that alone")
    sparse(tmp_path / "s", header, cut + 4 * width * (rows - 1))

    def refused() -> None:
        with pytest.raises(InputError, match="got a file of holes"):
            load_subspace(tmp_path / "s", problem)
        with pytest.raises(InputError, match="got a file of holes"):
            SavedSubspace(tmp_path / "s")

    assert grown(refused) < 100_000


@pytest.mark.parametrize(
    "text",
    ["NaN", "[-Infinity]", "1e999", "9" * 5000, "[" * 200_000, '{"a":' * 100 + "1" + "}" * 100],
    ids=["nan", "infinity", "1e999", "digits", "brackets", "objects"],
)
def test_json_that_is_none_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        strict_json(text)
    assert type(refused.value) in (ValueError, json.JSONDecodeError)


@pytest.mark.parametrize("field", ["options", "dim", "seed"])
@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999", "9" * 5000, "[" * 2000 + "]" * 2000])
def test_a_header_that_no_writer_writes_is_refused(tmp_path: Path, field: str, value: str) -> None:
    save(attach(nn.Linear(6, 4), 7), tmp_path / "f")
    blob = (tmp_path / "f").read_bytes()
    (length,) = struct.unpack("<Q", blob[:8])
    outer = json.loads(blob[8 : 8 + length])
    inner = json.loads(outer["__metadata__"]["subspan"])
    put = {"options": f'{{"nnz": {value}}}'}.get(field, value)
    outer["__metadata__"]["subspan"] = json.dumps({**inner, field: "HERE"}).replace('"HERE"', put)
    text = json.dumps(outer).encode()
    (tmp_path / "f").write_bytes(struct.pack("<Q", len(text)) + text + blob[8 + length :])
    with pytest.raises(InputError, match="path: expected"):
        load(nn.Linear(6, 4), tmp_path / "f")


RECORDS = {
    "null dim": ('"dim":1', '"dim":null'),
    "text for a loss": ('"train:loss":[', '"train:loss":["good",'),
    "text for losses": ('"curve":{', '"curve":{"train:accuracy":"good",'),
    "1e999 steps": ('"steps":', '"steps":1e999,"was":'),
    "digits": ('"steps":', '"steps":' + "9" * 5000 + ',"was":'),
    "deep": ('"provenance":{', '"provenance":{"x":' + "[" * 900 + "]" * 900 + ","),
    "very deep": ('"provenance":{', '"provenance":{"x":' + "[" * 200_000 + "]" * 200_000 + ","),
    "problem is text": ('"problem":{', '"problem":"mine","was":{'),
    "outcome": ('"outcome":"finished"', '"outcome":"splendid"'),
    "negative repeat": ('"repeat":0', '"repeat":-1'),
}


@pytest.mark.parametrize("case", RECORDS)
def test_a_record_that_no_run_wrote_is_a_damaged_store(cli: Any, tmp_path: Path, case: str) -> None:
    import sqlite3

    store = tmp_path / "runs.db"
    problem = subspan.problems.load("quadratic", eigenvalues=[1.0, 2.0], displacement=[1.0, 1.0])
    (record,) = subspan.run(problem, "random", dims=[1], repeats=1, store=store, workers=1)
    text = canonical_json(record_to_json(record))
    old, new = RECORDS[case]
    assert old in text
    forged = text.replace(old, new, 1)  # as schemas up to 4 have it, under a digest that is right
    digest = record_digest(record.key, "finished", forged)
    with sqlite3.connect(store) as db:
        db.execute("UPDATE trials SET record = ?, digest = ?", (forged.encode(), digest))
    db.close()
    with Store(store, readonly=True) as opened, pytest.raises(StoreError, match="damaged"):
        list(opened.records())
    code, out, err = cli(f"trials {store}")
    assert (code, out) == (2, "")
    assert "is damaged" in err
    assert len(err) < 2000


def test_numbers_beyond_every_float_are_no_metric() -> None:
    with subspan.ThresholdStudy("score>=0.5", max_dim=10) as study:
        (trial,) = study.ask(1)
        with pytest.raises(InputError, match="metric score: expected a number, got an integer of"):
            study.tell(trial, {"score": 10**5000})


def test_a_methods_number_of_thousands_of_digits_is_refused() -> None:
    with pytest.raises(InputError, match=r"steps: expected|method: expected|steps"):
        subspan.subspaces.parse_method("burn-in:" + "9" * 5000)


def test_files_of_d_numbers_keep_their_bits(tmp_path: Path) -> None:
    torch.manual_seed(1)
    module = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4))
    fresh = copy.deepcopy(module)
    handle = attach(module, 7)
    with torch.no_grad():
        handle.theta.uniform_(-1, 1)
    module(torch.randn(8, 6))  # which moves the running statistics
    save(handle, tmp_path / "f")
    again = load(fresh, tmp_path / "f")
    assert torch.equal(again.theta, handle.theta)
    assert torch.equal(fresh[1].running_mean, module[1].running_mean)

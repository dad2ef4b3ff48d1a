"""What must hold of any input: one function for each door of the library.

A property gets a case and raises where it does not hold. `PROPERTIES` says where cases come from,
how many there are in the quick suite, and what share of a million behind the slow marker.
"""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

import subspan
from subspan import metrics
from subspan.adapters import attach, container, load, save
from subspan.canonical import canonical_json, digest, strict_json
from subspan.cli import trials as trials_command
from subspan.errors import InputError, StoreError
from subspan.printable import label, printable, shown
from subspan.subspaces import parse_method
from subspan.subspaces.saved_file import checksum_of, read_file, read_head
from subspan.trials.stores.rows import SAID, record_digest, row_digest, row_of, stored_digest
from subspan.trials.stores.sql import Store
from subspan.trials.trial import TrialRecord, record_from_json, record_to_json

Json = Any
FOLDER = Path(tempfile.mkdtemp(prefix="subspan-fuzz-"))
# What stands for numbers that nothing here could print: 1e999, and one of 5,000 digits.
HUGE, LONG = "HUGE-NUMBER", "LONG-NUMBER"

# --- where cases come from -----------------------------------------------------------------------

WORDS = (
    "loss accuracy test: val: <= >= : , = 0.1 1e999 nan random burn-in lottery-ticket saved steps "
    "64 map hadamard"
)
words = st.sampled_from([*WORDS.split(), " ", "9" * 5000])
texts = st.one_of(st.lists(words, max_size=8).map("".join), st.text(max_size=40))
numbers = st.one_of(
    st.integers(),
    st.integers(-3, 300),
    st.floats(),
    st.sampled_from([0, -1, 2**63, 10**400, 1e308, 5e-324, -0.0]),
)
leaves = st.one_of(
    st.none(), st.booleans(), numbers, st.text(max_size=10), st.sampled_from([HUGE, LONG])
)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)
deep = st.integers(1, 3000).map(lambda n: "[" * n + "]" * n)
edits = st.lists(
    st.tuples(st.integers(0, 2**16), st.integers(0, 255), st.sampled_from("wid")), max_size=4
)
# A place in a JSON tree, as turns taken at each level, and what is put there.
changes = st.lists(
    st.tuples(st.lists(st.integers(0, 30), min_size=1, max_size=4), values), min_size=1, max_size=3
)


def changed(tree: Json, steps: list[tuple[list[int], Json]]) -> Json:
    """A copy of a tree with values replaced."""
    tree = copy.deepcopy(tree)
    for turns, value in steps:
        here, key = tree, None
        for turn in turns:
            inner = here if key is None else here[key]
            if not isinstance(inner, dict | list) or not inner:
                break
            keys = list(inner) if isinstance(inner, dict) else range(len(inner))
            here, key = inner, keys[turn % len(keys)]
        if key is not None:
            here[key] = value
    return tree


def written(value: Json) -> str:
    """JSON as nobody should write it: NaN, numbers beyond a float, of thousands of digits."""
    return json.dumps(value).replace(f'"{HUGE}"', "1e999").replace(f'"{LONG}"', "9" * 5000)


def meant(value: Json) -> Json:
    """A value with the numbers that stand for themselves in JSON."""
    if isinstance(value, dict):
        return {k: meant(v) for k, v in value.items()}
    if isinstance(value, list):
        return [meant(v) for v in value]
    return {HUGE: math.inf, LONG: 10**5000}.get(value, value) if isinstance(value, str) else value


def damaged(blob: bytes, steps: list[tuple[int, int, str]], keep: int) -> bytes:
    """Bytes written over, put in or taken out, and the end cut off."""
    data = bytearray(blob[: max(0, len(blob) - keep)])
    for place, value, kind in steps:
        at = place % (len(data) + 1)
        if kind == "w" and at < len(data):
            data[at] = value
        elif kind == "i":
            data[at:at] = bytes([value])
        elif kind == "d":
            del data[at : at + value]
    return bytes(data)


# --- texts ---------------------------------------------------------------------------------------


def goal(text: str) -> None:
    """A goal is refused by name, or reads back from its own text."""
    try:
        found = subspan.parse_goal(text)
    except InputError:
        return
    assert subspan.parse_goal(str(found)) == found
    assert not found.met_by(math.nan)


def metric(text: str) -> None:
    """A metric's name is refused, or is the one it says."""
    try:
        name, split = metrics.parse(text)
    except InputError:
        return
    assert metrics.parse(metrics.qualified(name, split)) == (name, split)


def method(text: str) -> None:
    """A method is refused, or has a config that is plain JSON and reads back."""
    try:
        made = parse_method(text)
    except InputError:
        return
    config = made.config()
    assert json.loads(canonical_json(config)) == config
    assert digest(parse_method(text).config()) == digest(config)


def spec(fields: dict[str, Json]) -> None:
    """A spec is refused by name, or is plain JSON and reads back as the same trial."""
    try:
        made = subspan.TrainSpec(**meant(fields))
    except InputError:
        return
    data = json.loads(canonical_json(made.to_json()))
    assert subspan.TrainSpec.from_json(data) == made
    assert made.total_steps(1437) >= 1


def text(value: str) -> None:
    """Text of others prints on one line, and printing it twice changes nothing more."""
    for once in (printable(value), label(value), shown(value)):
        assert once.isprintable()
    assert printable(printable(value)) == printable(value)
    assert not value.isprintable() or printable(value) == value
    assert str(InputError(value)).replace("\n", "").replace("\t", "").isprintable()


# --- canonical hashing ---------------------------------------------------------------------------


def canonical(pair: tuple[Json, Json]) -> None:
    """Equal JSON has one text and one hash, whatever the order of its keys; other JSON another."""
    known = []
    for value in pair:
        try:
            known.append(strict_json(written(value)))
        except ValueError:
            return
    one, two = known
    try:
        texts = [canonical_json(value) for value in known]
    except ValueError:  # integers of thousands of digits
        return
    assert strict_json(texts[0]) == one
    assert digest(reversed_keys(one)) == digest(one)
    assert (texts[0] == texts[1]) == (exact(one) == exact(two))


def reversed_keys(value: Json) -> Json:
    """The same JSON with its keys the other way round."""
    if isinstance(value, dict):
        return {k: reversed_keys(value[k]) for k in reversed(list(value))}
    return [reversed_keys(v) for v in value] if isinstance(value, list) else value


def exact(value: Json) -> Json:
    """A value that is equal to another's where both are the same JSON: 1, 1.0 and true differ."""
    if isinstance(value, dict):
        return ("dict", tuple(sorted((k, exact(v)) for k, v in value.items())))
    if isinstance(value, list):
        return ("list", tuple(exact(v) for v in value))
    return (type(value).__name__, repr(value))


def strict(source: str) -> None:
    """Any text is refused as a ValueError, or is finite JSON that can be written again."""
    try:
        value = strict_json(source)
    except ValueError:
        return
    json.dumps(value, allow_nan=False)


# --- files of d numbers --------------------------------------------------------------------------


def module() -> nn.Module:
    """A small network, the same at every call."""
    torch.manual_seed(5)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def _tuned() -> bytes:
    handle = attach(module(), 7, seed=3)
    with torch.no_grad():
        handle.theta.copy_(torch.linspace(-1, 1, 7))
    save(handle, FOLDER / "tuned")
    return (FOLDER / "tuned").read_bytes()


TUNED = _tuned()
_LENGTH = struct.unpack("<Q", TUNED[:8])[0]
OUTER = json.loads(TUNED[8 : 8 + _LENGTH])
INNER = json.loads(OUTER["__metadata__"]["subspan"])
RIGHT = load(module(), FOLDER / "tuned").module.state_dict()


def loads_or_is_refused(blob: bytes) -> None:
    """A file of d numbers is refused and the module stays as it was, or gives finite weights."""
    (FOLDER / "fuzzed").write_bytes(blob)
    fresh = module()
    before = {name: value.clone() for name, value in fresh.state_dict().items()}
    try:
        load(fresh, FOLDER / "fuzzed")
    except InputError:
        now = fresh.state_dict()
        assert now.keys() == before.keys()
        assert all(torch.equal(now[name], value) for name, value in before.items())
        return
    for name, value in fresh.state_dict().items():
        assert torch.equal(value, RIGHT[name]), name


def numbers_bytes(case: tuple[list[tuple[int, int, str]], int]) -> None:
    """Whatever bytes are changed: refused, or the same weights."""
    loads_or_is_refused(damaged(TUNED, *case))


def numbers_header(case: tuple[str, list[tuple[list[int], Json]]]) -> None:
    """Whatever a header claims, without the digest that belongs to it."""
    which, steps = case
    outer = copy.deepcopy(OUTER)
    if which == "inner":
        outer["__metadata__"]["subspan"] = written(changed(INNER, steps))
        head = json.dumps(outer)
    else:
        head = written(changed(outer, steps))
    loads_or_is_refused(
        struct.pack("<Q", len(head.encode())) + head.encode() + TUNED[8 + _LENGTH :]
    )


def numbers_forged(steps: list[tuple[list[int], Json]]) -> None:
    """Whatever a header claims with the digest made right: no error but the library's own."""
    content = container.read(FOLDER / "tuned", 10**6, 10**6)
    fields = {k: v for k, v in INNER.items() if k not in ("format", "tensors", "digest")}
    header = meant(changed({**fields, "list": [list(t) for t in content.tensors]}, steps))
    tensors = header.pop("list", [])
    try:
        container.write(FOLDER / "forged", header, tensors, dict(content.values))
    except (ValueError, TypeError, RecursionError):  # the forger's own trouble
        return
    fresh = module()
    try:
        handle = load(fresh, FOLDER / "forged", force=True)
    except InputError:
        return
    assert torch.isfinite(handle.theta).all()


# --- saved subspaces -----------------------------------------------------------------------------


def _subspace() -> dict[str, torch.Tensor]:
    return {
        "offset": torch.linspace(0, 1, 5),
        "basis": torch.eye(5)[:2].contiguous(),
        "scales": torch.ones(2),
    }


SUBSPACE_META = {
    "format": "subspan subspace 2",
    "weights": "0" * 32,
    "problem": "mine",
    "search_steps": "5",
    "search_bits": "320",
    "masked": "no",
}


def _saved(meta: dict[str, str], tensors: dict[str, torch.Tensor], name: str) -> Path:
    full = {**meta, "checksum": checksum_of(meta, tensors)} if "checksum" not in meta else meta
    save_file(tensors, FOLDER / name, metadata=full)
    return FOLDER / name


SUBSPACE = _saved(SUBSPACE_META, _subspace(), "subspace").read_bytes()


def subspace_bytes(case: tuple[list[tuple[int, int, str]], int]) -> None:
    """Whatever bytes are changed: refused, or the same subspace."""
    path = FOLDER / "subspace-fuzzed"
    path.write_bytes(damaged(SUBSPACE, *case))
    try:
        found = read_file(path)
    except InputError:
        return
    assert torch.equal(found.subspace.offset, _subspace()["offset"])
    assert found.subspace.search_bits == 320


def subspace_forged(case: tuple[dict[str, str], dict[str, tuple[list[int], str]]]) -> None:
    """Whatever stands in a file with a right checksum: no error but the library's own."""
    texts, shapes = case
    tensors = _subspace()
    for name, (shape, dtype) in shapes.items():
        tensors[name] = torch.ones(shape, dtype=getattr(torch, dtype))
    meta = {**SUBSPACE_META, **{k: v for k, v in texts.items() if k != "checksum"}}
    try:
        path = _saved(meta, tensors, "subspace-forged")
    except Exception:  # the forger's own trouble: text that is no Unicode
        return
    try:
        head = read_head(path)
        found = read_file(path, head)
    except InputError:
        return
    assert 1 <= found.subspace.map.dim <= len(found.subspace.offset)
    assert torch.isfinite(found.subspace.offset).all()


# --- stores --------------------------------------------------------------------------------------


def _record() -> Json:
    problem = subspan.problems.load("quadratic", eigenvalues=[1.0, 2.0], displacement=[1.0, 1.0])
    (record,) = subspan.run(problem, "random", dims=[1], repeats=1, workers=1)
    return json.loads(canonical_json(record_to_json(record)))


RECORD = _record()


def read_record(source: str) -> None:
    """A record of any text is refused as a damaged one, or can be shown, judged and written."""
    with Store() as store:
        try:
            digest = record_digest("key", "finished", source)  # as stored: only the text is odd
            raw = source.encode("utf-8", "surrogatepass")
            row = ("key", "{}", 1, 0, 0, "finished", raw, digest, None, None, None, None)
            record = store._record(row)
        except StoreError:
            return
        use(store, record)


def use(store: Store, record: TrialRecord) -> None:
    canonical_json(record_to_json(record))
    assert repr(record)
    assert record.meets(subspan.LossBelow(0.1)) in (True, False, None)
    trials_command.row(record)
    trials_command.as_json(record, curves=True)
    store.add(record)
    assert store.get([record.key])[record.key].key == record.key


ROW, ROW_TEXTS = row_of(record_from_json(RECORD))


def packed_record(case: tuple[list[tuple[list[int], Json]], Json]) -> None:
    """Whatever the texts and the bytes of a record are changed to, under digests that are right."""
    steps, bytes_steps = case
    texts = changed({name: json.loads(text) for name, text in ROW_TEXTS.items()}, steps)
    written_texts = [written(text) for text in texts.values()]
    row = ROW | {"record": damaged(ROW["record"], *bytes_steps)}
    digests = [stored_digest(text) for text in written_texts]
    digest = row_digest([row[name] for name in SAID], "\n".join(digests))
    none_there = (-1, -2, -3, -4)  # numbers that a store gives to no text
    with Store() as store:
        for number, text in zip(none_there, written_texts, strict=True):
            store._reader.learn(number, text, stored_digest(text))
        try:
            record = store._record((*(row[name] for name in SAID), digest, *none_there))
        except StoreError:
            return
        use(store, record)


def store_record(steps: list[tuple[list[int], Json]]) -> None:
    """Whatever a record's fields are changed to."""
    read_record(written(changed(RECORD, steps)))


def _store() -> bytes:
    path = FOLDER / "runs.db"
    path.unlink(missing_ok=True)
    problem = subspan.problems.load("quadratic", eigenvalues=[1.0, 2.0], displacement=[1.0, 1.0])
    subspan.run(problem, "random", dims=[1], repeats=2, workers=1, store=path)
    return path.read_bytes()


STORE = _store()


def store_bytes(case: tuple[list[tuple[int, int, str]], int]) -> None:
    """Whatever bytes of a store's file are changed: a StoreError, or records."""
    path = FOLDER / "fuzzed.db"
    for beside in ("", "-wal", "-shm"):
        path.with_name(path.name + beside).unlink(missing_ok=True)
    path.write_bytes(damaged(STORE, *case))
    try:
        with Store(path, readonly=True) as store:
            list(store.records())
            store.claims("")
    except StoreError:
        return


# --- ask and tell --------------------------------------------------------------------------------


def study(case: tuple[int, int, list[tuple[int, Json]]]) -> None:
    """However a study is told: trials in range, an interval around the value, errors of its own."""
    largest, seed, answers = case
    asked = subspan.ThresholdStudy("score>=0.5", max_dim=largest, seed=seed, max_trials=30)
    with asked as one:
        for count, value in answers:
            for trial in one.ask(count):
                assert 0 <= trial.dim <= largest
                assert 0 <= trial.seed < 2**31
                try:
                    one.tell(trial, {"score": meant(value)})
                except InputError:
                    one.tell(trial, {"score": float(trial.dim > largest / 3)})
            found = one.estimate
            ends = [x for x in (found.low, found.value, found.high) if x is not None]
            assert ends == sorted(ends)
            assert one.done in (True, False)


# --- all of them ---------------------------------------------------------------------------------


class Property(NamedTuple):
    """A property, its cases, how many in the quick suite, and its share of a million."""

    holds: Callable[[Any], None]
    cases: st.SearchStrategy[Any]
    quick: int
    share: float


names_of_spec = [field.name for field in dataclasses.fields(subspan.TrainSpec)]
some = st.one_of(
    leaves, st.sampled_from(["adam", "exact", "cosine", "loss<=1", "full", [0.9, 0.9]])
)
sizes = st.lists(st.integers(0, 6), max_size=3)
kinds = st.sampled_from(["float32", "float64", "int64", "bfloat16", "bool"])
bytes_changed = st.tuples(edits, st.sampled_from([0, 0, 0, 1, 5, 100]))
PROPERTIES: dict[str, Property] = {
    "goals": Property(goal, texts, 100, 0.2),
    "metrics": Property(metric, texts, 50, 0.1),
    "methods": Property(method, texts, 100, 0.1),
    "specs": Property(
        spec, st.dictionaries(st.sampled_from(names_of_spec), some, max_size=4), 100, 0.1
    ),
    "printable": Property(text, st.text(max_size=60), 100, 0.13),
    "canonical": Property(canonical, st.tuples(values, values), 100, 0.1),
    "strict": Property(strict, st.one_of(texts, deep, values.map(written)), 100, 0.1),
    "numbers-bytes": Property(numbers_bytes, bytes_changed, 40, 0.03),
    "numbers-header": Property(
        numbers_header, st.tuples(st.sampled_from(["inner", "outer"]), changes), 40, 0.03
    ),
    "numbers-forged": Property(numbers_forged, changes, 40, 0.02),
    "subspace-bytes": Property(subspace_bytes, bytes_changed, 40, 0.03),
    "subspace-forged": Property(
        subspace_forged,
        st.tuples(
            st.dictionaries(st.sampled_from(list(SUBSPACE_META)), texts, max_size=2),
            st.dictionaries(
                st.sampled_from(["offset", "basis", "scales", "positions", "x"]),
                st.tuples(sizes, kinds),
                max_size=2,
            ),
        ),
        40,
        0.02,
    ),
    "records": Property(store_record, changes, 60, 0.019),
    "packed": Property(packed_record, st.tuples(changes, bytes_changed), 60, 0.01),
    "stores": Property(store_bytes, bytes_changed, 20, 0.01),
    "studies": Property(
        study,
        st.tuples(
            st.integers(1, 10**6),
            st.integers(0, 5),
            st.lists(st.tuples(st.integers(1, 3), leaves), min_size=1, max_size=3),
        ),
        3,
        0.001,
    ),
}

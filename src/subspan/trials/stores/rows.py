"""What stands in a row of a store: a record's numbers as bytes, its words as texts, its digest.

The words (problem, spec, provenance, and the rest) are the same for thousands of records, and
stand once, in a table of texts. Up to schema 4 a row had all of a record as JSON; such a row, which
begins with "{", is read as it was.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import MISSING, fields
from hashlib import blake2b
from typing import Any, NamedTuple

from subspan.canonical import canonical_json, strict_json
from subspan.training.outcome import Outcome
from subspan.trials.checks import check_record
from subspan.trials.packed import Layout, PackedCurve, pack
from subspan.trials.trial import Trial, TrialRecord, record_from_json

TEXTS = ("subject", "spec", "provenance", "form")  # columns that point to texts
_NUMBERS = struct.Struct("<Bdd")  # how the bytes go on, the norm of θ, the seconds
_OUTCOMES = {outcome.value: outcome for outcome in Outcome}
_PLAIN, _OWN = 1, 2  # with the curve; with the subspace's checksum, then the curve
_LENGTH = 16  # of the checksum, in bytes
_FIRST = {_PLAIN: _NUMBERS.size, _OWN: _NUMBERS.size + _LENGTH}  # where a curve begins
_DEFAULTS = {f.name: f.default for f in fields(TrialRecord) if f.default is not MISSING}
_CHECKSUM = re.compile("[0-9a-f]{32}")
_Stored = tuple[str, int, int, int, bytes]  # key, dim, repeat, seed, the column's bytes


class Text(NamedTuple):
    """A text of a store: what it says, a digest of it, and the layout of curves, if it has one."""

    data: dict[str, Any]
    digest: str
    layout: Layout | None


def row_of(record: TrialRecord) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the row of a record, by column, and its texts, by the column that points to each."""
    trial = record.trial
    layout, numbers = pack(record.curve)
    form = {
        "ambient_dim": record.ambient_dim,
        "steps": record.steps,
        "search_steps": record.search_steps,
        "search_bits": record.search_bits,
        "reason": record.reason,
        "curve": layout,
    }
    provenance, checksum = dict(record.provenance), record.provenance.get("subspace")
    kind, own = _PLAIN, b""
    if isinstance(checksum, str) and _CHECKSUM.fullmatch(checksum):  # each trial has its own
        kind, own = _OWN, bytes.fromhex(provenance.pop("subspace"))
    values = (trial.problem, trial.spec, provenance, form)
    texts = {name: canonical_json(v) for name, v in zip(TEXTS, values, strict=True)}
    norm, seconds = _or_nan(record.theta_norm), _or_nan(record.wall_time)
    row = {
        "key": record.key,
        "problem": str(trial.problem.get("name", "")),
        "method": canonical_json(trial.method),
        "dim": trial.dim,
        "repeat": trial.repeat,
        "seed": trial.seed,
        "outcome": record.outcome.value,
        "record": _NUMBERS.pack(kind, norm, seconds) + own + numbers,
    }
    digests = "\n".join(stored_digest(text) for text in texts.values())
    return row | {"digest": row_digest([row[name] for name in SAID], digests)}, texts


def _or_nan(value: float) -> float:
    """Return a number that is finite, or the one NaN that all share: equal records are equal."""
    return value if math.isfinite(value) else math.nan


SAID = ("key", "method", "dim", "repeat", "seed", "outcome", "record")  # what a digest is taken of


class _Kin:
    """What records of the same method and texts have in common, and how the rest is read.

    Args:
        digests: of their texts, on lines.
        trial: what their identities share.
        record: the fields that they share.
        provenance: what they share of it.
        layout: of their curves.
    """

    def __init__(
        self,
        digests: str,
        trial: dict[str, Any],
        record: dict[str, Any],
        provenance: dict[str, Any],
        layout: Layout,
    ) -> None:
        self.digests, self.shared, self.environment = digests, trial, provenance
        self._layout, self._record, self.ambient_dim = layout, record, record["ambient_dim"]
        self.sizes = {kind: first + layout.size for kind, first in _FIRST.items()}
        # A class has the defaults of its fields: a record has those of its own that differ.
        unlike = ((n, record[n]) for n, default in _DEFAULTS.items() if record[n] != default)
        self.own = ("_kin", self), *unlike

    def curve(self, packed: bytes) -> tuple[Layout, bytes, int]:
        """Return what a `PackedCurve` of a record's bytes is made of."""
        return self._layout, packed, _FIRST[packed[0]]

    def field(self, name: str, stored: _Stored) -> Any:
        """Return a record's field of what is stored.

        Raises:
            AttributeError: it has no other of that name.
        """
        key, dim, repeat, seed, packed = stored
        if name in self._record:
            return self._record[name]
        if name == "trial":
            trial = object.__new__(Trial)
            trial.__dict__.update(self.shared, dim=dim, seed=seed, repeat=repeat, key=key)
            return trial
        if name == "curve":
            return PackedCurve(*self.curve(packed)).points()
        if name == "provenance":
            own = packed[_NUMBERS.size : _FIRST[packed[0]]].hex()
            whole = self.environment | ({"subspace": own} if own else {})
            return dict(sorted(whole.items()))
        _, *numbers = _NUMBERS.unpack_from(packed)
        try:
            return _or_nan(numbers[("theta_norm", "wall_time").index(name)])
        except ValueError:
            raise AttributeError(f"'TrialRecord' object has no attribute {name!r}") from None


class Reader:
    """Makes records of rows; what they have in common is parsed and checked once.

    Attributes:
        texts: by number.
    """

    def __init__(self) -> None:
        self.texts: dict[int, Text] = {}
        self._kin: dict[tuple[str, tuple[int, ...]], _Kin] = {}

    def learn(self, number: int, text: Any, digest: Any) -> None:
        """Take note of a text, unless it is nothing that was stored."""
        if not isinstance(text, str) or stored_digest(text) != digest:
            return
        try:
            data = notes_of(text)
            layout = Layout(data["curve"]) if "curve" in data else None
        except Exception:  # it is of no record, or one that is damaged
            return
        self.texts[number] = Text(data, digest, layout)

    def record(self, row: Any) -> TrialRecord:
        """Return the record of a row, as `records` has it."""
        return self.records([row])[row[0]]

    def records(self, rows: Iterable[Any]) -> dict[str, TrialRecord]:
        """Return the records of rows, by key: `SAID`, the digest, and the numbers of the texts.

        There may be 100,000, so that no other function of Python's is called for each.

        Raises:
            ValueError: one is not what was stored under its key.
            Exception: of any kind, where a text is nothing that was written here.
        """
        found: dict[str, TrialRecord] = {}
        new, put, last = object.__new__, object.__setattr__, None
        for key, method, dim, repeat, seed, outcome, packed, digest, *texts in rows:
            if packed[:1] == b"{":
                found[key] = record_of_text(key, outcome, packed, digest)
                continue
            if (method, texts) != last:
                kin, last = self._kin_of(method, tuple(texts)), (method, texts)
                first, sizes, most = f"\n{method}\n", kin.sizes, kin.ambient_dim
                rest = f"\n{kin.digests}\n"
            words = f"{key}{first}{dim}\n{repeat}\n{seed}\n{outcome}{rest}"
            if digest != blake2b(words.encode() + packed, digest_size=16).hexdigest():
                raise ValueError(_EDITED)
            whole = type(dim) is type(repeat) is type(seed) is int
            if not (whole and 0 <= dim <= most and repeat >= 0):
                raise ValueError("dim, repeat, seed: expected counts")
            if len(packed) != sizes[packed[0]]:
                raise ValueError(f"expected {sizes[packed[0]]} bytes, got {len(packed)}")
            # Attributes one by one need no dict for each record, which Python would look through.
            record = found[key] = new(TrialRecord)
            put(record, "outcome", _OUTCOMES[outcome])
            put(record, "_stored", (key, dim, repeat, seed, packed))
            for name, value in kin.own:
                put(record, name, value)
        return found

    def _kin_of(self, method: str, texts: tuple[int, ...]) -> _Kin:
        kin = self._kin.get((method, texts))
        if kin is None:
            kin = self._kin[method, texts] = self._found(method, texts)
        return kin

    def _found(self, method: str, numbers: Sequence[int]) -> _Kin:
        """Look up what texts say.

        Raises:
            ValueError: one is missing, was edited, or says nothing that was written here.
        """
        texts = [self.texts[number] for number in numbers if number in self.texts]
        if len(texts) < len(TEXTS) or texts[-1].layout is None:
            raise ValueError("its texts are not what was stored: edited, or removed")
        subject, spec, provenance, form = (text.data for text in texts)
        trial = {"problem": subject, "method": notes_of(method), "spec": spec}
        names = ("ambient_dim", "steps", "search_steps", "search_bits", "reason")
        record = {name: form[name] for name in names}
        check_record(
            TrialRecord(
                trial=Trial(**trial, dim=0, seed=0, repeat=0),
                outcome=Outcome.FINISHED,
                curve=(),
                theta_norm=0.0,
                wall_time=0.0,
                provenance=provenance,
                **record,
            )
        )
        digests = "\n".join(text.digest for text in texts)
        return _Kin(digests, trial, record, provenance, texts[-1].layout)


_EDITED = "it is not what was stored: edited, or under another's key"


def record_of_text(
    key: str, outcome: str, record: str | bytes, digest: str | None, verified: bool = True
) -> TrialRecord:
    """Return the record of a row up to schema 4; those up to 3 have no digest to verify.

    Raises:
        ValueError: it is not what was stored under its key.
        Exception: of any kind, where the text is nothing that was written here.
    """
    text = record.decode() if isinstance(record, bytes) else record
    if verified and digest != record_digest(key, outcome, text):
        raise ValueError(_EDITED)
    return record_from_json(strict_json(text))


def record_digest(key: str, outcome: str, record: str) -> str:
    """Return 32 hex digits of what a row up to schema 4 says: key, outcome and text."""
    return stored_digest("\n".join((key, outcome, record)))


def row_digest(said: Sequence[Any], texts: str) -> str:
    """Return 32 hex digits of what a row says, its `SAID`, and of the digests of its texts."""
    key, method, dim, repeat, seed, outcome, packed = said[: len(SAID)]
    words = f"{key}\n{method}\n{dim}\n{repeat}\n{seed}\n{outcome}\n{texts}\n"
    return blake2b(words.encode() + packed, digest_size=16).hexdigest()


def stored_digest(text: str) -> str:
    """Return 32 hex digits of a text, BLAKE2b as of records since schema 4; keys have SHA-256."""
    return blake2b(text.encode(), digest_size=16).hexdigest()


def notes_of(text: str) -> dict[str, Any]:
    """Return the notes of a claim.

    Raises:
        ValueError: it is no JSON.
        TypeError: it is no object.
    """
    data = strict_json(text)
    if not isinstance(data, dict):
        raise TypeError("no object")
    return data

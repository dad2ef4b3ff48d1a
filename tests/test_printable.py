"""Text of others, made safe to print."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from subspan.cli import console
from subspan.errors import InputError, StoreError, invalid, real, whole
from subspan.printable import LONGEST, cut, label, printable, shown

EVIL = "a\x1b[31mred\x07\x9b2J\u202egnp.exe\x7f\udc80\n\r"


def test_what_does_not_print_is_escaped_as_repr_does_and_the_rest_stays() -> None:
    assert printable(EVIL) == r"a\x1b[31mred\x07\x9b2J\u202egnp.exe\x7f\udc80\n\r"
    for fine in ("", "plain", "θ ≤ 0.1 – é 日本 🙂", r"C:\new\table"):
        assert printable(fine) == fine
    assert printable("one\n\ttwo\x1b", lines=True) == "one\n\ttwo\\x1b"


def test_labels_of_figures_hold_no_mathematics() -> None:
    assert label("cost $x$ and \\$y") == "cost \\$x\\$ and \\$y"


def test_what_is_long_is_cut_and_says_how_long_it_was() -> None:
    assert cut("x" * LONGEST) == "x" * LONGEST
    short = cut("x" * 10_000_000)
    assert len(short) < LONGEST
    assert "10,000,000 characters" in short
    assert shown(10**5000) == "an integer of 16,610 bits"


@pytest.mark.parametrize("check", [whole, real])
def test_integers_that_python_does_not_write_are_refused_by_name(check: Any) -> None:
    with pytest.raises(InputError, match=r"seed: .*an integer of 16,610 bits"):
        check("seed", 10**5000, high=9)


@pytest.mark.parametrize("kind", [InputError, StoreError])
def test_messages_of_errors_are_printable(kind: Any) -> None:
    error = kind(f"path: expected a file, got {EVIL}")
    assert "\x1b" not in str(error)
    assert "\\x1b[31mred" in str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert len(str(invalid("goal", expected="a goal", got="x" * 10**6))) < 2 * LONGEST


def test_tables_pairs_and_lines_are_printable(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_table(("name",), [(EVIL,)])
    console.print_pairs(("store", Path(EVIL)))
    console.say(EVIL)
    console.complain(EVIL)
    out, err = capsys.readouterr()
    assert out.count(r"\x1b[31mred") == 3
    assert len(out.splitlines()) == 4
    assert (out + err).replace("\n", "").isprintable()


def test_json_keeps_the_text_and_shows_no_escape(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_json({"name": EVIL, "fine": "θ🙂"})
    out = capsys.readouterr().out
    assert json.loads(out) == {"name": EVIL, "fine": "θ🙂"}
    assert out.replace("\n", "").isprintable()
    assert "θ🙂" in out

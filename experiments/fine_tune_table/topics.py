"""First sentences of docstrings, and the library that each documents: a task that needs no file.

Read from the sources of libraries that subspan needs anyway; the versions in `constraints.txt` make
it the same everywhere. It is what it says: sentences about figures, graphs, tables, learning,
databases and symbols, told apart by whom they were written for. Sentences that name a library,
hold code, or stand in two of them are left out.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

LIBRARIES = {
    "matplotlib": ("matplotlib", "mpl", "pyplot"),
    "networkx": ("networkx", "nx"),
    "pandas": ("pandas", "pd"),
    "sklearn": ("sklearn", "scikit"),
    "sqlalchemy": ("sqlalchemy",),
    "sympy": ("sympy",),
}
_NAMES = re.compile(r"\b(" + "|".join(n for own in LIBRARIES.values() for n in own) + ")", re.I)
_CODE = re.compile(r"[`:@>{}\[\]=_*]|\(\)")
_ASIDE = {"tests", "testing", "externals", "_externals", "extern", "benchmarks"}
_LEAST = 4  # words


def sentences(each: int, fits) -> list[tuple[str, int]]:
    """Return (sentence, class), of each library as many, in an order that a hash gives.

    Args:
        each: how many of a library.
        fits: from sentences to those that are short enough.
    """
    told: dict[str, set[int]] = {}
    for label, library in enumerate(LIBRARIES):
        for sentence in _first_sentences(library):
            told.setdefault(sentence, set()).add(label)
    rows: list[tuple[str, int]] = []
    for label in range(len(LIBRARIES)):
        own = fits([s for s, labels in told.items() if labels == {label}])
        rows += [(s, label) for s in sorted(own, key=_place)[:each]]
    return sorted(rows, key=lambda row: _place(row[0]))


def _first_sentences(library: str) -> Iterator[str]:
    found = importlib.util.find_spec(library)
    assert found is not None
    assert found.submodule_search_locations is not None
    root = Path(found.submodule_search_locations[0])
    for file in sorted(root.rglob("*.py")):
        if _ASIDE & set(file.relative_to(root).parts):
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                text = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
                sentence = re.split(r"(?<=\.)\s", text, maxsplit=1)[0]
                words = len(sentence.split())
                if words >= _LEAST and not _NAMES.search(sentence) and not _CODE.search(sentence):
                    yield sentence


def _place(sentence: str) -> str:
    return hashlib.sha256(sentence.encode()).hexdigest()

"""The house rules that can be read from the source: one-way imports, no hidden randomness, …"""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import subspan

SRC = Path(subspan.__file__).parent
FILES = sorted(SRC.rglob("*.py"))
MAX_LINES = 400


def module_name(path: Path) -> str:
    """`subspan.maps.base` of a path."""
    parts = path.relative_to(SRC.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


# --- imports: import-linter reads them, by the contracts in pyproject.toml -----------------------


def broken_contracts(source: Path, repo_root: Path) -> list[str]:
    """The names of the contracts that the package in the folder `source` breaks."""
    run = "from importlinter.cli import lint_imports_command as command; command()"
    config = repo_root / "pyproject.toml"
    seen = subprocess.run(
        [sys.executable, "-c", run, "--no-cache", "--no-logo", str(config)],
        env={**os.environ, "PYTHONPATH": str(source), "COLUMNS": "200"},
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.findall(r"^(.+) (KEPT|BROKEN)$", seen.stdout, re.M)
    assert len(found) == 4, seen.stdout + seen.stderr
    broken = [name for name, verdict in found if verdict == "BROKEN"]
    assert (seen.returncode != 0) == bool(broken)
    return broken


def test_imports_run_one_way_and_in_no_circle(repo_root: Path) -> None:
    assert broken_contracts(SRC.parent, repo_root) == []


ONE_WAY, NO_CIRCLE = "Imports run one way", "No two files of a folder need each other"
PUBLIC = "Only commands use the public names"


@pytest.mark.parametrize(
    ("file", "line", "broken"),
    [
        ("training/ensemble.py", "from subspan.subspaces.base import Subspace", ONE_WAY),
        ("theory/width.py", "from ..cli import app", ONE_WAY),
        ("theory/width.py", "def f():\n    from subspan.success import threshold", ONE_WAY),
        ("maps/base.py", "from subspan import run", PUBLIC),
        ("newfolder.py", "import subspan.errors", ONE_WAY),
        ("maps/base.py", "def f():\n    from subspan.maps.sparse import SparseMap", NO_CIRCLE),
        ("adapters/root.py", "if TYPE_CHECKING:\n    import subspan.adapters.attach", NO_CIRCLE),
    ],
)
def test_an_import_that_goes_up_or_round_is_found(
    file: str, line: str, broken: str, tmp_path: Path, repo_root: Path
) -> None:
    shutil.copytree(SRC, tmp_path / "subspan")
    with (tmp_path / "subspan" / file).open("a", encoding="utf-8") as end:
        end.write(f"\n{line}\n")
    assert broken in broken_contracts(tmp_path, repo_root)


# --- what is printed ----------------------------------------------------------------------------


def bare_prints(source: str) -> list[int]:
    """The lines on which `print` is given more than a text of our own and numbers that we made."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "print"
        and not all(isinstance(argument, ast.Constant) for argument in node.args)
    ]


# What prints safely; text that was made safe by whoever raised it, a table of ours, our version.
PRINTS = {"console.py": 4, "app.py": 2, "target.py": 1}


def test_commands_print_by_what_escapes() -> None:
    found = {p.name: len(bare_prints(p.read_text("utf-8"))) for p in (SRC / "cli").glob("*.py")}
    assert {name: count for name, count in found.items() if count} == PRINTS
    assert bare_prints("print('a')\nprint(f'{file}: 3')\nprint(x)") == [2, 3]


# --- what must not be written -------------------------------------------------------------------

FORBIDDEN_MODULES = {
    "pickle",
    "cPickle",
    "dill",
    "cloudpickle",
    "joblib",
    "shelve",
    "marshal",
    "random",
}
# Between one's own processes, and around a user's own loop; nowhere else.
ALLOWED = {
    "trials/executors/shipping.py": frozenset({"cloudpickle"}),
    "streams.py": frozenset({"random"}),
}
RUNS_CODE = {
    *("eval", "exec", "__import__"),
    *("torch.load", "torch.save", "torch.jit.load", "torch.hub.load", "torch.package"),
    *("np.load", "numpy.load", "pd.read_pickle", "pandas.read_pickle", "yaml.load"),
    *("os.system", "os.popen", "subprocess.getoutput"),
}
ONLY_STREAMS = {
    "torch.manual_seed",
    "torch.seed",
    "torch.random.manual_seed",
    "torch.cuda.manual_seed",
    "torch.cuda.manual_seed_all",
    "torch.default_generator.manual_seed",
}
NEED_GENERATOR = {
    f"torch.{name}"
    for name in (
        "rand",
        "randn",
        "randint",
        "randperm",
        "normal",
        "bernoulli",
        "multinomial",
        "poisson",
    )
}
NUMPY_TYPES = {"Generator", "BitGenerator", "Philox", "SeedSequence"}


def dotted(node: ast.AST) -> str:
    """`a.b.c` of an attribute chain, else the empty string."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (base := dotted(node.value)):
        return f"{base}.{node.attr}"
    return ""


def forbidden(
    tree: ast.AST, *, streams: bool = False, allowed: frozenset[str] = frozenset()
) -> list[str]:
    """What a file does that only `streams.py` may, or nobody but for the modules allowed."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = (
                [a.name for a in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
            )
            found += [
                f"imports {n}" for n in names if n.split(".")[0] in FORBIDDEN_MODULES - allowed
            ]
        if isinstance(node, ast.Attribute):
            name = dotted(node)
            numpy_random = re.fullmatch(r"(?:np|numpy)\.random\.(\w+)", name)
            if numpy_random and not streams and numpy_random[1] not in NUMPY_TYPES:
                found.append(name)
            if name in ONLY_STREAMS and not streams:
                found.append(name)
        if isinstance(node, ast.Call):
            name = dotted(node.func)
            keywords = {k.arg: k.value for k in node.keywords}
            if name in RUNS_CODE:
                found.append(f"{name}, which pickles or runs what it reads")
            if isinstance(pickled := keywords.get("allow_pickle"), ast.Constant) and pickled.value:
                found.append(f"{name}(allow_pickle=True)")
            if name == "hash":
                found.append("hash(), which differs between processes; use subspan.canonical")
            if name in NEED_GENERATOR and "generator" not in keywords:
                found.append(f"{name} without generator=")
    return found


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_no_hidden_randomness_and_no_pickle(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    allowed = ALLOWED.get(path.relative_to(SRC).as_posix(), frozenset())
    assert forbidden(tree, streams=path == SRC / "streams.py", allowed=allowed) == []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from random import random",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=True)",
        "eval(text)",
        "exec(text)",
        "np.load(path)",
        "pd.read_pickle(path)",
        "read(path, allow_pickle=True)",
        "torch.save(x, path)",
        "np.random.default_rng(0)",
        "numpy.random.seed(1)",
        "torch.manual_seed(0)",
        "torch.randn(3)",
        "key = hash('a')",
    ],
)
def test_hidden_randomness_and_pickle_are_found(line: str) -> None:
    assert len(forbidden(ast.parse(line))) == 1


def test_what_is_allowed_is_not_found() -> None:
    text = "torch.compile(f); torch.randn(3, generator=g); x: np.random.Generator"
    assert forbidden(ast.parse(text)) == []


def needs_reason(text: str) -> bool:
    """Whether a file is above 400 lines with no line `Length: reason` in its docstring."""
    docstring = ast.get_docstring(ast.parse(text)) or ""
    return len(text.splitlines()) > MAX_LINES and not re.search(r"^Length: \S", docstring, re.M)


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_a_long_file_says_why(path: Path) -> None:
    assert not needs_reason(path.read_text(encoding="utf-8"))


def test_a_long_file_without_a_reason_is_found() -> None:
    body = "x = 1\n" * (MAX_LINES + 1)
    assert needs_reason('"""Short."""\n' + body)
    assert not needs_reason('"""Long.\n\nLength: a table of one line per case.\n"""\n' + body)


# --- the public face ----------------------------------------------------------------------------


def public_names() -> list[str]:
    return [name for name in subspan.__all__ if name != "__version__"]


@pytest.mark.parametrize("name", public_names())
def test_every_public_name_is_documented(name: str, repo_root: Path) -> None:
    value = getattr(subspan, name)
    assert (inspect.getdoc(value) or "").strip(), f"{name} has no docstring"
    pages = [repo_root / "README.md", *sorted((repo_root / "docs").rglob("*.md"))]
    assert any(re.search(rf"\b{name}\b", page.read_text(encoding="utf-8")) for page in pages), (
        f"{name} stands in no page of the documentation"
    )


def test_a_folder_never_bears_the_name_of_a_public_function() -> None:
    folders = {path.name for path in SRC.iterdir() if path.is_dir()}
    functions = {n for n in public_names() if not inspect.ismodule(getattr(subspan, n))}
    assert folders & functions == set()


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="treshold"):
        subspan.treshold  # noqa: B018


def test_nothing_draws_from_a_global_generator() -> None:
    problem = subspan.problems.load("digits-mlp", subset=40)
    spec = subspan.TrainSpec(steps=3)
    numpy_before = np.random.get_state()[1].tolist()  # noqa: NPY002
    torch_before, python_before = torch.get_rng_state(), random.getstate()
    for method in (subspan.RandomAffine(), subspan.BurnIn(steps=2)):
        subspan.run(problem, method, dims=[3], repeats=2, spec=spec, workers=1)
    subspan.threshold(
        subspan.problems.load("quadratic"), method="random", goal="loss<=1", workers=1
    )
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert np.random.get_state()[1].tolist() == numpy_before  # noqa: NPY002
    assert random.getstate() == python_before


def test_importing_the_package_does_not_import_torch() -> None:
    code = "import sys, subspan.cli.app as a; a.build(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_module_imports_by_itself() -> None:
    for path in FILES:
        importlib.import_module(module_name(path))

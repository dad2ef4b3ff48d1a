"""Lines of a shell in README and docs: commands that exist, with options that they have.

They are parsed, not run: many train for hours or want data.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import typer.main

from subspan.cli.app import build

pytestmark = pytest.mark.program

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
_BLOCK = re.compile(
    r"^(?P<indent>[ \t]*)```(?:bash)?[ \t]*\n(?P<code>.*?)^(?P=indent)```\s*$", re.M | re.S
)
_STARTS = ("subspan ", "srun ", "exec ", "python ", "make ", "pip ")
COMMANDS = typer.main.get_command(build())
TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M))
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"][
    "optional-dependencies"
]


def lines_of(text: str) -> list[list[str]]:
    """The words of each line of a page's shell blocks; one that goes on is one line."""
    found = []
    for match in _BLOCK.finditer(text):
        for line in match["code"].replace("\\\n", " ").splitlines():
            if line.strip().startswith(_STARTS):
                words = shlex.split(line.split(" | ")[0], comments=True)
                if words[0] in ("srun", "exec"):  # it starts what follows its options
                    words = words[words.index("subspan") :] if "subspan" in words else []
                found += [words] if words else []
    return found


def fault(words: list[str]) -> str | None:
    """What is wrong with a line, or None."""
    program, rest = words[0], words[1:]
    if program == "subspan":
        assert hasattr(COMMANDS, "commands")
        command = COMMANDS.commands.get(rest[0])
        if command is None:
            return f"no command {rest[0]}"
        try:
            command.make_context(rest[0], rest[1:])
        except Exception as error:  # typer has a click of its own
            told = getattr(error, "format_message", None)
            if told is None:
                raise
            return str(told())
    elif program == "make":
        return None if rest[0] in TARGETS | {"bench-check"} else f"no target {rest[0]}"
    elif program == "pip":
        wanted = {
            name
            for word in rest
            for group in re.findall(r"\[(.*?)\]", word)
            for name in group.split(",")
        }
        return None if wanted <= set(EXTRAS) else f"no extra {wanted - set(EXTRAS)}"
    elif program == "python" and rest[0] != "-m":
        path = ROOT / rest[0]
        if not path.exists():
            return f"no file {rest[0]}"
        own = path.read_text("utf-8")  # and what it may import from folders beside it
        beside = [f for f in path.parents[1].iterdir() if f == path.parent or f'"{f.name}"' in own]
        text = "".join(p.read_text("utf-8") for f in beside for p in f.glob("*.py"))
        gone = [
            word for word in rest if word.startswith("--") and f'"{word.split("=")[0]}"' not in text
        ]
        return f"no option {gone}" if gone else None
    return None


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_shell_lines_are_commands_with_their_options(page: Path) -> None:
    found = [(words, fault(words)) for words in lines_of(page.read_text(encoding="utf-8"))]
    assert [f"{shlex.join(words)}: {said}" for words, said in found if said] == []


def test_wrong_lines_are_found() -> None:
    text = (
        "```bash\nsubspan threshhold digits-mlp\nsubspan report --outt x.html\n"
        "subspan compare digits-mlp \\\n    --dimms 3\nmake everything\npip install '.[raay]'\n"
        "python experiments/none.py\npython benchmarks/report_page.py --trails 3  # so many\n"
        "subspan report runs.db --out x.html  # a page\nA=1\n```\n```python\nmake()\n```\n"
    )
    faults = [fault(words) for words in lines_of(text)]
    assert len(faults) == 8
    assert [said is None for said in faults] == [False] * 7 + [True]


def test_there_are_lines_to_hold() -> None:
    assert sum(len(lines_of(page.read_text(encoding="utf-8"))) for page in PAGES) > 60

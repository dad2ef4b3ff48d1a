"""What every test shares: one thread, no network, no global state left behind, the data folder."""

from __future__ import annotations

import os

# Before PyTorch is imported: worker processes with one thread each are how the library runs, and
# the hub must not be asked for anything.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import shlex  # noqa: E402
from collections.abc import Callable, Iterator  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import pytest  # noqa: E402
import torch  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def repo_root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real data sets, laid out like the hub's; skips where there is none."""
    folder = Path(os.environ.get("SUBSPAN_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} is not a folder; name one in SUBSPAN_DATA")
    return folder


@pytest.fixture(autouse=True)
def _no_state_between_tests() -> Iterator[None]:
    """Give every test the same start: PyTorch's generator, default dtype and one thread."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
    torch.set_default_dtype(torch.float32)
    torch.set_num_threads(1)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Callable[[str], tuple[int, str, str]]:
    """Run a command line in this process: (exit code, standard output, standard error)."""
    from subspan.cli import main

    def call(text: str) -> tuple[int, str, str]:
        capsys.readouterr()
        threads = torch.get_num_threads()
        with pytest.raises(SystemExit) as left:
            main(shlex.split(text))
        torch.set_num_threads(threads)
        out, err = capsys.readouterr()
        code = left.value.code
        assert isinstance(code, int | None)
        return code or 0, out, err

    return call


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests that need a CUDA device where there is none."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Note which fault a test is about, for the table."""
    mark = item.get_closest_marker("fault")
    if mark:
        item.user_properties.append(("fault", mark.args))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the table of faults where `-m fault` asks for them: fault, outcome, held."""
    if config.getoption("markexpr") != "fault":
        return
    rows: dict[tuple[str, str], list[str]] = {}
    for state, word in (("passed", "yes"), ("failed", "NO"), ("skipped", "skipped")):
        for report in terminalreporter.stats.get(state, []):
            for name, value in report.user_properties:
                if name == "fault":
                    rows.setdefault(value, []).append(word)
    terminalreporter.section("faults")
    for (fault, outcome), words in sorted(rows.items()):
        held = next((w for w in ("NO", "skipped") if w in words), "yes")
        terminalreporter.line(f"{fault:<34} {held:<8} {len(words):>3}  {outcome}")


@pytest.fixture
def meta_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let problems move to the device that computes shapes and no numbers, as to a GPU."""
    monkeypatch.setattr("subspan.problems.devices.names", lambda: ["cpu", "meta"])

from __future__ import annotations

import dataclasses
from pathlib import Path

import matplotlib
import pytest

from subspan.errors import InputError, StoreError
from subspan.goals import AccuracyAbove, LossBelow
from subspan.report.figure import new_figure, plain_number, pretty, provenance, save_figure, style
from subspan.success.records import Experiment

EXPERIMENT = Experiment(
    {"name": "digits-mlp"},
    {"name": "burn-in", "steps": 64, "map": "gaussian"},
    {"optimizer": "adam", "lr": 0.05, "epochs": 5, "steps": None},
    2410,
    (0, 3),
)


def test_files_are_the_same_bytes_every_time(tmp_path: Path) -> None:
    files = []
    for folder in ("one", "two"):
        with style():
            figure, axes = new_figure()
            axes.fill_between([0, 1], [1, 2], label="x")
            axes.legend()
        files.append(save_figure(figure, tmp_path / folder / "plot"))
    assert [path.name for path in files[0]] == ["plot.png", "plot.svg", "plot.pdf"]
    for one, two in zip(*files, strict=True):
        assert one.read_bytes() == two.read_bytes()
        assert b"Date" not in one.read_bytes()
    assert files[0][0].read_bytes()[:4] == b"\x89PNG"
    assert files[0][2].read_bytes()[:4] == b"%PDF"


def test_an_ending_in_the_stem_is_dropped_and_other_dots_are_kept(tmp_path: Path) -> None:
    figure, _ = new_figure()
    assert save_figure(figure, tmp_path / "a.png", ("png",)) == [tmp_path / "a.png"]
    assert save_figure(figure, tmp_path / "loss0.1", ("png",)) == [tmp_path / "loss0.1.png"]


def test_matplotlibs_settings_are_left_alone() -> None:
    before = dict(matplotlib.rcParams)
    with style():
        assert matplotlib.rcParams["svg.hashsalt"] == "subspan"
        new_figure()
    assert dict(matplotlib.rcParams) == before


def test_bad_formats_and_folders_are_refused(tmp_path: Path) -> None:
    figure, _ = new_figure()
    with pytest.raises(InputError, match="formats: expected"):
        save_figure(figure, tmp_path / "a", ("bmp",))
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StoreError, match="figure: cannot write"):
        save_figure(figure, tmp_path / "file" / "a")


def test_provenance_names_problem_method_training_and_seeds() -> None:
    line = provenance(EXPERIMENT, 2410, "57 trials")
    for part in ("digits-mlp", "D = 2,410", "burn-in", "steps 64", "adam lr 0.05", "5 epochs"):
        assert part in line
    assert "seed 0, 3" in line
    assert "57 trials" in line
    assert provenance(None, 10, "2 trials") == "D = 10  ·  2 trials"
    rounded = dataclasses.replace(EXPERIMENT, spec=EXPERIMENT.spec | {"dtype": "bfloat16"})
    assert "5 epochs, bfloat16  ·" in provenance(rounded, 2410, "57 trials")
    assert "bfloat16" not in line


def test_texts() -> None:
    assert [plain_number(v) for v in (1024, 1, 2.5, 0.1)] == ["1,024", "1", "2.5", "0.1"]
    assert pretty(LossBelow(0.1)) == "train loss ≤ 0.1"
    assert pretty(AccuracyAbove(0.95, "test")) == "test accuracy ≥ 0.95"

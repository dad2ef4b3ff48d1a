"""Folders of images: what would be read in another scale or shape is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from subspan.errors import InputError
from subspan.problems import data

datasets = pytest.importorskip("datasets")
Image = pytest.importorskip("PIL.Image")
GREY = (np.arange(784) % 256).astype(np.uint8).reshape(28, 28)


@pytest.fixture(autouse=True)
def _own_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SUBSPAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    shown = datasets.utils.logging.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    yield
    if shown:
        datasets.enable_progress_bars()


def folder(tmp_path: Path, picture: Any, label: float | None) -> Path:
    place = tmp_path / "mnist"
    place.mkdir()
    kind = "float64" if isinstance(label, float) else "int64"
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value(kind)})
    rows = {"image": [picture] * 3, "label": [0, label, 1]}
    for split in ("train", "test"):
        datasets.Dataset.from_dict(rows, features=features).to_parquet(
            str(place / f"{split}-0.parquet")
        )
    return place


def test_grey_images_of_eight_bits_are_read_to_the_bit(tmp_path: Path) -> None:
    place = folder(tmp_path, Image.fromarray(GREY), 3)
    for _ in range(2):  # decoded, and from the cache
        found = data.images("mnist", place)
        assert torch.equal(found.train_x[1, :, :, 0], torch.from_numpy(GREY))
        assert found.test_y.tolist() == [0, 3, 1]


@pytest.mark.parametrize(
    "picture",
    [
        GREY.astype(np.uint16) * 257,
        GREY > 100,
        GREY.astype(np.float32) / 255,
        GREY.reshape(14, 56),
        GREY.reshape(56, 14),
        np.stack([GREY] * 3, -1),
    ],
    ids=["16 bits", "1 bit", "float", "14x56", "56x14", "RGB"],
)
def test_images_of_another_kind_are_refused(tmp_path: Path, picture: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"data: expected images of 8 bits .* in row 0 of 'train'"):
        data.images("mnist", folder(tmp_path, Image.fromarray(picture), 3))


@pytest.mark.parametrize("mode", ["P", "LA", "CMYK"])
def test_images_whose_numbers_are_no_brightness_are_refused(tmp_path: Path, mode: str) -> None:
    with pytest.raises(InputError, match=r"data: expected images of 8 bits \(mode L\)"):
        data.images("mnist", folder(tmp_path, Image.fromarray(GREY).convert(mode), 3))


@pytest.mark.parametrize("label", [1.7, 1.0, -1, 10, None])
def test_labels_that_are_no_class_are_refused(tmp_path: Path, label: float | None) -> None:
    with pytest.raises(InputError, match=r"data: expected labels that are integers in 0 … 9"):
        data.images("mnist", folder(tmp_path, Image.fromarray(GREY), label))


def test_a_cache_of_another_shape_is_made_again(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    place = folder(tmp_path, Image.fromarray(GREY), 3)
    right = data.images("mnist", place)
    (cached,) = (tmp_path / "cache").glob("*.safetensors")
    wrong = load_file(cached)
    wrong["train_x"] = wrong["train_x"].reshape(3, 14, 56, 1).contiguous()
    save_file(wrong, cached)
    assert torch.equal(data.images("mnist", place).train_x, right.train_x)

"""Image data through the `datasets` library, decoded once and cached; digits from scikit-learn."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from subspan.canonical import digest
from subspan.errors import InputError, invalid
from subspan.printable import shown


@dataclass(frozen=True)
class Source:
    """A data set of images as it lies on the hub, or in a folder laid out like the hub's."""

    hub: str
    image: str
    label: str
    shape: tuple[int, int, int]  # channels, height, width
    classes: int
    config: str | None = None


SOURCES = {
    "mnist": Source("ylecun/mnist", "image", "label", (1, 28, 28), 10),
    "fashion-mnist": Source("zalando-datasets/fashion_mnist", "image", "label", (1, 28, 28), 10),
    "cifar10": Source("uoft-cs/cifar10", "img", "label", (3, 32, 32), 10),
    "cifar100": Source("uoft-cs/cifar100", "img", "fine_label", (3, 32, 32), 100),
    "svhn": Source("ufldl-stanford/svhn", "image", "label", (3, 32, 32), 10, "cropped_digits"),
}


class Images(NamedTuple):
    """Pixels (n, height, width, channels) uint8 and labels (n,) int64 of both splits."""

    train_x: torch.Tensor
    train_y: torch.Tensor
    test_x: torch.Tensor
    test_y: torch.Tensor


def cache_dir() -> Path:
    """Return where decoded images are kept: `$SUBSPAN_CACHE`, else the user's cache folder."""
    if root := os.environ.get("SUBSPAN_CACHE"):
        return Path(root)
    if (root := os.environ.get("XDG_CACHE_HOME")) and Path(root).is_absolute():
        return Path(root) / "subspan"  # a relative one is void, as its specification says
    try:
        return Path.home() / ".cache" / "subspan"
    except RuntimeError as error:
        raise invalid(
            "SUBSPAN_CACHE", expected="a folder, since you have no home", got="none"
        ) from error


def images(name: str, data_dir: str | Path | None = None) -> Images:
    """Load a data set of `SOURCES`, from the hub or from a folder laid out like the hub's.

    Args:
        name: a key of `SOURCES`.
        data_dir: the data set's folder, or one that holds it under the data set's name.

    Raises:
        InputError: the folder holds no such data, or the hub cannot be reached.
    """
    source = SOURCES[name]
    folder = None if data_dir is None else _folder(name, source, Path(data_dir))
    cached = cache_dir() / f"{name}-{_fingerprint(name, folder)}.safetensors"
    if (found := _read_cache(cached, source)) is not None:
        return found
    decoded = _decode(source, folder)
    _write_cache(cached, decoded)
    return decoded


def centred(data: Images, subset: int | None) -> tuple[Any, Any]:
    """Scale pixels to [0, 1] and subtract the per-pixel mean of the training rows in use.

    Returns:
        (train inputs, labels), (test inputs, labels); inputs (n, channels, height, width).
    """
    rows = take_rows(len(data.train_x), subset)
    train = data.train_x[:rows].float().div_(255)
    mean = train.mean(0, dtype=torch.float64).float()
    test = data.test_x.float().div_(255).sub_(mean)
    to_channels_first = (0, 3, 1, 2)
    return (
        (train.sub_(mean).permute(to_channels_first), data.train_y[:rows]),
        (test.permute(to_channels_first), data.test_y),
    )


def digits(subset: int | None, standardize: bool) -> tuple[Any, Any]:
    """Return scikit-learn's 8 × 8 digits: rows 0–1436 for training, the other 360 for testing.

    Pixels are scaled to [0, 1] and centred by the training mean; `standardize` also divides by
    the training standard deviation (of pixels that vary).
    """
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    x, y = x / 16.0, y.astype(np.int64)
    rows = take_rows(1437, subset)
    train, test = x[:rows], x[1437:]
    mean = train.mean(0)
    scale = train.std(0) if standardize else np.ones_like(mean)
    scale[scale == 0] = 1.0

    def ready(part: np.ndarray) -> torch.Tensor:
        return torch.from_numpy((part - mean) / scale).float()

    return (ready(train), torch.from_numpy(y[:rows])), (ready(test), torch.from_numpy(y[1437:]))


def take_rows(available: int, subset: int | None) -> int:
    """Return how many training rows to use, refusing more than there are."""
    if subset is None:
        return available
    if isinstance(subset, bool) or not isinstance(subset, int) or not 1 <= subset <= available:
        raise invalid("subset", expected=f"an integer in 1 … {available}", got=repr(subset))
    return subset


def _folder(name: str, source: Source, root: Path) -> Path:
    short = source.hub.split("/")[1]
    named = [root / part for part in (name, short) if (root / part).is_dir()]
    for candidate in (*named, root):
        if any(candidate.glob("**/train-*.parquet")):
            return candidate
    raise invalid(
        "data_dir",
        expected=f"a folder with the Parquet files of {source.hub}",
        got=str(root),
        remedy="Give the data set's folder, or the one that holds it.",
    )


def _fingerprint(name: str, folder: Path | None) -> str:
    if folder is None:
        return digest([name, SOURCES[name].hub])[:12]
    files = sorted(folder.rglob("*.parquet"))
    stats = [[f.name, f.stat().st_size, f.stat().st_mtime_ns] for f in files]
    return digest([name, str(folder.resolve()), stats])[:12]


def _decode(source: Source, folder: Path | None) -> Images:
    try:
        import datasets
    except ImportError as error:
        raise InputError(
            f"data: expected the `datasets` library to read {source.hub}, got none. "
            "In a checkout: pip install '.[data]'; else pip install 'subspan[data]'."
        ) from error
    try:
        if folder is not None:
            files = {
                split: [str(f) for f in sorted(folder.rglob(f"{split}-*.parquet"))]
                for split in ("train", "test")
            }
            loaded = datasets.load_dataset("parquet", data_files=files)
        else:
            loaded = datasets.load_dataset(source.hub, source.config)
        tensors: list[torch.Tensor] = []
        for split in ("train", "test"):
            rows = loaded[split]
            tensors.append(_pixels(source, split, rows[source.image]))
            tensors.append(_labels(source, split, rows[source.label]))
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"data: could not read {folder or source.hub} ({type(error).__name__}: "
            f"{str(error).splitlines()[0] if str(error) else 'no message'}). Without a network, "
            "give data_dir (--data-dir), a folder laid out like the hub's."
        ) from error
    return Images(*tensors)


def _pixels(source: Source, split: str, pictures: Iterable[Any]) -> torch.Tensor:
    """Return images (n, height, width, channels) uint8; what would be read in another scale, or
    have its pixels in other places, is refused."""
    channels, height, width = source.shape
    mode = "L" if channels == 1 else "RGB"
    shapes = [(height, width, channels)] + ([(height, width)] if channels == 1 else [])
    arrays = []
    for row, picture in enumerate(pictures):
        array = np.asarray(picture)
        if array.dtype != np.uint8 or array.shape not in shapes:
            got = f"{array.dtype} of shape {array.shape}"
        elif getattr(picture, "mode", mode) != mode:  # a palette's numbers are no brightness
            got = f"mode {picture.mode}"
        else:
            arrays.append(array.reshape(height, width, channels))
            continue
        raise invalid(
            "data",
            expected=f"images of 8 bits (mode {mode}), {height} x {width}",
            got=f"{got} in row {row} of {split!r}",
            remedy=f"Convert them: image.convert({mode!r}).",
        )
    if not arrays:
        raise invalid("data", expected=f"images in {split!r}", got="none")
    return torch.from_numpy(np.stack(arrays))


def _labels(source: Source, split: str, given: Iterable[Any]) -> torch.Tensor:
    """Return labels (n,) int64; what is no class is refused."""
    labels = list(given)
    for row, label in enumerate(labels):
        if type(label) is not int or not 0 <= label < source.classes:
            raise invalid(
                "data",
                expected=f"labels that are integers in 0 … {source.classes - 1}",
                got=f"{shown(label)} in row {row} of {split!r}",
            )
    return torch.tensor(labels, dtype=torch.int64)


def _memory_shape(source: Source) -> tuple[int, int, int]:
    channels, height, width = source.shape
    return height, width, channels


def _read_cache(path: Path, source: Source) -> Images | None:
    from safetensors.torch import load_file

    with contextlib.suppress(Exception):  # a missing or damaged cache is made again
        tensors = load_file(path)
        found = Images(*(tensors[field] for field in Images._fields))
        splits = ((found.train_x, found.train_y), (found.test_x, found.test_y))
        if all(_fits(source, x, y) for x, y in splits):
            return found
    return None


def _fits(source: Source, x: torch.Tensor, y: torch.Tensor) -> bool:
    sizes = x.shape[1:] == _memory_shape(source) and y.shape == x.shape[:1]
    kinds = x.dtype == torch.uint8 and y.dtype == torch.int64
    return sizes and kinds and int(y.min()) >= 0 and int(y.max()) < source.classes


def _write_cache(path: Path, data: Images) -> None:
    from safetensors.torch import save_file

    with contextlib.suppress(OSError):  # no room or no right to write: decode again next time
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.part")
        save_file({k: v.contiguous() for k, v in data._asdict().items()}, part)
        part.replace(path)

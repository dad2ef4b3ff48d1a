"""A map-style `Dataset`, read once into memory: items (input, target) as stacked tensors.

Some items are read a second time, all of them where a global generator moved: a data set that
augments at random would freeze one draw of its augmentation into the data.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from subspan.errors import InputError, invalid
from subspan.problems import structure
from subspan.problems.rows import as_tensors, said
from subspan.problems.structure import Tensors
from subspan.streams import scoped_global_rngs, watched_global_rngs

_READ_TWICE = 64  # items, spread evenly: a flip of every second one passes with chance 2⁻⁶⁴
_REMEDY = (
    "Give the data set without augmentation, and the augmentation as transform=, which is "
    "drawn from a stream of the trial; or make a trainable of your own loop."
)


class _Item(NamedTuple):
    """Where in a data set something stands, for errors."""

    split: str
    number: int

    def refused(self, expected: str, got: str, remedy: str = "") -> InputError:
        return invalid(
            f"{self.split} item {self.number}", expected=expected, got=got, remedy=remedy
        )


def is_dataset(data: Any) -> bool:
    """Return whether data are to be read item by item, or refused as what cannot be."""
    if isinstance(data, Dataset | DataLoader):
        return True
    plain = isinstance(data, tuple | list | Mapping | str | torch.Tensor | np.ndarray)
    indexed = hasattr(data, "__getitem__") and hasattr(data, "__len__")
    return indexed and not plain and not hasattr(data, "iloc")  # a table of pandas is none


def pair(data: Any, split: str) -> tuple[Any, Any]:
    """Return (inputs, targets) of a split: those of a data set where it is one."""
    return read(data, split) if is_dataset(data) else data


def read(dataset: Any, split: str) -> tuple[Tensors, Tensors]:
    """Return the inputs and the targets of all items, one row each.

    Args:
        dataset: indexable from 0, with a length; its items are pairs (input, target), of tensors,
            arrays, numbers or images of Pillow (which become (channels, height, width) in
            [0, 1]), or tuples or mappings of them.
        split: its name, for errors.

    Raises:
        InputError: it cannot be indexed or is empty; items are no pairs, no numbers, of different
            shapes, or others when read again.
    """
    size = _size(dataset, split)
    with scoped_global_rngs(0):  # put back on leaving, whatever the data set draws
        with watched_global_rngs() as moved:
            first = _item(dataset, _Item(split, 0))
            leaves = structure.leaves(first)
            rows = [leaf.new_empty((size, *leaf.shape)) for leaf in leaves]
            for index in range(size):
                place = _Item(split, index)
                item = _item(dataset, place) if index else first
                _check_alike(item, first, place)
                for row, leaf in zip(rows, structure.leaves(item), strict=True):
                    row[index] = leaf.detach()
        spread = np.unique(np.linspace(0, size - 1, _READ_TWICE, dtype=int)).tolist()
        for index in range(size) if moved else spread:
            item = _item(dataset, _Item(split, index))
            for row, leaf in zip(rows, structure.leaves(item), strict=True):
                if leaf.shape != row.shape[1:] or not _equal(leaf, row[index]):
                    raise _Item(split, index).refused(
                        "the same numbers whenever it is read", "others the second time", _REMEDY
                    )
    x, y = structure.rebuilt(first, iter(rows))
    return x, y


def _size(dataset: Any, split: str) -> int:
    if isinstance(dataset, DataLoader):
        raise invalid(
            split,
            expected="a data set",
            got="a DataLoader",
            remedy="Give its data set; TrainSpec(batch_size=...) says how it is cut, and each "
            "trial has its own order.",
        )
    if isinstance(dataset, IterableDataset):
        raise invalid(
            split,
            expected="a data set that can be indexed and read into memory",
            got=f"{type(dataset).__name__}, a stream",
            remedy="Make a trainable of your own loop over it (subspan.trainable).",
        )
    try:
        size = len(dataset)
    except (TypeError, NotImplementedError) as error:
        got = f"{type(dataset).__name__}, which has none"
        raise invalid(split, expected="a data set with a length", got=got) from error
    if not size:
        raise invalid(split, expected="a data set of one item or more", got="an empty one")
    return size


def _item(dataset: Any, place: _Item) -> tuple[Tensors, Tensors]:
    try:
        item = dataset[place.number]
    except Exception as error:
        raise place.refused(
            "an item", type(error).__name__, f"The data set said: {said(error)}"
        ) from error
    if not isinstance(item, tuple | list) or len(item) != 2:
        several = isinstance(item, tuple | list)
        raise place.refused(
            "a pair (input, target)",
            f"{len(item)} parts" if several else type(item).__name__,
            "Wrap the data set in one that returns pairs; several inputs go in a tuple or a dict.",
        )
    name = f"{place.split} item {place.number}"
    return _tensors(item[0], f"{name}, input"), _tensors(item[1], f"{name}, target")


def _tensors(value: Any, name: str) -> Tensors:
    if isinstance(value, Mapping):
        return {key: _tensors(part, f"{name} {key!r}") for key, part in value.items()}
    if isinstance(value, list) and value and isinstance(value[0], torch.Tensor):
        value = tuple(value)
    if isinstance(value, tuple) and value:
        return tuple(_tensors(part, name) for part in value)
    if not isinstance(value, torch.Tensor) and hasattr(value, "getbands"):  # an image of Pillow's
        return _pixels(np.array(value))
    return as_tensors(value, name)


def _pixels(array: np.ndarray) -> torch.Tensor:
    """Return an image (channels, height, width); 8-bit ones in [0, 1], as torchvision has them."""
    image = torch.from_numpy(array[None] if array.ndim == 2 else array.transpose(2, 0, 1).copy())
    return image.float() / 255 if array.dtype == np.uint8 else image.float()


def _check_alike(item: Tensors, first: Tensors, place: _Item) -> None:
    if structure.names(item) != structure.names(first):
        raise place.refused(f"{structure.names(first)}, as in item 0", str(structure.names(item)))
    for leaf, like in zip(structure.leaves(item), structure.leaves(first), strict=True):
        if leaf.shape != like.shape:
            raise place.refused(
                f"shape {tuple(like.shape)}, as in item 0",
                f"{tuple(leaf.shape)}",
                "Bring all items to one shape in the data set: pad, crop or resize.",
            )
        if leaf.dtype != like.dtype:
            raise place.refused(f"{like.dtype}, as in item 0", str(leaf.dtype))


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    return bool(((one == other) | (one.isnan() & other.isnan())).all())

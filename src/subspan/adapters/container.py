"""The safetensors file of a subspace: what stands in it, and refusing all else.

A file is a flat set of tensors and one JSON header with the fields of `FIELDS`; its digest covers
both. Nothing in it is executed, and what it declares is bounded before it is unpacked.
"""

from __future__ import annotations

import base64
import math
import os
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from subspan.canonical import canonical_json, digest, strict_json, tensor_digest
from subspan.errors import InputError, invalid
from subspan.printable import cut

FORMAT = 2
THETA_DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "int8": torch.int8,
    "float64": torch.float64,
}
TensorList = list[tuple[str, tuple[int, ...]]]

_KEY = "subspan"  # the one key of the file's metadata
_LONGEST_HEADER = 2**24
FIELDS: dict[str, type | tuple[type, ...]] = {
    "format": int,
    "map": str,
    "dim": int,
    "seed": int,
    "options": dict,
    "checksum": str,
    "tensors": str,
    "rest": str,
    "base": str,
    "kept": str,
    "version": str,
    "digest": str,
}


@dataclass(frozen=True)
class Content:
    """What a file holds, checked as far as it can be without the module.

    Attributes:
        path: of the file.
        header: the fields of `FIELDS`, less `digest`.
        tensors: names and shapes of the tensors in the subspace, in order.
        values: the tensors of the file: `theta`, and where there are any `step`, `scales` and
            `buffer.NAME`.
    """

    path: Path
    header: dict[str, Any]
    tensors: TensorList
    values: dict[str, torch.Tensor]


def write(path: Path, header: dict[str, Any], tensors: TensorList, values: dict[str, Any]) -> None:
    """Write a file whole or not at all.

    Raises:
        InputError: the place cannot be written, or the disk is full.
    """
    values = {name: value.contiguous() for name, value in values.items()}
    header = {"format": FORMAT, **header, "tensors": _pack(tensors)}
    header["digest"] = _digest_of(header, values)
    _write_whole(path, safetensors.torch.save(values, {_KEY: canonical_json(header)}))


def read(path: Path, longest_list: int, largest: int) -> Content:
    """Read a file. What its header claims is checked before any tensor is touched.

    Args:
        path: of the file.
        longest_list: bytes of JSON to unpack the list of tensors to, at most.
        largest: numbers that its tensors may hold in all.

    Raises:
        InputError: it is not a file of this kind, damaged, or of a later format.
    """
    if not os.path.isfile(path):  # which knows no name that is too long either
        raise invalid("path", expected="a file", got=repr(cut(str(path))))
    try:
        with safetensors.safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get(_KEY)
            if text is None or len(text) > _LONGEST_HEADER:
                raise invalid(
                    "path",
                    expected="a file written by subspan.save",
                    got=f"{path.name}, without its header",
                )
            header = _header(path, text)
            shapes = {key: file.get_slice(key).get_shape() for key in file.keys()}  # noqa: SIM118
            _check_claims(path, header["dim"], shapes, largest)
            values = {key: file.get_tensor(key) for key in shapes}
    except InputError:
        raise
    except Exception as error:  # the reader's, of bytes that anybody may have written
        raise damaged(path, f"a whole safetensors file ({cut(str(error))})") from error
    if header.pop("digest") != _digest_of(header, values):
        raise damaged(path, "contents that match its digest")
    tensors = _unpack(path, header["tensors"], longest_list)
    theta, dim = values.get("theta"), header["dim"]
    if theta is None or theta.shape != (dim,) or theta.dtype not in THETA_DTYPES.values():
        raise damaged(path, f"theta of shape ({dim},)")
    if (theta.dtype == torch.int8) != ("step" in values) or (
        "step" in values and (values["step"].shape != (1,) or values["step"].dtype != torch.float32)
    ):
        raise damaged(path, "an int8 theta with one step")
    if "scales" in values and values["scales"].dtype not in (torch.float32, torch.float64):
        raise damaged(path, "scales of float32 or float64")
    for name, value in values.items():
        if name.startswith("buffer."):
            continue
        if name not in ("theta", "step", "scales"):
            raise damaged(path, f"tensors of this format only, without {name!r}")
        if not torch.isfinite(value).all():
            raise damaged(path, f"finite numbers in {name}")
    return Content(path, header, tensors, values)


def _check_claims(path: Path, dim: int, shapes: dict[str, list[int]], largest: int) -> None:
    """Refuse by its header alone a file that cannot be this module's."""
    if shapes.get("theta") != [dim]:
        raise damaged(path, f"theta of shape ({dim},)")
    claimed = sum(math.prod(shape) for shape in shapes.values())
    if claimed > largest:
        raise invalid(
            "path",
            expected=f"at most {largest:,} numbers, as this module has weights and buffers",
            got=f"{claimed:,} in {path.name}",
            remedy="Load onto the model that it was saved from.",
        )


def _header(path: Path, text: str) -> dict[str, Any]:
    try:
        header = strict_json(text)
    except ValueError as error:
        raise damaged(path, "a JSON header") from error
    if not isinstance(header, dict):
        raise damaged(path, "a JSON object as header")
    version = header.get("format")
    if type(version) is int and 0 < version != FORMAT:
        remedy = "Upgrade subspan." if version > FORMAT else "Load it there, merge and save anew."
        raise InputError(
            f"path: expected a file of format {FORMAT}, got format {version} in {path.name}, "
            f"written by subspan {header.get('version')}. {remedy}"
        )
    for name, kind in FIELDS.items():
        value = header.get(name)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise damaged(path, f"a header with {name!r}")
    if set(header) != set(FIELDS) or header["rest"] not in ("freeze", "keep"):
        raise damaged(path, "a header with the fields of this format")
    return header


def _digest_of(header: dict[str, Any], tensors: dict[str, torch.Tensor]) -> str:
    parts = {
        name: [str(value.dtype), list(value.shape), tensor_digest(_raw(value))]
        for name, value in tensors.items()
    }
    return digest([header, parts])


def _raw(value: torch.Tensor) -> torch.Tensor:
    return value.contiguous().reshape(-1).view(torch.uint8)


def _pack(tensors: TensorList) -> str:
    return base64.b64encode(zlib.compress(canonical_json(tensors).encode(), 9)).decode()


def _unpack(path: Path, text: str, longest: int) -> TensorList:
    """Return names and shapes; a list that would not end is cut off and refused."""
    try:
        unzip = zlib.decompressobj()
        raw = unzip.decompress(base64.b64decode(text, validate=True), longest)
        if not unzip.eof:
            raise ValueError
        entries = strict_json(raw)
        names = [(n, tuple(shape)) for n, shape in entries]
        if not all(isinstance(n, str) and _is_shape(shape) for n, shape in names):
            raise ValueError
    except (ValueError, TypeError, zlib.error) as error:
        raise damaged(path, "a list of tensors") from error
    return names


def _is_shape(sizes: tuple[Any, ...]) -> bool:
    return all(type(size) is int and 0 <= size < 2**63 for size in sizes)


def damaged(path: Path, expected: str) -> InputError:
    """Build the error for a damaged file."""
    return InputError(
        f"path: expected {expected}, got {path.name}, which is damaged or not a file of "
        "subspan. Copy it again from its source."
    )


def _write_whole(path: Path, blob: bytes) -> None:
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise invalid("path", expected="a place that can be written", got=str(error)) from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(blob)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException as error:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise invalid("path", expected="a place that can be written", got=str(error)) from error
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask

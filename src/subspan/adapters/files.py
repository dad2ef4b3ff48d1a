"""`save` and `load`: a subspace as a safetensors file of a few kilobytes.

The file holds θ (and the scales), the module's buffers that training changed, and a JSON header:
map, dim, seed, the map's checksum, the tensors in the subspace with their shapes, a hash of the
weights at θ = 0 and the buffers, one of what is kept beside, the library's version, and a digest
over all of it. Nothing in it is executed, and what it declares is checked against the module
before anything is made.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from subspan.adapters import container
from subspan.adapters.attach import candidate_weights, enter
from subspan.adapters.buffers import persistent_buffers
from subspan.adapters.checks import check_module
from subspan.adapters.digests import base_digest, kept_digest
from subspan.adapters.handle import Handle, handles
from subspan.adapters.held import check_held
from subspan.adapters.memory import check_memory
from subspan.adapters.root import Root
from subspan.adapters.selection import Weight, check_weight
from subspan.canonical import canonical_json
from subspan.errors import InputError, invalid, unknown
from subspan.maps.sliced.base import SlicedMap
from subspan.maps.sliced.make import make_sliced
from subspan.version import VERSION

ThetaDtype = Literal["float32", "bfloat16", "int8"]


def save(handle: Handle, path: str | os.PathLike[str], *, dtype: ThetaDtype | None = None) -> None:
    """Write a subspace to a safetensors file.

    The file is complete or not there: it is written beside its place and moved.

    Args:
        handle: of the subspace.
        path: where to.
        dtype: how to store θ: `"float32"`, `"bfloat16"` (a relative error of up to 2⁻⁸ in each
            coordinate) or `"int8"` (rounded to 1/127 of the largest). None: as it is, float16 as
            float32.

    Raises:
        InputError: θ is not finite, or the dtype unknown.
    """
    theta = handle.theta.detach().cpu()
    if dtype is not None and dtype not in ("float32", "bfloat16", "int8"):
        raise unknown("dtype", str(dtype), ["float32", "bfloat16", "int8"])
    tensors = quantized(theta, dtype or str(theta.dtype).removeprefix("torch."))
    if handle.scales is not None:
        tensors["scales"] = handle.scales.detach().cpu()
    for name, value in tensors.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise invalid(name, expected="finite numbers", got="NaN or infinity")
    tensors |= changed_buffers(handle)
    names = [(w.name, shape) for w, shape in zip(handle.weights, handle.shapes, strict=True)]
    header = {
        "map": handle.map,
        "dim": handle.dim,
        "seed": handle.seed,
        "options": handle.options,
        "checksum": handle.checksum(),
        "rest": handle.rest,
        "base": handle.base_digest(),
        "kept": handle.kept_digest(),
        "version": VERSION,
    }
    container.write(Path(path), header, names, tensors)


def load(module: nn.Module, path: str | os.PathLike[str], *, force: bool = False) -> Handle:
    """Attach the subspace of a file to a module, with its θ, in place.

    A module that already carries the same subspace takes the file's θ.

    Args:
        module: with the same weights and buffers as the module that was saved had at θ = 0, and
            with `rest="keep"` the parameters kept beside the subspace as they were when saved.
        path: of the file.
        force: load onto other weights and buffers too, of the same names and shapes.

    Returns:
        The handle.

    Raises:
        InputError: the file is damaged or not of this kind, the module's architecture or weights
            differ, or this library makes another map from the seed. The module is left as it was.
    """
    check_module(module)
    path = Path(path)
    content = container.read(path, _longest_list(module), _largest(module))
    header = content.header
    handle = _present(module, header, content)
    if handle is None:
        chosen, others = _select(module, content.tensors)
        beside = others + [w for h in handles(module) for w in h.weights]
        if not force:
            _check_base(header, base_digest(module, chosen, beside, header["rest"]))
            _check_kept(header, kept_digest(beside, header["rest"]))
        check_memory(module, chosen)
        check_held(module, chosen)
        sliced = _make_map(header, chosen)
        scales = content.values.get("scales")
        owners = len({id(w.sites[0][0]) for w in chosen})
        if scales is not None and scales.shape != (owners,):
            raise container.damaged(path, f"{owners} scales, one for each layer")
        buffers = _buffers(module, content)
        handle = enter(
            module,
            chosen,
            others,
            sliced,
            header["seed"],
            scales is not None,
            header["rest"],
            header["options"],
        )
    else:
        if not force:
            _check_base(header, handle.base_digest())
            _check_kept(header, handle.kept_digest())
        buffers = _buffers(module, content)
    with torch.no_grad():
        _put(handle.theta, dequantized(content.values))
        if handle.scales is not None:
            _put(handle.scales, content.values["scales"])
        for target, value in buffers:
            target.copy_(value)
    return handle


def quantized(theta: torch.Tensor, dtype: str) -> dict[str, torch.Tensor]:
    """Return θ as it is stored: `theta`, and `step` with int8."""
    if dtype != "int8":
        return {"theta": theta.to(container.THETA_DTYPES.get(dtype, torch.float32))}
    step = (theta.abs().max() if theta.numel() else theta.new_zeros(())).float() / 127
    whole = torch.round(theta / (step if step > 0 else 1.0))
    return {"theta": whole.to(torch.int8), "step": step.reshape(1)}


def dequantized(values: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return θ from what `quantized` stored."""
    theta = values["theta"]
    return theta.float() * values["step"] if theta.dtype == torch.int8 else theta


def changed_buffers(handle: Handle) -> dict[str, torch.Tensor]:
    """Return the module's buffers that are not what they were at `attach`, by `buffer.NAME`."""
    before = Root.of(handle.module).start
    now = persistent_buffers(handle.module)
    return {
        f"buffer.{name}": now[name].detach().cpu()
        for name, old in before.items()
        if name in now and not _same(old.cpu(), now[name].detach().cpu())
    }


def _longest_list(module: nn.Module) -> int:
    """Return how long a list of this module's tensors can be, with room to name a difference."""
    own = candidate_weights(module) + [w for h in handles(module) for w in h.weights]
    return 2**16 + 2 * sum(len(canonical_json([w.names, list(w.value.shape)])) for w in own)


def _largest(module: nn.Module) -> int:
    """Return how many numbers a file of this module holds at most: θ, scales, buffers, a step."""
    own = candidate_weights(module) + [w for h in handles(module) for w in h.weights]
    weights = sum(w.value.numel() + 1 for w in own)
    return weights + sum(b.numel() for b in persistent_buffers(module).values()) + 1


def _select(module: nn.Module, tensors: container.TensorList) -> tuple[list[Weight], list[Weight]]:
    """Return the module's tensors that the file names, in its order, and the others."""
    weights = candidate_weights(module)
    by_name = {name: w for w in weights for name in w.names}
    taken = {name for h in handles(module) for w in h.weights for name in w.names}
    wrong = []
    for name, shape in tensors:
        if name in taken:
            raise InputError(
                f"module: expected {name!r} outside any subspace, got it in one that differs from "
                "the file's. Call handle.detach() first."
            )
        if name not in by_name:
            wrong.append(f"{name} is missing")
        elif tuple(by_name[name].value.shape) != shape:
            wrong.append(f"{name} has shape {tuple(by_name[name].value.shape)}, not {shape}")
    chosen = [] if wrong else [by_name[name] for name, _ in tensors]
    for weight in chosen:
        check_weight(weight)
    if wrong or len({id(w) for w in chosen}) != len(chosen) or not chosen:
        what = "; ".join(wrong[:3]) or "tensors that are tied or none"
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise InputError(
            f"module: expected the architecture that the file was made for, got differences: {what}"
            f"{more}. Load onto the same model."
        )
    inside = {id(w) for w in chosen}
    return chosen, [w for w in weights if id(w) not in inside]


def _check_base(header: dict[str, Any], found: str) -> None:
    if found != header["base"]:
        raise InputError(
            "module: expected the base weights and buffers that the file was made on, got others "
            "of the same shapes. Load the same pretrained weights in the same dtype first, or pass "
            "force=True."
        )


def _check_kept(header: dict[str, Any], found: str) -> None:
    if found != header["kept"]:
        raise InputError(
            "module: expected the parameters kept beside the subspace (rest='keep') as they were "
            "when the file was saved, got others. They are not in the file: save them by a "
            "state_dict and load them first, or pass force=True."
        )


def _put(target: torch.nn.Parameter, value: torch.Tensor) -> None:
    """Set θ or the scales, in the file's precision where that is higher."""
    if value.dtype.itemsize > target.dtype.itemsize:
        target.grad, target.data = None, value.to(target.device)
    else:
        target.copy_(value)


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one, other)


def _make_map(header: dict[str, Any], chosen: list[Weight]) -> SlicedMap:
    ambient_dim = sum(math.prod(w.value.shape) for w in chosen)
    try:
        sliced = make_sliced(
            header["map"], header["dim"], ambient_dim, header["seed"], **header["options"]
        )
    except TypeError as error:
        raise invalid("path", expected="options that the map knows", got=str(error)) from error
    _check_map(header, sliced.checksum())
    return sliced


def _check_map(header: dict[str, Any], checksum: str) -> None:
    if checksum != header["checksum"]:
        raise InputError(
            f"path: expected a map with checksum {header['checksum']}, got {checksum} from "
            f"subspan {VERSION}; the file was written by {header['version']}. "
            "Load it with that version and merge it."
        )


def _present(
    module: nn.Module, header: dict[str, Any], content: container.Content
) -> Handle | None:
    """Return the module's own handle of the file's subspace, if it carries it already."""
    for handle in handles(module):
        own = [(w.name, s) for w, s in zip(handle.weights, handle.shapes, strict=True)]
        if (
            (handle.map, handle.dim, handle.seed, handle.rest, handle.options)
            == tuple(header[k] for k in ("map", "dim", "seed", "rest", "options"))
            and own == content.tensors
            and (handle.scales is None) == ("scales" not in content.values)
            and (handle.scales is None or handle.scales.shape == content.values["scales"].shape)
        ):
            _check_map(header, handle.checksum())
            return handle
    return None


def _buffers(
    module: nn.Module, content: container.Content
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    own = persistent_buffers(module)
    found = []
    for key, value in content.values.items():
        name = key.removeprefix("buffer.")
        if name == key:
            continue
        if name not in own or own[name].shape != value.shape or own[name].dtype != value.dtype:
            raise InputError(
                f"module: expected a buffer {name!r} of shape {tuple(value.shape)}, got none or "
                "another. Load onto the same model."
            )
        found.append((own[name], value))
    return found

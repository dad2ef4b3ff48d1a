"""`attach`: train any module in d numbers, in place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from subspan.adapters import buffers
from subspan.adapters.checks import check_module
from subspan.adapters.handle import Handle, handles
from subspan.adapters.held import check_held
from subspan.adapters.memory import check_memory
from subspan.adapters.plain import ROOT, SITE
from subspan.adapters.root import Rest, Root
from subspan.adapters.selection import Weight, select
from subspan.errors import invalid, unknown, whole
from subspan.maps.sliced.base import SlicedMap
from subspan.maps.sliced.make import make_sliced


def attach(
    module: nn.Module,
    dim: int,
    map: str = "partition",
    seed: int = 0,
    *,
    modules: Sequence[str] | None = None,
    per_layer_scale: bool | Literal["within"] = False,
    rest: Rest = "freeze",
    **options: Any,
) -> Handle:
    """Put a module's weights into a random d-dimensional subspace, in place.

    Afterwards every selected weight reads w = base + A θ, where base is its present value and θ,
    at first 0, is a parameter of the module; `module.parameters()` yields θ alone. Everything else
    about the module stays: its class name, methods, hooks, buffers, ties, train and eval mode.
    Build optimisers, `DistributedDataParallel` and `torch.compile` after attaching. The row of an
    embedding's `padding_idx` stays as it is.

    Args:
        module: any module, on one device. Parameters that ask for no gradient are not selected.
        dim: d, in 0 … D, where D is the number of weights selected. At 0 nothing is trained: θ
            has shape (0,), its gradient too, and optimisers step it, but for `LBFGS`.
        map: as in `subspan.maps.names()`. `"partition"` and `"hadamard"` cost O(D) time and
            memory, a few bytes per weight (docs/adapters.md), for D up to 10⁹.
        seed: of the map.
        modules: shell patterns for names of parameters or of modules above them, e.g.
            `["encoder.layer.*", "!*.LayerNorm"]`; `!` takes out. None: all. Weights that are tied
            must be tied within the module.
        per_layer_scale: train a scale λ for each layer as well, w = base + λ (A θ). Source:
            Aghajanyan et al. (2020), SAID. With True the scales come on top of d; with
            `"within"` d counts them, as there: θ has d less the number of layers.
        rest: what becomes of parameters that are not selected: `"freeze"` them, hidden from
            `parameters()` until `detach`, or `"keep"` them as they are, to be trained in full or
            attached to another subspace.
        **options: of the map, e.g. `nnz` of `"sparse"`.

    Returns:
        The handle, by which to `save`, `merge` or `detach`.

    Raises:
        InputError: a name, pattern or dimension does not fit, or the module is wrapped already.
    """
    check_module(module)
    if rest not in ("freeze", "keep"):
        raise unknown("rest", str(rest), ["freeze", "keep"])
    dim, seed = whole("dim", dim), whole("seed", seed)
    options = {k: int(v) if isinstance(v, np.integer) else v for k, v in options.items()}
    chosen, others = select(candidate_weights(module), modules, attached=bool(handles(module)))
    check_memory(module, chosen)
    check_held(module, chosen)
    devices = {str(w.value.device) for w in chosen}
    if len(devices) > 1:
        raise invalid("module", expected="its weights on one device", got=", ".join(devices))
    ambient_dim = sum(w.value.numel() for w in chosen)
    if per_layer_scale == "within" and dim:
        dim -= _layers_within(chosen, dim)
    elif not isinstance(per_layer_scale, bool) and per_layer_scale != "within":
        raise invalid(
            "per_layer_scale", expected="True, False or 'within'", got=repr(per_layer_scale)
        )
    sliced = make_sliced(map, dim, ambient_dim, seed, **options)
    scaled = per_layer_scale is True or (per_layer_scale == "within" and dim > 0)
    return enter(module, chosen, others, sliced, seed, scaled, rest, options)


def _layers_within(chosen: Sequence[Weight], dim: int) -> int:
    """Return how many of d numbers are scales, one for each layer.

    Raises:
        InputError: nothing would be left for θ.
    """
    layers = len({id(w.sites[0][0]) for w in chosen})
    if dim <= layers:
        raise invalid(
            "dim",
            expected=f"more than the {layers} scales that per_layer_scale='within' counts in it",
            got=dim,
            remedy="Use per_layer_scale=True for scales on top of d.",
        )
    return layers


def enter(
    module: nn.Module,
    chosen: list[Weight],
    others: list[Weight],
    sliced: SlicedMap,
    seed: int,
    per_layer_scale: bool,
    rest: Rest,
    options: dict[str, Any],
) -> Handle:
    """Do what `attach` says with weights selected and the map made."""
    root = Root.of(module)
    device = chosen[0].value.device
    exact: dict[str, Any] = {"dtype": torch.float32, "device": device}
    taken = {h.key for h in root.handles}
    key = next(
        k for i in range(len(taken) + 1) if (k := f"subspan_{i}" if i else "subspan") not in taken
    )
    handle = Handle(module, chosen, sliced.to(device), seed, rest, key, options)
    handle.before = buffers.snapshot(module) if root.handles else root.start
    root.claim(chosen)
    if rest == "freeze":
        root.freeze(others)
    root.handles.append(handle)
    module.register_parameter(f"{key}_theta", nn.Parameter(torch.zeros(sliced.dim, **exact)))
    if per_layer_scale:
        scales = nn.Parameter(torch.ones(handle.layer_count, **exact))
        module.register_parameter(f"{key}_scales", scales)
    for number, weight in enumerate(chosen):
        for owner, name in weight.sites:
            owner.__dict__.setdefault(SITE, {})[name] = (handle, number)
            if isinstance(owner, nn.RNNBase):
                owner.__dict__.update(_flat_weights=[], _flat_weight_refs=[])
    root.adopt()
    return handle


def candidate_weights(module: nn.Module) -> list[Weight]:
    """Return the tensors that `attach` may select from."""
    if ROOT in module.__dict__:
        return Root.of(module).weights()
    return Root(module).weights()

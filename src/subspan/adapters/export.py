"""`export`: what was trained in d numbers, in the form that others read.

A `peft` adapter where the subspace lies over the numbers of one, such as LoRA's factors, so that
whatever serves LoRA serves it; plain weights; or our own checked file.
"""

from __future__ import annotations

import copy
import os
import warnings
from pathlib import Path
from typing import Any, Literal

from torch import nn

from subspan.adapters.files import save
from subspan.adapters.handle import Handle, handles
from subspan.errors import InputError, invalid, unknown

Form = Literal["adapter", "merged", "file"]
_FILE = "subspan.safetensors"


def export(handle: Handle, folder: str | os.PathLike[str], form: Form = "adapter") -> Path:
    """Write what was trained into a folder, for those who know nothing of subspaces.

    The module stays attached and as it is; a copy of it is made while this writes, but for
    `"file"`. Where the module has several subspaces, `"adapter"` and `"merged"` take all of them.

    Args:
        handle: of the subspace.
        folder: is made where it is not there.
        form: `"adapter"`: the adapter of `peft` whose numbers the subspace lies over, as
            `adapter_config.json` and safetensors, which `PeftModel.from_pretrained` loads onto the
            untouched base model; modules that it trains in full go with it. `"merged"`: all
            weights, adapters merged into them, by the model's `save_pretrained` or else as
            `model.safetensors`. `"file"`: a seed and d numbers, as of `save`.

    Returns:
        The folder.

    Raises:
        InputError: the subspace does not lie over an adapter of `peft`, or has been left.
    """
    if form not in ("adapter", "merged", "file"):
        raise unknown("form", str(form), ["adapter", "merged", "file"])
    if not isinstance(handle, Handle):
        raise invalid(
            "handle",
            expected="what attach returned",
            got=type(handle).__name__,
            remedy="A peft model without a subspace is written by its save_pretrained.",
        )
    handle.parameters()  # refused where it was merged or detached
    path = Path(folder)
    if form == "adapter" and not _is_peft(handle.module):
        raise invalid(
            "form",
            expected="'merged' or 'file' for a module that is no peft model",
            got=repr(form),
            remedy="An adapter can be exported where attach was called on a peft model.",
        )
    if form != "file":
        module = _merged(handle.module)
        if form == "adapter":
            _check_all_in_adapter(handle, module)
        path.mkdir(parents=True, exist_ok=True)
        (_write_adapter if form == "adapter" else _write_weights)(module, path)
    else:
        path.mkdir(parents=True, exist_ok=True)
        save(handle, path / _FILE)
    return path


def _merged(module: nn.Module) -> Any:
    """Return a copy of a module with every subspace baked in."""
    plain = copy.deepcopy(module)
    for handle in handles(plain):
        handle.merge()
    return plain


def _is_peft(module: nn.Module) -> bool:
    return hasattr(module, "peft_config") and hasattr(module, "save_pretrained")


def _check_all_in_adapter(handle: Handle, module: Any) -> None:
    """Refuse where the subspace moves what an adapter's file does not hold."""
    import peft

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what an adapter cannot say of its base model
        held = {v.data_ptr() for v in peft.get_peft_model_state_dict(module).values()}
    own = dict(module.named_parameters(remove_duplicate=False))
    moved = [w.name for h in handles(handle.module) for w in h.weights]
    beside = [name for name in moved if own[name].data_ptr() not in held]
    if beside:
        raise InputError(
            f"form: expected a subspace over the adapter's own numbers, got one that moves "
            f"{beside[0]} of the base model too. Use form='merged' or 'file'."
        )


def _write_adapter(module: Any, path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a base model without a name
        module.save_pretrained(str(path))


def _write_weights(module: Any, path: Path) -> None:
    if _is_peft(module):
        module = module.merge_and_unload()
    if hasattr(module, "save_pretrained"):
        module.save_pretrained(str(path))
        return
    from safetensors.torch import save_model

    save_model(module, str(path / "model.safetensors"))

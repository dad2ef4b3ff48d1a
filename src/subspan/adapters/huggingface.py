"""Hugging Face: a callback by which `transformers.Trainer` saves subspaces with its checkpoints.

`attach` needs nothing else to work under `Trainer`, `accelerate` and on `peft` models.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from subspan.adapters.attach import handles
from subspan.adapters.files import ThetaDtype, save
from subspan.errors import InputError

if TYPE_CHECKING:
    from transformers import TrainerCallback


def save_callback(
    module: nn.Module, name: str = "subspan.safetensors", *, dtype: ThetaDtype | None = None
) -> TrainerCallback:
    """Return a callback that writes a module's subspace beside each checkpoint.

    Args:
        module: the module that `attach` was called on.
        name: of the file in the checkpoint's folder. Of several subspaces the second and later
            get a number before the ending.
        dtype: how to store θ, as of `subspan.save`.

    Raises:
        InputError: no subspace is attached.
    """
    from transformers import TrainerCallback

    if not handles(module):
        raise InputError(
            "module: expected one with a subspace, got one without. Call subspan.attach first."
        )

    class SaveSubspace(TrainerCallback):
        """Writes the files when a checkpoint is written."""

        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            """Write every subspace of the module into the checkpoint's folder."""
            if not state.is_world_process_zero:
                return
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            folder.mkdir(parents=True, exist_ok=True)
            for number, handle in enumerate(handles(module)):
                path = folder / name
                if number:
                    path = path.with_name(f"{path.stem}-{number}{path.suffix}")
                save(handle, path, dtype=dtype)

    return SaveSubspace()

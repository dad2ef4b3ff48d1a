"""Hugging Face: a callback by which `transformers.Trainer` saves and resumes subspaces.

`attach` needs nothing else to work under `Trainer` and `accelerate`. On `peft` models it needs the
callback, since checkpoints of `peft` hold LoRA's parameters alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from subspan.adapters.files import ThetaDtype, load, save
from subspan.adapters.handle import handles
from subspan.adapters.root import Root
from subspan.errors import InputError

if TYPE_CHECKING:
    from transformers import TrainerCallback


def save_callback(
    module: nn.Module, name: str = "subspan.safetensors", *, dtype: ThetaDtype | None = None
) -> TrainerCallback:
    """Return a callback that writes a module's subspace beside each checkpoint, and reads it again.

    It reads where `Trainer` resumes, or loads its best checkpoint, and what it loaded held no θ, as
    with `peft`. The checkpoint must lie in `output_dir` and the callback must have saved it.

    Args:
        module: the module that `attach` was called on.
        name: of the file in the checkpoint's folder. Of several subspaces the second and later
            get a number before the ending.
        dtype: how to store θ, as of `subspan.save`.

    Raises:
        InputError: no subspace is attached; in training, a checkpoint without a file of the
            subspace is resumed.
    """
    from transformers import TrainerCallback

    if not handles(module):
        raise InputError(
            "module: expected one with a subspace, got one without. Call subspan.attach first."
        )

    class SaveSubspace(TrainerCallback):
        """Writes the files when a checkpoint is written, and reads them when it is loaded."""

        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            """Write every subspace of the module into the checkpoint's folder."""
            if not state.is_world_process_zero:
                return
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            folder.mkdir(parents=True, exist_ok=True)
            for handle, path in zip(handles(module), _paths(module, folder / name), strict=True):
                save(handle, path, dtype=dtype)

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            """Read θ where training resumes."""
            if state.global_step:
                folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
                _restore(module, folder, name, state)

        def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            """Read the best θ where `Trainer` has loaded its best checkpoint."""
            if args.load_best_model_at_end and state.best_model_checkpoint:
                _restore(module, Path(state.best_model_checkpoint), name, None)

    return SaveSubspace()


def _paths(module: nn.Module, first: Path) -> list[Path]:
    rest = range(1, len(handles(module)))
    return [first, *(first.with_name(f"{first.stem}-{i}{first.suffix}") for i in rest)]


def _restore(module: nn.Module, folder: Path, name: str, state: Any) -> None:
    """Read the files of a checkpoint whose own state_dict held no subspace.

    Args:
        module: with the subspaces.
        folder: of the checkpoint.
        name: of the first file.
        state: that `Trainer` has resumed, which the folder must be of; None for any.
    """
    if not Root.of(module).skipped:
        return
    paths = _paths(module, folder / name)
    if not all(path.is_file() for path in paths) or (state and not _is_of(folder, state)):
        raise InputError(
            f"resume_from_checkpoint: expected the subspace in {name} of {folder.name} in "
            "output_dir, got none there, or that of another run. Train with save_callback from the "
            "start, in the same output_dir."
        )
    for path in paths:
        load(module, path)
    Root.of(module).skipped = False


def _is_of(folder: Path, state: Any) -> bool:
    """Whether a checkpoint's folder holds the state of `Trainer` that was resumed."""
    path = folder / "trainer_state.json"
    if not path.is_file():
        return False
    return repr(type(state).load_from_json(str(path)).log_history) == repr(state.log_history)

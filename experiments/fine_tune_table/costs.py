"""What a method costs: time and memory of a training step, and the bytes of what it trained."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

import subspan as ss

_WARM, _STEPS, _ROWS = 4, 24, 16


def measure(task, method, dim: int) -> dict[str, float]:
    """Return CPU milliseconds of a step (median and quartiles), bytes it keeps, bytes of the file.

    Args:
        task: rows, and what makes the module.
        method: of tuning.
        dim: count that it makes.
    """
    module = method.apply(task.make(0), dim, 0)
    trained = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=1e-4)
    x, y = task.rows["train"]
    batch, target = {key: value[:_ROWS] for key, value in x.items()}, y[:_ROWS]
    times = []
    for _ in range(_WARM + _STEPS):
        began = time.process_time()
        loss = torch.nn.functional.cross_entropy(module(**batch), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        times.append(1000 * (time.process_time() - began))
    kept = _saved_bytes(module, batch, target)
    state = [v for own in optimizer.state.values() for v in own.values()]
    kept += sum(_bytes(t) for t in [*state, *(p.grad for p in trained)])
    low, middle, high = np.quantile(times[_WARM:], [0.25, 0.5, 0.75])
    return {
        "dim": dim,
        "ms": round(float(middle), 2),
        "ms_low": round(float(low), 2),
        "ms_high": round(float(high), 2),
        "bytes_kept": kept,
        "bytes_file": _file_bytes(module),
    }


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _saved_bytes(module, batch, target) -> int:
    """What a forward pass keeps for the backward pass; weights and inputs aside, and once each."""
    own = [*module.parameters(), *module.buffers(), *batch.values(), target]
    known = {t.untyped_storage().data_ptr() for t in own}
    seen: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        parts = [tensor._indices(), tensor._values()] if tensor.is_sparse else [tensor]
        for storage in (part.untyped_storage() for part in parts):
            if storage.data_ptr() not in known:
                seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        torch.nn.functional.cross_entropy(module(**batch), target)
    return sum(seen.values())


def _file_bytes(module) -> int:
    """Of what is shipped: our file, or peft's adapter as it saves it, or the trained tensors."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        handles = ss.adapters.handles(module)
        if handles:
            ss.save(handles[0], place / "tuned.safetensors")
        elif hasattr(module, "save_pretrained"):
            module.save_pretrained(folder)
        if not handles and not list(place.glob("*.safetensors")):
            named = {n: p.detach() for n, p in module.named_parameters() if p.requires_grad}
            save_file(named, place / "tuned.safetensors")
        return sum(file.stat().st_size for file in place.rglob("*.safetensors"))

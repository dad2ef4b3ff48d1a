"""How many trials fit a GPU at once: its free memory over what one takes, measured on two."""

from __future__ import annotations

import torch

from subspan.problems.base import AbstractProblem
from subspan.problems.module import Problem

_SHARE = 0.8  # of what is free; the rest lies in pieces that nothing fits into
_TRIED = 2  # trials on which it is measured
_VECTORS = 6  # of D numbers, beside gradients: offset, state of the optimiser, what a map keeps


def fitting(problem: AbstractProblem) -> int:
    """Return how many trials fit what is free of the problem's GPU, 1 or more.

    An estimate, of a step of the problem's own `default_spec` and an evaluation: who trains more at
    once than fit takes fewer (`ProblemTrainable`).
    """
    device = problem.device
    free = torch.cuda.mem_get_info(device)[0]
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    try:
        each = bytes_a_trial(problem)
    except torch.OutOfMemoryError:
        return 1
    return max(1, int(_SHARE * free) // each)


def bytes_a_trial(problem: AbstractProblem) -> int:
    """Return the bytes of a GPU that a trial takes: the peak of a step and an evaluation of two
    trials, halved, and some vectors of D numbers. Convolutions count as products, which take most.

    Raises:
        torch.OutOfMemoryError: not even two fit.
    """
    device = problem.device
    if isinstance(problem, Problem) and problem.convolutions is None:
        problem = problem.convolving("products")
    held = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    weights = torch.stack([problem.init(0)] * _TRIED)
    rows = min(problem.default_spec.batch_size or problem.train_size, problem.train_size)
    indices = torch.zeros(_TRIED, rows, dtype=torch.int64, device=device)
    whole = problem.batch() if not rows else problem.batch(indices)
    problem.grads(weights, whole)
    problem.evaluate_many(weights)
    taken = torch.cuda.max_memory_allocated(device) - held
    return taken // _TRIED + _VECTORS * problem.ambient_dim * problem.dtype.itemsize


def release(device: torch.device) -> None:
    """Give memory that is kept for later back to the device, if it is a GPU."""
    if device.type == "cuda":
        torch.cuda.empty_cache()

"""`AngleSearch`: the smallest angle between a direction g and a point of S(ε), seen from w₀."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch

from subspan.spec import TrainSpec
from subspan.training.optimizers import Adam

LossAndGradient = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


class AngleSearch:
    """Augmented Lagrangian with Adam, one independent search per row of g.

    The unknowns are v = R p and log R. First log L alone is descended until a row is in S(ε); from
    then on tan² = ‖v‖²/R², in units of the best so far, plus the multiplier terms of the excess
    c = log L − log ε ≤ 0. All of it is free of scale, and step sizes are relative to ‖v‖ and R, so
    that the same settings serve problems of any size.

    Args:
        starts: w₀ per row, (rows, D).
        g: directions, (rows, D).
        radii: starting R, (rows,).
        level: ε.
        steps: at most.
        directions: rows come in blocks of so many, a block per starting radius.
    """

    lr = 0.1
    radius_lr = 0.03
    adam = TrainSpec(betas=(0.9, 0.99), eps=1e-12)
    every = 25  # steps between multiplier updates
    gain = 0.5  # of a multiplier update
    stiffness_ratio = 3.0  # penalty stiffness per multiplier
    max_force = 10.0
    least_full_steps = 50  # that end a search by minibatches, or a fifth of it

    def __init__(
        self,
        starts: torch.Tensor,
        g: torch.Tensor,
        radii: torch.Tensor,
        level: float,
        steps: int,
        directions: int,
    ) -> None:
        self.directions = directions
        self.starts, self.level, self.steps = starts, level, steps
        self.unit = g / g.norm(dim=1, keepdim=True)
        self.v = torch.zeros_like(g)
        self.log_r = radii.log()
        self.multiplier = torch.ones_like(radii)
        self.stiffness = torch.ones_like(radii)
        self.feasible = torch.zeros_like(radii, dtype=torch.bool)
        self.best = torch.full_like(radii, math.inf)
        self.point = self.weights()  # where it was met
        self.smooth = torch.zeros_like(radii)
        self._start_anew()

    def _start_anew(self) -> None:
        """Let Adam forget the gradients that it has seen."""
        self._adam_v, self._adam_r = (Adam(t, self.adam) for t in (self.v, self.log_r))

    def weights(self) -> torch.Tensor:
        """Return the points where the search stands, (rows, D)."""
        return self.starts + self.log_r.exp()[:, None] * self.unit + self.v

    def tan_squared(self) -> torch.Tensor:
        """Return tan² of their angles to g, (rows,)."""
        return (self.v * self.v).sum(1) / (2 * self.log_r).exp()

    def run(self, full: LossAndGradient, minibatch: LossAndGradient | None = None) -> torch.Tensor:
        """Return tan² of the smallest angle reached per row; inf where S(ε) was never met.

        Only `full`, on all rows of data, decides what counts as met. With a `minibatch` it does so
        at every tenth step, and then takes the last fifth of the steps (at least 50) itself, at a
        rate that starts anew: the noise of the batches keeps the search off the boundary of S(ε).
        """
        last = self.steps
        if minibatch is not None:
            last = min(self.steps, max(self.steps // 5, self.least_full_steps))
            noisy = self.steps - last
            for step in range(1, noisy + 1):
                if step % 10 == 0:
                    self._record(self._excess(full(self.weights())[0]))
                losses, gradients = minibatch(self.weights())
                self._move(step, noisy, self._excess(losses), _of_log(losses, gradients))
            self._start_anew()
        for step in range(1, last + 1):
            losses, gradients = full(self.weights())
            excess = self._excess(losses)
            self._record(excess)
            self._move(step, last, excess, _of_log(losses, gradients))
        return self.best

    def _excess(self, losses: torch.Tensor) -> torch.Tensor:
        return _log(losses) - math.log(self.level)

    def _record(self, excess: torch.Tensor) -> None:
        met, size = excess <= 0, self.tan_squared()
        better = met & (size < self.best)
        self.best = torch.where(better, size, self.best)
        self.point[better] = self.weights()[better]
        self.feasible |= met

    def stationarity(self, objective: LossAndGradient) -> tuple[np.ndarray, np.ndarray]:
        """Return cos(∇L, w − w₀) and cos²(∇L, g)₊ at the best points, each (radii, directions)."""
        normal = torch.nn.functional.normalize(objective(self.point)[1], dim=1)
        ray = torch.nn.functional.normalize(self.point - self.starts, dim=1)
        against = (normal * ray).sum(1), (normal * self.unit).sum(1).clamp_min(0) ** 2
        cosines, heights = (t.double().cpu().numpy().reshape(-1, self.directions) for t in against)
        return cosines, heights

    def _move(
        self,
        step: int,
        steps: int,
        excess: torch.Tensor,
        log_gradient: torch.Tensor,
    ) -> None:
        size, radius = self.tan_squared(), self.log_r.exp()
        force = (self.multiplier + self.stiffness * excess).clamp(0, self.max_force)
        force = torch.where(self.feasible, force, torch.ones_like(force))
        best = torch.where(self.feasible, self.best, torch.ones_like(size))
        weight = self.feasible / torch.maximum(best, size).clamp_min(1e-4)
        pull = force[:, None] * torch.nan_to_num(log_gradient)
        toward_v = self._tangent(pull + (2 * weight / radius**2)[:, None] * self.v)
        toward_r = radius * (pull * self.unit).sum(1) - 2 * weight * size
        decay = 0.5 * (1 + math.cos(math.pi * step / steps)) + 1e-3
        scale = radius * size.sqrt().clamp_min(0.1) / math.sqrt(self.v.shape[1])
        move_v = self._adam_v.direction(toward_v)
        self.v = self._tangent(self.v - self.lr * decay * scale[:, None] * move_v)
        self.log_r = self.log_r - self.radius_lr * decay * self._adam_r.direction(toward_r)
        self.smooth = excess if step == 1 else 0.9 * self.smooth + 0.1 * excess
        if step % self.every == 0:
            updated = self.multiplier + self.gain * self.stiffness * self.smooth
            updated = updated.clamp(0, self.max_force)
            self.multiplier = torch.where(self.feasible, updated, self.multiplier)
            stiffer = (self.stiffness_ratio * self.multiplier).clamp(0.1, 30)
            self.stiffness = torch.where(self.feasible, stiffer, self.stiffness)

    def _tangent(self, v: torch.Tensor) -> torch.Tensor:
        return v - self.unit * (v * self.unit).sum(1, keepdim=True)


def _log(losses: torch.Tensor) -> torch.Tensor:
    return torch.nan_to_num(losses, nan=math.inf).clamp(1e-30, 1e30).log()


def _of_log(losses: torch.Tensor, gradients: torch.Tensor) -> torch.Tensor:
    return gradients / losses.clamp_min(1e-30)[:, None]

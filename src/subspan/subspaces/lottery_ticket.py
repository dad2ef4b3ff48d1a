"""`LotteryTicket`: magnitude pruning, one-shot or iterative, with rewinding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch

from subspan.errors import invalid, real, whole
from subspan.problems.base import AbstractProblem
from subspan.problems.layout import Layout
from subspan.streams import derive
from subspan.subspaces.base import Draw, Method, Subspace
from subspan.subspaces.full_space import FullSpace
from subspan.subspaces.pruning import (
    check_pruning,
    keep_highest,
    layout_of,
    mask_bits,
    mask_map,
    masked,
)


class LotteryTicket(Method):
    """The d weights of largest magnitude after training, rewound and trained alone.

    A ticket is the affine subspace w_k ⊙ mask + (coordinates of the kept weights); its degrees of
    freedom are the kept weights. Source: Frankle and Carbin (2019); rewinding: Frankle et al.
    (2020); settings of Larsen et al. (2022), official code: 2 epochs of momentum SGD, one-shot,
    global over weights and biases, rewound to the initialisation. Departure: no weight decay
    (there, 1e-4 on convolution kernels).

    Args:
        epochs: passes over the data before each pruning.
        rounds: 1 prunes once (one-shot). n > 1 prunes n times to the fraction (d/D)^(1/n) of
            what was left, trained again from the rewind point in between.
        rewind: step k whose weights the ticket starts from; 0 is the initialisation, `"end"` the
            trained weights (magnitude pruning after training, fine-tuned).
        scope: `"global"` or `"layer"`; see `keep_highest`.
        biases: whether biases and norm parameters may be pruned; if not, they count towards d.
        lr: learning rate of the search.
        momentum: of the search.
        batch_size: of the search.

    Raises:
        InputError: an argument is out of range.
    """

    def __init__(
        self,
        epochs: float = 2.0,
        rounds: int = 1,
        rewind: int | Literal["end"] = 0,
        *,
        scope: Literal["global", "layer"] = "global",
        biases: bool = True,
        lr: float = 0.05,
        momentum: float = 0.9,
        batch_size: int = 128,
    ) -> None:
        check_pruning(scope, biases)
        self.epochs = real("epochs", epochs, low=0, strict=True)
        self.rounds = whole("rounds", rounds, low=1)
        self.rewind = _rewind(rewind)
        self.scope, self.biases = scope, biases
        self.search = FullSpace(lr, momentum, batch_size)

    def config(self) -> dict[str, Any]:
        """Return plain JSON data that fixes the method."""
        return {
            "name": "lottery-ticket",
            "epochs": self.epochs,
            "rounds": self.rounds,
            "rewind": self.rewind,
            "scope": self.scope,
            "biases": self.biases,
            **self.search.config(),
        }

    def search_steps(self, problem: AbstractProblem) -> int:
        """Return the steps of all rounds; those after the first start at the rewind point."""
        first = self.search.steps_of(self.epochs, problem)
        again = first - (0 if self.rewind == "end" else self._rewind_step(first))
        return first + (self.rounds - 1) * again

    def max_dim(self, problem: AbstractProblem) -> int:
        """Return D − 1: a ticket prunes something."""
        return problem.ambient_dim - 1

    def subspaces(self, problem: AbstractProblem, draws: Sequence[Draw]) -> list[Subspace]:
        """Return one ticket per draw; the first round runs once per repeat.

        Raises:
            InputError: a mask of everything or nothing, or a rewind point beyond the search.
        """
        layout = layout_of(problem, "lottery-ticket")
        masks, offsets = self._masks(problem, layout, draws)
        steps = self.search_steps(problem)
        stored = 0 if self.rewind == 0 else 32  # bits per kept weight: no longer a seed
        return [
            Subspace(
                offset,
                mask_map(mask, problem),
                steps,
                mask_bits(d.dim, problem.ambient_dim) + stored * d.dim,
            )
            for d, mask, offset in zip(draws, masks, offsets, strict=True)
        ]

    def _masks(
        self, problem: AbstractProblem, layout: Layout, draws: Sequence[Draw]
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Return the positions kept for each draw, and the offsets w_k ⊙ mask."""
        total = self.search.steps_of(self.epochs, problem)
        rewind = total if self.rewind == "end" else self._rewind_step(total)
        for draw in draws:
            self._prune(torch.zeros(problem.ambient_dim), draw, layout, self.rounds)  # check d
        pairs = self.search.weights_at(problem, draws, [rewind, total])
        starts = [p[0] for p in pairs]
        trained = [p[1] for p in pairs]
        masks = self._prune_all(trained, draws, layout, 1)
        for number in range(2, self.rounds + 1):
            # Fine-tuning goes on from what was trained; a ticket goes back to w_k.
            base = trained if self.rewind == "end" else starts
            offsets = [masked(w, m) for w, m in zip(base, masks, strict=True)]
            seeds = [derive(d.search_seed, "round", number) for d in draws]
            steps = total if self.rewind == "end" else total - rewind
            maps = [mask_map(m, problem) for m in masks]
            trained = self.search.train(problem, offsets, seeds, steps, maps=maps)
            gone = [
                torch.full_like(w, -torch.inf).index_copy_(0, m.to(w.device), w[m].abs())
                for w, m in zip(trained, masks, strict=True)
            ]
            masks = self._prune_all(gone, draws, layout, number)
        base = trained if self.rewind == "end" else starts
        return masks, [masked(w, m) for w, m in zip(base, masks, strict=True)]

    def _prune_all(
        self,
        weights: Sequence[torch.Tensor],
        draws: Sequence[Draw],
        layout: Layout,
        number: int,
    ) -> list[torch.Tensor]:
        scores = [torch.where(w == -torch.inf, w, w.abs()) for w in weights]
        return [self._prune(s, d, layout, number) for s, d in zip(scores, draws, strict=True)]

    def _prune(self, scores: torch.Tensor, draw: Draw, layout: Layout, number: int) -> torch.Tensor:
        """Return what is kept after round `number` of `rounds`."""
        size = layout.ambient_dim
        share = (draw.dim / size) ** (number / self.rounds)
        keep = draw.dim if number == self.rounds else min(size - 1, round(size * share))
        return keep_highest(scores, keep, layout, scope=self.scope, biases=self.biases)

    def _rewind_step(self, total: int) -> int:
        step = self.rewind
        if not isinstance(step, int) or step >= total:
            raise invalid(
                "rewind",
                expected=f"a step before the end of the search, below {total}",
                got=step,
                remedy='For the trained weights use rewind="end".',
            )
        return step

    def __repr__(self) -> str:
        return f"LotteryTicket(rounds={self.rounds}, rewind={self.rewind!r})"


def _rewind(value: object) -> int | Literal["end"]:
    if isinstance(value, str) and value == "end":
        return "end"
    if isinstance(value, str):
        raise invalid("rewind", expected="a step, or 'end'", got=repr(value))
    return whole("rewind", value, low=0)

"""`ComparisonTable`: what `compare` found, one row per method and training dimension."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from subspan import notebook
from subspan.errors import invalid
from subspan.success.estimate import ThresholdEstimate
from subspan.trials.pilots import ChosenLr, chosen_lrs, lrs_to_json, said_of
from subspan.trials.trial import TrialRecord

if TYPE_CHECKING:
    import pandas as pd

BETTER, WORSE, SAME = "better", "worse", "not distinguishable"
NULL, UNTESTED = "null", "not tested"
_WORDS = {
    BETTER: "better than the null",
    WORSE: "worse than the null",
    SAME: "not distinguishable",
    UNTESTED: "not tested",
}

_ASSUMED = (
    "the number of repeats was fixed beforehand, repeats are independent and a method like the "
    "null is as likely to be ahead of it by an amount as behind"
)


def cells_in_words(count: int) -> str:
    """Return `1 cell`, `9 cells`."""
    return f"{count} cell{'' if count == 1 else 's'}"


@dataclass(frozen=True)
class ComparisonRow:
    """One method at one training dimension.

    Args:
        method: its label.
        dim: training dimension d.
        compression: D/d; ∞ at d = 0.
        repeats: trials.
        diverged: how many of them diverged; their best value before that counts.
        value: mean over repeats of the best value of the metric; a trial without a finite one
            counts as the worst, accuracy 0 or loss ∞ (then the mean is ∞, without an interval).
        low: lower end of Student's interval of that mean, which stays within the metric's range;
            NaN with one repeat.
        high: upper end.
        loss: mean over repeats of the best training loss (∞ with one that has none), with its
            interval `loss_low`, `loss_high`.
        difference: mean paired difference to the null in the metric, same repeats; NaN for the
            null itself.
        difference_low: lower end of its (unadjusted, Student's) interval; NaN below three pairs.
        difference_high: upper end.
        p: two-sided p-value of `paired_test`, at least 2^(1−pairs); NaN below three pairs.
        p_adjusted: the same after Holm's correction over the cells tested; NaN where there are too
            few pairs for a verdict.
        verdict: `"better"`, `"worse"`, `"not distinguishable"`, `"null"` or `"not tested"`.
        search_steps: full-space steps spent to find the subspace, per trial.
        search_bits: bits to store it beyond a seed.
        train_steps: steps in the subspace (mean over repeats).
        total_steps: both together.
        values: the best value of each repeat, in order; the worst there is where it has none.
        pairs: repeats that the null has too; 0 for the null.
        note: why it is not tested; empty where it is.
        failed: repeats without a finite value.
        value_finished: mean over the others; NaN where all failed.
    """

    method: str
    dim: int
    compression: float
    repeats: int
    diverged: int
    value: float
    low: float
    high: float
    loss: float
    loss_low: float
    loss_high: float
    difference: float
    difference_low: float
    difference_high: float
    p: float
    p_adjusted: float
    verdict: str
    search_steps: int
    search_bits: int
    train_steps: float
    total_steps: float
    values: tuple[float, ...] = ()
    pairs: int = 0
    note: str = ""
    failed: int = 0
    value_finished: float = math.nan


@dataclass(frozen=True)
class ComparisonTable:
    """Methods at equal degrees of freedom, held against the null.

    Args:
        problem: its name.
        ambient_dim: D.
        null: label of the random-subspace null.
        metric: what `value` is, e.g. `"test:accuracy"`; the best over each trial's evaluations,
            which is optimistic on test data, unequally so between methods.
        matched: whether all methods were given the same total steps, search included.
        confidence: of all intervals; verdicts err with a chance of at most 1 − confidence in the
            whole table.
        rows: by method, then dim.
        skipped: (method, dim, reason) of what a method cannot make, or refused.
        thresholds: (method, goal) → d*, for the goals that were asked for.
        records: the trials, by method's label.
        train_rows: rows that were trained on; 0 for a problem without data.
    """

    problem: str
    ambient_dim: int
    null: str
    metric: str
    matched: bool
    confidence: float
    rows: tuple[ComparisonRow, ...]
    skipped: tuple[tuple[str, int, str], ...] = ()
    thresholds: dict[tuple[str, str], ThresholdEstimate] = field(default_factory=dict)
    records: dict[str, list[TrialRecord]] = field(default_factory=dict, repr=False)
    train_rows: int = 0

    @property
    def methods(self) -> tuple[str, ...]:
        """Labels of the methods, in the order given, the null and those without rows among them."""
        told = [*(row.method for row in self.rows), *(name for name, _, _ in self.skipped)]
        return tuple(dict.fromkeys([*self.records, *told]))

    @property
    def learning_rates(self) -> dict[str, tuple[ChosenLr, ...]]:
        """The learning rates that were chosen, by method; empty where they were given."""
        found = {label: chosen_lrs(own) for label, own in self.records.items()}
        return {label: own for label, own in found.items() if own}

    def of(self, method: str) -> tuple[ComparisonRow, ...]:
        """Return a method's rows, ascending in dim; none where it could make none of the dims.

        Raises:
            InputError: the table has no such method.
        """
        if method not in self.methods:
            raise invalid("method", expected=f"one of {', '.join(self.methods)}", got=repr(method))
        rows = (row for row in self.rows if row.method == method)
        return tuple(sorted(rows, key=lambda row: row.dim))

    def verdict(self, method: str) -> str:
        """Say in words how a method stands against the null, at which dims."""
        if method == self.null:
            return "the null"
        own = self.of(method)
        told: dict[str, list[int]] = {}
        for row in sorted(own, key=lambda row: list(_WORDS).index(row.verdict)):
            reason = f" ({row.note})" if row.note else ""
            told.setdefault(f"{_WORDS[row.verdict]}{reason}", []).append(row.dim)
        there = {row.dim for row in own}
        for name, dim, why in self.skipped:
            if name == method and dim not in there:
                told.setdefault(f"no trials ({why.rstrip('.')})", []).append(dim)
        return "; ".join(
            f"{words} at d = {', '.join(map(str, sorted(dims)))}" for words, dims in told.items()
        )

    def summary(self) -> list[str]:
        """Return one line per method: its label and its verdict, with what it could not make."""
        return [f"{m}: {self.verdict(m)}" for m in self.methods if m != self.null]

    @property
    def footer(self) -> str:
        """What the verdicts rest on, in a few sentences; and what learning rates cost."""
        pilots = [one for own in self.learning_rates.values() for one in own]
        return f"{self._verdicts()} {said_of(pilots)}".rstrip()

    def _verdicts(self) -> str:
        tested = [row for row in self.rows if not math.isnan(row.p_adjusted)]
        failed = "A failed trial counts as the worst."
        if not tested:
            return (
                "No verdicts: no cell has enough paired repeats. p is of sign flips in one cell, "
                f"not corrected for their number and at least 2^(1−pairs); it holds if {_ASSUMED}. "
                f"{failed} Intervals: Student's, each by itself, which so few repeats bear out "
                "only if differences are near normal: one that leaves out 0 is no verdict."
            )
        fewest, cells = min(row.pairs for row in tested), cells_in_words(len(tested))
        return (
            f"Verdicts: sign-flip tests of {fewest} or more pairs, Holm over {cells}: "
            f"at most {100 * (1 - self.confidence):.3g} % chance of any false one, if {_ASSUMED}. "
            f"{failed} Intervals: Student's, each by itself; they take differences to be near "
            "normal."
        )

    def to_frame(self) -> pd.DataFrame:
        """Return one row per method and dim, tidy."""
        import pandas as pd

        return pd.DataFrame([dataclasses.asdict(row) for row in self.rows])

    def _repr_html_(self) -> str:
        """Return what a notebook shows: a row per method and dim, with its verdict."""
        return notebook.table(
            f"{self.problem}: best {self.metric} against {self.null}, D = {self.ambient_dim:,}",
            ("method", "d", "mean", "low", "high", "to the null", "p (Holm)", "verdict"),
            [
                (
                    *(row.method, row.dim, row.value, row.low, row.high),
                    *(row.difference, row.p_adjusted, row.verdict),
                )
                for row in self.rows
            ],
            self.footer,
        )

    def to_json(self) -> dict[str, Any]:
        """Return the table as plain JSON data, without the records."""
        return {
            "problem": self.problem,
            "ambient_dim": self.ambient_dim,
            "train_rows": self.train_rows,
            "null": self.null,
            "metric": self.metric,
            "matched": self.matched,
            "confidence": self.confidence,
            "rows": [dataclasses.asdict(row) for row in self.rows],
            "skipped": [
                {"method": name, "dim": dim, "reason": why} for name, dim, why in self.skipped
            ],
            "thresholds": [
                {"method": name, "goal": goal, **estimate.to_json()}
                for (name, goal), estimate in self.thresholds.items()
            ],
            **lrs_to_json(self.learning_rates),
            "verdicts": {name: self.verdict(name) for name in self.methods},
            "footer": self.footer,
        }

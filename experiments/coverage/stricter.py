"""What stricter rules for slow rises would make of "ok": coverage and trials, on the same outcomes.

    python experiments/coverage/stricter.py [--widths 0.3,0.5,1.25,2.3] [--repeats 40] [--seed 0]

Each run goes on until every rule has said "ok" or its trials are up; a rule only decides when the
interval of the counts so far is believed, not which dims are asked for. A rule reads the posterior
of rises slower than a width by itself, if these have a share in it, at a part of the tail; or it
asks for a least number of trials.
"""

from __future__ import annotations

import argparse
import math
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from widths import FAMILIES, share

from subspan.streams import uniforms
from subspan.success.curves import SHAPES
from subspan.success.design import ThresholdDesign
from subspan.success.posterior import Posterior
from subspan.success.verdict import judge
from subspan.testing.success_laws import Law, rise


@dataclass(frozen=True)
class Rule:
    """Rises slower than `slower` (in log d) have a say from a posterior share of `least` on."""

    slower: float
    least: float
    tail: float = 1.0  # of an interval's tail, where slow rises are read by themselves
    trials: int = 0
    whole_tail: float = 1.0  # of an interval's tail, where the whole posterior is read


RULES = {
    "slower than 1, 5 %": Rule(1, 0.05),
    "half the tail, as it is": Rule(1, 0.05, 0.5),
    "3 %, half the tail": Rule(1, 0.03, 0.5),
    "3 %, half the tail, 40 trials": Rule(1, 0.03, 0.5, 40),
    "1 %, half the tail": Rule(1, 0.01, 0.5),
    "slower than 2, 1 %, half the tail": Rule(2, 0.01, 0.5),
    "3 %, a fifth of every tail": Rule(1, 0.03, 0.5, whole_tail=0.2),
}
TRIALS = 200
_SHAPE_SHARE = 0.1  # as in `Posterior.interval`
_rule = RULES["slower than 1, 5 %"]


def _interval(self: Posterior, tail: float) -> tuple[float, float]:
    """`Posterior.interval`, by the rule of the moment."""
    parts = self.weights.reshape(len(self.weights), len(SHAPES), len(self.width_edges) - 1, -1)
    parts = parts.sum(3)
    slow = (self.width_edges[1:] + self.width_edges[:-1]) / 2 > math.log(_rule.slower)
    rising, falls = parts.sum(), self.cell_mass - parts.sum((1, 2))
    kinds = [(mass, _SHAPE_SHARE, tail) for mass in parts.sum(2).T]
    kinds.append((parts[:, :, slow].sum((1, 2)), _rule.least, tail * _rule.tail))
    kinds.append((parts.sum((1, 2)), 0.0, tail * _rule.whole_tail))
    ends = [(self.quantile(tail), self.quantile(1 - tail))]
    for mass, least, left in kinds:
        if mass.sum() > least * rising:
            cells = mass * (rising / mass.sum()) + falls
            ends.append((self._quantile(left, cells), self._quantile(1 - left, cells)))
    return min(low for low, _ in ends), max(high for _, high in ends)


def run(law: Law, luck: np.ndarray) -> dict[str, tuple[int, bool]]:
    """Return of every rule that comes to "ok" after how many trials, and whether d* is held."""
    global _rule
    design, told = ThresholdDesign(law.max_dim, **law.options), 0
    said: dict[str, tuple[int, bool]] = {}
    while told < law.max_trials and len(said) < len(RULES):
        _rule = Rule(1, 1.0)  # the design asks as if slow rises had no say
        dims = design.ask(min(law.width, law.max_trials - told))
        for dim, p in zip(dims, law.probability(np.array(dims)), strict=True):
            design.tell(dim, bool(luck[told] < p))
            told += 1
        if not design.verdict.settled:
            continue
        if not design.estimate().ok:
            break
        for name, rule in RULES.items():
            if name not in said and told >= rule.trials:
                _rule = rule
                found = judge(design.posterior, design.counts, design.confidence, design.ratio)
                low, high = found.estimate.low, found.estimate.high
                if found.estimate.ok and low is not None and high is not None:
                    said[name] = told, low <= (law.threshold or math.inf) <= high
    return said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--widths", default="0.3,0.5,1.25,1.5,2,2.3")
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    Posterior.interval = _interval  # type: ignore[method-assign]
    for width in map(float, args.widths.split(",")):
        said = defaultdict(list)
        for family in FAMILIES:
            name = f"{family}, width {width:g}"
            law = Law(name, "curve", rise(family, 100, width), max_trials=TRIALS)
            for repeat in range(args.repeats):
                luck = uniforms(args.seed, law.name, repeat, count=law.max_trials)
                for name, told in run(law, luck).items():
                    said[name].append(told)
        runs = args.repeats * len(FAMILIES)
        for name in RULES:
            held = sum(kept for _, kept in said[name])
            trials = [n for n, _ in said[name]] + [TRIALS] * (runs - len(said[name]))
            row = (width, name, runs, len(said[name]), share(held, len(said[name])))
            print("|", " | ".join(map(str, row)), "|", f"{np.median(trials):g} |", flush=True)


if __name__ == "__main__":
    main()

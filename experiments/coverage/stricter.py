"""What a stricter reading of the posterior would make of "ok": coverage and trials, same outcomes.

    python experiments/coverage/stricter.py [--widths 0.5,1,1.5,2] [--repeats 40] [--seed 0]

Each run goes on until every rule has said "ok" or its trials are up; a rule only decides when the
interval of the counts so far is believed, not which dims are asked for. A rule takes the hull of
the whole posterior's interval and those of parts of it that have a share in it: of each shape, and
of slow rises.
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
from subspan.success.posterior import _LOOKS, Posterior
from subspan.success.verdict import judge
from subspan.testing.success_laws import Law, rise


@dataclass(frozen=True)
class Rule:
    """Parts of the posterior that are read by themselves, from a share of it on."""

    shape: float = 2.0  # least share of a shape; 2: none
    slow: float = 2.0  # least share of rises slower than a width of 1
    tail: float = 1.0  # of an interval's tail, where slow rises are read
    looks: float = _LOOKS  # of the tail asked for, as in `Posterior.interval`


RULES = {
    "as it is": Rule(),
    "the whole tail": Rule(looks=1.0),
    "the whole tail, and each shape": Rule(0.1, looks=1.0),
    "so, and slow rises, at half the tail": Rule(0.1, 0.05, 0.5, 1.0),
}
_rule = Rule()


def _quantile(self: Posterior, probability: float, cell_mass: np.ndarray) -> float:
    """`Posterior.quantile` of other masses of the same cells."""
    total = np.concatenate([[0.0], np.cumsum(cell_mass)])
    above = cell_mass[self.centers >= math.log(self.span.max_dim)].sum() + self.never
    if probability >= 1 - above:
        return math.inf
    dim = math.ceil(math.exp(float(np.interp(probability, total, self.edges))) - 1e-9)
    return float(min(max(dim, self.span.min_dim), self.span.max_dim))


def _interval(self: Posterior, tail: float) -> tuple[float, float]:
    """`Posterior.interval`, by the rule of the moment."""
    parts = self.weights.reshape(len(self.weights), len(SHAPES), len(self.width_edges) - 1, -1)
    parts = parts.sum(3)
    slow = (self.width_edges[1:] + self.width_edges[:-1]) / 2 > 0.0
    rising, falls = parts.sum(), self.cell_mass - parts.sum((1, 2))
    tail *= _rule.looks
    kinds = [(mass, _rule.shape, tail) for mass in parts.sum(2).T]
    kinds.append((parts[:, :, slow].sum((1, 2)), _rule.slow, tail * _rule.tail))
    ends = [(self.quantile(tail), self.quantile(1 - tail))]
    for mass, least, left in kinds:
        if mass.sum() > least * rising:
            cells = mass * (rising / mass.sum()) + falls
            ends.append((_quantile(self, left, cells), _quantile(self, 1 - left, cells)))
    return min(low for low, _ in ends), max(high for _, high in ends)


def run(law: Law, luck: np.ndarray) -> dict[str, tuple[int, bool]]:
    """Return of every rule that comes to "ok" after how many trials, and whether d* is held."""
    global _rule
    design, told = ThresholdDesign(law.max_dim, **law.options), 0
    said: dict[str, tuple[int, bool]] = {}
    while told < law.max_trials and len(said) < len(RULES):
        _rule = Rule(looks=1.0)  # the design asks, and is believed, as soon as any rule may be
        dims = design.ask(min(law.width, law.max_trials - told))
        for dim, p in zip(dims, law.probability(np.array(dims)), strict=True):
            design.tell(dim, bool(luck[told] < p))
            told += 1
        if not design.verdict.settled:
            continue
        if not design.estimate().ok:
            break
        for name, rule in RULES.items():
            if name not in said:
                _rule = rule
                found = judge(design.posterior, design.counts, design.confidence, design.ratio)
                low, high = found.estimate.low, found.estimate.high
                if found.estimate.ok and low is not None and high is not None:
                    said[name] = told, low <= (law.threshold or math.inf) <= high
    return said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--widths", default="0.5,1,1.5,2")
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-trials", type=int, default=1000)
    args = parser.parse_args()
    Posterior.interval = _interval  # type: ignore[method-assign]
    for width in map(float, args.widths.split(",")):
        said = defaultdict(list)
        for family in FAMILIES:
            name = f"{family}, width {width:g}"
            law = Law(name, "curve", rise(family, 100, width), max_trials=args.max_trials)
            for repeat in range(args.repeats):
                luck = uniforms(args.seed, law.name, repeat, count=law.max_trials)
                for name, told in run(law, luck).items():
                    said[name].append(told)
        runs = args.repeats * len(FAMILIES)
        for name in RULES:
            held = sum(kept for _, kept in said[name])
            trials = [n for n, _ in said[name]] + [args.max_trials] * (runs - len(said[name]))
            row = (width, name, runs, len(said[name]), share(held, len(said[name])))
            print("|", " | ".join(map(str, row)), "|", f"{np.median(trials):g} |", flush=True)


if __name__ == "__main__":
    main()

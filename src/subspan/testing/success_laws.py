"""Some ninety success laws with a known threshold, to put designs through.

Families and widths in and out of any estimator's model, plateaus, falls, ends of the range, and
the settings that a user may choose. A width is the distance in log d between 10 and 90 % of the
rise: 2.3 is a decade of d, 4.6 are two.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

_FAMILIES: dict[str, Any] = {
    "probit": stats.norm,
    "logit": stats.logistic,
    "weibull": stats.gumbel_l,  # 1 − exp(−(d/scale)^k), in log d
    "gumbel": stats.gumbel_r,
    "cauchit": stats.cauchy,  # odd failures far above
    "student-t": stats.t(3),
}


@dataclass(frozen=True)
class Law:
    """A success probability over d, and the question asked of it.

    Args:
        name: what it is.
        group: what it is an example of: `"curve"`, `"lapse"`, `"plateau"`, `"fall"`, `"end"` or
            `"setting"`.
        probability: P_s at dims (n,), in [0, 1].
        max_dim, min_dim, delta, confidence, ratio, max_trials: as for `ThresholdDesign`.
        width: trials a round.
        easy: whether d* is to be found in nearly every run: a step, or a rise up to a width of 1.
    """

    name: str
    group: str
    probability: Callable[[np.ndarray], np.ndarray]
    max_dim: int = 10_000
    min_dim: int = 1
    delta: float = 0.1
    confidence: float = 0.95
    ratio: float = 1.5
    max_trials: int = 1000
    width: int = 8
    easy: bool = False

    @property
    def options(self) -> dict[str, Any]:
        """What a design is made with, beside `max_dim`."""
        names = ("min_dim", "delta", "confidence", "ratio", "max_trials")
        return {name: getattr(self, name) for name in names}

    @functools.cached_property
    def threshold(self) -> int | None:
        """The smallest d in 1 … max_dim with P_s(d) ≥ 1 − δ; None where there is none."""
        dims = np.unique(np.round(np.geomspace(1, self.max_dim, 20_000)).astype(np.int64))
        reached = np.flatnonzero(self.probability(dims) >= 1 - self.delta)
        if not len(reached):
            return None
        high = int(dims[reached[0]])
        low = int(dims[max(reached[0] - 1, 0)])
        between = np.arange(low, high + 1) if high - low < 10**6 else np.array([high])
        return int(between[np.argmax(self.probability(between) >= 1 - self.delta)])

    @property
    def monotone(self) -> bool:
        """Whether P_s rises with d, or stays."""
        return self.group != "fall"


def rise(
    family: str, threshold: float, width: float, *, delta: float = 0.1, lapse: float = 0.0
) -> Callable[[np.ndarray], np.ndarray]:
    """Return a curve that passes 1 − δ at a threshold, of a width in log d and a failure rate.

    `family` is probit, logit, weibull, gumbel, cauchit, student-t or step (which has no width).
    """
    ceiling = 1 - lapse
    if family == "step":
        return lambda dims: ceiling * (np.asarray(dims) >= threshold)
    shape = _FAMILIES[family]
    slope = (shape.ppf(0.9) - shape.ppf(0.1)) / width
    offset = shape.ppf((1 - delta) / ceiling)
    center = math.log(threshold) - 1e-9  # so that rounding does not put P_s just below 1 − δ there
    return lambda dims: ceiling * shape.cdf(offset + slope * (np.log(dims) - center))


def plateau(family: str, level: float, onset: float, width: float) -> Callable[..., np.ndarray]:
    """Return a curve that rises to a level below 1 − δ, 90 % of it at the onset."""
    base = rise(family, onset, width)
    return lambda dims: level * base(dims)


def fall(peak: float, first: float, last: float, rest: float, width: float = 0.5) -> Any:
    """Return a curve that rises to a peak, 90 % of it at `first`, and falls to a rest at `last`."""
    up, down = rise("logit", first, width), rise("logit", last, width / 2)
    return lambda dims: peak * up(dims) * (1 - (1 - rest) * down(dims))


def _two_stage(threshold: float, share: float, gap: float) -> Callable[..., np.ndarray]:
    """A shelf at `share`, then the rest of the rise `gap` further in log d."""
    level = (0.9 - share) / (1 - share)
    last = math.log(threshold) - stats.norm.ppf(level) / 6
    return lambda dims: (
        share * stats.norm.cdf(6 * (np.log(dims) - last + gap))
        + (1 - share) * stats.norm.cdf(6 * (np.log(dims) - last))
    )


def _kinked(threshold: float, width: float) -> Callable[..., np.ndarray]:
    """Linear in log d, with kinks at 0 and 1."""
    return lambda dims: np.clip(0.9 + 0.8 * (np.log(dims) - math.log(threshold)) / width, 0, 1)


def _laws() -> tuple[Law, ...]:
    curves = [
        Law(f"{family}, width {width:g}", "curve", rise(family, 100, width), easy=width <= 1)
        for family in ("probit", "logit", "weibull", "gumbel")
        for width in (0.1, 0.3, 1.0, 1.5, 2.3, 4.6)
    ]
    curves += [Law(f"step at {t}", "curve", rise("step", t, 0), easy=True) for t in (7, 60, 3000)]
    curves += [
        Law("cauchit, width 0.3", "curve", rise("cauchit", 100, 0.3)),
        Law("student-t, width 0.3", "curve", rise("student-t", 100, 0.3)),
        Law("student-t, width 1.5", "curve", rise("student-t", 100, 1.5)),
        Law("shelf at 0.3, 1.5 before", "curve", _two_stage(150, 0.3, 1.5)),
        Law("shelf at 0.6, 1 before", "curve", _two_stage(150, 0.6, 1.0)),
        Law("kinked, width 0.5", "curve", _kinked(100, 0.5)),
        Law("kinked, width 2", "curve", _kinked(100, 2.0)),
        Law("logit, width 0.5, D = 1e9", "curve", rise("logit", 1e5, 0.5), max_dim=10**9),
        Law("logit, width 0.5, D = 60", "curve", rise("logit", 20, 0.5), max_dim=60),
    ]
    lapses = [
        Law(f"{family} lapse {lapse:g}", "lapse", rise(family, 100, 0.3, lapse=lapse))
        for family in ("step", "logit")
        for lapse in (0.01, 0.02, 0.05)
    ]
    plateaus = [
        Law(f"{family} plateau {level:g}", "plateau", plateau(family, level, 60, width))
        for family, width in (("step", 0), ("logit", 0.5))
        for level in (0.0, 0.5, 0.7, 0.8, 0.85, 0.88)
    ]
    falls = [
        Law("rises to .97 at 50, falls at 700", "fall", fall(0.97, 46, 700, 0.0)),
        Law("rises to 1, falls to .2 at D/3", "fall", fall(1.0, 900, 20_000, 0.2), max_dim=62_006),
        Law("rises to .6, falls at 500", "fall", fall(0.6, 50, 500, 0.0)),
        Law("falls from the first d on", "fall", fall(1.0, 0.5, 300, 0.0)),
    ]
    wide = rise("logit", 100, 1.0)
    ends = [
        *(Law(f"logit at {t}", "end", rise("logit", t, 0.3)) for t in (1, 2, 3)),
        Law("logit near D", "end", rise("logit", 9500, 0.3)),
        Law("step near D", "end", rise("step", 9500, 0)),
        Law("min_dim 10 below d*", "end", wide, min_dim=90),
        Law("min_dim at d*", "end", wide, min_dim=100),
        Law("min_dim far above d*", "end", wide, min_dim=1000),
        Law("max_dim 10 below d*", "end", wide, max_dim=90),
        Law("max_dim at d*", "end", wide, max_dim=100),
        *(
            Law(f"one dim, P = {p:g}", "end", lambda d, p=p: p + 0 * d, 50, 50)  # type: ignore[misc]
            for p in (0.0, 0.5, 0.88, 0.9, 0.95, 1.0)
        ),
    ]
    middle = rise("logit", 100, 0.3)
    settings = [
        *(
            Law(f"delta {d:g}", "setting", rise("logit", 100, 0.3, delta=d), delta=d)
            for d in (0.05, 0.25, 0.5)
        ),
        *(
            Law(f"confidence {c:g}, width {w:g}", "setting", rise("logit", 100, w), confidence=c)
            for c in (0.1, 0.5, 0.8, 0.99)
            for w in (0.3, 1.0)
        ),
        *(Law(f"ratio {r:g}", "setting", middle, ratio=r) for r in (1.25, 2.0)),
        *(Law(f"rounds of {n}", "setting", middle, width=n) for n in (1, 32)),
        *(
            Law(f"{n} trials, width {w:g}", "setting", rise("logit", 100, w), max_trials=n)
            for n in (10, 20)
            for w in (0.3, 1.0)
        ),
    ]
    return (*curves, *lapses, *plateaus, *falls, *ends, *settings)


LAWS = _laws()

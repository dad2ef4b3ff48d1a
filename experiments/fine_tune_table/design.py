"""What is trained: parts, methods at counts, and the ranges of their learning rates."""

from __future__ import annotations

from typing import Any, NamedTuple

from recommended import FURTHER_RECOMMENDED, OWN, RECOMMENDED

NULL = "subspace"
WANTED = (30, 100, 300, 1000, 3000, 10_000, 30_000)
FACTORS = 4 * 2 * (384 + 384)  # numbers of LoRA at rank 4 on query and value of a layer
# The range in which each method's learning rate is searched, all of six doublings; of those in a
# subspace of unit columns, in units of √(D / d).
RATES = {
    "subspace": (2.5e-4, 1.6e-2),
    "lora-subspace": (5e-4, 3.2e-2),
    "head": (2e-3, 1.28e-1),
    "lora": (5e-4, 3.2e-2),
    "tinylora": (4e-3, 2.56e-1),
    "bitfit": (1e-3, 6.4e-2),
    "vera": (2e-3, 1.28e-1),
    "unilora": (4e-3, 2.56e-1),
    "ia3": (2e-3, 1.28e-1),
    "waveft": (1e-2, 6.4e-1),
    "lora-xs": (1e-3, 6.4e-2),
    "fourierft": (1e-2, 6.4e-1),
    "ln-tuning": (1e-3, 6.4e-2),
    "vblora": (1e-3, 6.4e-2),
    "randlora": (5e-4, 3.2e-2),
    "dora": (5e-4, 3.2e-2),
    "prompt-tuning": (4e-3, 2.56e-1),
    "prefix-tuning": (1e-3, 6.4e-2),
    "full": (2.5e-5, 1.6e-3),
    **dict.fromkeys(("shira", "c3a", "miss"), (1e-3, 6.4e-2)),
    **dict.fromkeys(("loha", "hira", "gralora", "lokr"), (5e-4, 3.2e-2)),
    **dict.fromkeys(("delora", "hra", "oft", "boft"), (1e-3, 6.4e-2)),
}
RATES_OF = {**RATES, "rslora": RATES["lora"]}
# Where more are wanted than LoRA's factors have on query and value at rank 4, as elsewhere: 6,144.
WIDE_RANK = {"lora-subspace": 32, "unilora": 32}
WIDE_FROM = {"lora-subspace": 30_000, "unilora": 10_000}
PROMPTS = ("prompt-tuning", "prefix-tuning")  # with all of MiniLM, from its tokens on
FURTHER = (
    "shira",
    "c3a",
    "miss",
    "loha",
    "hira",
    "gralora",
    "delora",
    "hra",
    "oft",
    "boft",
    "lokr",
)
ALL = 2_000_000  # more than there are weights: "full" trains all
APART = " (head apart)"  # after a method's name: the head in full, at a rate of its own,
HEAD_RATE = 0.016  # which is the one that its own pilots chose for the head alone
MOVES = 4  # of that range, fourfold, where the best learning rate is at its end


class Part(NamedTuple):
    """A task and what of the network is tuned on it.

    Args:
        data: as of `tasks.load`.
        layers: how many are tuned.
        head: the count from which on adapters train the head beside; fewer do not hold it.
        goals: test accuracies for which d* is told.
        title: in the figure.
        options: of a method here, by its name.
        beside: the part of the same task whose null and head alone these methods are held against.
    """

    data: str
    layers: int
    head: int
    goals: tuple[float, ...]
    title: str
    options: dict[str, dict[str, Any]]
    beside: str = ""


PARTS = {
    "last": Part("sst2", 1, 1000, (0.75, 0.8), "SST-2, last layer", {}),
    "topics": Part("topics", 1, 3000, (0.5, 0.6), "docstrings, last layer", {}),
    "encoder": Part("sst2", 6, 1000, (0.7, 0.75), "SST-2, six layers", {"lora": {"lora_alpha": 8}}),
    "further": Part("sst2", 1, 1000, (0.75, 0.8), "SST-2, last layer, further methods", {}, "last"),
    "topics further": Part(
        "topics", 1, 3000, (0.5, 0.6), "docstrings, last layer, further methods", {}, "topics"
    ),
    "short": Part("sst2", 1, 1000, (0.7, 0.75), "SST-2, last layer, 32 steps", {}),
}
UNNAMED = "short"  # the part whose trials bear the method's name alone: it was the first

# The counts that are wanted by method. Those that it cannot make are left out as it runs.
_LAST: list[dict[str, tuple[int, ...]]] = [
    {
        NULL: (0, 1000, 3000, 5000),
        **{"head": (1000,), "ia3": (3000,), "ln-tuning": (3000,), "bitfit": (5000,)},
        **dict.fromkeys(("lora", "vera", "randlora"), (3000,)),
        **dict.fromkeys(("lora-subspace", "lora-xs"), (1000, 3000)),
        **dict.fromkeys(("unilora", "waveft", "fourierft", "vblora"), (1000,)),
    },
    {
        **dict.fromkeys((NULL, "lora", "lora-subspace", "lora-xs"), (10_000, 30_000)),
        **dict.fromkeys(("waveft", "fourierft"), (10_000, 30_000)),
        **dict.fromkeys(("vera", "unilora", "vblora", "randlora"), (30_000,)),
    },
    {
        **dict.fromkeys((NULL, "lora-subspace", "lora-xs", "tinylora"), (100, 300, 30)),
        **dict.fromkeys(("unilora", "waveft", "fourierft"), (100,)),
    },
    {m + APART: (30_000,) for m in (NULL, "fourierft", "waveft", "randlora", "lora")},
]
_OWN = {
    name + OWN: (told.numbers,)
    for name, told in RECOMMENDED.items()
    if name not in FURTHER_RECOMMENDED
}
_OWN[NULL + APART] = (1000, 3000, 5000, 10_000)
_TOPICS: dict[str, tuple[int, ...]] = {
    NULL: (0, 100, 1000, 3000, 5000, 10_000, 30_000),
    **{"head": (3000,), "ia3": (5000,), "ln-tuning": (5000,), "bitfit": (10_000,)},
    **{"lora-xs": (100, 1000, 10_000, 30_000), "lora": (5000, 10_000, 30_000)},
    **dict.fromkeys(("lora-subspace", "fourierft", "waveft"), (10_000, 30_000)),
    **dict.fromkeys(("vera", "unilora", "vblora", "randlora"), (30_000,)),
    "tinylora": (100,),
}
_ENCODER: dict[str, tuple[int, ...]] = {
    "head": (1000,),
    "lora": (75_000,),
    NULL: (0, 1000, 10_000, 75_000),
    "prompt-tuning": (3000, 10_000, 30_000),
    "full": (10 * ALL,),
    **dict.fromkeys(("lora-xs", "unilora", "vera", "ia3", "ln-tuning", "lora-subspace"), (10_000,)),
    "bitfit": (75_000,),
}
_LAST.append({"dora": (5000, 10_000, 30_000), "full": (ALL,)})
_BETWEEN: dict[str, tuple[int, ...]] = {
    "unilora": (30, 300, 3000, 10_000),
    **dict.fromkeys(("waveft", "fourierft"), (30, 300, 3000)),
    "vblora": (300, 3000, 10_000),
    "tinylora": (1000, 3000, 10_000),
    **dict.fromkeys(("vera", "randlora"), (10_000,)),
}
_COUNTS = [("last", k) for k in (*_LAST, _BETWEEN, _OWN)]
_COUNTS += [("topics", _TOPICS), ("encoder", _ENCODER), *(("short", k) for k in _LAST[:4])]
_COUNTS.append(("further", dict.fromkeys(FURTHER, (10_000,))))
# What was left out until all else was trained: every count that a method can make.
_TOPICS_REST: dict[str, tuple[int, ...]] = {
    NULL: (30, 300),
    **dict.fromkeys(("waveft", "fourierft"), (30, 100, 300, 1000, 3000)),
    "unilora": (30, 100, 300, 1000, 3000, 10_000),
    "lora-subspace": (30, 100, 300, 1000, 3000),
    "lora-xs": (30, 300, 3000),
    "tinylora": (30, 300, 1000, 3000, 10_000),
    "vblora": (300, 1000, 3000, 10_000),
    **{"vera": (1000, 10_000), "randlora": (10_000,), "ia3": (1000,)},
    **{"dora": (5000, 10_000, 30_000), "full": (ALL,)},
}
_COUNTS.append(("further", dict.fromkeys(FURTHER, (30_000,))))
_COUNTS.append(("further", {m: (3000,) for m in FURTHER if m not in ("loha", "gralora", "boft")}))
_COUNTS.append(("topics", _TOPICS_REST))
_COUNTS.append(("topics further", dict.fromkeys(FURTHER, (10_000, 30_000))))
_COUNTS.append(("topics further", dict.fromkeys(("c3a", "miss", "oft"), (1000,))))
_COUNTS.append(("topics further", dict.fromkeys(("oft", "lokr"), (3000,))))
_COUNTS.append(("encoder", {"prefix-tuning": (10_000, 30_000), NULL: (3000, 30_000)}))
_COUNTS.append(("further", {n + OWN: (t.numbers,) for n, t in FURTHER_RECOMMENDED.items()}))
# The least count of each that all ten seeds could meet a goal at has 30, for d* alone: where all 30
# do, d* is told to be at most that count, which ten of ten cannot tell.
_LEAST = {
    "last": {
        **dict.fromkeys(("lora", "vera", "ia3", "ln-tuning", "randlora"), 3000),
        **{"head": 1000, "vblora": 1000, "bitfit": 5000, "dora": 5000, "full": ALL},
    },
    "topics": {
        **dict.fromkeys(("lora", "ia3", "ln-tuning", "dora"), 5000),
        **dict.fromkeys(("bitfit", "vera", "randlora"), 10_000),
        **{"head": 3000, "full": ALL},
    },
    "further": {m: 10_000 if m in ("loha", "gralora", "boft") else 3000 for m in FURTHER},
    "topics further": {m: 3000 if m in ("oft", "lokr") else 10_000 for m in FURTHER},
}
CELLS = [
    (p, m, n, 30 if _LEAST.get(p, {}).get(m) == n else 10)
    for p, own in _COUNTS
    for m, every in own.items()
    for n in every
]
_SHORT = {"train": 512, "val": 192, "test": 400, "length": 14, "steps": 32, "rows": 16}
_LONGER = {**_SHORT, "train": 1408, "steps": 96}
_LARGE = {"train": 4096, "val": 872, "test": 2693, "length": 64, "steps": 500, "rows": 16}
SCALES = {
    "cpu": {
        "last": _LONGER,
        "topics": _SHORT,
        "encoder": _SHORT,
        "further": _LONGER,
        "topics further": _SHORT,
        "short": _SHORT,
        "cells": CELLS,
    },
    "full": {
        "last": _LARGE,
        "topics": {**_LARGE, "val": 800, "test": 2000},
        "encoder": _LARGE,
        "cells": [
            (p, m, n, 12)
            for p in ("last", "topics", "encoder")
            for m in RATES
            for n in (0, *WANTED)
            if (n or m == NULL) and (p == "encoder" or m not in PROMPTS)
        ]
        + [("last", m, n, 12) for m, every in _OWN.items() for n in every],
    },
}

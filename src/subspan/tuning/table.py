"""The ways to fine-tune by name, each with its facts; `method` reads them here.

Plain data: what `peft` trains is named and loaded when it is first used. An entry's `knob` is the
argument of the configuration that sets how many numbers are trained; how many those are is never
computed here but counted on what `peft` makes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Size = tuple[int, int]
"""Of a layer that is adapted: (numbers in, numbers out)."""


@dataclass(frozen=True)
class TuningFacts:
    """What is known of a way to fine-tune.

    Args:
        config: class of `peft` that configures it; None where it is none of peft's.
        source: whom it comes from.
        knob: the argument that sets how many numbers are trained; None: one count alone.
        least: its smallest value.
        stride: between its values.
        even: whether each further step of the knob adds equally many numbers.
        values: the values that fit layers of these sizes, where not every one does.
        settings: other arguments that follow from the knob's value and the sizes.
        options: arguments that stand.
        seed: the argument that takes a seed; None: `peft` draws from PyTorch's generator alone.
        layers: what it adapts, by `target_modules`: chosen `"linear"` layers, chosen `"norms"`
            (all of them where none are named), or None, where there is nothing to choose.
        affine: whether the weights are affine in the numbers trained. Where they are not, the
            weights that can be reached are no subspace, and theory of subspaces does not hold.
        note: what a reader must know besides.
    """

    config: str | None
    source: str
    knob: str | None = None
    least: int = 1
    stride: int = 1
    even: bool = True
    values: Callable[[Sequence[Size]], Sequence[int]] | None = None
    settings: Callable[[int, Sequence[Size]], dict[str, Any]] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: str | None = None
    layers: Literal["linear", "norms"] | None = "linear"
    affine: bool = False
    note: str = ""
    kind: Literal["peft", "prompt", "own"] = "peft"


def _ranks(sizes: Sequence[Size]) -> range:
    """Ranks up to the smallest side of any layer."""
    return range(1, min(min(size) for size in sizes) + 1)


def _common_divisors(sizes: Sequence[Size]) -> list[int]:
    """What divides every side of every layer."""
    most = math.gcd(*(side for size in sizes for side in size))
    return [n for n in range(1, most + 1) if most % n == 0]


def _divisors_in(sizes: Sequence[Size]) -> list[int]:
    """What divides the side of every layer that numbers come in by, from 2 on."""
    most = math.gcd(*(size[0] for size in sizes))
    return [n for n in range(2, most + 1) if most % n == 0]


def _tiny_rank(numbers: int, sizes: Sequence[Size]) -> dict[str, Any]:
    """TinyLoRA's rank: 2, as in the paper, and as much more as its numbers need to be apart."""
    return {"r": max(2, math.ceil(math.sqrt(numbers / len(sizes))))}


def _vector_length(number: int, sizes: Sequence[Size]) -> dict[str, Any]:
    return {"vector_length": max(n for n in _common_divisors(sizes) if n <= 64)}


TUNING: dict[str, TuningFacts] = {
    "subspace": TuningFacts(
        None,
        "ours, by `attach`; after GPart (arXiv 2605.14841) with the map `partition`",
        "dim",
        layers=None,
        affine=True,
        kind="own",
        note="a random subspace of all weights: the null",
    ),
    "lora-subspace": TuningFacts(
        "LoraConfig",
        "ours, by `attach` over LoRA's factors; after Uni-LoRA (arXiv 2506.00799)",
        "dim",
        options={"r": 4, "lora_alpha": 8},
        kind="own",
        note="LoRA starts as peft starts it, and θ = 0 there; Uni-LoRA's factors have no offset",
    ),
    "head": TuningFacts(None, "", layers=None, affine=True, kind="own", note="the head alone"),
    "bitfit": TuningFacts(
        None, "Ben Zaken et al. (2022)", layers=None, affine=True, kind="own", note="all biases"
    ),
    "full": TuningFacts(None, "", layers=None, affine=True, kind="own", note="all weights"),
    "lora": TuningFacts("LoraConfig", "Hu et al. (2022)", "r", options={"lora_alpha": 16}),
    "rslora": TuningFacts(
        "LoraConfig",
        "Kalajdzievski (2023)",
        "r",
        options={"lora_alpha": 16, "use_rslora": True},
        note="LoRA scaled by α/√r for α/r",
    ),
    "dora": TuningFacts(
        "LoraConfig", "Liu et al. (2024)", "r", options={"lora_alpha": 16, "use_dora": True}
    ),
    "lora-xs": TuningFacts(
        "PsoftConfig",
        "Bałazy et al. (2024), by way of peft's PSOFT with a free R",
        "r",
        even=False,
        values=_ranks,
        options={"psoft_orth": False, "psoft_mag_a": False, "psoft_mag_b": False},
        settings=lambda rank, sizes: {"psoft_alpha": rank},
        affine=True,
        note="an r × r matrix between fixed principal factors; it starts at 1 within W, in LoRA-XS "
        "near 0 beside W: the same weights can be reached",
    ),
    "tinylora": TuningFacts(
        "TinyLoraConfig",
        "arXiv 2602.04118",
        "u",
        options={"weight_tying": 1.0},
        settings=_tiny_rank,
        seed="projection_seed",
        affine=True,
        note="one vector for all layers; the rank is 2, more where its numbers need it",
    ),
    "unilora": TuningFacts(
        "UniLoraConfig",
        "arXiv 2506.00799",
        "theta_d_length",
        options={"r": 4},
        seed="proj_seed",
    ),
    "vera": TuningFacts("VeraConfig", "Kopiczko et al. (2024)", "r", seed="projection_prng_key"),
    "vblora": TuningFacts(
        "VBLoRAConfig",
        "Li et al. (2024)",
        "num_vectors",
        least=2,
        options={"r": 1},
        settings=_vector_length,
        note="its logits are numbers that are trained, and count",
    ),
    "randlora": TuningFacts(
        "RandLoraConfig",
        "Albert et al. (2025)",
        "r",
        even=False,
        values=_ranks,
        seed="projection_prng_key",
    ),
    "fourierft": TuningFacts(
        "FourierFTConfig",
        "Gao et al. (2024)",
        "n_frequency",
        seed="random_loc_seed",
        affine=True,
        note="starts away from the pretrained point, as peft starts it",
    ),
    "waveft": TuningFacts(
        "WaveFTConfig", "Bilican et al. (2025)", "n_frequency", seed="random_loc_seed", affine=True
    ),
    "shira": TuningFacts(
        "ShiraConfig",
        "Bhardwaj et al. (2024)",
        "r",
        seed="random_seed",
        affine=True,
        note="single weights at random",
    ),
    "c3a": TuningFacts(
        "C3AConfig",
        "Chen et al. (2024)",
        "block_size",
        even=False,
        values=_common_divisors,
        affine=True,
        note="starts away from the pretrained point, as peft starts it",
    ),
    "lokr": TuningFacts(
        "LoKrConfig", "Yeh et al. (2024)", "r", even=False, values=_ranks, options={"alpha": 16}
    ),
    "delora": TuningFacts("DeloraConfig", "Bini et al. (2025)", "r"),
    "hira": TuningFacts("HiraConfig", "Huang et al. (2025)", "r"),
    "gralora": TuningFacts(
        "GraloraConfig", "Jung et al. (2025)", "r", least=2, stride=2, options={"gralora_k": 2}
    ),
    "miss": TuningFacts(
        "MissConfig",
        "Kang and Yin (2024)",
        "r",
        affine=True,
        note="rows of a matrix that blocks of the input share",
    ),
    "loha": TuningFacts("LoHaConfig", "Hyeon-Woo et al. (2022)", "r"),
    "hra": TuningFacts("HRAConfig", "Yuan et al. (2024)", "r", least=2, stride=2),
    "oft": TuningFacts(
        "OFTConfig",
        "Qiu et al. (2023)",
        "oft_block_size",
        even=False,
        values=_divisors_in,
        options={"r": 0},
    ),
    "boft": TuningFacts(
        "BOFTConfig",
        "Liu et al. (2024)",
        "boft_block_size",
        even=False,
        values=_divisors_in,
    ),
    "ia3": TuningFacts(
        "IA3Config",
        "Liu et al. (2022)",
        options={"feedforward_modules": []},
        affine=True,
        note="a factor for each number out",
    ),
    "ln-tuning": TuningFacts(
        "LNTuningConfig", "Zhao et al. (2024)", layers="norms", affine=True, note="every LayerNorm"
    ),
    "prompt-tuning": TuningFacts(
        "PromptTuningConfig",
        "Lester et al. (2021)",
        "num_virtual_tokens",
        layers=None,
        options={"task_type": "SEQ_CLS"},
        kind="prompt",
        note="numbers of the input, no weights; peft trains the head beside it",
    ),
    "prefix-tuning": TuningFacts(
        "PrefixTuningConfig",
        "Li and Liang (2021)",
        "num_virtual_tokens",
        layers=None,
        options={"task_type": "SEQ_CLS"},
        kind="prompt",
        note="keys and values, no weights; peft trains the head beside it",
    ),
    "p-tuning": TuningFacts(
        "PromptEncoderConfig",
        "Liu et al. (2021)",
        "num_virtual_tokens",
        layers=None,
        options={"task_type": "SEQ_CLS"},
        kind="prompt",
        note="numbers of the input by way of a small network, no weights; peft trains the head "
        "beside it",
    ),
}

NOT_MADE = {
    "adalora": "its count changes while it trains",
    "xlora": "it mixes adapters that were trained before",
    "poly": "it mixes adapters over several tasks",
    "trainable-tokens": "which tokens are trained, hence how many numbers, is the caller's to say",
    "road": "its groups must divide the sides of all layers, which few counts do",
    "nola": "peft has none; after it is 'lora-subspace' with map='gaussian'",
}
"""Why a known way has no name here."""

"""The settings that each method's authors recommend, as far as they are known to us.

Those of RoBERTa-base on GLUE where the paper has it, on the last layer of MiniLM: what depends on
the network's size is scaled to it, as said beside. The learning rate is searched for all, with as
many pilots as everywhere. Where the authors give the head a rate of its own, or their networks have
no head that is drawn anew, it has one here. In the table at counts, BitFit and LN tuning have their
authors' settings already: all biases, all LayerNorms, one rate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

OWN = " (own settings)"  # after a name of `RECOMMENDED`


class Own(NamedTuple):
    """One method as its authors set it.

    Args:
        method: of `subspan.tuning`.
        knob: value of the method's own argument; None where it has none.
        numbers: how many it then trains on the last layer, the head's 770 among them.
        setting: in words.
        source: whose it is.
        targets: names of the layers that it adapts.
        head: `"apart"`, at a rate of its own; `"with"`, at the method's; `"as drawn"`, not trained.
        options: of the method.
        lr_factors: as of `subspan.tuning.trainable`.
    """

    method: str
    knob: int | None
    numbers: int
    setting: str
    source: str
    targets: Sequence[str]
    head: str
    options: Mapping[str, Any] = {}
    lr_factors: Mapping[str, float] | None = None


_ATTENTION = ("query", "value")
_ALL = ("query", "key", "value", "dense")  # every linear layer but the head

RECOMMENDED = {
    # α = 8 in the paper's table, 16 in the repository's script for SST-2.
    "lora": Own(
        "lora",
        8,
        13_058,
        "r = 8, α = 8, query and value",
        "Hu et al. (2022), table 9, RoBERTa base",
        _ATTENTION,
        "with",
        {"lora_alpha": 8},
    ),
    # As we read it: high ranks are what it is for, and it names none for a network of this size.
    "rslora": Own(
        "rslora",
        16,
        25_346,
        "r = 16, α = 16 over √r",
        "Kalajdzievski (2023); the rank is ours",
        _ATTENTION,
        "with",
        {"lora_alpha": 16},
    ),
    # The paper's thirteen numbers; its networks are language models, without a head drawn anew.
    "tinylora": Own(
        "tinylora",
        13,
        13,
        "r = 2, 13 numbers tied over all linear layers",
        "arXiv 2602.04118; peft: the paper recommends r = 2",
        _ALL,
        "as drawn",
    ),
    "tinylora and head": Own(
        "tinylora",
        13,
        783,
        "the same, and the head",
        "arXiv 2602.04118; the head is ours",
        _ALL,
        "apart",
    ),
    # d_initial and a rate for the head as in the paper; r = 1,024 is RoBERTa base's.
    "vera": Own(
        "vera",
        1024,
        3_586,
        "r = 1,024, d_initial = 0.1, query and value",
        "Kopiczko et al. (2024), GLUE, RoBERTa base, as we read it",
        _ATTENTION,
        "apart",
        {"d_initial": 0.1},
    ),
    # d in proportion: 23,040 of the 147,456 numbers of LoRA at rank 4 in RoBERTa base, here of
    # 6,144. peft starts θ within ±0.02, as the authors do.
    "unilora": Own(
        "unilora",
        960,
        1_730,
        "r = 4, d in its proportion to LoRA's numbers",
        "scripts_unilora_qv of the authors' repository",
        _ATTENTION,
        "apart",
        {"r": 4, "init_theta_d_bound": 0.02},
    ),
    # As we read it: T-Few, whose network has no head.
    "ia3": Own(
        "ia3",
        None,
        3_074,
        "key, value and the feed-forward's inner numbers",
        "Liu et al. (2022), equations 1 and 2",
        ("key", "value", "layer.output.dense"),
        "apart",
        {"feedforward_modules": ["layer.output.dense"]},
    ),
    # peft's defaults, which its authors chose for images; there is no head.
    "waveft": Own(
        "waveft",
        2592,
        5_954,
        "2,592 coefficients a layer, scaling 25",
        "peft's WaveFTConfig, by the authors, for SDXL",
        _ATTENTION,
        "apart",
        {"scaling": 25.0},
    ),
    # α = 16 multiplies R's step alone, so with Adam and a rate that is searched it is no setting.
    "lora-xs": Own(
        "lora-xs",
        25,
        3_270,
        "r = 25, query, value, both output layers",
        "main_glue.py and scripts/run_glue.py of the authors' repository",
        ("query", "value", "attention.output.dense", "output.dense"),
        "apart",
    ),
    "fourierft": Own(
        "fourierft",
        1000,
        2_770,
        "1,000 coefficients a layer, scaling 140",
        "sst2-base-best.sh of the authors' repository",
        _ATTENTION,
        "apart",
        {"scaling": 140.0},
    ),
    # Vectors of 256 do not divide 384: 192 is the nearest length that does. Rates as theirs to
    # each other: the logits' ten times the bank's.
    "vblora": Own(
        "vblora",
        90,
        20_930,
        "90 vectors of 192, top 2, r = 4, logits at ten times the rate",
        "scripts_vblora_qv/roberta_base_sst2.sh of the authors' repository",
        _ATTENTION,
        "apart",
        {"r": 4, "vector_length": 192, "topk": 2},
        {"vblora_logits": 10.0},
    ),
    "randlora": Own(
        "randlora",
        64,
        16_898,
        "r = 64, α = 2r, every linear layer",
        "GLUE/train_all.sh and run_glue.py of the authors' repository",
        _ALL,
        "with",
        {"randlora_alpha": 128},
    ),
    # r = 32 in networks of 4,096, here what keeps the count below the largest null.
    "dora": Own(
        "dora",
        4,
        28_418,
        "r = 4, α = 2r, query, key, value, both feed-forward layers",
        "Liu et al. (2024), commonsense reasoning; the rank is ours",
        ("query", "key", "value", "intermediate.dense", "layer.output.dense"),
        "with",
        {"lora_alpha": 8},
    ),
}

# As peft's comparison of methods (MetaMathQA, Llama 3.2) has them where the authors say nothing of
# a network of this size; the rank is what keeps the count below the largest null, of 30,000.
_COMPARISON = "peft's method_comparison, r = 32 there"
FURTHER_RECOMMENDED = {
    "shira": Own(
        "shira",
        16,
        25_346,
        "8.3 % of query and value, 1.4 % of the layer",
        "Bhardwaj et al. (2024): 1 to 2 %",
        _ATTENTION,
        "apart",
    ),
    # Blocks of 128 in RoBERTa base, whose width is twice as much.
    "c3a": Own(
        "c3a",
        64,
        5_378,
        "blocks of a sixth of the width, query and value",
        "Chen et al. (2024), GLUE, RoBERTa base, as we read it",
        _ATTENTION,
        "apart",
    ),
    "miss": Own(
        "miss",
        32,
        25_346,
        "r = 32, query and value",
        "peft's method_comparison, r = 64 there",
        _ATTENTION,
        "apart",
    ),
    "loha": Own(
        "loha",
        8,
        25_346,
        "r = 8, α = 2r, query and value",
        _COMPARISON,
        _ATTENTION,
        "apart",
        {"alpha": 16},
    ),
    "hira": Own("hira", 16, 25_346, "r = 16, query and value", _COMPARISON, _ATTENTION, "apart"),
    "gralora": Own(
        "gralora",
        16,
        25_346,
        "r = 16, α = 2r, k = 2, query and value",
        _COMPARISON,
        _ATTENTION,
        "apart",
        {"alpha": 32, "gralora_k": 2},
    ),
    "delora": Own(
        "delora",
        16,
        25_348,
        "r = 16, λ = 15, query and value",
        _COMPARISON,
        _ATTENTION,
        "apart",
        {"delora_lambda": 15},
    ),
    "hra": Own("hra", 32, 25_346, "r = 32, query and value", _COMPARISON, _ATTENTION, "apart"),
    # r = 32 and α = 2r; here from r = 12 on both factors (16 by 16, 24 by 24) are trained whole.
    "lokr": Own(
        "lokr",
        12,
        2_434,
        "factors of 16 by 16 and 24 by 24, α = 2r, query and value",
        _COMPARISON,
        _ATTENTION,
        "apart",
        {"alpha": 24},
    ),
    "oft": Own(
        "oft",
        32,
        12_674,
        "blocks of 32, query and value",
        "peft's OFTConfig, by the authors",
        _ATTENTION,
        "apart",
    ),
    "boft": Own(
        "boft",
        8,
        7_682,
        "m = 2 factors, blocks of 8, query and value",
        "Liu et al. (2024), GLUE, DeBERTa base, as we read it; they adapt every linear layer",
        _ATTENTION,
        "apart",
        {"boft_n_butterfly_factor": 2},
    ),
}
RECOMMENDED |= FURTHER_RECOMMENDED

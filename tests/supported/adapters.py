"""Rows of the table: every kind of adapter of peft, on a tiny Llama."""

from __future__ import annotations

import functools
import tempfile
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from .case import Case, Refused, integers, refused
from .huggingface import model, next_tokens, of_classes, of_tokens, sentences

_TARGETS = ["q_proj", "v_proj"]
_LORA = {"r": 2, "target_modules": _TARGETS}
_TOKENS = {"num_virtual_tokens": 2}


def adapted(build: Callable[[], Any], head: str = "SequenceClassification") -> nn.Module:
    """Return the tiny Llama with an adapter of the configuration that `build` returns."""
    import peft

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        built: nn.Module = peft.get_peft_model(model("llama", head), build())
    return built


def configured(kind: str, **options: Any) -> Any:
    """Return a configuration of peft by its type's name."""
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    by_name = {key.value: value for key, value in PEFT_TYPE_TO_CONFIG_MAPPING.items()}
    return by_name[kind](**{"task_type": "SEQ_CLS", **options})


def with_tasks() -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Sentences, each of one of two tasks."""
    inputs, targets = sentences()
    return {**inputs, "task_ids": integers(2, len(targets))}, targets


def mixed() -> nn.Module:
    """Return the tiny Llama with a mixture of two adapters, which X-LoRA reads from files."""
    import peft

    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        saved = {}
        for name in ("0", "1"):
            adapted(functools.partial(configured, "LORA", **_LORA, task_type=None)).save_pretrained(
                f"{folder}/{name}"
            )
            saved[name] = f"{folder}/{name}"
        base = model("llama", "SequenceClassification")
        base.config.use_cache = False
        size = base.config.hidden_size
        options = {"hidden_size": size, "xlora_depth": 1, "adapters": saved}
        config = configured("XLORA", **options, task_type=None)
        built: nn.Module = peft.get_peft_model(base, config)
    return built


def _behind_virtual_tokens(output: Any, targets: torch.Tensor) -> torch.Tensor:
    logits = output.logits[:, -targets.shape[1] :]
    return nn.functional.cross_entropy(logits.transpose(1, 2), targets)


_HOOKS = refused("hooks on its weights would not fire", "weights without hooks")
_OTHERS = {"theory": Refused("its gradients are not the loss's", "derivatives of the loss")}
_TWICE = {"theory": Refused("no second derivatives", "PyTorch")}


def row(
    kind: str,
    *,
    name: str = "",
    exact: bool = True,
    one_way: bool = False,
    verdicts: Mapping[str, Refused] | None = None,
    **options: Any,
) -> Case:
    """Return the row of a kind of adapter that classifies sentences."""
    return Case(
        f"peft: {name or kind}",
        functools.partial(adapted, functools.partial(configured, kind, **options)),
        sentences,
        plain=of_classes,
        options={"dropout": "off"},
        rounds=True,
        exact=exact,
        one_way=one_way,
        **(verdicts or {}),
    )


def speaking(
    kind: str, loss: Any, *, verdicts: Mapping[str, Refused] | None = None, **options: Any
) -> Case:
    """Return the row of a kind of adapter that is made for language models."""
    build = functools.partial(configured, kind, **{"task_type": "CAUSAL_LM", **options})
    return Case(
        f"peft: {kind}",
        functools.partial(adapted, build, "CausalLM"),
        next_tokens,
        plain=loss,
        options={"dropout": "off"},
        rounds=True,
        **(verdicts or {}),
    )


def _tasks(kind: str, **options: Any) -> Case:
    build = functools.partial(configured, kind, **options)
    return Case(
        f"peft: {kind}",
        functools.partial(adapted, build),
        with_tasks,
        plain=of_classes,
        options={"dropout": "off"},
        rounds=True,
    )


ADAPTERS = (
    row("ADALORA", **_LORA, total_step=10, init_r=4, target_r=2),
    row("ADAMSS", **_LORA, exact=False, verdicts=_TWICE),
    speaking("ADAPTION_PROMPT", of_tokens, adapter_len=2, adapter_layers=1),
    *(row(kind, target_modules=_TARGETS) for kind in ("BEFT", "LN_TUNING")),
    row("BOFT", target_modules=_TARGETS, boft_block_size=4),
    row("C3A", target_modules=_TARGETS, block_size=4, verdicts=_TWICE),
    speaking("CARTRIDGE", of_tokens, **_TOKENS, num_frozen_tokens=1),
    speaking(
        "CPT",
        _behind_virtual_tokens,
        cpt_token_ids=[3, 4],
        cpt_tokens_type_mask=[1, 1],
        cpt_mask=[1, 1],
        verdicts=_HOOKS,
    ),
    *(
        row(kind, **_LORA)
        for kind in [
            "DEFT",
            "DELORA",
            "GLORA",
            "GRALORA",
            "HIRA",
            "HRA",
            "LILY",
            "LOHA",
            "LOKR",
            "LORA",
            "MISS",
            "PEANUT",
            "PSOFT",
            "PVERA",
            "RANDLORA",
            "SUPERTUNING",
            "TINYLORA",
            "UNILORA",
            "VERA",
        ]
    ),
    row(
        "SHIRA",
        **_LORA,
        verdicts=_OTHERS,
    ),
    row("FOURIERFT", target_modules=_TARGETS, n_frequency=10),
    row("FROD", target_modules=_TARGETS, verdicts=_OTHERS),
    row("IA3", target_modules=_TARGETS, feedforward_modules=[]),
    _tasks("MULTITASK_PROMPT_TUNING", **_TOKENS, num_tasks=2),
    row("OFT", target_modules=_TARGETS, oft_block_size=4, r=0),
    row("OSF", target_modules=_TARGETS, verdicts=_HOOKS),
    _tasks("POLY", **_LORA, n_tasks=2),
    row("PREFIX_TUNING", **_TOKENS),
    row("PROMPT_TUNING", **_TOKENS),
    row("P_TUNING", **_TOKENS, encoder_hidden_size=8),
    row("ROAD", target_modules=_TARGETS, group_size=4),
    row("SHADOW", r=2),
    row("TRAINABLE_TOKENS", token_indices=[3, 4]),
    row("VBLORA", target_modules=_TARGETS, num_vectors=8, vector_length=4, topk=2, r=2),
    row("WAVEFT", target_modules=_TARGETS, n_frequency=10),
    Case(
        "peft: XLORA",
        mixed,
        sentences,
        plain=of_classes,
        options={"dropout": "off"},
        rounds=True,
    ),
    row("LORA", name="LORA, DoRA", **_LORA, use_dora=True, one_way=True),
    row("LORA", name="LORA, rank-stabilised", **_LORA, use_rslora=True),
    row("LORA", name="LORA, PiSSA", **_LORA, init_lora_weights="pissa"),
    row("LORA", name="LORA, OLoRA", **_LORA, init_lora_weights="olora"),
    row("LORA", name="LORA, orthogonal start", **_LORA, init_lora_weights="orthogonal"),
    row("LORA", name="LORA with biases", **_LORA, bias="all", lora_bias=True),
    row("LORA", name="LORA on an embedding", r=2, target_modules=["embed_tokens", "q_proj"]),
    row("LORA", name="LORA and a whole layer", **_LORA, modules_to_save=["norm"]),
    row("LORA", name="LORA and some tokens", **_LORA, trainable_token_indices=[3, 4]),
    row(
        "LORA",
        name="LORA on parameters (`target_parameters`)",
        r=2,
        target_modules=[],
        target_parameters=["q_proj.weight"],
    ),
)

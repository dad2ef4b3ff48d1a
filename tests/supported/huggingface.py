"""Rows of the table: model types of transformers, a tiny configuration of each."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import torch
from torch import nn

from .case import Case, integers, normals
from .rows_layers import CHANGING

_ROWS, _LENGTH, _CLASSES = 4, 6, 3
# What the configurations call their sizes; each takes those that it knows.
_SIZES: dict[str, Any] = {
    **dict.fromkeys(
        (
            "hidden_size",
            "d_model",
            "n_embd",
            "dim",
            "emb_dim",
            "embedding_size",
            "word_embed_proj_dim",
        ),
        16,
    ),
    **dict.fromkeys(
        ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "encoder_layers"), 2
    ),
    **dict.fromkeys(("decoder_layers", "num_decoder_layers", "num_encoder_layers"), 2),
    **dict.fromkeys(
        ("num_attention_heads", "n_head", "n_heads", "num_heads", "num_key_value_heads"), 2
    ),
    **dict.fromkeys(("encoder_attention_heads", "decoder_attention_heads"), 2),
    **dict.fromkeys(("intermediate_size", "ffn_dim", "d_ff", "hidden_dim", "d_inner", "dff"), 32),
    **dict.fromkeys(("encoder_ffn_dim", "decoder_ffn_dim", "n_inner"), 32),
    **dict.fromkeys(("head_dim", "d_kv", "d_head", "rotary_dim"), 8),
    **dict.fromkeys(("vocab_size", "vocab_size_per_layer_input"), 50),
    **dict.fromkeys(("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len"), 32),
    "word_embed_proj_dim": 16,
    "attention_type": "original_full",
    "num_labels": _CLASSES,
    "pad_token_id": 1,
    "bos_token_id": 2,
    "eos_token_id": 2,
    "image_size": 8,
    "patch_size": 4,
    "num_channels": 3,
    "type_vocab_size": 2,
    "num_experts": 2,
    "num_local_experts": 2,
    "num_experts_per_tok": 1,
}


def model(kind: str, head: str, **more: Any) -> nn.Module:
    """Return a tiny model of a type: `head` names the automatic class."""
    import transformers

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        known = transformers.AutoConfig.for_model(kind)
        sizes = {k: v for k, v in _SIZES.items() if hasattr(known, k)}
        config = transformers.AutoConfig.for_model(
            kind, **{**sizes, "num_labels": _CLASSES, **more}
        )
        built: nn.Module = getattr(transformers, f"AutoModelFor{head}").from_config(config)
    return built


def sentences(*, mask: bool = True) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Token numbers with padding at the end of some rows, three classes."""
    ids = integers(50, _ROWS, _LENGTH, low=3)
    used = torch.arange(_LENGTH) < torch.tensor([6, 4, 6, 5])[:, None]
    inputs = {"input_ids": torch.where(used, ids, 1)}
    if mask:
        inputs["attention_mask"] = used.long()
    return inputs, integers(_CLASSES, _ROWS)


def pictures(side: int = 8) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Small pictures, three classes."""
    return {"pixel_values": normals(_ROWS, 3, side, side)}, integers(_CLASSES, _ROWS)


def sounds() -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Short waves, three classes."""
    return {"input_values": normals(_ROWS, 400)}, integers(_CLASSES, _ROWS)


def next_tokens(*, decoder: bool = False) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Token numbers, and for each the next; −100 after the last."""
    inputs = sentences(mask=not decoder)[0]
    labels = torch.where(inputs["input_ids"] == 1, -100, inputs["input_ids"]).roll(-1, 1)
    labels[:, -1] = -100
    if decoder:
        inputs["decoder_input_ids"] = integers(50, _ROWS, _LENGTH, low=3, seed=9)
    return inputs, labels


def of_classes(output: Any, targets: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of logits (n, classes)."""
    return nn.functional.cross_entropy(output.logits, targets)


def of_tokens(output: Any, targets: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of logits (n, length, words), the mean over all tokens with a label."""
    return nn.functional.cross_entropy(output.logits.transpose(1, 2), targets)


# Compute norms or attention in float32, whatever they are in.
_ROUNDING = [
    "deberta",
    "gemma2",
    "llama",
    "mamba",
    "mistral",
    "mpt",
    "qwen2",
    "qwen3",
    "switch_transformers",
    "t5",
    "umt5",
]


def case(kind: str, head: str, data: Any, loss: Any = of_classes, **more: Any) -> Case:
    """Return the row of a model type."""
    return Case(
        f"`{kind}`",
        functools.partial(model, kind, head, **more),
        data,
        plain=loss,
        options={"dropout": "off"},
        rounds=kind in _ROUNDING,
        **(CHANGING if kind == "ibert" else {}),
    )


_TEXT = [
    "albert",
    "bert",
    "big_bird",
    "biogpt",
    "bloom",
    "camembert",
    "convbert",
    "ctrl",
    "deberta",
    "deberta-v2",
    "distilbert",
    "electra",
    "ernie",
    "esm",
    "flaubert",
    "fnet",
    "gemma2",
    "gpt2",
    "gpt_neox",
    "gptj",
    "ibert",
    "llama",
    "longformer",
    "mistral",
    "modernbert",
    "mpnet",
    "mpt",
    "nystromformer",
    "openai-gpt",
    "opt",
    "phi",
    "qwen3",
    "roberta",
    "squeezebert",
    "xlm",
]
_SPEECH = {
    "conv_dim": (8, 8),
    "conv_kernel": (10, 4),
    "conv_stride": (5, 4),
    "num_feat_extract_layers": 2,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "classifier_proj_size": 8,
}
# Differences of gradients across a kink mean nothing.
_SMOOTH = {"feed_forward_proj": "gated-gelu", "dense_act_fn": "gelu"}
_RESNET = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}

MODELS = (
    *(case(kind, "SequenceClassification", sentences) for kind in _TEXT),
    *(case(kind, "ImageClassification", pictures) for kind in ("beit", "dinov2", "vit")),
    case("resnet", "ImageClassification", functools.partial(pictures, 16), **_RESNET),
    case("wav2vec2", "AudioClassification", sounds, **_SPEECH),
    case("mamba", "CausalLM", next_tokens, of_tokens),
    case("qwen2", "CausalLM", next_tokens, of_tokens),
    *(
        case(kind, "Seq2SeqLM", functools.partial(next_tokens, decoder=True), of_tokens, **_SMOOTH)
        for kind in ("switch_transformers", "t5", "umt5")
    ),
)

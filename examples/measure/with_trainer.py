"""How many degrees of freedom does Hugging Face's Trainer need for a small BERT?

The task: does a token occur more often than another? The model is made here, so that nothing is
fetched.

subspan threshold examples/measure/with_trainer.py:tokens --goal "val:accuracy>=0.7"
"""

import tempfile

import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

import subspan as ss

generator = torch.Generator().manual_seed(0)
ids = torch.randint(2, 8, (640, 12), generator=generator)
labels = ((ids == 2).sum(1) > (ids == 3).sum(1)).long()
rows = [{"input_ids": i, "labels": y} for i, y in zip(ids, labels, strict=True)]


def build() -> BertForSequenceClassification:
    return BertForSequenceClassification(
        BertConfig(
            vocab_size=8,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=12,
            num_labels=2,
        )
    )


MAX_DIM = sum(weights.numel() for weights in build().parameters())


def accuracy(model) -> dict[str, float]:
    model.eval()
    with torch.no_grad():
        named = model(input_ids=ids[512:]).logits.argmax(1)
    model.train()
    return {"val:accuracy": float((named == labels[512:]).float().mean())}


class Report(TrainerCallback):
    def __init__(self, trial) -> None:
        self.trial = trial

    def on_epoch_end(self, args, state, control, model=None, **rest):
        control.should_training_stop = self.trial.report(step=state.global_step, **accuracy(model))


@ss.trainable(name="tokens with Trainer", max_dim=MAX_DIM)
def tokens(trial):
    model = build()
    if trial.dim == 0:
        return accuracy(model)
    ss.attach(model, dim=trial.dim, seed=trial.seed)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, num_train_epochs=3, per_device_train_batch_size=32, learning_rate=0.05,
            seed=trial.seed, save_strategy="no", report_to=[], disable_tqdm=True, use_cpu=True,
            logging_strategy="no",
        )  # fmt: skip
        Trainer(model, arguments, train_dataset=rows[:512], callbacks=[Report(trial)]).train()
    return accuracy(model)

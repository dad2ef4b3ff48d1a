"""The rows of the second task are what they are said to be, and what a step keeps is counted."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch


@pytest.fixture
def beside(repo_root: Path, monkeypatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(repo_root / "experiments" / "fine_tune_table"))
    yield
    for name in ("topics", "costs"):
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

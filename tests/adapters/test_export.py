"""What was trained in d numbers leaves for others: a peft adapter, plain weights, our file."""

from __future__ import annotations

import json

import pytest
import torch
from small_modules import coordinates, inputs, mlp, put, same_state, state
from test_huggingface import batch, bert, lora

import subspan
from subspan.adapters import attach, export, load

peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore")  # the libraries warn of their own changes


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(**batch()).logits


def moved(model: torch.nn.Module, **options):
    handle = attach(model, 20, **options)
    put(handle, coordinates(20))
    return handle


@pytest.mark.parametrize("options", [{}, {"modules": ["*lora_*"], "rest": "keep"}])
def test_over_loras_factors_it_leaves_as_a_plain_peft_adapter(tmp_path, options):
    """With the head in the subspace, and with a head that was trained in full beside it."""
    model = lora()
    handle = moved(model, **options)
    if options:
        head = next(p for n, p in model.named_parameters() if "modules_to_save" in n)
        with torch.no_grad():
            head.add_(0.3)
    expected, before = logits(model), state(model)
    assert not torch.equal(expected, logits(lora()))
    assert export(handle, tmp_path / "new" / "folder") == tmp_path / "new" / "folder"
    assert same_state(state(model), before)
    assert torch.equal(logits(model), expected)

    files = {p.name for p in (tmp_path / "new" / "folder").iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors"} <= files
    config = json.loads((tmp_path / "new" / "folder" / "adapter_config.json").read_text())
    assert (config["peft_type"], config["r"]) == ("LORA", 2)
    plain = peft.PeftModel.from_pretrained(bert(), tmp_path / "new" / "folder")
    assert torch.equal(logits(plain), expected)


def test_it_leaves_as_merged_weights(tmp_path):
    model = lora()
    handle = moved(model)
    expected = logits(model)
    export(handle, tmp_path, "merged")
    plain = transformers.BertForSequenceClassification.from_pretrained(tmp_path)
    torch.testing.assert_close(logits(plain), expected, rtol=1e-4, atol=1e-5)
    assert not [n for n, _ in plain.named_parameters() if "lora" in n]


@pytest.mark.parametrize("form", ["adapter", "merged"])
def test_a_head_that_was_trained_beside_leaves_with_the_factors(tmp_path, form):
    """As the documentation of `export` does it, by a way to fine-tune."""
    model = bert()
    way = subspan.tuning.method("lora-subspace", targets=["query"], head=["classifier"], r=2)
    tuned = way.apply(model, way.nearest(model, 100), seed=0)
    trained = [weights for weights in tuned.parameters() if weights.requires_grad]
    assert sum(weights.numel() for weights in trained) == 100
    with torch.no_grad():
        for weights in trained:
            weights.add_(torch.linspace(-1, 1, weights.numel()).view_as(weights))
    expected = logits(tuned)
    assert not torch.allclose(expected, logits(bert()), atol=0.1)
    export(subspan.adapters.handles(tuned)[0], tmp_path, form)
    if form == "adapter":
        plain = peft.PeftModel.from_pretrained(bert(), tmp_path)
    else:
        plain = transformers.BertForSequenceClassification.from_pretrained(tmp_path)
    torch.testing.assert_close(logits(plain), expected, rtol=1e-4, atol=1e-5)


def test_a_plain_module_leaves_as_merged_weights_or_our_file(tmp_path):
    from safetensors.torch import load_file

    module = mlp()
    handle = moved(module)
    expected = module(inputs())
    export(handle, tmp_path, "merged")
    plain = mlp()
    plain.load_state_dict(load_file(tmp_path / "model.safetensors"))
    assert torch.equal(plain(inputs()), expected)
    export(handle, tmp_path, "file")
    fresh = mlp()
    load(fresh, tmp_path / "subspan.safetensors")
    assert torch.equal(fresh(inputs()), expected)


def test_what_is_no_adapter_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(subspan.InputError, match="form: expected 'merged' or 'file'"):
        export(moved(mlp()), tmp_path / "a")
    model = lora()
    model.requires_grad_(True)
    with pytest.raises(subspan.InputError, match=r"got one that moves .* of the base model too"):
        export(moved(model), tmp_path / "b")
    with pytest.raises(subspan.InputError, match="form: unknown name 'adaptor'"):
        export(moved(mlp()), tmp_path / "c", "adaptor")
    handle = moved(mlp())
    handle.detach()
    with pytest.raises(subspan.InputError, match="handle: expected a subspace that is attached"):
        export(handle, tmp_path / "d", "file")
    with pytest.raises(subspan.InputError, match="handle: expected what attach returned, got P"):
        export(lora(), tmp_path / "e")
    assert not list(tmp_path.iterdir())

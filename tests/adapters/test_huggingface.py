"""Under `transformers.Trainer` and `accelerate`, and with `peft` models."""

from __future__ import annotations

import copy

import pytest
import torch
from small_modules import coordinates, put, same_state, state

import subspan
from subspan.adapters import attach, handles, load, save
from subspan.streams import scoped_torch_rng

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore")  # the libraries warn of their own changes


def bert() -> torch.nn.Module:
    config = transformers.BertConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=12,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return transformers.BertForSequenceClassification(config)


def rows(count: int = 16) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1, 50, (count, 8), generator=generator)
    return [{"input_ids": i, "attention_mask": torch.ones_like(i), "labels": i[0] % 2} for i in ids]


def batch() -> dict[str, torch.Tensor]:
    data = rows()
    return {key: torch.stack([row[key] for row in data]) for key in data[0]}


def trainer(model, folder, steps: int, **kwargs):
    options = transformers.TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=8,
        learning_rate=0.05,
        save_steps=2,
        logging_steps=1,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    return transformers.Trainer(model=model, args=options, train_dataset=rows(), **kwargs)


def test_trainer_trains_saves_and_resumes(tmp_path):
    from subspan.adapters.huggingface import save_callback

    model = bert()
    handle = attach(model, 20)
    trainer(model, tmp_path / "whole", 4, callbacks=[save_callback(model)]).train()
    assert handle.theta.abs().max() > 0
    files = sorted(p.parent.name for p in (tmp_path / "whole").rglob("subspan.safetensors"))
    assert files == ["checkpoint-2", "checkpoint-4"]
    fresh = bert()
    loaded = load(fresh, tmp_path / "whole" / "checkpoint-4" / "subspan.safetensors")
    assert torch.equal(loaded.theta, handle.theta)
    assert torch.equal(fresh.eval()(**batch()).logits, model.eval()(**batch()).logits)

    again = bert()
    attach(again, 20)
    trainer(again, tmp_path / "whole", 4).train(
        resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-2")
    )
    assert torch.equal(handles(again)[0].theta, handle.theta)


def test_gradient_checkpointing_of_the_library(tmp_path):
    plain, model = bert(), bert()
    for module in (plain, model):
        handle = attach(module, 20)
        put(handle, coordinates(20))
    model.gradient_checkpointing_enable()
    for module in (plain, model):
        module.train()
        module(**batch()).loss.backward()
    torch.testing.assert_close(handles(model)[0].theta.grad, handles(plain)[0].theta.grad)


def test_accelerate_prepares_and_accumulates():
    accelerate = pytest.importorskip("accelerate")
    model = bert()
    handle = attach(model, 20, "hadamard")
    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=2)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    prepared, optimizer = accelerator.prepare(model, optimizer)
    losses = []
    for _ in range(20):
        with accelerator.accumulate(prepared):
            loss = prepared(**batch()).loss
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    assert handle.theta.abs().max() > 0


def lora() -> torch.nn.Module:
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(r=2, target_modules=["query", "value"], task_type="SEQ_CLS")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return peft.get_peft_model(bert(), config)


def resumed(folder, callback: bool, steps: int = 4):
    from subspan.adapters.huggingface import save_callback

    model = lora()
    handle = attach(model, 20)
    callbacks = [save_callback(model)] if callback else []
    run = trainer(model, folder, steps, callbacks=callbacks)
    run.train(resume_from_checkpoint=str(folder.parent / "whole" / "checkpoint-2"))
    return handle


def test_trainer_resumes_a_subspace_over_lora(tmp_path):
    from subspan.adapters.huggingface import save_callback

    model = lora()
    handle = attach(model, 20)
    trainer(model, tmp_path / "whole", 4, callbacks=[save_callback(model)]).train()
    at_two = load(lora(), tmp_path / "whole" / "checkpoint-2" / "subspan.safetensors").theta
    assert at_two.abs().max() > 0
    assert torch.equal(resumed(tmp_path / "whole", True, steps=2).theta, at_two)
    assert torch.equal(resumed(tmp_path / "whole", True).theta, handle.theta)
    with pytest.raises(subspan.InputError, match="Train with save_callback from the start"):
        resumed(tmp_path / "elsewhere", True)
    with pytest.warns(UserWarning, match="it holds no subspace, so θ stays as it is"):
        resumed(tmp_path / "without", False, steps=2)


def test_the_best_checkpoint_of_a_subspace_over_lora_is_read(tmp_path):
    from subspan.adapters.huggingface import save_callback

    model = lora()
    attach(model, 20)
    callback = save_callback(model)
    run = trainer(model, tmp_path, 4, callbacks=[callback])
    run.train()
    run.args.load_best_model_at_end = True
    run.state.best_model_checkpoint = str(tmp_path / "checkpoint-2")
    run._load_best_model()
    callback.on_train_end(run.args, run.state, run.control)
    best = load(lora(), tmp_path / "checkpoint-2" / "subspan.safetensors").theta
    assert torch.equal(handles(model)[0].theta, best)


def test_save_pretrained_while_attached_warns(tmp_path):
    model = bert()
    handle = attach(model, 20)
    with pytest.warns(UserWarning, match=r"Call handle\.merge\(\) first"):
        model.save_pretrained(tmp_path)
    assert handles(model) == [handle]


def test_a_subspace_over_loras_own_parameters(tmp_path):
    model = lora()
    trained = {n: p.numel() for n, p in model.named_parameters() if p.requires_grad}
    before = state(model)
    handle = attach(model, 20)
    assert handle.ambient_dim == sum(trained.values())
    assert [p.shape for p in model.parameters()] == [(20,)]
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(3):
        optimizer.zero_grad()
        model(**batch()).loss.backward()
        optimizer.step()
    model.eval()
    expected = model(**batch()).logits
    save(handle, tmp_path / "lora.safetensors")
    fresh = lora()
    load(fresh, tmp_path / "lora.safetensors")
    assert torch.equal(fresh.eval()(**batch()).logits, expected)

    handle.merge()  # into LoRA's parameters: peft saves and merges them as ever
    assert {n: p.numel() for n, p in model.named_parameters() if p.requires_grad} == trained
    whole = model.merge_and_unload()
    torch.testing.assert_close(whole(**batch()).logits, expected, rtol=1e-4, atol=1e-5)
    handles(fresh)[0].detach()
    assert same_state(state(fresh), before)


def test_save_pretrained_after_merge(tmp_path):
    model = bert()
    handle = attach(model, 20)
    put(handle, coordinates(20))
    expected = model.eval()(**batch()).logits
    handle.merge()
    model.save_pretrained(tmp_path)
    again = transformers.BertForSequenceClassification.from_pretrained(tmp_path).eval()
    assert torch.equal(again(**batch()).logits, expected)


def test_a_callback_without_a_subspace_is_refused():
    from subspan.adapters.huggingface import save_callback

    with pytest.raises(subspan.InputError, match=r"Call subspan\.attach first"):
        save_callback(bert())


# --- parts answer from the weights that they hide ------------------------------------------------

IDS = torch.randint(3, 40, (2, 6), generator=torch.Generator().manual_seed(0))


def seeded_model(kind: str, **config) -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, options = getattr(transformers, kind[0]), getattr(transformers, kind[1])
        return model(options(vocab_size=40, **config)).eval()


def llama() -> torch.nn.Module:
    return seeded_model(
        ("LlamaForCausalLM", "LlamaConfig"),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=64,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )


def adapted(kind: str, **options) -> torch.nn.Module:
    peft = pytest.importorskip("peft")
    config = getattr(peft, kind)(task_type="CAUSAL_LM", **options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return peft.get_peft_model(llama(), config).eval()


QV = {"target_modules": ["q_proj", "v_proj"]}
ADAPTERS = {
    "LoraConfig": {"r": 2, **QV},
    "PrefixTuningConfig": {"num_virtual_tokens": 3},
    "PromptTuningConfig": {"num_virtual_tokens": 3},
    "AdaLoraConfig": {"total_step": 100, "tinit": 10, "tfinal": 10, **QV},
    "target_parameters": {"r": 2, "target_modules": [], "target_parameters": ["q_proj.weight"]},
}


def make_adapted(name: str) -> torch.nn.Module:
    return adapted("LoraConfig" if name == "target_parameters" else name, **ADAPTERS[name])


def generate(model: torch.nn.Module) -> torch.Tensor:
    return model.generate(input_ids=IDS, max_new_tokens=4, do_sample=False)


@pytest.mark.parametrize("name", ADAPTERS)
def test_adapters_over_llama_train_generate_merge_and_leave(name):
    plain, model = make_adapted(name), make_adapted(name)
    named, before = [n for n, _ in plain.named_parameters()], state(plain)
    handle = attach(model, 10)
    loss = model(input_ids=IDS, labels=IDS).loss
    torch.testing.assert_close(loss, plain(input_ids=IDS, labels=IDS).loss)  # AdaLoRA's term too
    loss.backward()
    assert [n for n, _ in model.named_parameters()] == ["subspan_theta"]
    put(handle, coordinates(10))
    shifted, words = model(input_ids=IDS, labels=IDS).loss, generate(model)
    twin = copy.deepcopy(model)
    handles(twin)[0].merge()
    torch.testing.assert_close(twin(input_ids=IDS, labels=IDS).loss, shifted)
    assert torch.equal(generate(twin), words)
    handle.detach()
    assert [n for n, _ in model.named_parameters()] == named
    assert same_state(state(model), before)


def test_a_part_says_its_device_and_dtype():
    class Wrapper(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lm = llama().bfloat16()

        def forward(self, ids):
            return generate(self.lm)

    wrapper = Wrapper()
    expected = generate(wrapper.lm)
    attach(wrapper, 10)
    assert (wrapper.lm.dtype, wrapper.lm.device) == (torch.bfloat16, torch.device("cpu"))
    assert torch.equal(generate(wrapper.lm), expected)
    assert torch.equal(wrapper(IDS), expected)
    root = llama().bfloat16()
    attach(root, 10)
    assert root.dtype == torch.bfloat16


SMALL_GPT = {"n_positions": 16, "n_embd": 16, "n_layer": 1, "n_head": 2}
LXMERT = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "l_layers": 1}


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        (("OpenAIGPTModel", "OpenAIGPTConfig"), SMALL_GPT),
        (("XLNetModel", "XLNetConfig"), {"d_model": 16, "n_layer": 1, "n_head": 2, "d_inner": 32}),
        (
            ("LxmertModel", "LxmertConfig"),
            {**LXMERT, "x_layers": 1, "r_layers": 1, "visual_feat_dim": 8, "visual_pos_dim": 4},
        ),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_models_that_ask_their_parameters(kind, config, dtype):
    plain = seeded_model(kind, **config).to(dtype)
    model, part = copy.deepcopy(plain), copy.deepcopy(plain)
    attach(model, 10)
    attach(torch.nn.ModuleList([part]), 10)
    more = {}
    if "visual_pos_dim" in config:
        more = {"visual_feats": torch.ones(2, 3, 8).to(dtype), "visual_pos": torch.ones(2, 3, 4)}
        more["visual_pos"] = more["visual_pos"].to(dtype)
    expected = plain(input_ids=IDS, **more)[0]
    for one in (model, part):
        assert torch.equal(one(input_ids=IDS, **more)[0], expected)


def test_embeddings_in_a_subspace_are_not_resized():
    for model in (llama(), make_adapted("LoraConfig")):
        before = state(model)
        handle = attach(model, 10)
        with pytest.raises(subspan.InputError, match="Resize before attaching"):
            model.resize_token_embeddings(50)
        assert model.resize_token_embeddings().num_embeddings == 40  # only asks
        handle.detach()
        assert same_state(state(model), before)
        assert model.resize_token_embeddings(50).num_embeddings == 50


def test_fine_tuning_trains_with_a_transformers_dropout():
    """Its own, fused attention's included: loss and gradient are plain PyTorch's at the seed."""
    config = bert().config
    config.hidden_dropout_prob, config.attention_probs_dropout_prob = 0.2, 0.3
    model = transformers.BertForSequenceClassification(config)
    given = batch()
    labels = given.pop("labels")
    problem = subspan.adapters.fine_tuning(model, (given, labels), dropout="train")
    problem = problem.to(dtype=torch.float64)
    weights, eight = problem.init(0)[None], problem.batch(torch.arange(8).expand(2, -1))
    losses, gradients = problem.train_grads(weights.expand(2, -1), eight, [4, 5])
    plain = copy.deepcopy(model).double().train()
    with scoped_torch_rng(5, "dropout"):
        rows_ = {key: value[:8] for key, value in given.items()}
        loss = torch.nn.functional.cross_entropy(plain(**rows_).logits, labels[:8])
        loss.backward()
    torch.testing.assert_close(losses[1], loss.detach(), rtol=1e-12, atol=0)
    gradient = torch.cat([p.grad.reshape(-1) for p in plain.parameters()])
    torch.testing.assert_close(gradients[1], gradient, rtol=1e-10, atol=1e-12)
    assert losses[0] != losses[1]
    assert problem.evaluate(weights[0]) == problem.evaluate(weights[0])

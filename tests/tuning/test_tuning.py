"""Ways to fine-tune at a count of trained numbers: what `peft` trains is what is counted."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "adapters"))
from test_huggingface import batch, bert, rows

import subspan as ss
from subspan import tuning
from subspan.errors import InputError
from subspan.tuning import Setting, trained_numbers
from subspan.tuning.table import TUNING

peft = pytest.importorskip("peft")
pytestmark = pytest.mark.filterwarnings("ignore")  # the libraries warn of their own changes

QUICK = ("lora", "tinylora", "bitfit")
METHODS = [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in tuning.names()]


def method(name: str, head: tuple[str, ...] = (), **options):
    targets = ["query", "value"] if TUNING[name].layers == "linear" else None
    return tuning.method(name, targets=targets, head=head or HEADS.get(name, ()), **options)


HEADS = {"head": ("classifier",)}


def trained(module: torch.nn.Module) -> int:
    """Without the library: what asks for gradients, each tensor once."""
    return sum(p.numel() for p in set(module.parameters()) if p.requires_grad)


@pytest.mark.parametrize("name", METHODS)
def test_every_count_is_what_is_trained(name: str) -> None:
    for head in ((), ("classifier",)):
        own = method(name, head)
        counts = own.counts(bert(), 6000)
        assert list(counts) == sorted(set(counts))
        for numbers in {counts[0], counts[-1]}:
            made = own.apply(bert(), numbers, seed=3)
            assert trained(made) == trained_numbers(made) == numbers
            if head:
                parts = [n for n, p in made.named_parameters() if p.requires_grad]
                assert any("classifier" in n for n in parts) or name == "full"


def test_counts_of_lora_are_its_formula() -> None:
    """Two layers, query and value, 16 × 16: 4 · 32 numbers for each unit of rank; a head of 34."""
    assert list(method("lora").counts(bert(), 600)) == [128, 256, 384, 512]
    assert list(method("lora", ("classifier",)).counts(bert(), 300)) == [162, 290]
    assert list(method("head").counts(bert(), 300)) == [34]
    assert list(method("tinylora").counts(bert(), 5)) == [1, 2, 3, 4, 5]


def test_counts_of_dora_are_loras_and_a_magnitude_for_each_number_out() -> None:
    """Four layers of 16 × 16: 128 for each unit of rank, 64 magnitudes; a head of 34."""
    assert list(method("dora").counts(bert(), 500)) == [192, 320, 448]
    made = method("dora", ("classifier",)).apply(bert(), 354)
    found = {n: p.numel() for n, p in made.named_parameters() if p.requires_grad}
    assert sum(found.values()) == trained(made) == 354
    assert sum(count for n, count in found.items() if "magnitude" in n) == 64


@pytest.mark.parametrize(("task", "head"), [("SEQ_CLS", 34), ("FEATURE_EXTRACTION", 0)])
def test_counts_of_prompts_are_their_tokens_and_the_head_where_peft_trains_it(task, head) -> None:
    own = method("prompt-tuning", task_type=task)
    assert list(own.counts(bert(), 50 + head)) == [16 + head, 32 + head, 48 + head]
    made = own.apply(bert(), 48 + head)
    found = {n: p.numel() for n, p in made.named_parameters() if p.requires_grad}
    assert sum(found.values()) == trained(made) == 48 + head
    assert sum(count for n, count in found.items() if "prompt_encoder" in n) == 48
    assert made(**batch()).logits.shape == bert()(**batch()).logits.shape


def test_the_nearest_count_on_either_side() -> None:
    lora, module = method("lora"), bert()
    assert lora.nearest(module, 300) == Setting(256, 2)
    assert lora.nearest(module, 300, "above") == Setting(384, 3)
    assert lora.nearest(module, 256, "above") == lora.nearest(module, 256, "at") == Setting(256, 2)
    assert lora.nearest(module, 320, "nearest") == Setting(256, 2)
    assert lora.nearest(module, 321, "nearest") == Setting(384, 3)
    for side in ("below", "at"):
        with pytest.raises(InputError, match=r"numbers: expected a count .* Nearest: 128\."):
            lora.nearest(module, 30, side)
    assert lora.nearest(module, 30, "nearest") == Setting(128, 1)
    ia3 = method("ia3")
    with pytest.raises(InputError, match=r"Nearest: 64\."):
        ia3.nearest(module, 65, "above")


@pytest.mark.parametrize("scales", [True, "within"])
@pytest.mark.parametrize("name", ["subspace", "lora-subspace"])
@pytest.mark.parametrize("head", [(), ("classifier",)])
def test_scales_are_in_the_count(name, scales, head) -> None:
    own = method(name, head, per_layer_scale=scales)
    counts = own.counts(bert(), 10**6)
    for numbers in (counts[0], counts[-1]):
        assert trained(own.apply(bert(), numbers)) == numbers
    with pytest.raises(InputError, match="numbers: expected a count"):
        own.nearest(bert(), counts[0] - 1)


@pytest.mark.parametrize("name", ["lora-xs", "vblora"])
def test_layers_left_to_peft_are_those_that_it_adapts(name: str) -> None:
    """Not the classifier, whose two rows would allow no rank above 2."""
    named = tuning.method(name, targets=["query", "value"])
    assert list(tuning.method(name).counts(bert(), 600)) == list(named.counts(bert(), 600))


def test_counting_leaves_the_module_as_it_is() -> None:
    module = bert()
    before = copy.deepcopy(module.state_dict())
    for name in ("lora", "subspace", "bitfit"):
        method(name).counts(module, 300)
    assert [*module.state_dict()] == [*before]
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    assert trained(module) == trained(bert())


def moved(name: str, shift: torch.Tensor, setting: Setting) -> torch.Tensor:
    """All weights of the plain model that a method makes, its numbers shifted."""
    made = method(name).apply(bert(), setting, seed=1)
    numbers = [p for p in made.parameters() if p.requires_grad]
    flat = torch.nn.utils.parameters_to_vector(numbers)
    with torch.no_grad():
        torch.nn.utils.vector_to_parameters(flat + shift, numbers)
        for handle in ss.adapters.handles(made):
            handle.merge()
        plain = made.merge_and_unload() if hasattr(made, "merge_and_unload") else made
    return torch.cat([p.detach().reshape(-1) for p in plain.parameters()])


AFFINE = [n for n in tuning.names() if TUNING[n].kind != "prompt" and n not in ("head", "full")]


@pytest.mark.parametrize(
    "name",
    [n if n in ("lora", "tinylora") else pytest.param(n, marks=pytest.mark.slow) for n in AFFINE],
)
def test_affine_is_said_of_what_is(name: str) -> None:
    """w(a + b) - w(a) - w(b) + w(0) is 0 where the weights are affine in the numbers, alone."""
    setting = method(name).nearest(bert(), 260, "nearest")
    draw = torch.Generator().manual_seed(0)
    one, two = torch.randn(2, setting.numbers, generator=draw) / 4
    both, first, second, none = (
        moved(name, shift, setting).double() for shift in (one + two, one, two, 0 * one)
    )
    size = max(float((w - none).norm()) for w in (both, first, second))
    assert size > 1e-3
    assert (float((both - first - second + none).norm()) < 1e-4 * size) is TUNING[name].affine


def test_the_same_seed_the_same_numbers_and_another_another() -> None:
    """What is fixed at random follows the seed, also where peft takes one of its own."""
    for name in ("lora", "tinylora"):
        made = [method(name).apply(bert(), 256, seed).state_dict() for seed in (0, 0, 1)]
        assert all(torch.equal(made[0][k], made[1][k]) for k in made[0])
        assert any(not torch.equal(made[0][k], made[2][k]) for k in made[0])


def data() -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    fields = rows(48)
    x = {k: torch.stack([r[k] for r in fields]) for k in ("input_ids", "attention_mask")}
    return x, torch.stack([r["labels"] for r in fields])


def fine_tuned(name: str, head: tuple[str, ...] = (), **arguments):
    return tuning.trainable(
        method(name, head),
        lambda seed: bert(),
        data(),
        {"val": data()},
        max_dim=5810,
        steps=12,
        batch_size=16,
        **arguments,
    )


def test_a_trial_trains_the_numbers_that_it_says() -> None:
    lora, subspace = fine_tuned("lora", lr=0.02), fine_tuned("subspace", lr=0.1)
    for function in (lora, subspace):
        start, end = ss.run(function, dims=[0, 256], repeats=1)
        assert start.final("numbers") == 0
        assert end.final("numbers") == 256
        assert end.best("loss", "val") < start.best("loss", "val")
        again = ss.run(function, dims=[256], repeats=1)[0]
        assert again.curve == end.curve
    assert lora.version != fine_tuned("lora", lr=0.02, side="below").version


def test_a_count_that_cannot_be_made_fails_with_the_counts_near_it_or_is_the_one_below() -> None:
    failed = ss.run(fine_tuned("lora", lr=0.02), dims=[300], repeats=1)[0]
    assert failed.outcome.value == "failed"
    assert "Nearest: 256 and 384" in failed.reason
    below = ss.run(fine_tuned("lora", lr=0.02, side="below"), dims=[300], repeats=1)[0]
    assert below.final("numbers") == 256


def test_training_is_plain_adam_with_a_rate_that_falls_in_a_line() -> None:
    kept, plain, (x, y) = [], bert().train(), data()

    def make(seed: int) -> torch.nn.Module:
        kept.append(bert())
        return kept[-1]

    arguments = {"max_dim": 322, "steps": 4, "lr": 0.01, "batch_size": len(y)}
    ss.run(tuning.trainable(method("bitfit"), make, data(), {}, **arguments), dims=[322], repeats=1)
    biases = [p for n, p in plain.named_parameters() if n.endswith("bias")]
    optimizer = torch.optim.Adam(biases, lr=0.01)
    for step in range(4):
        optimizer.param_groups[0]["lr"] = 0.01 * (1 - step / 4)
        plain.zero_grad()
        torch.nn.functional.cross_entropy(plain(**x).logits, y).backward()
        optimizer.step()
    for (name, value), one in zip(kept[-1].named_parameters(), plain.parameters(), strict=True):
        if "key.bias" not in name:  # which softmax takes away: its gradient is rounding
            torch.testing.assert_close(value, one, rtol=0, atol=1e-5, msg=name)


@pytest.mark.parametrize("name", ["lora", "subspace"])
def test_the_head_has_a_rate_of_its_own(name: str) -> None:
    kept: list[torch.nn.Module] = []

    def make(seed: int) -> torch.nn.Module:
        kept.append(bert())
        return kept[-1]

    def moved(head_lr: float | None) -> tuple[bool, list[torch.Tensor]]:
        arguments = {"max_dim": 322, "steps": 4, "batch_size": 16, "lr": 0.01, "head_lr": head_lr}
        ways = tuning.trainable(method(name, ("classifier",)), make, data(), {}, **arguments)
        ss.run(ways, dims=[162], repeats=1)
        found = dict(kept[-1].named_parameters())
        head = [p.detach() for n, p in found.items() if "classifier" in n and p.requires_grad]
        start = list(bert().classifier.parameters())
        rest = [p.detach() for n, p in found.items() if "classifier" not in n and p.requires_grad]
        return all(torch.equal(a, b) for a, b in zip(head, start, strict=True)), [*head, *rest]

    still, frozen = moved(0.0)
    same, alike = moved(0.01)
    _, one = moved(None)
    assert still
    assert not same
    for a, b in zip(alike, one, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)
    assert not torch.equal(frozen[-1], torch.zeros_like(frozen[-1]))
    versions = {fine_tuned("lora", lr=0.02, head_lr=rate).version for rate in (None, 0.02, 0.01)}
    assert len(versions) == 3
    with pytest.raises(InputError, match="head_lr"):
        fine_tuned("lora", head_lr=-1.0)


def test_some_numbers_have_a_multiple_of_the_learning_rate() -> None:
    kept: list[torch.nn.Module] = []

    def make(seed: int) -> torch.nn.Module:
        kept.append(bert())
        return kept[-1]

    def first_step(factors: dict[str, float] | None) -> dict[str, torch.Tensor]:
        arguments = {"max_dim": 322, "steps": 1, "batch_size": 48, "lr": 0.01}
        arguments |= {"head_lr": 0.03, "lr_factors": factors}
        ways = tuning.trainable(method("lora", ("classifier",)), make, data(), {}, **arguments)
        assert ss.run(ways, dims=[162], repeats=1)[0].outcome.value == "finished"
        return {n: p.detach() for n, p in kept[-1].named_parameters() if p.requires_grad}

    plain, scaled = first_step(None), first_step({"lora_B": 16.0})
    for name, value in plain.items():
        factor = 16.0 if "lora_B" in name else 1.0  # B starts at 0, and a first step is the rate's
        torch.testing.assert_close(scaled[name], factor * value, rtol=1e-6, atol=0)
    assert any(value.any() for name, value in plain.items() if "lora_B" in name)
    versions = {
        fine_tuned("lora", lr=0.02, lr_factors=factors).version
        for factors in (None, {"lora_B": 2.0}, {"lora_B": 3.0})
    }
    assert len(versions) == 3
    wrong = ss.run(fine_tuned("lora", lr=0.02, lr_factors={"lora_C": 2.0}), dims=[256], repeats=1)
    assert "lr_factors" in wrong[0].reason
    with pytest.raises(InputError, match="lr_factors"):
        fine_tuned("lora", lr_factors={"lora_B": -1.0})


def test_a_problem_over_peft_has_what_it_trains_as_its_weights() -> None:
    made = method("lora", ("classifier",)).apply(bert(), 162, seed=0)
    problem = ss.adapters.fine_tuning(made, data())
    assert problem.ambient_dim == 162
    record = ss.run(problem, "random", dims=[40], repeats=1, spec=ss.TrainSpec(steps=3, lr=0.05))[0]
    assert record.outcome.value == "finished"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "lorra"}, "method: unknown name 'lorra'. Did you mean 'lora'?"),
        ({"name": "adalora"}, "its count changes while it trains"),
        ({"name": "lora", "targets": "query"}, "targets: expected a list of names"),
        ({"name": "subspace", "targets": ["query"]}, "targets: expected none for 'subspace'"),
        ({"name": "head"}, "head: expected names of the modules that are the head, got none"),
        ({"name": "lora", "r": 3}, "options: expected none for 'r', which follows from the count"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, message) -> None:
    with pytest.raises(InputError) as error:
        tuning.method(**arguments)
    assert message in str(error.value)


def test_wrong_settings_heads_and_layers_are_refused() -> None:
    with pytest.raises(InputError, match="setting: expected one that 'lora' makes"):
        method("lora").apply(bert(), Setting(5, 1))
    with pytest.raises(InputError, match="head: unknown name 'clasifier'"):
        method("subspace", ("clasifier",)).apply(bert(), Setting(40, 6))
    for name in ("lora", "lora-subspace", "head", "prompt-tuning"):
        for ask in (
            lambda own: own.nearest(bert(), 300),
            lambda own: own.apply(bert(), Setting(40, 6)),
        ):
            with pytest.raises(InputError, match="head: unknown name 'clasifier'"):
                ask(method(name, ("clasifier",)))
    with pytest.raises(InputError, match=r"options: .* unexpected keyword argument 'lora_alfa'"):
        method("lora", lora_alfa=3).nearest(bert(), 300)
    with pytest.raises(InputError, match="module: expected a model of transformers"):
        method("prompt-tuning").nearest(torch.nn.Linear(3, 4), 300)
    with pytest.raises(InputError, match="module: expected one that 'lora' can adapt"):
        tuning.method("lora", targets=["nowhere"]).counts(bert(), 1000)
    attached = bert()
    ss.attach(attached, 10)
    with pytest.raises(InputError, match="module: expected one without a subspace"):
        method("lora").nearest(attached, 256)


def loud() -> torch.nn.Module:
    """A BERT whose attention tells tokens apart, so that what is adapted shows in the outputs."""
    model = bert()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(10)
    return model.eval()


ADAPTERS = [n for n in tuning.names() if TUNING[n].kind == "peft"]


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in ADAPTERS]
)
def test_what_a_method_trained_leaves_as_an_adapter_with_the_same_outputs(tmp_path, name) -> None:
    """`save_pretrained`, then a plain `PeftModel` on the untouched base model."""
    x, draws = batch(), torch.Generator().manual_seed(5)
    with torch.no_grad():
        start = loud()(**x).logits
        for head in ((), ("classifier",)):
            own = method(name, head)
            made = own.apply(loud(), own.counts(bert(), 2000)[-1], seed=3)
            for parameter in made.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.3 * torch.randn(parameter.shape, generator=draws))
            expected = made.eval()(**x).logits
            assert (expected - start).abs().max() > 1e-3
            made.save_pretrained(tmp_path / str(len(head)))
            plain = peft.PeftModel.from_pretrained(loud(), tmp_path / str(len(head))).eval()
            torch.testing.assert_close(plain(**x).logits, expected, rtol=1e-4, atol=1e-5)

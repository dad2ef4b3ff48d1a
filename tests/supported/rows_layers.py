"""Rows of the table: layers, how their weights are held, and of what kind the numbers are."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

from .case import Case, Refused, integers, normals, refused

ROWS, WIDTH, CLASSES = 12, 5, 3


def vectors() -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of five numbers, three classes."""
    return normals(ROWS, WIDTH), integers(CLASSES, ROWS)


def sequences() -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of four vectors, three classes."""
    return normals(ROWS, 4, WIDTH + 1), integers(CLASSES, ROWS)


def images() -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of two channels of 6 × 6 numbers, three classes."""
    return normals(ROWS, 2, 6, 6), integers(CLASSES, ROWS)


def tokens() -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of four token numbers out of eleven, 0 among them; three classes."""
    return integers(11, ROWS, 4), integers(CLASSES, ROWS)


def mlp() -> nn.Module:
    """Two linear layers."""
    return nn.Sequential(nn.Linear(WIDTH, 4), nn.Tanh(), nn.Linear(4, CLASSES))


def with_norm(norm: nn.Module) -> nn.Module:
    """Two linear layers with a normalisation between."""
    return nn.Sequential(nn.Linear(WIDTH, 4), norm, nn.Tanh(), nn.Linear(4, CLASSES))


def convolutional(norm: nn.Module | None = None) -> nn.Module:
    """Two convolutions, an average over places, a head."""
    return nn.Sequential(
        nn.Conv2d(2, 4, 3),
        norm or nn.Identity(),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, CLASSES),
    )


class Recurrent(nn.Module):
    """A recurrent layer, whose last output goes to a head."""

    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.layer = kind(WIDTH + 1, 4, batch_first=True)
        self.head = nn.Linear(4, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.layer(x)[0][:, -1])


class DotProductAttention(nn.Module):
    """One head by `scaled_dot_product_attention`."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.head = nn.Linear(6, 12), nn.Linear(4, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, 1, 4)).transpose(1, 3).unbind(2)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.head(mixed[:, 0].mean(1))


class SelfAttention(nn.Module):
    """`nn.MultiheadAttention` of a sequence on itself."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.attention(x, x, x)[0].mean(1))


class Encoder(nn.Module):
    """`nn.TransformerEncoderLayer` and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(6, 2, 8, dropout=0.0, batch_first=True)
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.layer(x).mean(1))


def old_weight_norm() -> nn.Module:
    """`torch.nn.utils.weight_norm`, by a hook before the forward pass."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        layer = nn.utils.weight_norm(nn.Linear(WIDTH, 4))
    return nn.Sequential(layer, nn.Tanh(), nn.Linear(4, CLASSES))


def old_spectral_norm() -> nn.Module:
    """`torch.nn.utils.spectral_norm`, by a hook before the forward pass."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        layer = nn.utils.spectral_norm(nn.Linear(WIDTH, 4))
    return nn.Sequential(layer, nn.Tanh(), nn.Linear(4, CLASSES))


class Skew(nn.Module):
    """X → X − Xᵀ, a parametrisation of a user's own."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.triu(1) - x.triu(1).T


def skew() -> nn.Module:
    """A layer with a parametrisation of a user's own."""
    layer = nn.Linear(WIDTH, WIDTH)
    parametrize.register_parametrization(layer, "weight", Skew())
    return nn.Sequential(layer, nn.Tanh(), nn.Linear(WIDTH, CLASSES))


def pruned() -> nn.Module:
    """Half of the first layer's weights masked by `torch.nn.utils.prune`."""
    net = mlp()
    prune.random_unstructured(net[0], "weight", 0.5)
    return net


class Tied(nn.Module):
    """Token numbers → an embedding → the same matrix as the output layer, at the last place."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.mix = nn.Embedding(11, 4), nn.Linear(4, 4)
        self.head = nn.Linear(4, 11, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(torch.tanh(self.mix(self.embedding(ids).mean(1))))


class Shared(nn.Module):
    """One layer under two names, used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(WIDTH, WIDTH)
        self.second, self.head = self.first, nn.Linear(WIDTH, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.tanh(self.second(torch.tanh(self.first(x)))))


def frozen() -> nn.Module:
    """The first layer asks for no gradient."""
    net = mlp()
    net[0].requires_grad_(False)
    return net


class Buffered(nn.Module):
    """A constant buffer on the way."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.linspace(0.5, 2, WIDTH))
        self.net = mlp()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x * self.scale)


class Counting(nn.Module):
    """A buffer that training changes."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(WIDTH))
        self.net = mlp()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.mean.mul_(0.9).add_(x.detach().mean(0), alpha=0.1)
        return self.net(x - self.mean)


class Listed(nn.Module):
    """Weights in a ParameterList and a ParameterDict."""

    def __init__(self) -> None:
        super().__init__()
        self.matrices = nn.ParameterList([torch.randn(WIDTH, 4), torch.randn(4, 4)])
        self.by_name = nn.ParameterDict({"out": torch.randn(4, CLASSES), "bias": torch.zeros(3)})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for matrix in self.matrices:
            x = torch.tanh(x @ matrix)
        return x @ self.by_name["out"] + self.by_name["bias"]


class Scaled(nn.Module):
    """A logit scale, a parameter without dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.scale = mlp(), nn.Parameter(torch.tensor(0.5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x) * self.scale.exp()


class Phases(nn.Module):
    """A complex matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = nn.Parameter(torch.randn(WIDTH, CLASSES, dtype=torch.complex64))
        self.head = nn.Linear(CLASSES, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head((x.to(self.matrix.dtype) @ self.matrix).abs())


class Bags(nn.Module):
    """An embedding of tokens, averaged; a head."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(11, 4, **options), nn.Linear(4, CLASSES)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(torch.tanh(self.embedding(ids)).mean(1))


def bag() -> nn.Module:
    """An `EmbeddingBag` and a head."""
    return nn.Sequential(nn.EmbeddingBag(11, 4), nn.Tanh(), nn.Linear(4, CLASSES))


class Hoarder(nn.Module):
    """Keeps its weights in a plain list as well, and reads them there."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(WIDTH, 4), nn.Linear(4, CLASSES)
        self.kept = [self.layer.weight]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.tanh(nn.functional.linear(x, self.kept[0])))


class Quantised(nn.Module):
    """A frozen layer with weights of eight bits under a head that trains."""

    def __init__(self) -> None:
        super().__init__()
        weight = torch.randn(4, WIDTH)
        self.scale = float(weight.abs().max()) / 127
        self.register_buffer("weight", torch.round(weight / self.scale).to(torch.int8))
        self.head = nn.Linear(4, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.weight.to(x.dtype) * self.scale
        return self.head(torch.tanh(nn.functional.linear(x, weight)))


class StraightThrough(nn.Module):
    """Quantisation-aware training: fake quantisation, whose gradient goes straight through."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.Linear(WIDTH, 4), nn.Linear(4, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        w = self.layer.weight
        rounded = w + (torch.round(w * 16) / 16 - w).detach()
        return self.head(torch.tanh(nn.functional.linear(x, rounded, self.layer.bias)))


def lazy() -> nn.Module:
    """Layers that take their shapes from the first batch."""
    return nn.Sequential(nn.LazyLinear(4), nn.Tanh(), nn.LazyLinear(CLASSES))


def quiet_lazy() -> nn.Module:
    """The same without PyTorch's notice that lazy layers are young."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return lazy()


WRITES = refused(
    "writes into its weights",
    "leaves the weights as they are",
    "problem",
    "fine_tuning",
    "theory",
)
CHANGING = refused(
    "training changes its buffers",
    "whose buffers do not change in training",
    "problem",
    "theory",
)

LAYERS = (
    Case("linear layers", mlp, vectors),
    Case("convolutions", convolutional, images),
    Case(
        "BatchNorm",
        lambda: with_norm(nn.BatchNorm1d(4)),
        vectors,
        options={"eval_rows": None},
    ),
    Case(
        "BatchNorm among convolutions",
        lambda: convolutional(nn.BatchNorm2d(4)),
        images,
        options={"eval_rows": None},
    ),
    Case("GroupNorm", lambda: convolutional(nn.GroupNorm(2, 4)), images),
    Case("LayerNorm", lambda: with_norm(nn.LayerNorm(4)), vectors),
    Case("RMSNorm", lambda: with_norm(nn.RMSNorm(4)), vectors),
    Case("InstanceNorm", lambda: convolutional(nn.InstanceNorm2d(4, affine=True)), images),
    Case(
        "InstanceNorm with running statistics",
        lambda: convolutional(nn.InstanceNorm2d(4, affine=True, track_running_stats=True)),
        images,
        **CHANGING,
    ),
    Case("RNN", lambda: Recurrent(nn.RNN), sequences),
    Case("LSTM", lambda: Recurrent(nn.LSTM), sequences),
    Case("GRU", lambda: Recurrent(nn.GRU), sequences),
    Case("`scaled_dot_product_attention`", DotProductAttention, sequences),
    Case("`nn.MultiheadAttention`", SelfAttention, sequences),
    Case("`nn.TransformerEncoderLayer`", Encoder, sequences),
    Case("`nn.Embedding`", Bags, tokens),
    Case("`padding_idx`", lambda: Bags(padding_idx=0), tokens),
    Case("`max_norm`", lambda: Bags(max_norm=0.7), tokens, **WRITES),
    Case("sparse embedding", lambda: Bags(sparse=True), tokens),
    Case(
        "`nn.EmbeddingBag`",
        bag,
        tokens,
        theory=Refused("PyTorch has no second derivative", "differentiates twice"),
    ),
    Case("lazy layers", quiet_lazy, vectors),
)

HELD = (
    Case("weight norm, by a hook", old_weight_norm, vectors),
    Case(
        "weight norm, a parametrisation",
        lambda: nn.Sequential(
            parametrizations.weight_norm(nn.Linear(WIDTH, 4)), nn.Tanh(), nn.Linear(4, CLASSES)
        ),
        vectors,
    ),
    Case("spectral norm, by a hook", old_spectral_norm, vectors, **CHANGING),
    Case(
        "spectral norm, a parametrisation",
        lambda: nn.Sequential(
            parametrizations.spectral_norm(nn.Linear(WIDTH, 4)), nn.Tanh(), nn.Linear(4, CLASSES)
        ),
        vectors,
        **CHANGING,
    ),
    Case(
        "orthogonal parametrisation",
        lambda: nn.Sequential(
            parametrizations.orthogonal(nn.Linear(WIDTH, 4)), nn.Tanh(), nn.Linear(4, CLASSES)
        ),
        vectors,
    ),
    Case("parametrisation of one's own", skew, vectors),
    Case("pruned by `torch.nn.utils.prune`", pruned, vectors),
    Case("tied weights", Tied, lambda: (integers(11, ROWS, 4), integers(11, ROWS))),
    Case("a layer under two names", Shared, vectors),
    Case("frozen parts", frozen, vectors),
    Case("constant buffers", Buffered, vectors),
    Case("buffers that training changes", Counting, vectors, **CHANGING),
    Case("`ParameterList`, `ParameterDict`", Listed, vectors),
    Case(
        "weights also in a plain list",
        Hoarder,
        vectors,
        attach=Refused("they would be read at θ = 0 there", "read by their own names"),
    ),
    Case("parameters without dimensions", Scaled, vectors),
    Case(
        "complex parameters",
        Phases,
        vectors,
        exact=False,
        **refused("hold real pairs", "real floating-point weights"),
    ),
    Case("float64 module", lambda: mlp().double(), lambda: (vectors()[0].double(), vectors()[1])),
    Case(
        "bfloat16 module",
        lambda: mlp().bfloat16(),
        lambda: (vectors()[0].bfloat16(), vectors()[1]),
    ),
    Case("int8 layer under a head", Quantised, vectors),
    Case("quantisation-aware training", StraightThrough, vectors, one_way=True),
    Case(
        "channels last",
        lambda: convolutional().to(memory_format=torch.channels_last),
        lambda: (images()[0].to(memory_format=torch.channels_last), images()[1]),
    ),
)

"""Rows of the table: what a forward pass does, what it takes and returns."""

from __future__ import annotations

import functools
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

from .case import Case, Refused, integers, normals, refused
from .rows_layers import (
    CLASSES,
    ROWS,
    WIDTH,
    WRITES,
    convolutional,
    images,
    mlp,
    sequences,
    vectors,
)


class Checkpointed(nn.Module):
    """Recomputes all but its first layer in the backward pass."""

    def __init__(self, first: nn.Module, inner: nn.Module, *, reentrant: bool) -> None:
        super().__init__()
        self.first, self.inner, self.reentrant = first, inner, reentrant

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return checkpoint(self.inner, self.first(x), use_reentrant=self.reentrant)


def checkpointed(*, reentrant: bool) -> nn.Module:
    """Three linear layers, two of them recomputed."""
    return Checkpointed(nn.Linear(WIDTH, WIDTH), mlp(), reentrant=reentrant)


def checkpointed_convolutions() -> nn.Module:
    """Three convolutions, two of them recomputed."""
    return Checkpointed(nn.Conv2d(2, 2, 1), convolutional(), reentrant=False)


class SavedElsewhere(nn.Module):
    """Keeps what the backward pass needs by hooks on saved tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.net = mlp()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autograd.graph.saved_tensors_hooks(lambda t: t.clone(), lambda t: t):
            return self.net(x)


class _Late(torch.autograd.Function):
    """x Wᵀ, whose backward pass reads W from the module, not from what was saved."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, owner: nn.Module) -> torch.Tensor:
        ctx.owner = owner
        ctx.save_for_backward(x)
        return x @ weight.T

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        return grads[0] @ ctx.owner.weight, grads[0].T @ x, None


class ReadsLate(nn.Module):
    """A custom autograd function that keeps the module."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(WIDTH, 4), nn.Linear(4, CLASSES, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _Late.apply(torch.tanh(self.first(x)), self.second.weight, self.second)


class _Square(torch.autograd.Function):
    """x², with the backward pass written by hand."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
        return 2 * ctx.saved_tensors[0] * grads[0]


class OwnFunction(nn.Module):
    """A custom autograd function of the old form."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(WIDTH, 4), nn.Linear(4, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(_Square.apply(self.first(x)))


def hooked() -> nn.Module:
    """Hooks before, after and behind a layer, each of which changes what passes."""
    net = mlp()
    net[0].register_forward_pre_hook(lambda module, args: (args[0] * 2,))
    net[0].register_forward_hook(lambda module, args, out: out + 0.5)
    return net


def backward_hooked() -> nn.Module:
    """A full backward hook that looks on."""
    net = mlp()
    net[2].register_full_backward_hook(lambda module, into, out: None)
    return net


def backward_changed() -> nn.Module:
    """A full backward hook that halves the gradient that passes."""
    net = mlp()
    net[2].register_full_backward_hook(lambda module, into, out: (into[0] / 2,))
    return net


def weight_hooked() -> nn.Module:
    """A hook on a weight, which doubles its gradient."""
    net = mlp()
    net[0].weight.register_hook(lambda gradient: 2 * gradient)
    return net


def averaged() -> nn.Module:
    """An exponential moving average of a net, by `AveragedModel`."""
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    return AveragedModel(mlp(), multi_avg_fn=get_ema_multi_avg_fn(0.9))


class Penalised(nn.Module):
    """Returns logits and the sum of squares of its own parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.net = mlp()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        penalty = sum(p.square().sum() for p in self.parameters())
        return self.net(x) - 0.01 * penalty * torch.arange(CLASSES)


class Clamped(nn.Module):
    """Clamps its weights in place at each pass."""

    def __init__(self) -> None:
        super().__init__()
        self.net = mlp()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            self.net[0].weight.clamp_(-0.2, 0.2)
        return self.net(x)


class HyperNetwork(nn.Module):
    """One net makes the weights with which another is called."""

    def __init__(self) -> None:
        super().__init__()
        self.code = nn.Parameter(torch.randn(3))
        self.maker, self.main = nn.Linear(3, WIDTH * CLASSES), nn.Linear(WIDTH, CLASSES)
        self.main.weight.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made = self.maker(self.code).view(CLASSES, WIDTH) + self.main.weight
        return functional_call(self.main, {"weight": made, "bias": self.main.bias}, (x,))


class InnerStep(nn.Module):
    """MAML: a gradient step on each call's first rows, then the loss of the outputs after it."""

    def __init__(self) -> None:
        super().__init__()
        self.net = mlp()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        names, weights = zip(*self.net.named_parameters(), strict=True)
        with torch.enable_grad():
            inner = self.net(x).square().mean()
            steps = torch.autograd.grad(inner, weights, create_graph=True)
        moved = {n: w - 0.5 * g for n, w, g in zip(names, weights, steps, strict=True)}
        return functional_call(self.net, moved, (x,))


class Physics(nn.Module):
    """The residual u″ + u of a net u at points x, by derivatives in its inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.u = nn.Sequential(nn.Linear(1, 6), nn.Tanh(), nn.Linear(6, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            u = self.u(x)
            (slope,) = torch.autograd.grad(u.sum(), x, create_graph=True)
            (bend,) = torch.autograd.grad(slope.sum(), x, create_graph=True)
        return bend + u


class Adversarial(nn.Module):
    """A generator before a critic that is held still: the generator's side of a GAN."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = nn.Sequential(nn.Linear(WIDTH, 6), nn.Tanh(), nn.Linear(6, 2))
        self.critic = nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 1))
        self.critic.requires_grad_(False)

    def forward(self, noise: torch.Tensor) -> torch.Tensor:
        return self.critic(self.generator(noise))


class Flow(nn.Module):
    """A normalising flow of two affine couplings: −log p of each row."""

    def __init__(self) -> None:
        super().__init__()
        self.couplings = nn.ModuleList(
            nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 4)) for _ in range(2)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        log_volume = torch.zeros_like(x[:, 0])
        for coupling in self.couplings:
            still, moving = x.chunk(2, 1)
            shift, scale = coupling(still).chunk(2, 1)
            x = torch.cat([moving * scale.tanh().exp() + shift, still], 1)
            log_volume = log_volume + scale.tanh().sum(1)
        return 0.5 * x.square().sum(1) - log_volume


class MessagePassing(nn.Module):
    """A graph net: each node sums messages along fixed edges by `index_add`."""

    def __init__(self) -> None:
        super().__init__()
        self.message, self.head = nn.Linear(WIDTH + 1, 4), nn.Linear(4, CLASSES)
        self.register_buffer("edges", torch.tensor([[0, 1, 2, 3, 0], [1, 2, 3, 0, 2]]))

    def forward(self, nodes: torch.Tensor) -> torch.Tensor:
        sent = torch.tanh(self.message(nodes))
        heard = torch.zeros_like(sent).index_add(1, self.edges[1], sent[:, self.edges[0]])
        return self.head(heard.mean(1))


class Radiance(nn.Module):
    """NeRF: colours and densities along a ray, composed; positions in waves."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 4))
        self.register_buffer("depths", torch.linspace(0.5, 2, 5))

    def forward(self, rays: torch.Tensor) -> torch.Tensor:
        points = rays[:, None, :3] + rays[:, None, 3:] * self.depths[:, None]
        waves = torch.cat([(points * f).sin() for f in (1, 2)] + [points.cos(), points], -1)
        out = self.net(waves)
        alpha = 1 - torch.exp(-nn.functional.softplus(out[..., 3]) * 0.4)
        clear = torch.cumprod(1 - alpha + 1e-6, 1)
        weights = alpha * torch.cat([torch.ones_like(clear[:, :1]), clear[:, :-1]], 1)
        return (weights[..., None] * out[..., :3].sigmoid()).sum(1)


class Branching(nn.Module):
    """Goes one of two ways by a number that it has computed."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.other = mlp(), nn.Linear(WIDTH, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.net(x)
        return out + self.other(x) if out.detach().square().sum() > 0 else out


class Experts(nn.Module):
    """A mixture of experts: each row goes to the expert that its gate prefers."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(WIDTH, 2)
        self.experts = nn.ModuleList(nn.Linear(WIDTH, CLASSES) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gates = self.gate(x).softmax(-1)
        best, out = gates.argmax(-1), torch.zeros(len(x), CLASSES, dtype=x.dtype)
        for number, expert in enumerate(self.experts):
            (rows,) = torch.where(best == number)
            out = out.index_add(0, rows, gates[rows, number, None] * expert(x[rows]))
        return out


class Noisy(nn.Module):
    """Adds noise from PyTorch's generator."""

    def __init__(self) -> None:
        super().__init__()
        self.net = mlp()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x + 0.1 * torch.randn_like(x))


class Pair(nn.Module):
    """Takes two tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(WIDTH, CLASSES), nn.Linear(2, CLASSES)

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return self.left(left) * torch.tanh(self.right(right))


class Tokens(nn.Module):
    """Takes token numbers and a mask by name."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(11, 4), nn.Linear(4, CLASSES)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        mask = attention_mask[..., None].to(self.head.weight.dtype)
        return self.head((self.embedding(input_ids) * mask).sum(1) / mask.sum(1))


def masked_tokens() -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Token numbers, some of them padding."""
    lengths = torch.tensor([4, 3, 2] * (ROWS // 3))
    mask = (torch.arange(4) < lengths[:, None]).long()
    return {"input_ids": integers(11, ROWS, 4), "attention_mask": mask}, integers(CLASSES, ROWS)


@dataclass
class Output:
    """What Hugging Face's models return, in short."""

    logits: torch.Tensor
    hidden: torch.Tensor


class Returning(nn.Module):
    """Returns its logits and something beside them, in one of several forms."""

    def __init__(self, form: str) -> None:
        super().__init__()
        self.net, self.form = mlp(), form

    def forward(self, x: torch.Tensor) -> Any:
        logits = self.net(x)
        if self.form == "dataclass":
            return Output(logits, x)
        if self.form == "dict":
            return {"logits": logits, "hidden": x}
        if self.form == "training" and not self.training:
            return logits
        return logits, logits * 2


def _scripted() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return nn.Sequential(torch.jit.script(nn.Linear(WIDTH, 4)), nn.Tanh(), nn.Linear(4, 3))


def _traced() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        part = torch.jit.trace(nn.Linear(WIDTH, 4), torch.zeros(2, WIDTH))
        return nn.Sequential(part, nn.Tanh(), nn.Linear(4, CLASSES))


def _lightning() -> nn.Module:
    from lightning import LightningModule

    class Net(LightningModule):
        """A Lightning module."""

        def __init__(self) -> None:
            super().__init__()
            self.net = mlp()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.net(x)

        def training_step(self, batch: Any, index: int) -> torch.Tensor:
            return nn.functional.cross_entropy(self(batch[0]), batch[1])

    return Net()


def _first(output: Any, targets: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(output[0], targets)


def _logits(output: Any, targets: torch.Tensor) -> torch.Tensor:
    logits = output["logits"] if isinstance(output, dict) else output.logits
    return nn.functional.cross_entropy(logits, targets)


def mean_output(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The mean of what the module says of each row, whatever the targets are."""
    return output.mean()


def nothing(rows: int, *shape: int) -> torch.Tensor:
    """Targets where there are none."""
    return torch.zeros(rows, *shape)


_SCRIPTED = refused("its weights cannot be replaced", "scripted or traced")

_TRAINS: dict[str, Any] = {"dropout": "train"}


class Dropping(nn.Module):
    """Functional dropout, in training alone."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(WIDTH, 8), nn.Linear(8, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(nn.functional.dropout(self.body(x).tanh(), 0.4, self.training))


class Attending(nn.Module):
    """Dropout of attention's weights, a number that the module holds."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(6, 2, dropout=0.4, batch_first=True)
        self.head = nn.Linear(6, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.attention(x, x, x, need_weights=False)[0].mean(1))


class NumpyDropout(nn.Module):
    """Masks from NumPy's global generator, which no seed of PyTorch's settles."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            x = x * torch.from_numpy(np.random.rand(*x.shape)).to(x)  # noqa: NPY002
        return self.linear(x)


def normed_and_dropped() -> nn.Module:
    return nn.Sequential(
        nn.Linear(WIDTH, 8), nn.BatchNorm1d(8), nn.Dropout(0.3), nn.Linear(8, CLASSES)
    )


FORWARDS = (
    Case("checkpointing", functools.partial(checkpointed, reentrant=False), vectors),
    Case(
        "checkpointing, reentrant",
        functools.partial(checkpointed, reentrant=True),
        vectors,
        theory=Refused("first derivatives alone", "hands its gradients"),
        quiet=("None of the inputs have requires_grad",),
    ),  # where nothing needs gradients
    Case("checkpointing of convolutions", checkpointed_convolutions, images),
    Case("hooks on saved tensors", SavedElsewhere, vectors),
    Case("autograd function that keeps the module", ReadsLate, vectors),
    Case("autograd function of one's own", OwnFunction, vectors),
    Case("forward hooks", hooked, vectors),
    Case("backward hooks that look on", backward_hooked, vectors),
    Case(
        "backward hooks that change gradients",
        backward_changed,
        vectors,
        theory=Refused("gradients are no longer the loss's", "hook"),
    ),
    Case(
        "hooks of weights",
        weight_hooked,
        vectors,
        **refused("they would not fire", "weights without hooks"),
    ),
    Case("EMA (`AveragedModel`)", averaged, vectors),
    Case("penalty on one's own parameters", Penalised, vectors),
    Case(
        "weights written in place in forward",
        Clamped,
        vectors,
        **WRITES,
        attach=Refused(WRITES["problem"].why, "expected no write in place"),
    ),
    Case("control flow by values", Branching, vectors),
    Case("mixture of experts", Experts, vectors),
    Case(
        "dropout",
        lambda: nn.Sequential(mlp(), nn.Dropout(0.5)),
        vectors,
        options={"dropout": "off"},
    ),
    Case(
        'dropout that trains (`dropout="train"`)',
        lambda: nn.Sequential(mlp(), nn.Dropout(0.5)),
        vectors,
        options=_TRAINS,
    ),
    Case(
        "dropout of channels that trains",
        lambda: nn.Sequential(nn.Dropout2d(0.3), *convolutional()),
        images,
        options=_TRAINS,
    ),
    Case("dropout in attention that trains", Attending, sequences, options=_TRAINS),
    Case("functional dropout that trains", Dropping, vectors, options=_TRAINS),
    Case(
        "dropout beside BatchNorm that trains",
        normed_and_dropped,
        vectors,
        options={**_TRAINS, "eval_rows": None},
    ),
    Case(
        "dropout that draws from NumPy",
        NumpyDropout,
        vectors,
        options=_TRAINS,
        problem=Refused("a seed does not settle it", "noise from PyTorch's generator alone"),
        fine_tuning=Refused("a seed does not settle it", "noise from PyTorch's generator alone"),
        theory=Refused("a seed does not settle it", "noise from PyTorch's generator alone"),
    ),
    Case(
        "noise in forward",
        Noisy,
        vectors,
        **refused(
            "the loss is no function of the weights",
            "the same outputs",
            "problem",
            "fine_tuning",
            "theory",
        ),
    ),
    Case("hypernetwork", HyperNetwork, vectors),
    Case(
        "MAML's inner step",
        InnerStep,
        vectors,
        options={"eval_rows": None},
        theory=Refused("first derivatives alone", "hands its gradients"),
    ),
    Case(
        "PINN, second derivatives in the inputs",
        Physics,
        lambda: (normals(ROWS, 1), nothing(ROWS, 1)),
        "mse",
    ),
    Case(
        "GAN, the generator's side",
        Adversarial,
        lambda: (normals(ROWS, WIDTH), torch.ones(ROWS, 1)),
        nn.functional.binary_cross_entropy_with_logits,
    ),
    Case("normalising flow", Flow, lambda: (normals(ROWS, 4), nothing(ROWS)), mean_output),
    Case("graph net", MessagePassing, lambda: (normals(ROWS, 4, 6), integers(CLASSES, ROWS))),
    Case("NeRF", Radiance, lambda: (normals(ROWS, 6), normals(ROWS, 3, seed=3).sigmoid()), "mse"),
    Case(
        "inputs: a tuple",
        Pair,
        lambda: ((normals(ROWS, WIDTH), normals(ROWS, 2, seed=5)), integers(CLASSES, ROWS)),
    ),
    Case("inputs: a dict", Tokens, masked_tokens),
    Case("outputs: a dataclass", functools.partial(Returning, "dataclass"), vectors, plain=_logits),
    Case("outputs: a dict", functools.partial(Returning, "dict"), vectors, plain=_logits),
    Case("outputs: a tuple", functools.partial(Returning, "tuple"), vectors, _first),
    Case("outputs: a tuple in training alone", functools.partial(Returning, "training"), vectors),
    Case(
        "`torch.compile`d module",
        lambda: torch.compile(mlp(), backend="eager"),
        vectors,
        attach=Refused("attach first, then compile", "not compiled yet"),
        fine_tuning=Refused("compiled code keeps the module", "that can be copied"),
        theory=Refused("first derivatives alone", "hands its gradients"),
    ),
    Case("scripted part", _scripted, vectors, **_SCRIPTED),
    Case("traced part", _traced, vectors, **_SCRIPTED),
    Case(
        "`nn.DataParallel`",
        lambda: nn.DataParallel(mlp()),
        vectors,
        attach=Refused("attach to the module inside", "Attach to the module inside"),
    ),
    Case("Lightning module", _lightning, vectors),
)

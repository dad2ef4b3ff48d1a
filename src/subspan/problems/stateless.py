"""`Stateless`: a module's outputs and loss as functions of one flat weight vector.

There are three ways to let a module read other weights than its own, from the fastest to the one
that takes every module:

- `"swapped"`: the weights stand in the module while it runs (`torch.func.functional_call`). What
  is read after the forward pass returned, or not by the attribute, is the module's own.
- `"copied"`: a copy of the module is made for the call, in which the weights stand wherever the
  module holds its parameters: in a list, in a dict, and after the forward pass returned.
- `"written"`: the weights are written into the module's parameters, and the gradient is the one
  that PyTorch puts there. First derivatives of the loss alone.

`selfcheck.choose` takes the first that agrees with plain PyTorch.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.func import functional_call

from subspan.errors import invalid
from subspan.maps.base import traced
from subspan.problems import structure
from subspan.problems.attention import plain_attention
from subspan.problems.convolutions import Products
from subspan.problems.copies import cast, duplicate
from subspan.problems.layout import Layout
from subspan.problems.structure import Tensors
from subspan.streams import scoped_torch_rng

Way = Literal["swapped", "copied", "written"]
WAYS: tuple[Way, ...] = ("swapped", "copied", "written")
OfOutputs = Callable[[Any], torch.Tensor]


@dataclass
class Stateless:
    """A module that runs with any weights, and is left as it was.

    Attributes:
        module: owned, nobody else holds it; in training mode where it draws noise, else in
            evaluation mode. Its own weights are of no use.
        layout: of its trainable parameters.
        select: returns what counts of the module's output.
        way: how the module gets its weights.
        clone_inputs: whether the module writes into its inputs, so that it gets copies.
        held: by name, entries that no weights move (a mask) and the values that stand there.
        leftovers: places (part, attribute) where a forward pass leaves tensors behind.
        bystanders: parameters of the loss, whose `.grad` stays as it is.
        noise: seed of what a forward pass draws; None: nothing is to be drawn.
        autocast: run under `torch.autocast` in this dtype, with outputs in that of the weights.
        products: where a `torch.func` transform is at work, convolve by matrix products.
    """

    module: nn.Module
    layout: Layout
    select: Callable[[Any], Any]
    way: Way = "swapped"
    clone_inputs: bool = False
    held: dict[str, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)
    leftovers: tuple[tuple[str, str], ...] = ()
    bystanders: tuple[nn.Parameter, ...] = ()
    noise: int | None = None
    autocast: torch.dtype | None = None
    products: bool = False

    def __post_init__(self) -> None:
        named = dict(self.module.named_parameters())
        self._own = [named[name] for name in self.layout.names]
        self._places = places(self.module, self.layout)

    def outputs(self, weights: torch.Tensor, x: Tensors) -> Any:
        """Return the module's outputs with weights (D,) on inputs."""
        if self.way != "written":
            return self._run(weights, x)
        if _transformed(weights) or (torch.is_grad_enabled() and weights.requires_grad):
            raise invalid(
                "problem",
                expected="a module whose outputs can be differentiated by its weights",
                got="one that hands its gradients to its own parameters alone",
                remedy="Training works. For this, switch off checkpointing that is reentrant, and "
                "read weights from the module's attributes.",
            )
        self.write(weights)
        with torch.no_grad():
            return self._call(self.module, x)

    def loss(self, weights: torch.Tensor, x: Tensors, of_outputs: OfOutputs) -> torch.Tensor:
        """Return the loss of the outputs, shape (); differentiable."""
        if self.way != "written" or _transformed(weights):
            return of_outputs(self.outputs(weights, x))
        if torch.is_grad_enabled() and weights.requires_grad:
            run = lambda w: self.written_loss(w, x, of_outputs)[1:]  # noqa: E731
            result: torch.Tensor = _WrittenLoss.apply(weights, run)
            return result
        return of_outputs(self.outputs(weights, x))

    def written_loss(
        self, weights: torch.Tensor, x: Tensors, of_outputs: OfOutputs
    ) -> tuple[Any, torch.Tensor, torch.Tensor]:
        """Return outputs, loss () and gradient (D,) as plain PyTorch has them.

        The weights are written into the parameters, which keep them; the gradient is what
        `backward` puts there.
        """
        self.write(weights)
        kept = [p.grad for p in self.bystanders]
        for p in self._own:
            p.grad = None
        try:
            with torch.enable_grad():
                outputs = self._call(self.module, x)
                value = of_outputs(outputs)
                value.backward()
            gradient = self.layout.flatten(
                [torch.zeros_like(p) if p.grad is None else p.grad.to_dense() for p in self._own]
            )
        finally:
            for p, grad in zip(self.bystanders, kept, strict=True):
                p.grad = grad
            for p in self._own:
                p.grad = None
        for name, (mask, value_there) in self.held.items():
            gradient[self.layout.slices[name]].view_as(value_there).masked_fill_(mask, 0)
        return outputs, value.detach(), gradient

    def written(self) -> torch.Tensor:
        """Return the weights that stand in the module's own parameters, (D,)."""
        return self.layout.flatten([p.detach() for p in self._own])

    @torch.no_grad()
    def forget(self) -> None:
        """Put NaN where nothing should be read: what reads the module's own weights after all, for
        some rows alone or for many, shows by it."""
        for p in self._own if self.way == "swapped" else ():
            p.fill_(math.nan)

    def to(self, device: torch.device, dtype: torch.dtype, module: nn.Module) -> Self:
        """Return the same over `module`, a copy of this one, moved to a device and dtype."""
        held = {
            name: (mask.to(device), value.to(device, dtype))
            for name, (mask, value) in self.held.items()
        }
        moved = dataclasses.replace(self, module=cast(module, device, dtype), held=held)
        moved.forget()
        return moved

    @plain_attention()
    def _run(self, weights: torch.Tensor, x: Tensors) -> Any:
        tensors = self.layout.split(weights)
        for name, (mask, value) in self.held.items():
            tensors[name] = torch.where(mask, value, tensors[name])
        version = _version(weights)
        if self.way == "copied":
            memo: dict[int, Any] = {id(t): t for t in self.module.buffers()}
            memo |= {id(p): p for p in self.module.parameters()}
            pairs = zip(self._own, self.layout.names, strict=True)
            memo |= {id(p): tensors[name] for p, name in pairs}
            result = self._call(duplicate(self.module, memo), x)
        else:
            result = self._swapped(tensors, x)
        if version is not None and weights._version != version:
            raise invalid(
                "make_module",
                expected="a forward pass that leaves the weights as they are",
                got="one that writes into them",
                remedy="Leave out max_norm and the like.",
            )
        return result

    def _swapped(self, tensors: dict[str, torch.Tensor], x: Tensors) -> Any:
        given = {place: tensors[name] for place, name in self._places.items()}
        x = self._apart(x)
        args, kwargs = structure.positional(x), structure.named(x)
        convolving = Products() if self.products and traced() else contextlib.nullcontext()
        with _cleared(self.module, self.leftovers), self._drawing(x), self._rounding(x), convolving:
            # Each place once: tied weights stand in `given` under all their names.
            out = functional_call(self.module, given, args, kwargs, tie_weights=False)
            return self._rounded(self.select(out))

    def _call(self, module: nn.Module, x: Tensors) -> Any:
        with self._drawing(x), self._rounding(x):
            return self._rounded(self.select(structure.call(module, self._apart(x))))

    def _drawing(self, x: Tensors) -> contextlib.AbstractContextManager[None]:
        if self.noise is None:
            return contextlib.nullcontext()
        return scoped_torch_rng(self.noise, "dropout", device=structure.leaves(x)[0].device)

    def _rounding(self, x: Tensors) -> contextlib.AbstractContextManager[Any]:
        if self.autocast is None:
            return contextlib.nullcontext()
        kind = structure.leaves(x)[0].device.type
        # The weights are other tensors at each call: a cache of their casts finds none of them.
        return torch.autocast(kind, self.autocast, cache_enabled=False)

    def _rounded(self, outputs: Any) -> Any:
        """Return outputs in float32 where they were cast, so that the loss is not rounded too."""
        if self.autocast is None:
            return outputs
        return structure.mapped(lambda t: t.float() if t.dtype == self.autocast else t, outputs)

    def _apart(self, x: Tensors) -> Tensors:
        """Return inputs that a module may write into, or ask gradients of: none of it stays."""
        return structure.mapped(lambda t: t.clone() if self.clone_inputs else t.detach(), x)

    @torch.no_grad()
    def write(self, weights: torch.Tensor) -> None:
        """Write weights (D,) into the module's own parameters."""
        tensors = self.layout.split(weights.detach())
        for p, name in zip(self._own, self.layout.names, strict=True):
            value = tensors[name]
            if name in self.held:
                value = torch.where(self.held[name][0], self.held[name][1], value)
            p.copy_(value)


class _WrittenLoss(torch.autograd.Function):
    """A loss whose gradient is computed with it: some modules give it by `backward` alone."""

    @staticmethod
    def forward(
        ctx: Any,
        weights: torch.Tensor,
        run: Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]],
    ) -> torch.Tensor:
        value, gradient = run(weights)
        ctx.save_for_backward(gradient)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return grad * gradient, None


def places(module: nn.Module, layout: Layout) -> dict[str, str]:
    """Return every place where a parameter of the layout stands, by its dotted name: the name it
    has in the layout. A part that has two names in the module is one place."""
    named = dict(module.named_parameters())
    names = {id(named[name]): name for name in layout.names}
    return {
        f"{path}.{key}".lstrip("."): names[id(value)]
        for path, part in module.named_modules()
        for key, value in (*part._parameters.items(), *part._buffers.items())
        if id(value) in names
    }


# A recurrent module finds out by itself that its list of weights is out of date.
_REGISTRIES = ("_parameters", "_buffers", "_modules", "_flat_weights")


def attributes(module: nn.Module) -> dict[tuple[str, str], Any]:
    """Return what the parts of a module hold besides parameters, buffers and parts; containers as
    they are now."""
    return {
        (path, key): _shallow(value)
        for path, part in module.named_modules()
        for key, value in vars(part).items()
        if key not in _REGISTRIES
    }


def left_behind(before: dict[tuple[str, str], Any], module: nn.Module) -> list[tuple[str, str]]:
    """Return where a module holds tensors that it did not hold before."""
    return [
        place
        for place, now in attributes(module).items()
        if _tensors(now) and _identity(now) != _identity(before.get(place))
    ]


@contextlib.contextmanager
def _cleared(module: nn.Module, found: tuple[tuple[str, str], ...]) -> Iterator[None]:
    """Put back what stands in these attributes now, on leaving."""
    if not found:
        yield
        return
    missing = object()
    parts = [(vars(module.get_submodule(path)), key) for path, key in found]
    kept = [(space, key, _shallow(space.get(key, missing))) for space, key in parts]
    try:
        yield
    finally:
        for space, key, value in kept:
            if value is missing:
                space.pop(key, None)
            elif isinstance(value, list) and isinstance(space.get(key), list):
                space[key][:] = value
            else:
                space[key] = value


def _shallow(value: Any) -> Any:
    return type(value)(value) if type(value) in (list, dict, tuple) else value


def _tensors(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    if type(value) in (list, dict, tuple):
        parts = value.values() if isinstance(value, dict) else value
        return [part for part in parts if isinstance(part, torch.Tensor)]
    return []


def _identity(value: Any) -> list[int]:
    return [id(tensor) for tensor in _tensors(value)]


def _transformed(weights: torch.Tensor) -> bool:
    wrapped: bool = torch._C._functorch.is_functorch_wrapped_tensor(weights)
    return wrapped


def _version(weights: torch.Tensor) -> int | None:
    return None if weights.is_inference() or _transformed(weights) else weights._version

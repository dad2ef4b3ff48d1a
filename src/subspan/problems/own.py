"""`OwnModules`: modules that a `Problem` makes for itself, and may write into."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from subspan.errors import invalid
from subspan.problems import structure
from subspan.problems.checks import refuse_dropout
from subspan.problems.copies import cast, closures, duplicate, share
from subspan.problems.identity import module_identity
from subspan.problems.layout import Layout
from subspan.problems.parameters import refuse_shared
from subspan.problems.structure import Tensors
from subspan.streams import scoped_torch_rng


class OwnModules:
    """Makes modules by a user's function, ready to run, and holds none that the user holds.

    Args:
        make_module: as the user gave it.
        batch_statistics: whether BatchNorm normalises by the current batch alone.
        dropout: `"refuse"` or `"off"`.

    Attributes:
        dtype: of the parameters: the widest, if they differ.
        batch_norm: whether a module normalises by the current batch; known after `two`.
        running_statistics: whether running statistics stand in it; known after `two`.
    """

    def __init__(
        self, make_module: Callable[[], nn.Module], batch_statistics: bool, dropout: str
    ) -> None:
        self._make, self._batch_statistics, self._dropout = make_module, batch_statistics, dropout
        self._first: nn.Module | None = self._raw(0, "module")
        self._kept: list[str] = []
        self._rows: Tensors = None
        self.batch_norm = self.running_statistics = False
        refuse_shared(self._first)
        self.kinds = _kinds(self._first)
        self.dtype = _dtype(self._first)

    def two(self, rows: Tensors, *, fresh: bool) -> tuple[nn.Module, nn.Module]:
        """Return two modules with equal constants, in evaluation mode.

        Args:
            rows: a few inputs, for layers that take their shape from them.
            fresh: whether initial weights are the module's own, which then must not be the same
                object's each time.

        Raises:
            InputError: they are; or the module has active dropout, or nothing to train.
        """
        first, second = self._first, self._raw(0, "module")
        assert first is not None
        self._first = None
        if share(first, second):
            if fresh:
                self._refuse_the_same(first, second)
            self._kept = []
            if found := closures(first):
                raise invalid(
                    "make_module",
                    expected="a fresh module at each call",
                    got=f"one in use elsewhere, whose {found[0]!r} is a function that keeps it",
                    remedy="Make the module anew in the function.",
                )
            first, second = duplicate(first), duplicate(second)
        else:
            self._kept = closures(first)
        if _lazy(first):
            self._rows = rows
        first, second = self._ready(first), self._ready(second)
        refuse_dropout(first, self._dropout)
        _take_constants(second, first)
        norms = [m for m in first.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        self.batch_norm = any(not m.track_running_stats for m in norms)
        self.running_statistics = any(m.track_running_stats for m in norms)
        return first, second

    def identity(self) -> Any:
        """Return what tells the modules from others, before `two`: no pass has changed one yet."""
        assert self._first is not None
        return module_identity(self._first)

    def fresh(self, seed: int, name: str) -> nn.Module:
        """Return a module whose initialisation is drawn from a stream; to be read alone."""
        return self._shaped(self._raw(seed, name), seed, name)

    def again(self, module: nn.Module) -> nn.Module:
        """Return a copy of a module that came from here.

        One that holds functions that keep it is made anew: a copy's would go on reading the
        module that they were made with.
        """
        if found := _views(module):
            raise invalid(
                "dtype",
                expected=f"the module's own, {self.dtype}",
                got=f"another, or another device: {found[0]!r} is a view of a weight",
                remedy="A copy's would not follow the weight: take the view in forward.",
            )
        if not self._kept:
            return duplicate(module)
        made = self._ready(self._raw(0, "module"))
        _take_constants(made, module)
        return made

    def _raw(self, seed: int, name: str) -> nn.Module:
        with scoped_torch_rng(seed, name):
            module = self._make()
        if not isinstance(module, nn.Module):
            raise invalid(
                "make_module",
                expected="a function that returns a torch.nn.Module",
                got=type(module).__name__,
            )
        return module

    def _shaped(self, module: nn.Module, seed: int, name: str) -> nn.Module:
        """Return the module with its lazy layers initialised, from the same stream."""
        if not _lazy(module):
            return module
        module = duplicate(module)
        with scoped_torch_rng(seed, name, "lazy"), torch.no_grad():
            structure.call(module.eval(), structure.mapped(torch.clone, self._rows))
        return module

    def _ready(self, module: nn.Module) -> nn.Module:
        module = self._shaped(module, 0, "module")
        floats = [p for p in module.parameters() if p.requires_grad]
        if any(p.dtype != self.dtype or p.device.type != "cpu" for p in floats):
            _refuse_weights(module)
            module = cast(module, torch.device("cpu"), self.dtype)
        for part in module.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm) and self._batch_statistics:
                part.track_running_stats = False
                part.running_mean = part.running_var = part.num_batches_tracked = None
            if isinstance(part, nn.Embedding | nn.EmbeddingBag):
                if part.max_norm is not None:
                    raise invalid(
                        "make_module",
                        expected="a forward pass that leaves the weights as they are",
                        got=f"an {type(part).__name__} with max_norm, which scales them",
                        remedy="Leave out max_norm.",
                    )
                part.sparse = False  # the same numbers, dense
        return module.eval()

    def _refuse_the_same(self, first: nn.Module, second: nn.Module) -> None:
        ours = {id(p) for p in first.parameters() if p.requires_grad}
        theirs = {id(p) for p in second.parameters() if p.requires_grad}
        if not ours or ours != theirs or _lazy(first):  # lazy layers are drawn from each seed
            return
        before = [p.detach().clone() for p in first.parameters()]
        third = self._raw(1, "module")
        if all(map(torch.equal, before, third.parameters())):
            raise invalid(
                "make_module",
                expected="a function that returns a fresh module",
                got="the same one at each call, so that all seeds start from the same weights",
                remedy="Make it in the function, e.g. lambda: nn.Linear(5, 2); to start from "
                "the weights of a trained module, use subspan.adapters.fine_tuning.",
            )


def trained(module: nn.Module) -> Layout:
    """Return the layout of the parameters that are trained.

    Raises:
        InputError: none is, or one is complex.
    """
    parameters = dict(module.named_parameters())
    layout = Layout.of({n: p for n, p in parameters.items() if p.requires_grad})
    if not layout.ambient_dim:
        raise invalid(
            "make_module",
            expected="a module with parameters to train",
            got="frozen ones alone (requires_grad=False)" if parameters else "none",
        )
    _refuse_weights(module)
    return layout


def _views(module: nn.Module) -> list[str]:
    """Return the names of tensors in attributes that lie in a parameter's memory."""
    memory = {
        p.untyped_storage().data_ptr() for p in module.parameters() if not nn.parameter.is_lazy(p)
    }
    return [
        f"{path}.{name}".lstrip(".")
        for path, part in module.named_modules()
        for name, value in vars(part).items()
        if isinstance(value, torch.Tensor) and value.untyped_storage().data_ptr() in memory
    ]


def parameters_of(loss: object) -> tuple[nn.Parameter, ...]:
    """Return the parameters of a loss that is a module."""
    return tuple(loss.parameters()) if isinstance(loss, nn.Module) else ()


def refuse_hooks(name: str, weight: torch.Tensor) -> None:
    """Refuse a weight with a hook on its gradient, which does not fire where another stands in.

    Raises:
        InputError: as said.
    """
    if weight._backward_hooks:
        raise invalid(
            name,
            expected="weights without hooks of their own",
            got="one with a hook on its gradient, which would not fire",
            remedy="Remove it: handle.remove() of what register_hook returned.",
        )


def _refuse_weights(module: nn.Module) -> None:
    for name, p in module.named_parameters():
        if p.requires_grad:
            refuse_hooks(name, p)
        if p.requires_grad and p.is_complex():
            raise invalid(
                name,
                expected="real floating-point weights",
                got=f"dtype {p.dtype}",
                remedy="Hold real pairs, (..., 2), and use torch.view_as_complex in forward.",
            )


def _kinds(module: nn.Module) -> set[torch.dtype]:
    return {p.dtype for p in module.parameters() if p.requires_grad and p.is_floating_point()}


def _dtype(module: nn.Module) -> torch.dtype:
    kinds = _kinds(module)
    if not kinds:
        return torch.float32
    found = kinds.pop()
    for kind in kinds:
        found = torch.promote_types(found, kind)
    return found


def _lazy(module: nn.Module) -> bool:
    return any(map(nn.parameter.is_lazy, (*module.parameters(), *module.buffers())))


@torch.no_grad()
def _take_constants(module: nn.Module, other: nn.Module) -> None:
    """Give a module the frozen parameters and buffers of another of the same make."""
    for named in (nn.Module.named_parameters, nn.Module.named_buffers):
        values = dict(named(other))
        for name, tensor in named(module):
            frozen = not tensor.requires_grad and name in values
            if frozen and not torch.equal(tensor, values[name]):
                tensor.copy_(values[name])

"""Ways to fine-tune that are not peft's: random subspaces, and a choice among the weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from subspan.adapters.attach import attach
from subspan.errors import unknown

_OF_ATTACH = ("map", "per_layer_scale")


def of_attach(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that are those of `attach`, not of LoRA."""
    return {key: value for key, value in options.items() if key in _OF_ATTACH}


def check_head(module: nn.Module, head: Sequence[str]) -> None:
    """Refuse a head that the module does not have, which `peft` would pass over in silence.

    Raises:
        InputError: there is no such module.
    """
    names = [n for n, _ in module.named_modules()]
    for part in head:
        if not any(f".{n}".endswith(f".{part}") for n in names):
            owners = {n.rpartition(".")[0] for n, _ in module.named_parameters()}
            raise unknown("head", part, sorted(owners))


def head_numbers(module: nn.Module, head: Sequence[str]) -> int:
    """Return how many numbers the head has that are trained.

    Raises:
        InputError: there is no such module, or nothing in it asks for gradients.
    """
    names = [n for n, p in module.named_parameters() if p.requires_grad]
    for part in head:
        if not any(within(n, part) for n in names):
            raise unknown("head", part, sorted({n.rpartition(".")[0] for n in names}))
    own = {n for n in names if any(within(n, part) for part in head)}
    return sum(p.numel() for n, p in module.named_parameters() if n in own)


def scale_numbers(module: nn.Module, head: Sequence[str]) -> int:
    """Return how many scales `attach` trains: one for each layer that is not the head's."""
    layers, seen = 0, set[nn.Parameter]()
    for path, part in module.named_modules():
        weights = {
            p
            for n, p in part.named_parameters(path, recurse=False)
            if p.requires_grad and not any(within(n, h) for h in head)
        }
        layers += not weights <= seen
        seen |= weights
    return layers


def within(name: str, part: str) -> bool:
    """Whether a parameter lies in a module of that name, at the end of any path."""
    return f".{part}." in f".{name}"


def _subspace(
    module: nn.Module, dim: int | None, seed: int, head: Sequence[str], options: dict[str, Any]
) -> nn.Module:
    assert dim is not None
    head_numbers(module, head)
    names = [n for n, _ in module.named_modules() if any(f".{n}".endswith(f".{p}") for p in head)]
    if names:
        options = {"modules": [f"!{n}" for n in names], "rest": "keep", **options}
    attach(module, dim, seed=seed, **options)
    return module


def within_lora(
    module: nn.Module, dim: int | None, seed: int, options: dict[str, Any]
) -> nn.Module:
    """Put LoRA's factors, which `peft` has put into a module, into a random subspace."""
    assert dim is not None
    attach(module, dim, seed=seed, modules=["*lora_*"], rest="keep", **options)
    return module


def _only(chosen: Callable[[str], bool]) -> Callable[..., nn.Module]:
    """Return what leaves only the head and parameters of chosen names to be trained."""

    def make(
        module: nn.Module, knob: int | None, seed: int, head: Sequence[str], options: dict[str, Any]
    ) -> nn.Module:
        head_numbers(module, head)
        for name, parameter in module.named_parameters():
            wanted = chosen(name) or any(within(name, part) for part in head)
            parameter.requires_grad_(parameter.requires_grad and wanted)
        return module

    return make


MAKERS: dict[str, Callable[..., nn.Module]] = {
    "subspace": _subspace,
    "head": _only(lambda name: False),
    "bitfit": _only(lambda name: name.rpartition(".")[2] == "bias"),
    "full": _only(lambda name: True),
}

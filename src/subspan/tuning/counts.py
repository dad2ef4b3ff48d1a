"""How many numbers a way to fine-tune trains, counted on what it makes of a module.

A module without values (on PyTorch's meta device) is enough for nearly all, so that counting costs
neither memory nor time.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from subspan.adapters.handle import handles
from subspan.errors import InputError, invalid
from subspan.tuning.table import Size, TuningFacts

Side = Literal["at", "below", "above", "nearest"]
_MOST = 2**31  # of a knob


@dataclass(frozen=True)
class Setting:
    """A count of trained numbers that a way to fine-tune can make, and how.

    Attributes:
        numbers: how many are trained, heads and scales included.
        knob: value of the method's own argument, e.g. a rank; None where it has none.
    """

    numbers: int
    knob: int | None


def trained_numbers(module: nn.Module) -> int:
    """Return how many numbers a module trains: those that ask for gradients, shared ones once."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


def layer_sizes(module: nn.Module, targets: Sequence[str] | None) -> list[Size]:
    """Return (in, out) of the linear layers that are adapted; of all where none are named."""
    sizes = [
        (part.in_features, part.out_features)
        for name, part in module.named_modules()
        if isinstance(part, nn.Linear)
        and (targets is None or any(name == t or name.endswith(f".{t}") for t in targets))
    ]
    if not sizes:
        raise invalid("targets", expected="names of linear layers of the module", got=targets)
    return sizes


class Counter:
    """Counts what a method trains on a module, each setting once.

    Args:
        name: of the method.
        facts: of the method.
        targets: names of the layers that it adapts.
        module: left as it is.
        make: from a module, the knob's value and a seed to what trains the numbers, in place.
        room: of a random subspace, which needs values to stand on: on a module without values, its
            least and its largest knob, and how many numbers are trained beside it.
    """

    def __init__(
        self,
        name: str,
        facts: TuningFacts,
        targets: tuple[str, ...] | None,
        module: nn.Module,
        make: Callable[[nn.Module, int | None, int], nn.Module],
        room: Callable[[nn.Module], tuple[int, int, int]],
    ) -> None:
        if handles(module):
            raise InputError(
                "module: expected one without a subspace, got one that has it. Call "
                "handle.detach() first."
            )
        self._name, self._facts, self._targets = name, facts, targets
        self._module, self._make = module, make
        self._bare = _without_values(module)
        self._room: tuple[int, int, int] | None = None
        self._ask_room, self._refusal = room, "none"
        self._known: dict[int | None, int | None] = {}

    def count(self, knob: int | None) -> int | None:
        """Return how many numbers a setting trains; None where it cannot be made."""
        if knob not in self._known:
            self._known[knob] = self._count(knob)
        return self._known[knob]

    def _count(self, knob: int | None) -> int | None:
        if self._is_subspace:
            assert knob is not None
            least, most, beside = self._limits()
            return knob + beside if least <= knob <= most else None
        try:
            try:
                made = self._make(copy.deepcopy(self._bare), knob, 0)
            except NotImplementedError:  # what needs values
                made = self._make(copy.deepcopy(self._module), knob, 0)
        except (ValueError, RuntimeError, ZeroDivisionError) as error:
            self._refusal = str(error)
            return None
        return trained_numbers(made)

    @property
    def _is_subspace(self) -> bool:
        return self._facts.kind == "own" and self._facts.knob is not None

    def _limits(self) -> tuple[int, int, int]:
        if self._room is None:
            self._room = self._ask_room(copy.deepcopy(self._bare))
        return self._room

    def values(self) -> Sequence[int | None]:
        """Return what the knob may be, by rising count where that is few."""
        facts = self._facts
        if facts.knob is None:
            return [None]
        if facts.values is not None:
            sizes = layer_sizes(self._module, self._targets)
            return sorted(facts.values(sizes), key=lambda v: self.count(v) or 0)
        least = self._limits()[0] if self._is_subspace else facts.least
        return range(least, _MOST, facts.stride)

    def counts(self, most: int) -> Sequence[int]:
        """Return the counts that can be made, rising, up to `most`."""
        values = self.values()
        if isinstance(values, range):
            first, step = self._line()
            last = self._last_on_line(values, (most - first) // step)
            return range(first, first + step * last + 1, step)
        found = {n for value in values if (n := self.count(value)) is not None}
        if not found:
            raise self._none()
        return sorted(n for n in found if n <= most)

    def nearest(self, numbers: int, side: Side) -> Setting:
        """Return the setting nearest to a count, as `TuningMethod.nearest`."""
        below, above = self._around(numbers)
        if side == "at":
            chosen = below if below and below.numbers == numbers else None
        elif side == "nearest" and below and above:
            closer = numbers - below.numbers <= above.numbers - numbers
            chosen = below if closer else above
        else:
            chosen = {"below": below, "above": above, "nearest": below or above}[side]
        if chosen is None:
            near = [str(s.numbers) for s in (below, above) if s is not None]
            where = {"at": "", "below": " or fewer", "above": " or more", "nearest": ""}[side]
            raise invalid(
                "numbers",
                expected=f"a count that {self._name!r} can make of this module",
                got=f"{numbers}{where}",
                remedy=f"Nearest: {' and '.join(near)}." if near else "",
            )
        return chosen

    def _around(self, numbers: int) -> tuple[Setting | None, Setting | None]:
        values = self.values()
        if isinstance(values, range):
            first, step = self._line()
            index = self._last_on_line(values, (numbers - first) // step)
            below = self._at(values, index) if index >= 0 else None
            if below is not None and below.numbers == numbers:
                return below, below
            return below, self._at(values, index + 1)
        settings = [Setting(n, v) for v in values if (n := self.count(v)) is not None]
        if not settings:
            raise self._none()
        below = max((s for s in settings if s.numbers <= numbers), key=_numbers, default=None)
        above = min((s for s in settings if s.numbers >= numbers), key=_numbers, default=None)
        return below, above

    def _line(self) -> tuple[int, int]:
        """The count at the knob's least value, and what each step adds.

        A line through two counts; what is returned of it is counted again by `_at`.
        """
        values = self.values()
        first, second = self.count(values[0]), self.count(values[1])
        if first is None or second is None:
            raise self._none()
        return first, second - first

    def _last_on_line(self, values: Sequence[int | None], index: int) -> int:
        """The largest index up to one asked for that can be made; -1 for none."""
        if index < 0 or self._at(values, index) is not None:
            return max(index, -1)
        low, high = 0, index
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._at(values, middle) is None else (middle, high)
        return low

    def _at(self, values: Sequence[int | None], index: int) -> Setting | None:
        knob = values[index]
        found = self.count(knob)
        if found is None:
            return None
        first, step = self._line()
        if found != first + step * index:
            raise InputError(
                f"method: expected {self._name!r} to train {first + step * index} numbers "
                f"at {self._facts.knob}={knob}, got {found}. This peft counts in another way."
            )
        return Setting(found, knob)

    def _none(self) -> InputError:
        return invalid(
            "module",
            expected=f"one that {self._name!r} can adapt",
            got=self._refusal,
        )


def _numbers(setting: Setting) -> int:
    return setting.numbers


def _without_values(module: nn.Module) -> nn.Module:
    """Return a copy of a module on the meta device, of the same shapes."""
    memo: dict[int, Any] = {}
    for tensor in (*module.parameters(), *module.buffers()):
        bare = torch.empty_like(tensor, device="meta")
        is_parameter = isinstance(tensor, nn.Parameter)
        memo[id(tensor)] = nn.Parameter(bare, tensor.requires_grad) if is_parameter else bare
    return copy.deepcopy(module, memo)

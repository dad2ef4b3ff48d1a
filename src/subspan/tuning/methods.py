"""`method`: a way to fine-tune at a count of trained numbers that it can make.

How many numbers a setting trains is counted on what `peft` makes of the module, without values (on
PyTorch's meta device), so that counting costs no memory; heads and scales are in the count.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from torch import nn

from subspan.errors import invalid, unknown, whole
from subspan.streams import derive, scoped_torch_rng
from subspan.tuning import own
from subspan.tuning.counts import Counter, Setting, Side, layer_sizes, trained_numbers
from subspan.tuning.table import NOT_MADE, TUNING, TuningFacts

_SEEDS = 2**31  # what peft's own generators take
_CHOICES = "target_module_mapping"  # of peft's tuners: layers by type of model


class TuningMethod:
    """A way to fine-tune, over chosen layers of a module; made by `method`.

    Attributes:
        name: as in `names()`.
        facts: whether it is affine in its numbers, where it comes from, what its knob is called.
        targets: names of the layers that it adapts; None: as `peft` chooses by architecture.
        head: names of modules that are trained in full beside.
        options: arguments of its configuration, or of `attach`.
    """

    def __init__(
        self,
        name: str,
        facts: TuningFacts,
        targets: tuple[str, ...] | None,
        head: tuple[str, ...],
        options: dict[str, Any],
    ) -> None:
        self.name, self.facts, self.targets = name, facts, targets
        self.head, self.options = head, options

    @property
    def affine(self) -> bool:
        """Whether the weights are affine in the trained numbers, so that they form a subspace."""
        return self.facts.affine

    def count(self, module: nn.Module, knob: int | None) -> int | None:
        """Return how many numbers a setting trains; None where it cannot be made.

        Args:
            module: left as it is.
            knob: the method's own argument; None where it has none.
        """
        return self._counter(module).count(knob)

    def counts(self, module: nn.Module, most: int) -> Sequence[int]:
        """Return the counts of trained numbers that the method can make, rising, up to `most`.

        Args:
            module: with the layers; left as it is.
            most: the largest count that is wanted.

        Raises:
            InputError: the method makes none on this module at all.
        """
        return self._counter(module).counts(whole("most", most, low=0))

    def nearest(self, module: nn.Module, numbers: int, side: Side = "below") -> Setting:
        """Return the setting whose count of trained numbers is nearest to a wanted one.

        Args:
            module: with the layers; left as it is.
            numbers: the count that is wanted.
            side: `"below"` or at it, `"above"` or at it, `"at"` it alone, or `"nearest"` on
                either side (the smaller of two).

        Raises:
            InputError: there is none on that side; the text says which there are.
        """
        if side not in ("at", "below", "above", "nearest"):
            raise unknown("side", str(side), ["at", "below", "above", "nearest"])
        return self._counter(module).nearest(whole("numbers", numbers, low=1), side)

    def apply(self, module: nn.Module, setting: Setting | int, seed: int = 0) -> nn.Module:
        """Make a module train these numbers and no others, in place, as `peft` does.

        Args:
            module: to be fine-tuned; `peft` puts its layers into it.
            setting: from `nearest`, or a count that the method makes.
            seed: of everything drawn at random.

        Returns:
            The module to train: `peft`'s around it, or itself. `parameters()` that ask for
            gradients are the numbers trained.

        Raises:
            InputError: the method does not make that count, or refuses the module.
        """
        whole("seed", seed)
        own.check_head(module, self.head)
        if not isinstance(setting, Setting):
            setting = self.nearest(module, setting, "at")
        made = self._make(module, setting.knob, seed)
        found = trained_numbers(made)
        if found != setting.numbers:
            raise invalid(
                "setting",
                expected=f"one that {self.name!r} makes of this module",
                got=f"{setting.numbers} numbers where {found} are trained",
                remedy="Ask nearest(module, numbers) of the same module.",
            )
        return made

    def _counter(self, module: nn.Module) -> Counter:
        own.check_head(module, self.head)
        targets = self._adapted(module)
        return Counter(self.name, self.facts, targets, module, self._make, self._room)

    def _make(self, module: nn.Module, knob: int | None, seed: int) -> nn.Module:
        """Let a module train what the method trains."""
        facts, options = self.facts, self.options
        if facts.config is None:
            return own.MAKERS[self.name](module, knob, seed, self.head, options)
        if facts.kind != "own":
            with scoped_torch_rng(seed, "tuning", self.name):
                return self._peft(module, knob, seed, options)
        made = self._factors(module, seed)
        return own.within_lora(made, knob, seed, own.of_attach(options))

    def _factors(self, module: nn.Module, seed: int) -> nn.Module:
        """Let `peft` put LoRA's factors into a module."""
        kept = own.of_attach(self.options)
        rest = {k: v for k, v in self.options.items() if k not in kept}
        with scoped_torch_rng(seed, "tuning", "lora"):
            return self._peft(module, None, seed, rest)

    def _room(self, module: nn.Module) -> tuple[int, int, int]:
        """Of a subspace: its least and its largest d, and how many are trained beside it."""
        if self.facts.config is not None:
            module = self._factors(module, 0)
        head = own.head_numbers(module, self.head)
        weights, scaled = trained_numbers(module) - head, self.options.get("per_layer_scale")
        scales = own.scale_numbers(module, self.head) if scaled else 0
        if scaled == "within":
            return scales + 1, scales + weights, head
        return 1, weights, head + scales

    def _peft(
        self, module: nn.Module, knob: int | None, seed: int, options: dict[str, Any]
    ) -> nn.Module:
        """Let `peft` adapt a module."""
        peft = _peft()
        facts = self.facts
        assert facts.config is not None
        if facts.kind == "prompt" and not hasattr(module, "config"):
            raise invalid(
                "module",
                expected=f"a model of transformers, for {self.name!r}",
                got=type(module).__name__,
            )
        arguments: dict[str, Any] = dict(facts.options)
        if facts.layers is not None:
            arguments["target_modules"] = self._layers(module)
        if self.head and facts.kind != "prompt":
            arguments["modules_to_save"] = list(self.head)
        if facts.knob is not None and facts.kind != "own":
            arguments[facts.knob] = knob
        if facts.settings is not None:
            assert knob is not None
            arguments |= facts.settings(knob, layer_sizes(module, self._adapted(module)))
        if facts.seed is not None:
            arguments[facts.seed] = derive(seed, "tuning", self.name) % _SEEDS
        arguments |= options
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of how well it would save
            made: nn.Module = peft.get_peft_model(module, self._config(peft, arguments))
        return made

    def _config(self, peft: Any, arguments: dict[str, Any]) -> Any:
        assert self.facts.config is not None
        try:
            return getattr(peft, self.facts.config)(**arguments)
        except TypeError as error:
            raise invalid(
                "options", expected=f"arguments of peft's {self.facts.config}", got=str(error)
            ) from error

    def _adapted(self, module: nn.Module) -> tuple[str, ...] | None:
        """The linear layers that are adapted, by name: the chosen ones, else peft's choice."""
        if self.targets is not None or self.facts.config is None or self.facts.layers != "linear":
            return self.targets
        kind = getattr(_peft(), self.facts.config)().peft_type
        choices = getattr(_peft().mapping.PEFT_TYPE_TO_TUNER_MAPPING[kind], _CHOICES, {})
        chosen = choices.get(getattr(getattr(module, "config", None), "model_type", None), ())
        linear = [n for n, part in module.named_modules() if isinstance(part, nn.Linear)]
        found = any(f".{n}".endswith(f".{c}") for n in linear for c in chosen)
        return tuple(chosen) if found else None

    def _layers(self, module: nn.Module) -> list[str] | None:
        if self.targets is None and self.facts.layers == "norms":
            return [n for n, part in module.named_modules() if isinstance(part, nn.LayerNorm)]
        return None if self.targets is None else list(self.targets)

    def __repr__(self) -> str:
        return f"TuningMethod({self.name!r}, targets={self.targets}, head={self.head})"


def method(
    name: str,
    *,
    targets: Sequence[str] | None = None,
    head: Sequence[str] = (),
    **options: Any,
) -> TuningMethod:
    """Return a way to fine-tune, to be applied to modules at a count of trained numbers.

    Args:
        name: as in `names()`, e.g. `"subspace"`, `"lora"`, `"tinylora"`.
        targets: endings of the names of the layers that are adapted; None: peft's choice for the
            architecture. Methods over all weights take none.
        head: names of modules that are trained in full beside, and count; `()`: the head stays as
            it is, but for methods over all weights, which have it among them.
        **options: arguments of peft's configuration, e.g. `lora_alpha=32`, or of `attach`, e.g.
            `map="hadamard"`.

    Raises:
        InputError: the name is unknown, or of a way that makes no count of its own (the text says
            why), or `peft` is not installed or has no such method.
    """
    if name in NOT_MADE:
        raise invalid("method", expected="one of names()", got=f"{name!r}: {NOT_MADE[name]}")
    if name not in TUNING:
        raise unknown("method", name, names())
    facts = TUNING[name]
    for argument, value in (("targets", targets), ("head", head)):
        if isinstance(value, str):
            raise invalid(argument, expected="a list of names", got=repr(value))
    if name == "head" and not head:
        raise invalid("head", expected="names of the modules that are the head", got="none")
    if facts.config is not None and not hasattr(_peft(), facts.config):
        raise invalid(
            "method",
            expected=f"a peft that has {facts.config}",
            got=f"peft {_peft().__version__}",
            remedy="Install a newer peft.",
        )
    if facts.knob is not None and facts.knob in options:
        raise invalid(
            "options",
            expected=f"none for {facts.knob!r}, which follows from the count of numbers",
            got=f"{facts.knob}={options[facts.knob]!r}",
            remedy="For that one, make Setting(method.count(module, knob), knob).",
        )
    chosen = None if targets is None else tuple(targets)
    if chosen is not None and facts.layers is None:
        raise invalid("targets", expected=f"none for {name!r}, which takes no layers", got=chosen)
    return TuningMethod(name, facts, chosen, tuple(head), options)


def names() -> list[str]:
    """Return the names of the ways to fine-tune."""
    return list(TUNING)


def _peft() -> Any:
    try:
        import peft
    except ImportError as error:
        raise invalid(
            "method",
            expected="peft, whose method it is",
            got="no such package",
            remedy="Install it with: pip install 'subspan[hf]'.",
        ) from error
    return peft

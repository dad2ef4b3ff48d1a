"""The problems by name. To add one, write a function that returns a problem and enter it here."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from subspan.canonical import tensor_digest
from subspan.errors import invalid, unknown
from subspan.problems import data, models, resnet, text, transformer
from subspan.problems.analytic import Quadratic
from subspan.problems.base import AbstractProblem
from subspan.problems.module import Problem
from subspan.spec import TrainSpec


def _identity(name: str, *, data: str, version: int = 1) -> dict[str, Any]:
    """Return what trials know a registered problem by. A change to the problem raises `version`."""
    return {"name": name, "kind": "registered", "version": version, "data": data}


def digits_mlp(subset: int | None = None, standardize: bool = False) -> Problem:
    """64-32-10 ReLU network on scikit-learn's 8 × 8 digits; D = 2,410."""
    make_module = partial(models.mlp, 64, 32, 10)
    train, test = data.digits(subset, standardize)
    return Problem(
        make_module,
        train,
        test,
        name="digits-mlp",
        identity=_identity("digits-mlp", data=tensor_digest(*train, *test)),
        init=models.he_normal(make_module, last="3.weight"),
        default_spec=TrainSpec(lr=0.05, epochs=50, batch_size=128, schedule="linear"),
    )


def _images(
    name: str,
    source: str,
    make_module: Callable[[], nn.Module],
    spec: TrainSpec,
    data_dir: str | Path | None = None,
    subset: int | None = None,
    init: models.Initializer | None = None,
    eval_rows: int | None = None,
) -> Problem:
    raw = data.images(source, data_dir)
    rows = data.take_rows(len(raw.train_x), subset)
    train, test = data.centred(raw, subset)
    return Problem(
        make_module,
        train,
        test,
        name=name,
        init=init or models.lecun_normal(make_module),
        eval_rows=eval_rows,
        default_spec=spec,
        identity=_identity(
            name,
            data=tensor_digest(raw.train_x[:rows], raw.train_y[:rows], raw.test_x, raw.test_y),
        ),
    )


def text_transformer(subset: int | None = None, context: int = 32) -> Problem:
    """Two-block causal transformer of width 48 that reads 32 characters and names the next."""
    train, test = text.windows(context, subset)
    size = len(text.vocabulary())
    make_module = partial(transformer.CharacterTransformer, size, context)
    return Problem(
        make_module,
        train,
        test,
        name="text-transformer",
        identity=_identity("text-transformer", data=tensor_digest(*train, *test)),
        init=transformer.transformer_normal(make_module, "position", "embed.weight"),
        default_spec=TrainSpec(lr=0.01, epochs=10, batch_size=128, schedule="cosine"),
    )


def _image_problems() -> dict[str, Callable[..., Problem]]:
    conv = TrainSpec(lr=0.05, epochs=2, batch_size=128, schedule="linear")
    table: dict[str, Callable[..., Problem]] = {}
    for source, info in data.SOURCES.items():
        for net, channels in models.CONV_CHANNELS.items():
            name = f"{source}-{net}"
            make = partial(models.conv_net, channels, info.shape, info.classes)
            table[name] = partial(_images, name, source, make, conv)
        deep = TrainSpec(lr=0.05, epochs=10, batch_size=128, schedule="cosine")
        for net, build in (("resnet20", resnet.resnet20), ("wrn16-4", resnet.wide_resnet)):
            make = partial(build, info.shape, info.classes)
            # Batch statistics of 1,000 rows at a time: the whole split takes tens of gigabytes.
            table[f"{source}-{net}"] = partial(
                _images, f"{source}-{net}", source, make, deep, eval_rows=1000
            )
        make_vit = partial(transformer.VisionTransformer, info.shape, info.classes)
        init = transformer.transformer_normal(make_vit, "position")
        attention = TrainSpec(lr=0.01, epochs=10, batch_size=128, schedule="cosine")
        table[f"{source}-vit"] = partial(
            _images, f"{source}-vit", source, make_vit, attention, init=init
        )
    dense = TrainSpec(lr=0.005, epochs=2, batch_size=128, schedule="linear")
    table["mnist-mlp"] = partial(
        _images, "mnist-mlp", "mnist", partial(models.mlp, 784, 200, 200, 10), dense
    )
    # Li et al.'s networks (2018).
    for name, source, make in (
        ("mnist-lenet", "mnist", partial(models.lenet, (1, 28, 28), 10)),
        ("cifar10-lenet", "cifar10", partial(models.lenet, (3, 32, 32), 10)),
        ("cifar10-mlp", "cifar10", partial(models.mlp, 3072, 200, 200, 10)),
    ):
        he = models.he_normal(make)
        table[name] = partial(_images, name, source, make, dense, init=he)
    return table


PROBLEMS: dict[str, Callable[..., AbstractProblem]] = {
    "digits-mlp": digits_mlp,
    **_image_problems(),
    "text-transformer": text_transformer,
    "quadratic": Quadratic,
}


def names() -> list[str]:
    """Return the names that `load` knows."""
    return list(PROBLEMS)


def takes(name: str, option: str) -> bool:
    """Whether a registered problem has an option, such as `"data_dir"`.

    Raises:
        InputError: the name is unknown.
    """
    if name not in PROBLEMS:
        raise unknown("problem", name, names())
    return option in inspect.signature(PROBLEMS[name]).parameters


def load(name: str, **options: Any) -> AbstractProblem:
    """Load a registered problem.

    Args:
        name: one of `names()`.
        **options: of the problem: `data_dir` and `subset` for images, `subset` and `standardize`
            for digits, `eigenvalues` and `displacement` for the quadratic.

    Raises:
        InputError: the name or an option is unknown, or the data cannot be read.
    """
    if name not in PROBLEMS:
        raise unknown("problem", name, names())
    options = {key: value for key, value in options.items() if value is not None}
    try:
        made = PROBLEMS[name](**options)
    except TypeError as error:
        if match := re.search(r"unexpected keyword argument '(\w+)'", str(error)):
            own = [each for each in ("data_dir", "subset") if takes(name, each)]
            raise invalid(
                "option",
                expected=f"one that {name!r} has",
                got=repr(match[1]),
                remedy=f"On the command line it has {' and '.join(own) or 'none'}.",
            ) from error
        raise
    made.origin = {"name": name, "options": options}
    return made

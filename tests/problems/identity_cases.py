"""Values that identity must tell apart, built afresh at each call.

Run as a script, this file prints their identities.

Each case is a list of functions: what two of them return differs, what one returns twice does not.
"""

import collections
import contextlib
import dataclasses
import enum
import functools
import json
import operator
import re
import sys

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

SCALE = 2.0
TABLE = {"a": torch.ones(2), "b": [1, 2]}
CLASSES = {"cat", "dog", "bird", "horse", "cow"}  # in an order that differs between processes


def weighted(*weights):
    return nn.CrossEntropyLoss(weight=torch.tensor(weights))


def closure(factor):
    def loss(out, y):
        return factor * cross_entropy(out, y)

    return loss


def default(factor):
    def loss(out, y, factor=factor):
        return factor * cross_entropy(out, y)

    return loss


def keyword(factor):
    def loss(out, y, *, factor=factor):
        return factor * cross_entropy(out, y)

    return loss


def nested(factor):
    def outer():
        def inner(out, y):
            return factor * cross_entropy(out, y)

        return inner

    return outer()


def reads_a_global(out, y):
    return SCALE * cross_entropy(out, y)


def reads_another(out, y):
    return len(CLASSES) * cross_entropy(out, y)


def with_global(value):
    """A function of the same code, in a module whose global differs."""
    names = {**globals(), "SCALE": value}
    return type(closure)(reads_a_global.__code__, names, "loss")


def helper_of_a_helper(value):
    names = {**globals(), "SCALE": value}
    names["helper"] = type(closure)(reads_a_global.__code__, names, "helper")
    return type(closure)((lambda out, y: helper(out, y)).__code__, names, "loss")  # noqa: F821


def recursive(factor):
    def loss(out, y, depth=0):
        return factor * cross_entropy(out, y) if depth else loss(out, y, 1)

    return loss


class Scaled:
    def __init__(self, factor):
        self.factor = factor
        self.me = self  # a cycle

    def __call__(self, out, y):
        return self.factor * cross_entropy(out, y)

    def method(self, out, y):
        return self(out, y)


class Slotted:
    __slots__ = ("factor",)

    def __init__(self, factor):
        self.factor = factor

    def __call__(self, out, y):
        return self.factor * cross_entropy(out, y)


class Secretive(Scaled):
    """Its `repr` and its pickled state hide all."""

    def __repr__(self):
        return "Secretive()"

    def __getstate__(self):
        return {}


@dataclasses.dataclass
class Data:
    factor: float = 1.0
    names: list = dataclasses.field(default_factory=list)

    def __call__(self, out, y):
        return self.factor * cross_entropy(out, y)


class Pair(collections.namedtuple("Pair", "x y")):
    pass


class Kind(enum.Enum):
    ONE = 1
    TWO = 2


class Base(nn.Module):
    def forward(self, out, y):
        return self.of(out, y)


def module_class(body):
    class Loss(Base):
        of = staticmethod(body)

    return Loss()


def base_class(body):
    class Parent(nn.Module):
        forward = body

    class Loss(Parent):
        pass

    return Loss()


def buffered(value):
    module = nn.Module()
    module.register_buffer("weight", torch.tensor(value))
    return module


def hooked(value):
    module = nn.Linear(2, 2)
    nn.init.zeros_(module.weight)
    nn.init.zeros_(module.bias)
    module.register_forward_hook(lambda m, x, out: value * out)
    return module


class Straight(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x

    @staticmethod
    def backward(ctx, g):
        return g


class Bent(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x

    @staticmethod
    def backward(ctx, g):
        return 2 * g


def decorated(factor):
    @functools.wraps(cross_entropy)
    def loss(*args):
        return factor * cross_entropy(*args)

    return loss


def no_gradients(factor):
    return torch.no_grad()(closure(factor))


def executed(text):
    names = {}
    exec(text, names)
    return names["loss"]


@contextlib.contextmanager
def context():
    yield


def two_on_a_line(which):
    return [lambda out, y: out.sum(), lambda out, y: out.mean(), lambda: lambda out, y: out.sum()][which]  # noqa: E501 # fmt: skip


def inner_of_two(which):
    return [lambda: (lambda out: out), lambda: (lambda out: 2 * out)][which]()  # fmt: skip


CASES = {
    "class weights": [lambda: weighted(1.0, 9.0), lambda: weighted(1.0, 8.0),
                      nn.CrossEntropyLoss],
    "arguments of a loss": [
        lambda: nn.CrossEntropyLoss(label_smoothing=0.1),
        lambda: nn.CrossEntropyLoss(label_smoothing=0.2),
        lambda: nn.CrossEntropyLoss(reduction="sum"),
        lambda: nn.CrossEntropyLoss(ignore_index=0),
        lambda: nn.NLLLoss(ignore_index=0),
    ],
    "positive weights": [
        lambda: nn.BCEWithLogitsLoss(pos_weight=torch.tensor([2.0])),
        lambda: nn.BCEWithLogitsLoss(pos_weight=torch.tensor([3.0])),
        lambda: nn.BCEWithLogitsLoss(pos_weight=torch.tensor([3.0], dtype=torch.float64)),
        lambda: nn.BCEWithLogitsLoss(pos_weight=torch.tensor([[3.0]])),
    ],
    "partial": [
        lambda: functools.partial(cross_entropy, label_smoothing=0.1),
        lambda: functools.partial(cross_entropy, label_smoothing=0.2),
        lambda: functools.partial(cross_entropy, weight=torch.tensor([1.0, 2.0])),
        lambda: functools.partial(cross_entropy, weight=torch.tensor([1.0, 3.0])),
        lambda: functools.partial(mse_loss),
        lambda: functools.partial(closure(1.0)),
        lambda: functools.partial(closure(2.0)),
    ],
    "closure": [lambda: closure(1.0), lambda: closure(2.0), lambda: closure(torch.ones(())),
                lambda: closure(1), lambda: closure(True), lambda: closure("1"),
                lambda: closure(closure(1.0)), lambda: closure(closure(2.0))],
    "default": [lambda: default(1.0), lambda: default(2.0)],
    "keyword default": [lambda: keyword(1.0), lambda: keyword(2.0)],
    "nested functions": [lambda: nested(1.0), lambda: nested(2.0)],
    "recursion": [lambda: recursive(1.0), lambda: recursive(2.0)],
    "globals": [lambda: reads_a_global, lambda: reads_another, lambda: with_global(3.0)],
    "globals of globals": [lambda: helper_of_a_helper(1.0), lambda: helper_of_a_helper(2.0)],
    "callable objects": [lambda: Scaled(1.0), lambda: Scaled(2.0), lambda: Slotted(1.0),
                         lambda: Slotted(2.0), lambda: Secretive(1.0), lambda: Secretive(2.0),
                         lambda: Data(1.0), lambda: Data(2.0), lambda: Data(1.0, ["a"])],
    "bound methods": [lambda: Scaled(1.0).method, lambda: Scaled(2.0).method,
                      lambda: Scaled(1.0).__call__],
    "lambdas on a line": [functools.partial(two_on_a_line, i) for i in range(3)],
    "lambdas in lambdas": [functools.partial(inner_of_two, i) for i in range(2)],
    "bodies": [lambda: module_class(lambda out, y: out), lambda: module_class(lambda out, y: y)],
    "bodies of bases": [lambda: base_class(lambda s, x: x), lambda: base_class(lambda s, x: -x)],
    "buffers": [lambda: buffered(1.0), lambda: buffered(2.0)],
    "hooks": [lambda: hooked(1.0), lambda: hooked(2.0)],
    "training mode": [lambda: nn.Dropout(0.5), lambda: nn.Dropout(0.5).eval()],
    "autograd functions": [lambda: Straight.apply, lambda: Bent.apply],
    "decorated": [lambda: decorated(1.0), lambda: decorated(2.0)],
    "gradients off": [lambda: no_gradients(1.0), lambda: no_gradients(2.0)],
    "no source": [lambda: executed("loss = lambda out, y: out.sum()"),
                  lambda: executed("loss = lambda out, y: out.mean()"),
                  lambda: executed("loss = lambda out, y: out if y in {'a', 'b'} else y"),
                  lambda: executed("def loss(out, y):\n def f(): return 1\n return f"),
                  lambda: executed("def loss(out, y):\n def f(): return 2\n return f")],
    "containers": [lambda: [1, 2], lambda: (1, 2), lambda: {1, 2}, lambda: {1: 2}, lambda: [2, 1],
                   lambda: collections.OrderedDict({1: 2}), lambda: collections.deque([1, 2]),
                   lambda: {"b": 1, "a": 2}, lambda: {"a": 2, "b": 1}, lambda: Pair(1, 2),
                   lambda: [[1], 2], lambda: [1, [2]], lambda: {"cat", "dog", ("bird", 1)},
                   lambda: collections.Counter("aab"), lambda: collections.Counter("ab")],
    "numbers": [lambda: 1, lambda: 1.0, lambda: True, lambda: "1", lambda: 1 + 0j, lambda: b"1",
                lambda: None, lambda: float("nan"), lambda: float("inf"), lambda: np.float32(1),
                lambda: np.ones(1), lambda: np.ones((1, 1)), lambda: torch.ones(1),
                lambda: torch.ones(1, dtype=torch.bfloat16), lambda: torch.eye(2).to_sparse(),
                lambda: torch.eye(2), lambda: torch.ones(1, dtype=torch.complex64),
                lambda: np.array(["a", None], dtype=object), lambda: 10**40],
    "what is installed": [lambda: torch.relu, lambda: torch.sin, lambda: nn.functional.relu,
                          lambda: torch.Tensor.relu, lambda: torch.ones(1).add, lambda: np.exp,
                          lambda: torch.zeros(1).add, lambda: operator.itemgetter(1),
                          lambda: operator.itemgetter(2), lambda: re.compile("a"),
                          lambda: re.compile("b"), lambda: nn.ReLU, lambda: nn.ReLU(),
                          lambda: torch.float32, lambda: torch.ops.aten.relu.default,
                          lambda: np.random.default_rng(0), lambda: np.random.default_rng(1)],
    "classes": [lambda: Kind, lambda: Kind.ONE, lambda: Kind.TWO, lambda: Data, lambda: Scaled,
                lambda: Slotted, lambda: Secretive, lambda: Pair, lambda: context],
    "tables": [lambda: functools.lru_cache(closure(1.0)), lambda: functools.lru_cache(closure(2.0)),
               lambda: TABLE, lambda: CLASSES],
}  # fmt: skip


if __name__ == "__main__":
    from subspan.canonical import digest
    from subspan.problems.identity import identity_of

    found = {n: [digest(identity_of(make())) for make in makers] for n, makers in CASES.items()}
    json.dump(found, sys.stdout)

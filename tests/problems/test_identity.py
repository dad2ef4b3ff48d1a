"""What a problem of a user's own is known by: it differs where problems do, and only there."""

import functools
import importlib.util
import json
import linecache
import os
import subprocess
import sys
import threading
from itertools import combinations
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import subspan
from subspan.adapters.pretrained import fine_tuning
from subspan.canonical import canonical_json, digest
from subspan.errors import InputError
from subspan.problems import Problem
from subspan.problems.code import code_digest
from subspan.problems.identity import identity_of, module_identity

FILE = Path(__file__).with_name("identity_cases.py")


def load(path):
    spec = importlib.util.spec_from_file_location("identity_cases", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["identity_cases"] = module
    spec.loader.exec_module(module)
    return module


cases = load(FILE)


@pytest.mark.parametrize("makers", cases.CASES.values(), ids=cases.CASES)
def test_what_differs_is_told_apart(makers):
    first, again = ([canonical_json(identity_of(make())) for make in makers] for _ in range(2))
    assert first == again
    assert all(one != other for one, other in combinations(first, 2))


def printed(path, seed, cwd):
    env = {**os.environ, "PYTHONHASHSEED": str(seed)}
    done = subprocess.run(
        [sys.executable, str(path)], env=env, cwd=cwd, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_it_is_the_same_in_another_process_from_another_place(tmp_path):
    """Other addresses, another order of sets, another file, other line numbers, run as a script."""
    moved = tmp_path / "elsewhere.py"
    moved.write_text("# moved\n\n\n" + FILE.read_text(encoding="utf-8"), encoding="utf-8")
    there = printed(moved, 2, tmp_path)
    here = {n: [digest(identity_of(m())) for m in makers] for n, makers in cases.CASES.items()}
    assert there == here


@pytest.mark.slow
def test_a_compiled_function_is_the_function_it_was_made_of():
    one, again, other = (torch.compile(cases.closure(factor)) for factor in (1.0, 1.0, 2.0))
    assert identity_of(one) == identity_of(again) != identity_of(other)
    module = torch.compile(cases.buffered(1.0))
    assert identity_of(module) == identity_of(torch.compile(cases.buffered(1.0)))
    assert identity_of(module) != identity_of(torch.compile(cases.buffered(2.0)))


def generator():
    yield 1.0


RUNNING = generator()


def draws(out, y):
    return next(RUNNING) * cross_entropy(out, y)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (draws, "a generator, as 'RUNNING' of loss"),
        (functools.partial(draws), "a generator, as 'RUNNING' of loss"),
        (cases.Scaled(generator()), "a generator, as 'factor' of loss"),
        (cases.closure(open(os.devnull)), "a TextIOWrapper, as 'factor' of loss"),  # noqa: SIM115
        (cases.closure(threading.local()), "a _local"),
        (torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)), "a scripted or traced module"),
    ],
)
def test_what_cannot_be_told_asks_for_a_name(value, said):
    with pytest.raises(InputError, match=rf"^loss: .*{said}.*Pass identity=\{{'name'"):
        identity_of(value, "loss")


def test_a_named_problem_may_hold_what_cannot_be_told():
    mine = {"name": "mine"}
    holder = functools.partial(lambda held, out, y: cross_entropy(out, y), generator())
    with pytest.raises(InputError, match="Pass identity="):
        Problem(linear, rows(), loss=holder)
    assert Problem(linear, rows(), loss=holder, identity=mine).identity == mine
    with pytest.raises(InputError, match="Pass identity="):
        fine_tuning(linear(), rows(), loss=holder)
    assert fine_tuning(linear(), rows(), loss=holder, identity=mine).identity == mine


def test_source_tells_less_than_byte_code_where_it_can_be_read(tmp_path):
    path = tmp_path / "mine.py"
    text = 'def f(x):\n    """Doc."""\n    return x + 1  # comment\n'
    path.write_text(text)
    first = code_digest(load(path).f)
    path.write_text("\n\n" + text.replace("Doc", "Other doc").replace("x + 1  # comment", "(x+1)"))
    assert code_digest(load(path).f) == first
    assert first[0] == "source"
    function = load(path).f
    path.write_text(text.replace("x + 1", "x + 2"))  # the file is no longer what was run
    linecache.checkcache(str(path))
    assert code_digest(function)[0] == "bytecode"


# ---- problems


def rows(n=40, width=6, classes=2):
    x = torch.linspace(-1, 1, n * width).reshape(n, width).sin()
    return x, torch.arange(n) * classes // n  # the first 16 rows are of one class


def linear():
    return nn.Linear(6, 2)


class Net(nn.Module):
    """Its forward calls what no `repr` shows, on rows that the first 16 are not among."""

    def __init__(self, power=1, table=(1.0,)):
        super().__init__()
        self.linear, self.power, self.table = nn.Linear(6, 2), power, {"t": torch.tensor(table)}

    def forward(self, x):
        out = self.linear(x)
        return torch.where(x[:, :1] > 0, out * self.table["t"] ** self.power, out)


class Other(Net):
    def forward(self, x):
        return super().forward(x).clamp(-50, 50)


def zero_head(seed):
    return {"weight": torch.zeros(2, 6), "bias": torch.zeros(2)}


def other_head(seed):
    return {"weight": torch.zeros(2, 6), "bias": torch.full((2,), float(seed > 5))}


def smoothed(amount):
    return nn.CrossEntropyLoss(label_smoothing=amount)


PROBLEMS = {
    "class weights": [{"loss": cases.weighted(1.0, 9.0)}, {"loss": cases.weighted(1.0, 5.0)}],
    "smoothing at a head of zeros": [
        {"loss": smoothed(0.1), "init": zero_head}, {"loss": smoothed(0.2), "init": zero_head},
    ],
    "initial weights of later seeds": [{"init": zero_head}, {"init": other_head}],
    "numbers in a module": [{"make_module": functools.partial(Net, power)} for power in (1, 2)],
    "tensors in a dict": [
        {"make_module": lambda: Net(table=(1.0,))}, {"make_module": lambda: Net(table=(2.0,))},
    ],
    "classes": [{"make_module": Net}, {"make_module": Other}],
}  # fmt: skip


@pytest.mark.parametrize("options", PROBLEMS.values(), ids=PROBLEMS)
def test_problems_that_their_first_rows_do_not_tell_apart(options):
    def make(chosen):
        return Problem(**{"make_module": linear, "train": rows(), **chosen})

    one, again, other = make(options[0]), make(options[0]), make(options[1])
    assert one.identity["loss_at_init"] == other.identity["loss_at_init"]
    assert one.identity == again.identity
    assert one.identity != other.identity


def test_fine_tuning_knows_its_loss_and_its_module():
    def make(power=1, loss=None, train=True):
        module = Net(power)
        for p in module.parameters():
            nn.init.ones_(p)
        return fine_tuning(module.train(train), rows(), loss=loss or smoothed(0.1)).identity

    assert make() == make()
    assert make() == make(train=False)  # the problem runs in evaluation mode all the same
    assert make(2) != make()
    assert make(loss=cases.weighted(1.0, 9.0)) != make(loss=cases.weighted(1.0, 5.0))


def test_a_store_gives_no_trials_of_another_loss(tmp_path):
    spec = subspan.TrainSpec(steps=3, batch_size=None)

    def losses(*weights):
        problem = Problem(linear, rows(), loss=cases.weighted(*weights))
        trials = subspan.run(
            problem,
            subspan.RandomAffine(),
            dims=[2],
            repeats=1,
            spec=spec,
            seed=0,
            store=tmp_path / "runs.db",
            workers=1,
        )
        return trials[0].final_train_loss

    assert losses(1.0, 9.0) == losses(1.0, 9.0)
    assert losses(1.0, 9.0) != losses(1.0, 5.0)


def test_a_modules_weights_are_no_part_of_its_identity():
    """`init` shows them; a module that was trained is the same module."""
    one, other = Net(), Net()
    assert not torch.equal(one.linear.weight, other.linear.weight)
    assert module_identity(one) == module_identity(other)
    assert identity_of(one) != identity_of(other)


@pytest.mark.parametrize("how", ["register_hook", "register_post_accumulate_grad_hook"])
def test_hooks_on_a_weights_gradient_count(how):
    def hooked(factor):
        net = Net()
        getattr(net.linear.weight, how)(lambda t: None if factor is None else factor * t)
        return module_identity(net)

    assert hooked(2.0) == hooked(2.0)
    assert len({canonical_json(i) for i in (hooked(1.0), hooked(2.0), module_identity(Net()))}) == 3


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_what_weights_are_made_into_is_not_either():
    one, other = (nn.utils.weight_norm(nn.Linear(6, 2)) for _ in range(2))
    assert not torch.equal(one.weight, other.weight)
    assert module_identity(one) == module_identity(other)

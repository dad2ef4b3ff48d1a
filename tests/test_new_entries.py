"""A new metric, optimiser, map, method, problem, executor or store is one entry in a registry.

Each is registered at run time, used from end to end, and stands in the help of the command line:
nothing else in the library has to know of it (docs/architecture.md, "Extension points").
"""

import json
import re
from concurrent.futures import Future

import pytest
import torch

import subspan as ss
from subspan import metrics
from subspan.cli import app
from subspan.maps import MAPS, CoordinateMap
from subspan.maps.base import LinearMap, check_dims
from subspan.metrics import METRICS, Metric
from subspan.optimizers import OPTIMIZERS, OptimizerFacts
from subspan.problems.registry import PROBLEMS
from subspan.subspaces.base import Method, Subspace
from subspan.subspaces.registry import METHODS, Form
from subspan.testing import check_executor, check_map, check_method, check_optimizer, check_store
from subspan.training.optimizers import Optimizer
from subspan.trials.executors.base import Executor
from subspan.trials.executors.registry import EXECUTORS
from subspan.trials.stores.base import TRIAL, Claim, RecordStore
from subspan.trials.stores.registry import STORES
from subspan.trials.trial import record_from_json, record_to_json

SPEC = ss.TrainSpec(steps=3, batch_size=16)


@pytest.fixture(scope="module")
def digits():
    return ss.problems.load("digits-mlp", subset=60)


@pytest.fixture
def helped(cli, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    return lambda command: cli(f"{command} --help")[1]


# --- a metric -----------------------------------------------------------------------------------


def brier(outputs, targets):
    chances = torch.softmax(outputs.double(), dim=1)
    wanted = torch.nn.functional.one_hot(targets, outputs.shape[1])
    return (chances - wanted).square().sum()[None]


def test_a_metric(monkeypatch, digits, helped):
    monkeypatch.setitem(METRICS, "brier", Metric("brier", "lower", 0.0, 2.0, brier, classes=True))
    assert metrics.known("brier").higher is False
    (record,) = ss.run(
        digits, "random", [4], 1, SPEC.replace(stop_at="test:brier<=0.001"), workers=1
    )
    assert 0 < record.best("brier", "test") < 2
    surface = ss.success_surface([record], ["brier<=2", "brier<=0.001"])
    assert [cell.successes for cell in surface.cells] == [1, 0]
    with pytest.raises(ss.InputError, match="lower is better"):
        ss.parse_goal("brier>=0.1")
    assert "brier" in helped("threshold")


# --- an optimiser -------------------------------------------------------------------------------


class Signs(Optimizer):
    """θ ← θ − lr · sign(gradient)."""

    def __init__(self, theta, spec):
        pass

    def step(self, theta, gradient, lr):
        theta.sub_(gradient.sign(), alpha=lr)

    def keep(self, positions):
        pass


def test_an_optimiser(monkeypatch, digits, helped):
    monkeypatch.setitem(OPTIMIZERS, "signs", OptimizerFacts(Signs, full_batch=True, steps=4))
    check_optimizer("signs", digits, lr=0.01)
    spec = ss.TrainSpec("signs", lr=0.01)
    assert (spec.batch_size, spec.steps) == (None, 4)
    (record,) = ss.run(digits, "random", [4], 1, spec, workers=2, executor="forked")
    assert record.steps == 4
    assert record.trial.spec["optimizer"] == "signs"
    assert "signs" in helped("surface")


# --- a map --------------------------------------------------------------------------------------


class FirstMap(LinearMap):
    """The first d weights."""

    def __init__(self, dim, ambient_dim, seed, *, skip=0, device="cpu", dtype=torch.float32):
        check_dims(dim, ambient_dim)
        places = (torch.arange(dim) + skip + seed) % ambient_dim
        self._inner = CoordinateMap(places, ambient_dim, dtype=dtype).to(device)
        self.dim, self.ambient_dim = dim, ambient_dim
        self.device, self.dtype = torch.device(device), dtype

    @classmethod
    def revision(cls, dim):
        return int(dim > 100)

    def _forward(self, theta):
        return self._inner._forward(theta)

    def _adjoint(self, v):
        return self._inner._adjoint(v)

    def to(self, device=None, dtype=None):
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__)
        new._inner = self._inner.to(device, dtype)
        new.device, new.dtype = new._inner.device, new._inner.dtype
        return new

    def checksum(self):
        return self._inner.checksum()


def test_a_map(monkeypatch, digits, helped):
    monkeypatch.setitem(MAPS, "first", FirstMap)
    check_map(
        lambda dim, ambient, seed: ss.maps.make(
            "first", dim=dim, ambient_dim=ambient, seed=seed, dtype=torch.float64
        ),
        5,
        20,
        orthonormal=True,
    )
    method = ss.parse_method("random:first,skip=2")
    small, large = ss.run(digits, method, [4, 101], 1, SPEC, workers=1)
    assert small.trial.method["map"] == "first"
    monkeypatch.setattr(FirstMap, "revision", classmethod(lambda cls, dim: 0))
    same = ss.run(digits, method, [4, 101], 1, SPEC, workers=1)
    assert small.key == same[0].key
    assert large.key != same[1].key, "a revision of a map's bits is part of the key"
    module = torch.nn.Linear(4, 3)
    before = module.weight.detach().clone()
    handle = ss.attach(module, dim=3, map="first", skip=1)
    with torch.no_grad():
        handle.theta.copy_(torch.tensor([1.0, 2.0, 3.0]))
    moved = (module.weight - before).flatten().tolist() + module.bias.tolist()
    assert moved[1:4] == pytest.approx([1.0, 2.0, 3.0], abs=1e-6)
    assert "first" in helped("threshold")


# --- a method -----------------------------------------------------------------------------------


class Tail(Method):
    """The last d weights before a gap."""

    named_by = ("gap",)

    def __init__(self, gap: int):
        self.gap = gap

    def config(self):
        return {"name": "tail", "gap": self.gap}

    def max_dim(self, problem):
        return problem.ambient_dim - self.gap

    def subspaces(self, problem, draws):
        if any(d.dim > self.max_dim(problem) for d in draws):
            raise ss.InputError("dim: too large")
        end = problem.ambient_dim - self.gap
        return [
            Subspace(
                problem.init(d.init_seed),
                CoordinateMap(
                    torch.arange(end - d.dim, end), problem.ambient_dim, dtype=problem.dtype
                ),
            )
            for d in draws
        ]


def test_a_method(monkeypatch, digits, helped, cli):
    monkeypatch.setitem(METHODS, "tail", Form(Tail, "gap", required=True))
    check_method(lambda: ss.parse_method("tail:3"), digits, (4, 9), nested=True, through_init=True)
    table = ss.compare(digits, ["tail:3", Tail(7)], [4], 2, SPEC, workers=1)
    assert table.methods == ("random", "tail:3", "tail:7")
    code, out, err = cli(
        'surface digits-mlp --subset 60 --dims 4 --repeats 1 --goals "loss<=2" --method tail:2 '
        "--steps 2 --json --workers 1"
    )
    assert code == 0, err
    assert json.loads(out)["experiment"]["method"] == {"name": "tail", "gap": 2}
    assert "tail:GAP" in helped("threshold")


# --- a problem ----------------------------------------------------------------------------------


def xor(noise=0.0, subset=None):
    x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]).repeat(8, 1)[:subset]
    return ss.Problem(
        lambda: torch.nn.Linear(2, 2),
        (x + noise, (x[:, 0] != x[:, 1]).long()),
        name="xor",
        default_spec=ss.TrainSpec(steps=2, batch_size=None),
    )


def test_a_problem(monkeypatch, helped, cli):
    monkeypatch.setitem(PROBLEMS, "xor", xor)
    code, out, err = cli(
        'surface xor --dims 2 --repeats 1 --goals "loss<=9" --subset 12 --json --workers 1'
    )
    assert code == 0, err
    assert json.loads(out)["experiment"]["problem"]["name"] == "xor"
    assert ss.problems.load("xor", noise=0.5).origin == {"name": "xor", "options": {"noise": 0.5}}
    assert {"xor", "digits-mlp"} <= {
        entry["name"] for entry in json.loads(cli("problems --json")[1])
    }
    assert f"{len(PROBLEMS)} in all" in helped("threshold")


# --- an executor --------------------------------------------------------------------------------


class AtOnce(Executor):
    """Does each piece of work in this process as soon as it is handed in."""

    workers = 2

    def share(self, value):
        return lambda: value

    def submit(self, function, /, *arguments):
        future = Future()
        try:
            future.set_result(function(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future

    def completed(self, futures, seconds=None):
        yield from futures

    def abandon(self, future):
        pass

    def close(self):
        pass


def test_an_executor(monkeypatch, digits, helped, cli):
    monkeypatch.setitem(EXECUTORS, "at-once", lambda workers: AtOnce())
    check_executor(AtOnce)
    ours = ss.run(digits, "random", [4, 5], 2, SPEC, executor="at-once")
    inline = ss.run(digits, "random", [4, 5], 2, SPEC, executor="inline")
    assert [repr(r.curve) for r in ours] == [repr(r.curve) for r in inline]
    code, _, err = cli(
        'surface digits-mlp --subset 60 --dims 4 --repeats 1 --goals "loss<=2" --steps 2 '
        "--executor at-once"
    )
    assert code == 0, err
    assert "at-once" in helped("compare")


# --- a store ------------------------------------------------------------------------------------


class Folder(RecordStore):
    """One JSON file a record, one a claim."""

    def __init__(self, place, *, readonly=False):
        from pathlib import Path

        self._folder = Path(place.partition("://")[2])
        self._folder.mkdir(exist_ok=True)

    def _read(self, kind):
        return [json.loads(p.read_text()) for p in sorted(self._folder.glob(f"{kind}-*.json"))]

    def add(self, record):
        place = self._folder / f"trial-{record.key}.json"
        if place.exists() and json.loads(place.read_text())["outcome"] != "failed":
            return False
        place.write_text(json.dumps(record_to_json(record)))
        self._claim_of(f"{TRIAL}{record.key}").unlink(missing_ok=True)
        return True

    def get(self, keys):
        return {r.key: r for r in self.records() if r.key in set(keys)}

    def records(self, problem=None):
        found = [record_from_json(data) for data in self._read("trial")]
        found = [r for r in found if problem in (None, r.trial.problem["name"])]
        return iter(sorted(found, key=lambda r: (r.trial.problem["name"], r.dim, r.trial.repeat)))

    def _claim_of(self, key):
        return self._folder / f"claim-{key.encode().hex()[:200]}.json"

    def lease(self, keys, owner, seconds, data):
        import time

        given = set()
        for key in keys:
            place = self._claim_of(key)
            if place.exists():
                _, holder, until, _ = json.loads(place.read_text())
                if holder != owner and until >= time.time():
                    continue
            place.write_text(json.dumps([key, owner, time.time() + seconds, data]))
            given.add(key)
        return given

    def release(self, keys, owner):
        for claim in self.claims(""):
            if claim.key in keys and claim.owner == owner:
                self._claim_of(claim.key).unlink()

    def claims(self, prefix):
        found = [Claim(*each) for each in self._read("claim")]
        return sorted(c for c in found if c.key.startswith(prefix))

    def __len__(self):
        return len(self._read("trial"))


def test_a_store(monkeypatch, digits, cli, tmp_path):
    monkeypatch.setitem(STORES, "folder", Folder)
    check_store(lambda: Folder(f"folder://{tmp_path / 'laws'}"))
    place = f"folder://{tmp_path / 'runs'}"
    records = ss.run(digits, "random", [4], 2, SPEC, store=place, workers=1)
    trials = json.loads(cli(f"trials {place} --json")[1])
    assert [t["key"] for t in trials] == [r.key for r in records]
    code, out, _ = cli(f"resume {place}")
    assert (code, out[:20]) == (0, "Nothing to go on wit")


def test_a_command(monkeypatch, tmp_path, cli):
    (tmp_path / "count_command.py").write_text(
        'def command(store: str) -> None:\n    """Count."""\n    print("counted", store)\n'
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(app.COMMANDS, "count", "count_command")
    assert cli("count runs.db")[1] == "counted runs.db\n"


# --- the table that says what to write ------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "interface"),
    [
        ("an executor", Executor),
        ("a store", RecordStore),
        ("a map", LinearMap),
        ("a method", Method),
    ],
)
def test_the_table_names_what_an_interface_asks_for(row, interface, repo_root):
    text = (repo_root / "docs" / "architecture.md").read_text()
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {row} |")]
    write = line.split("|")[3]
    named = {name for name in re.findall(r"`(\w+)[^`]*`", write)}  # also `completed(futures, …)`
    wanted = {
        name.strip("_") if name == "__len__" else name for name in interface.__abstractmethods__
    }
    assert wanted <= named, wanted - named

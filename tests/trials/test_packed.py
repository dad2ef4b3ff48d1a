"""Curves as bytes: every bit comes back, and no bytes take more than they must."""

import copy
import dataclasses
import json
import math
import pickle
import struct

import numpy as np
import pytest

import subspan as ss
from subspan.goals import LossBelow, MetricGoal
from subspan.testing.store_conformance import example_record
from subspan.training.outcome import CurvePoint
from subspan.trials.columns import Curves
from subspan.trials.packed import Layout, PackedCurve, pack
from subspan.trials.stores.sql import Store
from subspan.trials.trial import Family, Trial, record_to_json

TINY = 5e-324
CURVES = {
    "none": [],
    "points of nothing": [(1, {}), (2, {"a": math.nan}), (3, {"a": math.inf})],
    "32 bits": [(10 * i, {"a": float(np.float32(1 / (i + 2)))}) for i in range(50)],
    "64 bits": [(i, {"a": 1 / (i + 3) + 1e-13}) for i in range(9)],
    "fractions": [(i, {"a": i / 1437, "b": i / 360}) for i in range(300)],
    "fractions of too many rows": [(i, {"a": i / 65537}) for i in range(5)],
    "gaps": [(1, {"a": 0.5}), (2, {"b": 2.5}), (7, {"a": 0.1, "b": -0.0})],
    "signed zeros": [(1, {"a": -0.0}), (2, {"a": 0.0})],
    "the smallest and the largest": [(1, {"a": TINY}), (2, {"a": 1.7976931348623157e308})],
    "large whole numbers": [(2**62, {"a": 2.0**60 + 2**10})],
    "steps that repeat and go back": [(5, {"a": 1.0}), (5, {"a": 2.0}), (3, {"a": 3.0})],
}  # fmt: skip


def points(name):
    return tuple(CurvePoint(step, metrics) for step, metrics in CURVES[name])


def bits(curve):
    return [(p.step, [(n, struct.pack("<d", v)) for n, v in p.metrics.items()]) for p in curve]


@pytest.mark.parametrize("name", CURVES)
def test_every_bit_comes_back(name):
    curve = points(name)
    layout, data = pack(curve)
    packed = PackedCurve(Layout(json.loads(json.dumps(layout))), data)
    assert bits(packed.points()) == bits(curve)
    assert packed.points() == curve
    assert packed.metrics == tuple(dict.fromkeys(n for p in curve for n in p.metrics))
    for metric in (*packed.metrics, "none"):
        plain = [p.metrics.get(metric, math.nan) for p in curve]
        assert list(map(repr, packed.values(metric))) == list(map(repr, plain))


def of_training(curve):
    return tuple(CurvePoint(p.step, {f"train:{n}": v for n, v in p.metrics.items()}) for p in curve)


@pytest.mark.parametrize(
    "goal", [MetricGoal("a", 0.5, higher=True), MetricGoal("b", 0.1, higher=False)]
)
def test_the_bests_of_many_records_are_those_of_each(goal):
    told = [
        dataclasses.replace(example_record(dim=dim), curve=of_training(points(name)))
        for dim, name in enumerate([*CURVES, "gaps"])
    ]
    with Store() as store:
        store.add_all(told)
        records = [*store.records(), *told]  # packed and plain
    plain = []
    for record in records:
        seen = [point.metrics.get(f"train:{goal.metric}", math.nan) for point in record.curve]
        seen = [value for value in seen if not math.isnan(value)]
        plain.append((max(seen) if goal.higher else min(seen)) if seen else math.nan)
    assert list(map(repr, Curves(records).bests_for(goal))) == list(map(repr, plain))


@pytest.mark.parametrize(("name", "size"), [("32 bits", 200), ("64 bits", 72), ("fractions", 1200)])
def test_a_number_takes_the_fewest_bytes_that_lose_nothing(name, size):
    assert len(pack(points(name))[1]) == size


@pytest.mark.parametrize("name", CURVES)
def test_a_record_of_a_store_is_the_record_that_was_added(name):
    told = dataclasses.replace(
        example_record(),
        curve=points(name),
        theta_norm=0.1 + 0.2,
        wall_time=math.inf,
        provenance={"b": [1, {"c": None}], "subspace": "0f" * 16, "a": "\u2028"},
        reason="on\ntwo lines",
    )
    with Store() as store:
        store.add(told)
        back = store.get([told.key])[told.key]
    plain = dataclasses.replace(told, wall_time=math.nan)  # what is not finite is no number
    for other in (back, copy.deepcopy(back), pickle.loads(pickle.dumps(back))):
        assert record_to_json(other) == record_to_json(plain)
        assert bits(other.curve) == bits(plain.curve)
        assert repr(other) == repr(plain)
        assert other.key == dataclasses.replace(other.trial).key == told.key
        assert other.metrics == plain.metrics
        for metric in plain.metrics:
            assert repr(other.final(metric)) == repr(plain.final(metric))
    assert dataclasses.replace(back, curve=told.curve[:1]).curve == told.curve[:1]
    assert {f.name: repr(getattr(back, f.name)) for f in dataclasses.fields(back)}.keys() == {
        f.name for f in dataclasses.fields(plain)
    }
    assert back.meets(LossBelow(0.1)) is False


@pytest.mark.parametrize(
    ("layout", "data"),
    [
        ({"steps": [[1, 2]], "columns": {"a": "d"}}, bytes(15)),
        ({"steps": [[1, 10**12]], "columns": {}}, b""),
        ({"steps": [[-1, 2]], "columns": {}}, bytes(2)),
        ({"steps": [[1, 0]], "columns": {}}, b""),
        ({"steps": [[2**62, 2]], "columns": {}}, bytes(2)),
        ({"steps": [[1.5, 2]], "columns": {}}, bytes(2)),
        ({"steps": [[True, 2]], "columns": {}}, bytes(2)),
        ({"steps": [[1, 2]], "columns": {"a": "q"}}, bytes(2)),
        ({"steps": [[1, 2]], "columns": {"a": 0}}, bytes(4)),
        ({"steps": [[1, 2]], "columns": {"a": 65536}}, bytes(4)),
        ({"steps": [[1, 2]], "columns": {"a": None}}, bytes(4)),
    ],
)
def test_what_no_curve_was_packed_to_is_refused(layout, data):
    with pytest.raises(ValueError, match=r"curve|step|a: expected"):
        PackedCurve(Layout(layout), data)


@pytest.mark.parametrize("method", [{"name": "random"}, {"name": "random", "map": "sparse"}])
def test_a_familys_keys_are_those_of_its_trials(method):
    problem, spec = {"name": "é", "x": [1, None]}, {"lr": 0.1, "stop_at": None}
    family = Family(problem, method, spec, -3)
    for dim, repeat in ((0, 0), (7, 12), (10**6, 1)):
        trial = family.trial(dim, repeat)
        alone = Trial(problem, method, dim, spec, -3, repeat)
        assert (trial, trial.key) == (alone, alone.key)
        sent = pickle.loads(pickle.dumps(family))
        assert sent.keys(dim, [repeat, repeat + 1]) == family.keys(dim, [repeat, repeat + 1])
        assert sent.keys(dim, [repeat]) == [trial.key] != family.keys(dim, [repeat + 1])


def test_a_record_without_a_norm_is_equal_when_it_is_read_again(tmp_path):
    @ss.trainable(name="one", max_dim=5)
    def one(trial):
        return {"loss": 1.0}

    first = ss.run(one, dims=[2], repeats=2, store=tmp_path / "runs.db", workers=1)
    assert ss.run(one, dims=[2], repeats=2, store=tmp_path / "runs.db", workers=1) == first

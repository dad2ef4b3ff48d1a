"""A store: records by key, and claims by owner. Here one JSON file each, for one process."""

import json
import tempfile
import time
from pathlib import Path

import subspan as ss
from subspan.testing import check_store
from subspan.trials.stores.base import TRIAL, Claim, RecordStore
from subspan.trials.stores.registry import STORES
from subspan.trials.trial import record_from_json, record_to_json


class Folder(RecordStore):
    """`store="folder://runs"`."""

    def __init__(self, place, *, readonly=False):
        """Open it; `place` is the whole URL."""
        self._folder = Path(place.partition("://")[2])
        self._folder.mkdir(exist_ok=True)

    def _read(self, kind):
        return [json.loads(p.read_text()) for p in sorted(self._folder.glob(f"{kind}-*.json"))]

    def _claim_of(self, key):
        return self._folder / f"claim-{key.encode().hex()[:200]}.json"

    def add(self, record):
        """Keep a record unless its key is known; True where it is new. It ends its lease."""
        place = self._folder / f"trial-{record.key}.json"
        if place.exists() and json.loads(place.read_text())["outcome"] != "failed":
            return False
        place.write_text(json.dumps(record_to_json(record)))
        self._claim_of(f"{TRIAL}{record.key}").unlink(missing_ok=True)
        return True

    def get(self, keys):
        """Return those of the records that are there, by key."""
        return {r.key: r for r in self.records() if r.key in set(keys)}

    def records(self, problem=None):
        """Yield records by problem, dim and repeat."""
        found = [record_from_json(data) for data in self._read("trial")]
        found = [r for r in found if problem in (None, r.trial.problem["name"])]
        return iter(sorted(found, key=lambda r: (r.trial.problem["name"], r.dim, r.trial.repeat)))

    def lease(self, keys, owner, seconds, data):
        """Lease the keys that nobody else holds; return them."""
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
        """End the owner's leases of these keys."""
        for claim in self.claims(""):
            if claim.key in keys and claim.owner == owner:
                self._claim_of(claim.key).unlink()

    def claims(self, prefix):
        """Return the claims whose keys begin so."""
        found = [Claim(*each) for each in self._read("claim")]
        return sorted(c for c in found if c.key.startswith(prefix))

    def __len__(self):
        """How many records."""
        return len(self._read("trial"))


STORES["folder"] = Folder

with tempfile.TemporaryDirectory() as laws:
    check_store(lambda: Folder(f"folder://{laws}"))
problem = ss.problems.load("digits-mlp", subset=60)
again = [
    ss.run(problem, "random", [4], 2, ss.TrainSpec(steps=2), workers=1, store="folder://runs")
    for _ in range(2)
]
assert [r.key for r in again[0]] == [r.key for r in again[1]]

"""Known vulnerabilities of pinned versions, with no service asked: `make audit ADVISORIES=folder`.

The folder is a copy of https://github.com/pypa/advisory-database, where each advisory is a file of
YAML in the OSV form. What is newer than the copy is not known to it.

    python tests/advisories.py folder [constraints.txt]
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml
from packaging.utils import canonicalize_name
from packaging.version import Version

from test_constraints import ROOT, pins


def within(version: Version, events: list[dict[str, str]]) -> bool:
    """Whether a version lies in a range of the OSV form: from one introduced to one fixed."""
    inside = False
    for event in sorted(events, key=lambda event: Version(*event.values())):
        ((kind, at),) = event.items()
        if kind == "introduced" and version >= Version(at):
            inside = True
        elif (kind == "fixed" and version >= Version(at)) or (
            kind == "last_affected" and version > Version(at)
        ):
            inside = False
    return inside


def affected(advisory: dict[str, Any], pinned: dict[str, str]) -> list[str]:
    """The pinned packages, as name==version, that an advisory is about and holds for."""
    found = []
    for entry in [] if advisory.get("withdrawn") else advisory["affected"]:
        name = canonicalize_name(entry["package"]["name"])
        ranges = [r["events"] for r in entry.get("ranges", []) if r["type"] == "ECOSYSTEM"]
        if name in pinned and (
            pinned[name] in entry.get("versions", [])
            or any(within(Version(pinned[name]), events) for events in ranges)
        ):
            found.append(f"{name}=={pinned[name]}")
    return found


def main(folder: Path, lock: Path) -> int:
    pinned = pins(lock.read_text(encoding="utf-8"))
    read = [yaml.safe_load(p.read_text("utf-8")) for p in sorted(folder.rglob("*.yaml"))]
    advisories = [one for one in read if isinstance(one, dict) and "affected" in one]
    names = {canonicalize_name(e["package"]["name"]) for one in advisories for e in one["affected"]}
    some = len(names & set(pinned))
    print(f"{len(advisories)} advisories; {some} of {len(pinned)} pinned packages have some")
    hits = [(one["id"], hit) for one in advisories for hit in affected(one, pinned)]
    for number, hit in hits:
        print(f"{hit}: {number}")
    if not advisories:
        print(f"no advisories in {folder}")
    return bool(hits) or not advisories


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(*sys.argv[2:3] or [ROOT / "constraints.txt"])))

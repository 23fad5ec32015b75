"""Advisories: a feed of 250,000 is read, its set is loaded, and versions are looked up."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from bench.figures import Figure, Target
from bench.stage import Stage
from twistpi.advisories.candidates import candidate_of_feed
from twistpi.advisories.store import AdvisoryStore
from twistpi.blobs.tree import open_tree

COUNT: Final = 250_000
PROJECTS: Final = 60_000
_LOOK_UPS: Final = 20_000


def measure(stage: Stage) -> list[Figure]:
    """Reading, loading and looking up, each in a process of its own, whose memory is measured."""
    folder = stage.folder / "advisories"
    folder.mkdir()
    write_feed(folder / "all.zip", stage.rounds(COUNT, COUNT // 10))
    read, loaded, looked_up = (_in_process(folder, step) for step in ("read", "load", "look_up"))
    return [
        Figure(f"feed of {read['count']:,} advisories is read, processor time", read["seconds"], "s"),
        Figure("memory for that", read["megabytes"], "MB"),
        Figure("set is loaded, processor time", loaded["seconds"], "s", target=Target("below", 20, of="value")),
        Figure("memory for that", loaded["megabytes"], "MB", target=Target("below", 60, of="value")),
        Figure("look-up of a project, not in memory", 1e6 * looked_up["cold"], "µs", target=Target("below", 50, of="value")),
        Figure("look-up of a project in memory", 1e6 * looked_up["warm"], "µs", target=Target("below", 50, of="value")),
        Figure("memory after look-ups", looked_up["megabytes"], "MB", target=Target("below", 60, of="value")),
    ]


def write_feed(path: Path, count: int) -> None:
    """Write a zip of records as the public database has them: most are malware, some have many versions."""
    chance = random.Random(7)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for number in range(count):
            archive.writestr(f"{number}.json", json.dumps(_record(number, chance)))


def _record(number: int, chance: random.Random) -> dict[str, Any]:
    is_malware = number % 5 != 0
    name = f"project-{chance.randrange(PROJECTS)}"
    fixed = f"{chance.randrange(1, 9)}.{chance.randrange(20)}.{chance.randrange(20)}"
    events = [{"introduced": "0"}] if is_malware else [{"introduced": "0"}, {"fixed": fixed}]
    versions = [f"{number % 9}.{minor}.{patch}" for minor in range(1 if is_malware else 6) for patch in range(5)]
    affected = {
        "package": {"ecosystem": "PyPI", "name": name, "purl": f"pkg:pypi/{name}"},
        "ranges": [{"type": "ECOSYSTEM", "events": events}],
        "versions": versions,
    }
    return {
        "schema_version": "1.7.3",
        "id": f"MAL-2026-{number}" if is_malware else f"GHSA-{number:04x}-xxxx-yyyy",
        "aliases": [f"CVE-2026-{number}"],
        "modified": "2026-11-20T08:00:00Z",
        "published": "2026-11-19T08:00:00Z",
        "summary": f"Malicious code in {name}" if is_malware else f"{name} reads files outside of its folder",
        "details": "It does what it should not do. " * 20,
        "severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N"}],
        "affected": [affected],
    }


def _in_process(folder: Path, step: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "bench.measure_advisories", str(folder), step]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _read(folder: Path) -> dict[str, Any]:
    with open_tree(str(folder)).incoming() as into:
        made = candidate_of_feed(str(folder / "all.zip"), "", into, lambda: True)
        (folder / "set").write_bytes(Path(into.path).read_bytes())
    return {"count": made.report.records}


def _load(folder: Path) -> dict[str, Any]:
    with open(folder / "set", "rb") as file:
        AdvisoryStore(str(folder / "advisories.sqlite")).load(file, "0" * 64)
    return {}


def _look_up(folder: Path) -> dict[str, Any]:
    store, chance = AdvisoryStore(str(folder / "advisories.sqlite")), random.Random(8)
    store.open()
    names = [f"project-{chance.randrange(PROJECTS)}" for _ in range(_LOOK_UPS)]
    began = time.process_time()
    for name in names:
        store.of(name)
    cold = (time.process_time() - began) / len(names)
    began = time.process_time()
    for _ in names:
        store.of(names[-1])
    return {"cold": cold, "warm": (time.process_time() - began) / len(names)}


_STEPS: Final[dict[str, Callable[[Path], dict[str, Any]]]] = {"read": _read, "load": _load, "look_up": _look_up}


def main(folder: str, step: str) -> None:
    """Take one step; print the seconds of processor time, and by how many megabytes the process grew at most."""
    before = _peak()
    began = time.process_time()
    found = _STEPS[step](Path(folder))
    seconds = time.process_time() - began
    print(json.dumps({"seconds": seconds, "megabytes": _peak() - before, **found}))


def _peak() -> float:
    """Return the most memory that this process ever had, in megabytes."""
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))


if __name__ == "__main__":
    main(*sys.argv[1:])

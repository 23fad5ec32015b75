"""A replica that catches up with many small files: from a primary that has them all, with every file synced here.

The log comes first, and is not counted: a replica takes it over without files, and is stopped.  What is measured is the time from
its second start, which is to fetch them, until no file is lacking; the start itself is counted.  Primary, replica and the disk of
both are on the machine that measures.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import orjson

from bench.client import WrongAnswer, get
from bench.figures import Figure, Target
from bench.history import NOBODY
from bench.servers import Twistpi
from bench.stage import Stage
from twistpi.blobs.address import BlobAddress, blob_address
from twistpi.blobs.tree import Tree
from twistpi.changelog.disk import Disk
from twistpi.changelog.files import FileChangelog
from twistpi.model.changes import Change, IndexCreated
from twistpi.model.codec import encode_content
from twistpi.model.releases import FileUploaded, ReleaseDescribed

_INDEX: Final = "root/bench"
_AT: Final = "2026-03-14T09:26:53.589793Z"
_BYTES: Final = 4096
_LEAST: Final = 500
"""Files a second."""
_PATIENCE: Final = 600.0
"""Seconds."""
_CHECKED: Final = 100
"""Files whose bytes are compared afterwards."""


def measure(stage: Stage) -> list[Figure]:
    """Files a second, until all of them are here."""
    count = stage.rounds(10_000, 5_000)
    home, away = stage.folder / "replicated", stage.folder / "replica"
    Twistpi.start(home, NOBODY).stop()
    addresses = _fill(home, count)
    primary = Twistpi.start(home, NOBODY)
    follow = ("--primary-url", primary.url, "--secretfile", str(home / "secret"))
    try:
        primary.wait_for_view()
        replica = Twistpi.start(away, NOBODY, *follow, "--replicate-files", "on-demand")
        serial = _status(primary)["serial"]
        _stop_when(replica, lambda status: status["serial"] == serial)
        os.sync()
        started = time.perf_counter()
        replica = Twistpi.start(away, NOBODY, *follow)
        elapsed = _stop_when(replica, lambda status: status["replica-files-in-sync-at"] is not None) - started
    finally:
        primary.stop()
    _check(away, addresses)
    note = f"{count:,} files of {_BYTES:,} bytes in {elapsed:.1f} s"
    return [
        Figure("small files replicated", count / elapsed, "files/s", target=Target("at least", _LEAST, of="value"), note=note)
    ]


def _fill(serverdir: Path, count: int) -> list[BlobAddress]:
    """Give a server that is not in use ``count`` uploads; where they are."""
    addresses: list[BlobAddress] = []
    tree = Tree(str(serverdir))

    def bodies() -> Iterator[bytes]:
        yield _entry(IndexCreated(_INDEX, {"type": "stage", "volatile": True, "bases": []}))
        for number in range(count):
            project, content = f"made-up-{number}", os.urandom(_BYTES)
            digest, filename = hashlib.sha256(content).hexdigest(), f"made_up_{number}-1.0.zip"
            addresses.append(blob_address(digest, filename))
            path = Path(tree.path(addresses[-1]))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            described = ReleaseDescribed(_INDEX, project, "1.0", {"name": project, "version": "1.0"})
            yield _entry(described, FileUploaded(_INDEX, project, "1.0", filename, digest, _BYTES))

    changelog = FileChangelog.open(str(serverdir / "changelog"), Disk())
    changelog.append(list(bodies()), changelog.last.serial)
    changelog.close()
    return addresses


def _entry(*changes: Change) -> bytes:
    return encode_content(_AT, "root", changes)


def _status(server: Twistpi) -> dict[str, Any]:
    result: dict[str, Any] = orjson.loads(get(f"{server.url}/+status").body)["result"]
    return result


def _stop_when(server: Twistpi, is_done: Callable[[dict[str, Any]], bool]) -> float:
    """Stop ``server`` when its status says so; when that was."""
    try:
        deadline = time.perf_counter() + _PATIENCE
        while not is_done(status := _status(server)):
            if time.perf_counter() > deadline:
                raise WrongAnswer(f"the replica does not get done: {status}")
            time.sleep(0.05)
        return time.perf_counter()
    finally:
        server.stop()


def _check(serverdir: Path, addresses: list[BlobAddress]) -> None:
    """Every file is there, and some of them are looked into."""
    tree = Tree(str(serverdir))
    found = dict(tree.walk())
    lacking = [address for address in addresses if found.get(address) != _BYTES]
    wrong = [
        address for address in addresses[:: max(1, len(addresses) // _CHECKED)] if tree.digest(address)[:16] != address.digits
    ]
    if lacking or wrong:
        raise WrongAnswer(f"{len(lacking)} files are not at the replica, {len(wrong)} are wrong there")

"""A backup of one more day of a large server: it costs what is new, whatever there was before."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import orjson

from bench.corpus import MEGABYTE
from bench.figures import Figure, Target
from bench.servers import Twistpi
from bench.stage import Stage
from twistpi.backup.manifest import Manifest, ManifestName
from twistpi.blobs.address import blob_address
from twistpi.blobs.tree import Tree
from twistpi.changelog.catch_up import catch_up
from twistpi.changelog.disk import Disk
from twistpi.changelog.files import FileChangelog
from twistpi.changelog.format import SEGMENT_LIMIT
from twistpi.model.changes import Change, FileCached, LinksChanged
from twistpi.model.codec import encode_content
from twistpi.model.records import Link
from twistpi.server.node import read_node
from twistpi.view.database import open_view

FILES = 1_000_000
_QUICK = 100_000
_DAY = 5_000
"""Files of one more day."""
_SIZE = 20_000
"""Bytes of each."""
_OF_PROJECT = 10
_MIRROR = "root/pypi"
_AT = "2026-03-14T09:26:53.589793Z"
_BATCH = 1000


def measure(stage: Stage) -> list[Figure]:
    """On a server directory of its own, of which the bytes of the former files are left out: the backup must not look at them."""
    serverdir, backup, files = stage.folder / "backed-up", stage.folder / "backup", stage.rounds(FILES, _QUICK)
    Twistpi.start(serverdir, stage.corpus.simple_url).stop()
    stage.say(f"making a log of {files:,} files")
    _append(serverdir, _entries(range(files)))
    _pretend_backup(serverdir, backup)
    _append(serverdir, _entries(range(files, files + _DAY), Tree(str(serverdir))))
    seconds, memory, report = _back_up(serverdir, backup)
    assert report["files"] == _DAY, report
    again, _memory, report = _back_up(serverdir, backup)
    assert report["files"] == 0, report
    note = f"{_DAY:,} files of {_SIZE / 1000:.0f} kB, after {files:,}"
    return [
        Figure("backup of one more day", seconds, "s", target=Target("below", 10, of="value"), note=note),
        Figure("memory of that", memory / MEGABYTE, "MB", target=Target("below", 120, of="value")),
        Figure("backup when nothing is new", again, "s"),
    ]


def _back_up(serverdir: Path, backup: Path) -> tuple[float, int, dict[str, int]]:
    """Return how long a backup takes, the bytes that were resident at most, and its report."""
    program = "import resource, sys; from twistpi.cli.main import main\ntry: main()\nfinally: " \
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"  # fmt: skip
    words = ["backup", "--serverdir", str(serverdir), "--json", str(backup)]
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, check=True)
    seconds = time.perf_counter() - started
    return seconds, int(done.stderr.split()[-1]) * 1024, orjson.loads(done.stdout)


def _append(serverdir: Path, entries: Iterator[bytes]) -> None:
    """Append entries, and fold them."""
    node = read_node(str(serverdir))
    assert node is not None
    with closing(FileChangelog.open(str(serverdir / "changelog"), Disk(), segment_limit=SEGMENT_LIMIT)) as log:
        while batch := list(islice(entries, _BATCH)):
            log.append(batch, log.last.serial)
        with closing(open_view(str(serverdir / "view.sqlite"), node.log_id)) as view:
            catch_up(log, view)


def _entries(numbers: range, tree: Tree | None = None) -> Iterator[bytes]:
    """Yield an entry for each file and each project, in the order in which a mirror learns of them; store files in ``tree``."""
    for first in numbers[::_OF_PROJECT]:
        name, cached, links = f"cached-{first}", list[Change](), list[Link]()
        for number in range(first, first + _OF_PROJECT):
            filename = f"cached_{first}-{number}.0.tar.gz"
            content = filename.encode() * (_SIZE // len(filename))
            sha256 = hashlib.sha256(content if tree is not None else filename.encode()).hexdigest()
            if tree is not None:
                path = Path(tree.path(blob_address(sha256, filename)))
                path.parent.mkdir(parents=True)
                path.write_bytes(content)
            links.append(Link(filename, f"https://files.upstream.example/{filename}", {"sha256": sha256}, len(content)))
            cached.append(FileCached(_MIRROR, name, filename, sha256, len(content)))
        yield encode_content(_AT, "root", [LinksChanged(_MIRROR, name, added=tuple(links))])
        yield from (encode_content(_AT, "root", [change]) for change in cached)


def _pretend_backup(serverdir: Path, backup: Path) -> None:
    """Write what a backup of all there is leaves, without the files."""
    node = read_node(str(serverdir))
    assert node is not None
    (backup / "changelog").mkdir(parents=True)
    for segment in (serverdir / "changelog").iterdir():
        (backup / "changelog" / segment.name).write_bytes(segment.read_bytes())
    with closing(FileChangelog.open(str(serverdir / "changelog"), Disk())) as log:
        manifest = Manifest(node.log_id, node.node_id, log.last, 0, 0)
    path = backup / ManifestName(log.last.serial, datetime(2026, 3, 14, tzinfo=UTC)).path
    path.parent.mkdir()
    path.write_bytes(manifest.content())

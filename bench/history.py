"""A server directory with a long history, made by the changelog and the view themselves and kept for the next run."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import attrs
import orjson

from bench.builds import PROJECT
from bench.servers import Twistpi
from twistpi.changelog.catch_up import catch_up
from twistpi.changelog.disk import Disk
from twistpi.changelog.files import FileChangelog
from twistpi.model.changes import Change, FileCached, LinksChanged, MetadataCached
from twistpi.model.codec import encode_content
from twistpi.model.records import Freshness, Link
from twistpi.view.database import drop_view, open_view

INDEX = "root/pypi"
NOBODY = "http://127.0.0.1:9/simple/"
"""The upstream of a server that is to answer from what it knows; nobody listens there."""

_AT = "2026-03-14T09:26:53.589793Z"
_BATCH = 2000


@attrs.frozen
class History:
    """A server directory that is not in use."""

    serverdir: Path
    entries: int

    @classmethod
    def of(cls, entries: int, say: Callable[[str], None]) -> History:
        """A log of ``entries`` entries, from an earlier run of the same code if there was one."""
        name = f"twistpi-bench-history-{entries}-"
        folder = Path(tempfile.gettempdir()) / f"{name}{_digest_of_code()}"
        history = cls(folder / "server", entries)
        finished = folder / "complete"
        if not finished.exists():
            for older in Path(tempfile.gettempdir()).glob(f"{name}*"):
                shutil.rmtree(older)
            folder.mkdir()
            say(f"writing a log of {entries:,} entries")
            Twistpi.start(history.serverdir, NOBODY).stop()
            history._write()
            finished.touch()
        return history

    def rebuild(self) -> float:
        """Drop the view and fold the whole log again; entries a second."""
        path = str(self.serverdir / "view.sqlite")
        changelog = FileChangelog.open(str(self.serverdir / "changelog"), Disk())
        drop_view(path)
        started = time.perf_counter()
        view = open_view(path, self._log_id())
        count = catch_up(changelog, view)
        elapsed = time.perf_counter() - started
        view.close()
        changelog.close()
        return count / elapsed

    def known_project(self) -> str:
        """A project whose page the server will take for fresh for a while."""
        view = open_view(str(self.serverdir / "view.sqlite"), self._log_id())
        view.remember_freshness(INDEX, _project(0), Freshness(time.time(), source=NOBODY))
        view.close()
        return _project(0)

    def _log_id(self) -> str:
        log_id: str = orjson.loads((self.serverdir / "node.json").read_bytes())["log_id"]
        return log_id

    def _write(self) -> None:
        changelog = FileChangelog.open(str(self.serverdir / "changelog"), Disk())
        bodies = (encode_content(_AT, "+mirror", [change]) for change in islice(changes(), self.entries - changelog.last.serial))
        while batch := list(islice(bodies, _BATCH)):
            changelog.append(batch, changelog.last.serial)
        changelog.close()


def changes() -> Iterator[Change]:
    """What a mirror goes through, without end: a project of two files appears, both are cached, and metadata of one."""
    number = 0
    while True:
        project = _project(number)
        wheel, archive = (
            _link(project, f"{project.replace('-', '_')}-1.0{ending}") for ending in ("-py3-none-any.whl", ".tar.gz")
        )
        yield LinksChanged(INDEX, project, added=(wheel, archive), versions_added=("1.0",))
        for link in (wheel, archive):
            yield FileCached(INDEX, project, link.filename, link.hashes["sha256"], 100_000)
        yield MetadataCached(INDEX, project, wheel.filename, _digest(wheel.filename + ".metadata"), 2_000)
        number += 1


def _project(number: int) -> str:
    return f"made-up-{number}"


def _link(project: str, filename: str) -> Link:
    return Link(
        filename,
        f"https://files.upstream.example/{project}/{filename}",
        {"sha256": _digest(filename)},
        size=100_000,
        requires_python=">=3.9",
        upload_time=_AT,
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _digest_of_code() -> str:
    """Of all code that decides what log and view look like: another code makes another history."""
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for room in ("model", "changelog", "view"):
        for path in sorted((PROJECT / "twistpi" / room).iterdir()):
            if path.suffix in (".py", ".sql"):
                digest.update(path.read_bytes())
    return digest.hexdigest()[:12]

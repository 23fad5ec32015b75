"""A process that commits through the real writer, log and view, and in between asks the disk what it can: ``DIRECTORY ROUNDS``.

Prints JSON: commits, fsyncs and fdatasyncs a second, a number for each round.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from itertools import cycle
from pathlib import Path
from typing import Any

import attrs
import orjson
from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from twistpi.changelog.disk import Disk
from twistpi.changelog.files import FileChangelog
from twistpi.changelog.writer import Writer
from twistpi.model.changes import Change, FileCached, IndexCreated, LinksChanged, LogStarted
from twistpi.model.codec import encode_content
from twistpi.model.records import Link
from twistpi.server.process import ease_collecting
from twistpi.view.database import open_view

WAITING = 64
_COMMIT_SECONDS = 1.0
_SYNC_SECONDS = 0.4
_PROJECTS = 100
_FILES_PER_PROJECT = 40
_LINE = b"x" * 300 + b"\n"
_INDEX = "root/pypi"
_DATA_SYNC: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)
"""The call the changelog makes on this system."""


@attrs.define
class Appends:
    """Commits of cached files, round and round over a few thousand files that the view knows."""

    writer: Writer
    _files: cycle[FileCached]
    done: int = 0
    _until: float = 0.0
    _running: int = 0
    _finished: Deferred[None] = attrs.field(factory=Deferred)

    async def rate(self) -> float:
        """Commits a second with ``WAITING`` of them waiting at any time."""
        self.done = 0
        started = time.perf_counter()
        self._until = started + _COMMIT_SECONDS
        self._running = WAITING
        self._finished = Deferred()
        for _ in range(WAITING):
            self._commit()
        await self._finished
        return self.done / (time.perf_counter() - started)

    def _commit(self) -> None:
        """One of those that wait: callbacks rather than a coroutine, whose price would be measured as well."""
        self.writer.commit(_deciding(next(self._files)), "+mirror").addCallbacks(self._committed, self._failed)

    def _failed(self, failure: Failure) -> None:
        if not self._finished.called:
            self._finished.errback(failure)

    def _committed(self, _committed: object) -> None:
        self.done += 1
        if time.perf_counter() < self._until:
            self._commit()
            return
        self._running -= 1
        if not self._running and not self._finished.called:
            self._finished.callback(None)


def _deciding(change: Change) -> Callable[[object], Sequence[Change]]:
    """A decision that was made already."""
    return lambda _reader: (change,)


def syncs_per_second(folder: Path, sync: Callable[[int], None]) -> float:
    """What the disk can: a line written and synced, and the next one only then."""
    descriptor = os.open(folder / "synced", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    started = time.perf_counter()
    count = 0
    while time.perf_counter() < started + _SYNC_SECONDS:
        os.write(descriptor, _LINE)
        sync(descriptor)
        count += 1
    elapsed = time.perf_counter() - started
    os.close(descriptor)
    return count / elapsed


def _pages() -> list[LinksChanged]:
    pages = []
    for project in (f"made-up-{number}" for number in range(_PROJECTS)):
        filenames = [f"{project}-{number}.0.tar.gz" for number in range(_FILES_PER_PROJECT)]
        links = [Link(name, f"https://files.upstream.example/{name}", {"sha256": _digest(name)}) for name in filenames]
        pages.append(LinksChanged(_INDEX, project, added=tuple(links)))
    return pages


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


async def measure(clock: Any, folder: Path, rounds: int) -> None:
    """Print the rates of ``rounds`` rounds."""
    ease_collecting()  # these two as the server does
    log_id = "0" * 32
    changelog = FileChangelog.open(str(folder / "changelog"), Disk())
    begin: Sequence[Change] = [LogStarted(log_id), IndexCreated(_INDEX, {"type": "mirror"})]
    changelog.append([encode_content("2026-03-14T09:26:53.589793Z", "+init", begin)], 0)
    view = open_view(str(folder / "view.sqlite"), log_id)
    writer = Writer(
        changelog,
        view,
        now=lambda: datetime.now(UTC),
        call_in_reactor=clock.callFromThread,
        announce=lambda _serial, _changes: None,
        stop=lambda _error: clock.stop(),
    )
    writer.start()
    pages = _pages()
    for page in pages:
        await writer.commit(_deciding(page), "+mirror")
    files = [
        FileCached(page.index, page.project, link.filename, link.hashes["sha256"], 1000) for page in pages for link in page.added
    ]
    appends = Appends(writer, cycle(files))
    commits, fsyncs, data_syncs = [], [], []
    for _ in range(rounds):
        commits.append(await appends.rate())
        fsyncs.append(syncs_per_second(folder, os.fsync))
        data_syncs.append(syncs_per_second(folder, _DATA_SYNC))
    await writer.stop()
    print(orjson.dumps({"waiting": WAITING, "commits": commits, "fsyncs": fsyncs, "fdatasyncs": data_syncs}).decode())


if __name__ == "__main__":
    task.react(measure, (Path(sys.argv[1]), int(sys.argv[2])))

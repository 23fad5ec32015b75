"""Blobs, a log, a view and a writer, small but real, with a collector of garbage over them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import attrs
from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from tests.fakes.memory_changelog import MemoryChangelog
from tests.in_reactor import offload
from tests.view.small_world import kept_blobs
from twistpi.blobs.address import BlobAddress, blob_address
from twistpi.blobs.received import Receiving
from twistpi.blobs.tree import Tree, open_tree
from twistpi.changelog.writer import Writer
from twistpi.gc.collector import GarbageCollector, Report
from twistpi.model.changes import Change, Entry, IndexCreated, LogStarted
from twistpi.model.codec import encode_content
from twistpi.model.peers import Position
from twistpi.model.releases import FileRemoved, FileUploaded
from twistpi.view.database import ViewDatabase, open_view
from twistpi.view.read import Reader, Readers

reactor: Any = the_reactor
LOG_ID = "0" * 32
INDEXES = ("alice/dev", "alice/prod")
LONG_AGO = 1_000_000_000.0


def now() -> datetime:
    return datetime(2026, 11, 22, 17, tzinfo=UTC)


def put(tree: Tree, filename: str, content: bytes, *, age: bool = False) -> BlobAddress:
    """Keep a blob, as if long ago when it is to have an ``age``."""
    digest = sha256(content).hexdigest()
    address = blob_address(digest, filename)
    with tree.incoming() as incoming:
        incoming.write(content)
        tree.keep(incoming, address, digest)
    if age:
        os.utime(tree.path(address), (LONG_AGO, LONG_AGO))
    return address


def uploaded(filename: str, content: bytes, index: str = INDEXES[0]) -> FileUploaded:
    return FileUploaded(index, "demo", "1.0", filename, sha256(content).hexdigest(), len(content))


def removed(filename: str, index: str = INDEXES[0]) -> FileRemoved:
    return FileRemoved(index, "demo", filename)


def check_blobs(tree: Tree, reader: Reader) -> None:
    """Everything that is named is there, whole."""
    for blob in kept_blobs(reader):
        address = BlobAddress(blob.digits, blob.filename)
        assert tree.find(address) == blob.size, f"{address.relative} is lost"
        assert tree.digest(address) == blob.sha256


def put_first_entry(changelog: MemoryChangelog, view: ViewDatabase) -> None:
    stages = (IndexCreated(index, {"type": "stage", "volatile": True}) for index in INDEXES)
    from_root: list[Change] = [LogStarted(LOG_ID), *stages]
    end: Position = changelog.append([encode_content("2026-11-22T17:00:00.000000Z", "root", from_root)], 0)
    assert end.serial == 1
    view.begin()
    view.apply(Entry(1, "2026-11-22T17:00:00.000000Z", "root", tuple(from_root)))
    view.commit(end)


@attrs.define(eq=False)
class Setup:
    """With a running writer, the real reactor and its threads."""

    tree: Tree
    view: ViewDatabase
    readers: Readers
    writer: Writer
    collector: GarbageCollector

    async def upload(self, filename: str, content: bytes, index: str, pause: float = 0.0) -> None:
        """As a handler does: the file is open from its first byte to the end of the commit."""

        def receive() -> Any:
            receiving = Receiving(self.tree)
            receiving.write(content)
            return receiving.finish()

        received = await deferToThread(receive)
        try:
            await deferToThread(received.keep, filename)
            await deferLater(reactor, pause)
            await self.commit(uploaded(filename, content, index))
        finally:
            received.close()

    async def adopt(self, filename: str, content: bytes, index: str, pause: float = 0.0) -> bool:
        """As a download does that finds the file of another index; whether it was there."""
        address = blob_address(sha256(content).hexdigest(), filename)
        file = await deferToThread(self.tree.claim, address)
        if file is None:
            return False
        try:
            await deferLater(reactor, pause)
            await self.commit(uploaded(filename, content, index))
        finally:
            file.close()
        return True

    async def push(self, filename: str, content: bytes, source: str, target: str) -> None:
        """As a push does: what the writer's view says of the source decides."""

        def decide(reader: Reader) -> Sequence[Change]:
            release = reader.release_of_file(source, "demo", filename)
            named = [] if release is None else [file.known.sha256 for file in release.files]
            return [uploaded(filename, content, target)] if sha256(content).hexdigest() in named else []

        await self.writer.commit(decide, "alice")

    async def commit(self, *changes: Change) -> None:
        await self.writer.commit(lambda _: changes, "alice")

    async def check(self) -> None:
        """Where nothing can be committed or withdrawn meanwhile."""

        def decide(reader: Reader) -> Sequence[Change]:
            check_blobs(self.tree, reader)
            return ()

        await self.writer.commit(decide, "alice")

    async def collect(self) -> Report:
        """A whole pass that begins now."""
        number = self.collector.ask()
        while self.collector.last is None or self.collector.last.number < number:
            await deferLater(reactor, 0.002)
        assert self.collector.last.failure is None, self.collector.last.failure
        return self.collector.last

    async def close(self) -> None:
        await self.collector.stop()
        await self.writer.stop()
        self.readers.close()
        self.view.close()


def make_setup(folder: Path, now_: Callable[[], float], grace: float) -> Setup:
    """Make one in ``folder`` whose writer runs."""
    path = str(folder / "view.sqlite")
    tree, changelog, view = open_tree(str(folder)), MemoryChangelog(), open_view(path, LOG_ID)
    put_first_entry(changelog, view)
    readers = Readers(path)
    announced: list[Callable[..., object]] = []

    def announce(serial: int, changes: tuple[Change, ...]) -> None:
        for told in announced:
            told(serial, changes)

    def stop(error: Exception) -> None:
        raise error

    folding = view
    writer = Writer(changelog, folding, now=now, call_in_reactor=reactor.callFromThread, announce=announce, stop=stop)
    collector = GarbageCollector(tree, readers, writer, reactor, offload=offload, now=now_, grace=grace)
    announced.append(collector.changed)
    writer.start()
    return Setup(tree, view, readers, writer, collector)


def all_done(work: Sequence[Any]) -> Deferred[Any]:
    """Fires when all coroutines are done; with the error of the first that fails."""
    return gatherResults([Deferred.fromCoroutine(one) for one in work], consumeErrors=True)

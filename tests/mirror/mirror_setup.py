"""A mirror with everything below it, small but real: log in memory, view and blobs in a folder, upstream on loopback."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import attrs
from twisted.internet import reactor as the_reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from zope.interface import implementer

from tests.fakes.upstream import FakeUpstream
from tests.in_reactor import until
from tests.mirror.mirror_storage import LOG_ID, DirectoryStorage, MirrorStorage
from twistpi.changelog.writer import Writer
from twistpi.http.agent import make_agent
from twistpi.http.client import HTTPClient
from twistpi.mirror.core_metadata import MetadataService, UpstreamMetadata
from twistpi.mirror.download import Download
from twistpi.mirror.files import FileService
from twistpi.mirror.links import FileLinks
from twistpi.mirror.name_source import UpstreamNames
from twistpi.mirror.names import NameLists
from twistpi.mirror.page_source import UpstreamPages
from twistpi.mirror.pages import TIMEOUTS, PageService
from twistpi.mirror.upload_times import UploadTimes
from twistpi.mirror.upstream_files import UpstreamFiles
from twistpi.model.changes import Change, IndexCreated, IndexDeleted, IndexModified, LogStarted
from twistpi.model.codec import decode_content, encode_content
from twistpi.model.records import Index, KnownFile, KnownProject
from twistpi.view.database import ViewDatabase
from twistpi.view.read import Readers
from twistpi.web.transport.bodies import UNKNOWN_END, GrowingBody

reactor: Any = the_reactor
offload: Any = deferToThread
MakeStorage = Callable[[str], MirrorStorage]


@implementer(IReactorTime)
class ShiftableClock:
    """The reactor's clock, with a date that can be moved, and with which a test says when something was waited for too long."""

    shift = 0.0

    def __init__(self) -> None:
        self._calls: list[Any] = []

    def seconds(self) -> float:
        """Unix time, moved."""
        return float(reactor.seconds()) + self.shift

    def callLater(self, delay: float, callable: Callable[..., object], *args: object, **kwargs: object) -> Any:
        """As the reactor's."""
        made = reactor.callLater(delay, callable, *args, **kwargs)
        self._calls = [*self._pending(), made]
        return made

    def getDelayedCalls(self) -> Sequence[IDelayedCall]:
        """As the reactor's."""
        return self._pending()

    def elapse(self, seconds: float) -> None:
        """Let so much time have passed, at once: what is due by then is called in the reactor's next turn."""
        self.shift += seconds
        for call in self._pending():
            call.reset(max(0.0, call.getTime() - reactor.seconds() - seconds))

    @property
    def furthest(self) -> float:
        """Seconds until the last call that is to come."""
        return float(max((call.getTime() - reactor.seconds() for call in self._pending()), default=0.0))

    def _pending(self) -> list[Any]:
        return [call for call in self._calls if call.active()]

    def callFromThread(self, call: Callable[..., object], *arguments: object) -> None:
        """As the reactor's."""
        reactor.callFromThread(call, *arguments)


@attrs.define
class Setup:
    """All rooms up to the mirror's."""

    fake: FakeUpstream
    folder: Path
    index: Index
    clock: ShiftableClock
    view: ViewDatabase
    readers: Readers
    writer: Writer
    blobs: Any
    announced: list[Change]
    upstream: HTTPClient
    mirror: PageService
    downloads: FileService
    core_metadata: MetadataService
    names: NameLists
    changelog: Any
    storage: MirrorStorage
    metadata_source: Any
    """What finds core metadata that is not here."""

    make_storage: ClassVar[MakeStorage] = DirectoryStorage
    """Makes what a mirror keeps things in: a directory's, or with ``pytest --cluster`` a node's."""

    @property
    def reader(self) -> Any:
        """The view."""
        return self.readers.get()

    def project(self, name: str) -> KnownProject:
        """What the view knows of a project."""
        known: KnownProject | None = self.reader.project(self.index.name, name)
        assert known is not None
        return known

    def file(self, project: str, filename: str) -> KnownFile:
        """What the view knows of a file."""
        return next(file for file in self.project(project).files if file.link.filename == filename)

    async def keep_waiting(self) -> None:
        """Return when the upstream was asked and says nothing more, and all the time is over that it is given."""
        await until(lambda: self.fake.held)
        self.clock.elapse(self.upstream.silence)

    async def wait_until_asked_again(self) -> None:
        """Return when an upstream that fell silent was given up, and asked once more."""
        asked = len(self.fake.seen)
        await until(lambda: self.fake.held)
        while len(self.fake.seen) == asked:  # each piece that is written meanwhile starts the time of silence anew
            self.clock.elapse(self.upstream.silence)
            await deferLater(the_reactor, 0.1)

    async def download(self, project: str, filename: str) -> bytes:
        """Read a file as a client does, to its end."""
        return await read_all(self.downloads.open(self.index, project, self.file(project, filename)))

    def changes(self, kind: type) -> list[Change]:
        """The changes of one kind that were committed."""
        return [change for change in self.announced if isinstance(change, kind)]

    async def commit(self, *changes: Change) -> None:
        """Write an entry, as somebody who sets up indexes does; ``index`` is what it is afterwards."""
        await self.writer.commit(lambda reader: changes, by="root")
        self.index = self.reader.index(self.index.name) or self.index

    async def set_up(self, **options: Any) -> None:
        """Set up the index differently."""
        await self.commit(IndexModified(self.index.name, options))

    async def make_anew(self, **options: Any) -> None:
        """Delete the index and make one of the same name."""
        config = {**self.index.config, **options}
        await self.commit(IndexDeleted(self.index.name))
        await self.commit(IndexCreated(self.index.name, config))

    def incoming(self) -> list[str]:
        """Files that are neither kept nor removed."""
        return os.listdir(self.folder / "incoming")

    async def quiet(self) -> None:
        """Return when no file is on its way any more, nor being recorded."""
        await until(lambda: self.downloads.is_idle() and not self.incoming())

    async def close(self) -> None:
        """Stop everything."""
        for service in (self.mirror, self.downloads, self.core_metadata, self.names):
            service.stop()
        await self.fake.stop()
        await self.writer.stop()
        self.readers.close()
        self.storage.close()


def build_setup(folder: Path, fake: FakeUpstream, *, agent: Any = None, timeout: float = 60.0, **options: Any) -> Setup:
    """``options``: further configuration of the index; ``offline`` and ``failure_pause`` are the mirror's.

    ``timeout``: seconds that the upstream is given, by default more than a busy machine needs.
    """
    offline, failure_pause = options.pop("offline", False), options.pop("failure_pause", 5.0)
    index = Index("root/up", {"type": "mirror", "mirror_url": fake.index_url, **options})
    first: Sequence[Change] = [LogStarted(LOG_ID), IndexCreated(index.name, index.config)]
    storage = Setup.make_storage(str(folder))
    changelog, view, blobs = storage.changelog, storage.view, storage.served
    announced: list[Change] = []
    clock = ShiftableClock()

    def announce(serial: int, changes: Sequence[Change]) -> None:
        announced.extend(changes)
        readers.unrecorded.entered(serial, changes)
        names.changed(serial, changes)

    writer = Writer(
        changelog,
        view,
        now=lambda: datetime.now(UTC),
        call_in_reactor=reactor.callFromThread,
        announce=announce,
        stop=lambda error: None,
    )
    if view.position.serial == 0:
        changelog.append([encode_content("2026-11-22T17:00:00.000000Z", "+init", first)], expect=0)
        view.begin()
        for line in changelog.read(view.position):
            view.apply(decode_content(line.body, line.serial))
            view.commit(line.position)
    readers = Readers(str(folder / "view.sqlite"), view.keep_newest())
    writer.start()
    chosen = agent or make_agent(reactor, {})
    upstream = HTTPClient(chosen, clock, offload, reactor.callFromThread, timeout=timeout, silence=timeout)
    links = FileLinks(upstream, timeout)
    times = UploadTimes(upstream, readers, timeout)
    pages = UpstreamPages(upstream, readers, writer, TIMEOUTS * timeout, links.learn, times)
    mirror = PageService(pages, readers, clock, request_timeout=timeout, offline=offline, failure_pause=failure_pause)
    files = storage.files(UpstreamFiles(upstream, links, blobs, writer, offline=offline))
    downloads = FileService(files, blobs, offload)
    metadata = UpstreamMetadata(upstream, links, downloads, blobs, writer, offline=offline)
    core_metadata = MetadataService(storage.metadata(metadata, downloads), blobs, offload)
    names = NameLists(
        UpstreamNames(upstream),
        readers,
        clock,
        root=str(folder / "names"),
        offload=offload,
        call_in_reactor=reactor.callFromThread,
        request_timeout=timeout,
        offline=offline,
    )
    return Setup(
        fake,
        folder,
        index,
        clock,
        view,
        readers,
        writer,
        storage.blobs,
        announced,
        upstream,
        mirror,
        downloads,
        core_metadata,
        names,
        changelog,
        storage,
        metadata,
    )


async def read_all(download: Download) -> bytes:
    """Read a growing file as a client does."""
    download.retain()
    body = GrowingBody(-1, 0, UNKNOWN_END, download, 0)
    try:
        size = await download.headers()
        body.end = UNKNOWN_END if size is None else size
        body.download.follow(body)
        return await read_on(body)
    finally:
        body.download.release(body)


async def read_on(body: GrowingBody, end: int = UNKNOWN_END) -> bytes:
    """Read what comes, up to the byte ``end``."""
    pieces: list[bytes] = []
    while not body.over and body.offset < end:
        if not body.ready:
            await body.more()
        if body.ready:
            pieces.append(body.read(min(65536, end - body.offset)))
    return b"".join(pieces)


def pause(seconds: float) -> Deferred[None]:
    """Let time pass."""
    waiting: Deferred[None] = Deferred()
    reactor.callLater(seconds, waiting.callback, None)
    return waiting


def expect_cancellation(failure: Failure) -> None:
    """Accept the failure of a download that a test cancelled."""
    failure.trap(CancelledError)


def start(work: Coroutine[Any, Any, Any]) -> Deferred[Any]:
    """Begin something without waiting for it."""
    return Deferred.fromCoroutine(work)

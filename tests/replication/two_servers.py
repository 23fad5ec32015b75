"""Servers that follow each other in one process: real sites on loopback, real views and blobs; the test passes lines on.

A ``Server`` without a parent is a primary with a mirror of a fake upstream; one with a parent is a replica of it, which may have
replicas in turn.  What the log has comes over at once, or when a test says so; everything else goes over the wire.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred
from twisted.web.http_headers import Headers
from twisted.web.server import Request

from tests.fakes.memory_changelog import MemoryChangelog
from tests.fakes.upstream import FakeUpstream
from tests.mirror.mirror_setup import ShiftableClock, offload
from tests.replication.fake_primary import client_for, make_client
from twistpi.auth.tokens import LoginTokens, NodeClaim, NodeTokens
from twistpi.blobs.address import BlobAddress, blob_address
from twistpi.blobs.incoming import System
from twistpi.blobs.tree import Tree, open_tree
from twistpi.changelog.writer import Writer
from twistpi.http.agent import make_agent
from twistpi.http.client import HTTPClient
from twistpi.http.single_flight import SingleFlight
from twistpi.model.changes import Change, IndexCreated, LogStarted, UserCreated
from twistpi.model.codec import decode_content, encode_content
from twistpi.model.records import Index, KnownFile
from twistpi.model.releases import FileUploaded, ReleaseDescribed
from twistpi.replication.blob_fetcher import BlobFetcher
from twistpi.replication.following import Following
from twistpi.replication.primary import Primary
from twistpi.rules.permissions import Policy
from twistpi.search.service import SearchService
from twistpi.server.process import Process
from twistpi.server.roles import RoleBuilder
from twistpi.server.settings import Settings
from twistpi.view.database import ViewDatabase, open_view
from twistpi.view.page_cache import PageCache
from twistpi.view.read import Readers
from twistpi.web.access import Access
from twistpi.web.authentication import Authenticator, PasswordQueue
from twistpi.web.commits import UploadStorage
from twistpi.web.components import Components, MirrorServices, NodeFacts, ReplicationServices
from twistpi.web.fast.ready import ReadyAnswers
from twistpi.web.replication.authentication import NodeAuthenticator
from twistpi.web.routes import make_site
from twistpi.web.transport.connections import Connections

reactor: Any = the_reactor
LOG_ID = "0" * 32
SECRET = b"the secret that all servers of a test share"
MIRROR, STAGE = "root/up", "alice/dev"
AT = "2026-11-22T17:00:00.000000Z"


@attrs.define(eq=False)
class Answer:
    """What a client got."""

    status: int
    headers: Headers
    body: bytes


class RoomySystem(System):
    """A disk that is full while a test says so."""

    has_room = True

    def create(self, path: str) -> int:
        if not self.has_room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().create(path)


@attrs.define(eq=False)
class NotingNodes(NodeAuthenticator):
    """A guard that notes who asked for what."""

    asked: list[str] = attrs.field(factory=list)

    def node(self, request: Request) -> NodeClaim:
        claim = super().node(request)
        ranged = request.requestHeaders.getRawHeaders("Range") or [""]
        self.asked.append(f"{request.method.decode()} {request.uri.decode()} {ranged[0]}")
        return claim


@attrs.define(eq=False)
class Server:
    """One server of a chain."""

    folder: Path
    changelog: MemoryChangelog
    view: ViewDatabase
    readers: Readers
    writer: Writer
    blobs: Tree
    components: Components
    site: Any
    clock: ShiftableClock
    system: RoomySystem
    asked: list[str]
    """What other servers asked for: method, path and range."""
    parent: Server | None = None
    children: list[Server] = attrs.field(factory=list)
    follows: bool = True
    """Whether lines come by themselves."""
    _pulling: SingleFlight[str, None] = attrs.field(factory=SingleFlight)
    _port: Any = None
    _number: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._number}"

    def listen(self) -> None:
        """Answer, at the port of before."""
        self._port = reactor.listenTCP(self._number, self.site, interface="127.0.0.1")
        self._number = self._port.getHost().port

    async def vanish(self) -> None:
        """Be gone from the network, in the middle of whatever is sent."""
        port, self._port = self._port, None
        if port is not None:
            await port.stopListening()
        for connection in list(self.components.connections._open):
            connection.cut()

    async def pull(self) -> None:
        """Take over all lines of the parent."""
        await self._pulling.join("lines", self._pull)

    async def _pull(self) -> None:
        parent = self.parent
        assert parent is not None
        while lines := [
            b"%d %s %s" % (raw.serial, raw.chain.encode(), raw.body) for raw in parent.changelog.read(self.changelog.last)
        ]:
            await self.writer.receive(lines)

    async def follow(self) -> None:
        """Take over all lines, and begin to fetch files."""
        await self.pull()
        self.queue.start()

    @property
    def in_sync(self) -> bool:
        """Whether nothing is known to be lacking, and nothing remains to be looked at."""
        return not self.queue.outstanding and not self.queue.is_searching

    async def commit(self, *changes: Change) -> None:
        await self.writer.commit(lambda reader: changes, by="alice")

    def put(self, content: bytes, address: BlobAddress) -> None:
        """Have a blob, as if it had been kept long ago."""
        path = Path(self.blobs.path(address))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def upload(self, filename: str, content: bytes) -> tuple[Change, ...]:
        """Keep a file, which the changes say is uploaded."""
        digest = sha256(content).hexdigest()
        self.put(content, blob_address(digest, filename))
        described = ReleaseDescribed(STAGE, "demo", "1.0", {"name": "demo", "version": "1.0"})
        return described, FileUploaded(STAGE, "demo", "1.0", filename, digest, len(content))

    async def get(self, path: str, **headers: str) -> Answer:
        """What a client gets."""
        client = make_client(make_agent(reactor, {}, connections_per_host=0))
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        response = await client.request("GET", f"{self.url}{path}", headers=fields, follow=False)
        return Answer(response.status, response.headers, await response.read(1 << 30))

    @property
    def index(self) -> Index:
        found = self.readers.get().index(MIRROR)
        assert found is not None
        return found

    def file(self, project: str, filename: str) -> KnownFile:
        known = self.readers.get().project(MIRROR, project)
        assert known is not None
        return next(file for file in known.files if file.link.filename == filename)

    @property
    def mirrors(self) -> MirrorServices:
        return self.components.mirrors

    @property
    def queue(self) -> BlobFetcher:
        """What fetches the files of a replica."""
        assert self.components.replication.queue is not None
        return self.components.replication.queue

    def has(self, content: bytes, filename: str) -> bool:
        """Whether the file is here, whole."""
        address = blob_address(sha256(content).hexdigest(), filename)
        return self.blobs.find(address) == len(content) and self.blobs.digest(address) == sha256(content).hexdigest()

    async def close(self) -> None:
        if self.parent is not None:
            self.queue.stop()
        names: Any = self.mirrors.names
        for part in (names, self.mirrors.metadata, self.mirrors.pages, self.mirrors.files):
            part.stop()
        await self.vanish()
        await self.writer.stop()
        self.readers.close()
        self.view.close()


def build_server(folder: Path, fake: FakeUpstream, parent: Server | None = None, **settings: Any) -> Server:
    """A server that listens; ``settings`` are those of the program, and ``through`` another address of the parent."""
    folder.mkdir()
    through = settings.pop("through", None)
    chosen = Settings(serverdir=str(folder), request_timeout=settings.pop("request_timeout", 10.0), **settings)
    changelog = MemoryChangelog()
    view: Any = open_view(str(folder / "view.sqlite"), LOG_ID)
    clock = ShiftableClock()
    told: list[Callable[[int, Sequence[Change]], object]] = []

    def announce(serial: int, changes: Sequence[Change]) -> None:
        for tell in told:
            tell(serial, changes)

    writer = Writer(
        changelog, view, now=lambda: datetime.now(UTC), call_in_reactor=reactor.callFromThread, announce=announce,
        stop=lambda error: None, follows=parent is not None,
    )  # fmt: skip
    if parent is None:
        first: Sequence[Change] = [
            LogStarted(LOG_ID),
            UserCreated("root"),
            IndexCreated(MIRROR, {"type": "mirror", "mirror_url": fake.index_url}),
            IndexCreated(STAGE, {"type": "stage", "volatile": True}),
        ]
        changelog.append([encode_content(AT, "+init", first)], expect=0)
        view.begin()
        for line in changelog.read(view.position):
            view.apply(decode_content(line.body, line.serial))
            view.commit(line.position)
    readers = Readers(str(folder / "view.sqlite"), view.keep_newest())
    system = RoomySystem()
    blobs = open_tree(str(folder), system)
    timeout = chosen.request_timeout
    upstream = HTTPClient(make_agent(reactor, {}), clock, offload, reactor.callFromThread, timeout=timeout, silence=timeout)
    node = SimpleNamespace(fence=None)
    storage: Any = SimpleNamespace(
        blobs=blobs, bucket=None, serverdir=SimpleNamespace(layout=SimpleNamespace(names=str(folder / "names")), node=node)
    )
    process = Process(clock_reactor(clock), {}, lambda: datetime.now(UTC), lambda error: None, lambda: None)
    roles = RoleBuilder(chosen, process, storage, readers, writer, upstream)
    nodes = NotingNodes(NodeTokens(SECRET), time.monotonic, time.time())
    replication = ReplicationServices(nodes)
    if parent is None:
        mirrors = roles.upstream_mirrors()
    else:
        client, _agent = client_for(through or parent.url)
        primary = Primary(through or parent.url, os.urandom(16).hex(), client, NodeTokens(SECRET), os.urandom, patience=60.0)
        log: Any = changelog
        reactor_here = clock_reactor(clock)  # what follows is never started: the test hands lines on
        following = Following(primary, LOG_ID, log, writer.receive, lambda: 1, offload, reactor_here, lambda: 0.5)
        mirrors = roles.primary_mirrors(primary, following)
        replication.queue = roles.blob_fetcher(primary, following, mirrors.files)
        told += [following.changed, replication.queue.changed]
    authenticator = Authenticator(readers, LoginTokens(SECRET, 36000), PasswordQueue(offload), clock, os.urandom, 4)
    nobody: Any = None
    components = Components(
        node=NodeFacts(os.urandom(16).hex()), software="twistpi/1.0", access=Access(readers, authenticator, Policy()),
        writer=writer, storage=UploadStorage(blobs, offload, lambda error: None), pusher=nobody,
        mirrors=mirrors, replication=replication,
        search=SearchService(os.path.join(folder, "search.sqlite")), ready=ReadyAnswers(PageCache(1 << 20)),
        connections=Connections(clock), clock=clock, offload=offload, now=lambda: datetime.now(UTC),
    )  # fmt: skip
    site = make_site(components)
    server = Server(folder, changelog, view, readers, writer, blobs, components, site, clock, system, nodes.asked, parent)

    def hand_on(_serial: int, _changes: object) -> None:
        for child in server.children:
            if child.follows:
                Deferred.fromCoroutine(child.pull())

    names: Any = mirrors.names
    told[:0] = [readers.unrecorded.entered, site.changed, names.changed, hand_on]
    readers.unrecorded.forgotten = components.ready.forget_project
    components.responder.default_headers.moved(changelog.last.serial)
    writer.start()
    server.listen()
    if parent is not None:
        parent.children.append(server)
    return server


def clock_reactor(clock: ShiftableClock) -> Any:
    """The reactor, with a date that can be moved."""
    return _Shifted(clock)


class _Shifted:
    def __init__(self, clock: ShiftableClock) -> None:
        self.seconds = clock.seconds
        self.callLater = clock.callLater

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)

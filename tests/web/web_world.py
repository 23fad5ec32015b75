"""A small server for tests of handlers: a real view, real blobs, and a mirror that answers what a test says."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, ClassVar, ParamSpec, TypeVar

import attrs
from twisted.internet.defer import Deferred, fail, maybeDeferred, succeed
from twisted.internet.task import Clock

from tests.web.world_storage import Applied, DirectoryStorage, MakeStorage
from twistpi.auth.passwords import hash_password
from twistpi.auth.tokens import LoginTokens
from twistpi.blobs.address import BlobAddress, blob_address, metadata_address
from twistpi.changelog.writer import Committed
from twistpi.mirror.download import Download
from twistpi.mirror.files import FileService
from twistpi.mirror.pages import PageState
from twistpi.model.changes import Change, FileCached, IndexCreated, LinksChanged, LogStarted, MetadataCached, UserCreated
from twistpi.model.errors import NoMetadata, UnknownFile, UnknownProject
from twistpi.model.names import project_of_filename, version_of_filename
from twistpi.model.records import Index, KnownFile, Link, PageHeader
from twistpi.model.releases import FileUploaded, ReleaseDescribed
from twistpi.rules.mirrors import file_path
from twistpi.rules.permissions import Policy
from twistpi.search.service import SearchService
from twistpi.view.page_cache import PageCache
from twistpi.view.read import Readers
from twistpi.web.access import Access
from twistpi.web.access_log import AccessLog
from twistpi.web.addresses import Addresses
from twistpi.web.authentication import Authenticator, PasswordQueue
from twistpi.web.browser.description_renderer import render
from twistpi.web.commits import UploadStorage
from twistpi.web.components import Components, MirrorServices, NodeFacts, ReplicationServices
from twistpi.web.fast.ready import ReadyAnswers
from twistpi.web.routes import make_site
from twistpi.web.transport.connections import Connections

_P = ParamSpec("_P")
_R = TypeVar("_R")
MIRROR = "root/pypi"
UPSTREAM = "https://upstream.example/simple/"
NOW = 1_795_000_000.25
SECRET = b"a secret of more than enough bytes"
NODE_ID = "2" * 32
BCRYPT_COST = 4
"""The cheapest there is."""
FRESH = PageState("hit", 100.0, UPSTREAM, None, 1700.0)


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def link(filename: str, body: bytes = b"bytes", **more: Any) -> Link:
    fields: dict[str, Any] = {
        "hashes": {"sha256": sha256(body)},
        "size": len(body),
        "upload_time": "2026-11-22T17:24:48.123456Z",
        **more,
    }
    return Link(filename, f"https://files.example/{filename}", **fields)


@attrs.define(eq=False)
class FakeMirror:
    """Knows what the view knows; a test sets what it says and may hold it up."""

    readers: Readers
    clock: Clock
    state: PageState = FRESH
    failure: Exception | None = None
    failures: dict[str, Exception] = attrs.field(factory=dict)
    """The same by index."""
    gate: Deferred[None] | None = None
    asked: list[tuple[str, str, bool]] = attrs.field(factory=list)

    async def ensure(self, index: Index, project: str, *, force: bool = False) -> PageState:
        self.asked.append((index.name, project, force))
        if self.gate is not None:
            waiter: Deferred[None] = Deferred()
            self.gate.addCallback(lambda _: None if waiter.called else waiter.callback(None))
            await waiter
        failure = self.failures.get(index.name, self.failure)
        if failure is not None:
            raise failure
        if not self.readers.get().has_project(index.name, project):
            raise UnknownProject(index.name, project)
        return self.state

    def failing(self) -> dict[str, str]:
        return {name: str(failure) for name, failure in self.failures.items()}

    async def find_file(self, index: Index, path: str) -> tuple[str, KnownFile]:
        found = self.readers.get().file_by_path(index.name, path)
        if found is None:
            if self.failure is not None and project_of_filename(path.rpartition("/")[2]) is not None:
                raise self.failure
            raise UnknownFile(index.name, path)
        return found


@attrs.define(eq=False)
class FakeDownload:
    """A file that grows when a test says so."""

    path: str
    size: int | None
    available: int = 0
    failure: Exception | None = None
    whole: bool = False
    readers: int = 0
    window: None = None
    _descriptor: int = -1
    _waiting: list[Deferred[None]] = attrs.field(factory=list)
    _told: Deferred[None] | None = None

    def grow(self, body: bytes, *, end: bool = False) -> None:
        with open(self.path, "ab") as file:
            file.write(body)
        self.available += len(body)
        self.whole = end
        self._wake()

    def fail(self, error: Exception) -> None:
        self.failure = error
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.called:
                waiter.callback(None)

    def retain(self) -> None:
        self.readers += 1

    def follow(self, position: object) -> None:
        pass

    def has_dropped(self, offset: int) -> bool:
        return False

    def release(self, position: object = None) -> None:
        self.readers -= 1
        if self.readers == 0 and self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    async def headers(self) -> int | None:
        await self._until(lambda: self.size is not None or self.available > 0 or self.whole)
        return self.size

    async def wait(self, offset: int) -> int:
        await self._until(lambda: self.available > offset or self.whole)
        return self.available

    async def _until(self, true: Any) -> None:
        while not true():
            if self.failure is not None:
                raise self.failure
            waiter: Deferred[None] = Deferred()
            self._waiting.append(waiter)
            await waiter

    def fileno(self) -> int:
        if self._descriptor < 0:
            self._descriptor = os.open(self.path, os.O_RDONLY)
        return self._descriptor


@attrs.define(eq=False)
class FakeDownloads:
    """One download for each file, made by the test."""

    others: FileService | None = None
    """What has those that no test made."""
    by_filename: dict[str, FakeDownload] = attrs.field(factory=dict)
    opened: int = 0

    def open(self, index: Index, project: str, known_file: KnownFile) -> FakeDownload | Download:
        if self.others is not None and known_file.link.filename not in self.by_filename:
            return self.others.open(index, project, known_file)
        self.opened += 1
        return self.by_filename[known_file.link.filename]


@attrs.define(eq=False)
class FakeMetadata:
    """Has the metadata that is cached, and no other."""

    bring: Callable[[BlobAddress], Awaitable[object]]
    """Has a blob be here that is elsewhere."""
    asked: list[str] = attrs.field(factory=list)
    """The names of the files whose metadata was asked for."""
    failure: Exception | None = None
    meanwhile: Callable[[], object] = lambda: None
    """Called while it is fetched."""

    async def metadata(self, index: Index, project: str, known_file: KnownFile) -> BlobAddress:
        self.asked.append(known_file.link.filename)
        self.meanwhile()
        if self.failure is not None:
            raise self.failure
        digest = known_file.metadata_blob_sha256
        if known_file.metadata_sha256 is None or digest is None:
            raise NoMetadata(index.name, known_file.path, "nobody has it")
        address = metadata_address(blob_address(digest, known_file.link.filename))
        await self.bring(address)
        return address


@attrs.define(eq=False)
class FakePusher:
    """Another server that says what a test wants."""

    lines: list[list[Any]] = attrs.field(factory=lambda: [[200, "upload", "it", ""]])
    pushed: list[tuple[Any, ...]] = attrs.field(factory=list)
    """Release, files, documentation, repository and whether to register, of each push."""

    async def push(self, release: Any, files: Any, docs: Any, repository: Any, *, register: bool = False) -> list[list[Any]]:
        self.pushed.append((release, files, docs, repository, register))
        return self.lines


@attrs.define(eq=False)
class FakeNames:
    """A name list that lies on disk."""

    folder: str
    etags: dict[str, str] = attrs.field(factory=dict)
    kind: str = "hit"
    age: float = 10.0
    source: str = UPSTREAM
    reason: str | None = None
    fresh_for: float = 1000.0
    asked: int = 0

    async def ensure(self, index: Index, *, force: bool = False) -> FakeNames:
        self.asked += 1
        if "names.txt" not in self.etags:
            self.put("names.txt", b"")
        return self

    def put(self, file: str, body: bytes) -> None:
        os.makedirs(self.folder, exist_ok=True)
        with open(os.path.join(self.folder, file), "wb") as target:
            target.write(body)
        self.etags[file] = f'"{sha256(body)[:16]}"'


def at_once(work: Callable[_P, _R], /, *arguments: _P.args, **named: _P.kwargs) -> Deferred[_R]:
    """A thread that needs no time."""
    return maybeDeferred(work, *arguments, **named)


@attrs.define(eq=False)
class FakeWriter:
    """Commits at once, in the thread of the caller."""

    world: World

    def commit(self, decide: Callable[[Any], Sequence[Change]], by: str) -> Deferred[Committed]:
        try:
            committed, applied = self.world.storage.commit(decide, by)
        except Exception as error:
            return fail(error)
        self.world.announce(by, applied)
        return succeed(committed)


class World:
    """Everything a site needs, in one folder.

    ``settings`` are fields of ``Components`` and of what these hold; ``hash_offload`` runs what takes long for passwords.
    """

    make_storage: ClassVar[MakeStorage] = DirectoryStorage
    """Makes what a world keeps things in: a directory's, or with ``pytest --cluster`` a node's."""

    def __init__(
        self, folder: str, *, access_log: str | None = None, hash_offload: Callable[..., Any] = at_once, **settings: Any
    ) -> None:
        self.folder = folder
        self.on_close: list[Callable[[], object]] = []
        """Called before anything is closed."""
        self.clock = Clock()
        self.clock.advance(NOW)
        self.storage = World.make_storage(folder)
        self.view, self.blobs = self.storage.view, self.storage.blobs
        self.readers = Readers(os.path.join(folder, "view.sqlite"), self.view.keep_newest())
        self.offload: Callable[..., Deferred[Any]] = settings.pop("offload", at_once)
        """Runs what takes long; a test may set another one."""
        offload: Any = lambda work, *arguments: self.offload(self.storage.blocking(work), *arguments)  # noqa: E731
        files = self.storage.files(offload)
        self.mirror = FakeMirror(self.readers, self.clock)
        self.downloads = FakeDownloads(files)
        self.metadata = FakeMetadata(partial(offload, self.storage.bring))
        self.names = FakeNames(os.path.join(folder, "names"))
        self.pusher = FakePusher()
        self.entries: list[tuple[str, tuple[Change, ...]]] = []
        """The author and the changes of each entry."""
        self.authenticator = Authenticator(
            self.readers, LoginTokens(SECRET, 36000), PasswordQueue(hash_offload), self.clock, os.urandom, BCRYPT_COST,
            Addresses(settings.pop("trusted_proxies", ()), settings.pop("outside_url", ""), settings.pop("absolute_urls", False)),
        )  # fmt: skip
        addresses = self.authenticator.addresses
        fakes: tuple[Any, ...] = (self.mirror, self.downloads, self.metadata, self.names)
        mirrors = MirrorServices(*fakes)
        mirrors.blobs = files
        mirrors.offline = settings.pop("offline", False)
        replication = ReplicationServices(
            **{name: settings.pop(name) for name in ("nodes", "feeds", "snapshots", "compactor", "fencing") if name in settings}
        )
        components: dict[str, Any] = {
            "node": NodeFacts(NODE_ID),
            "software": "twistpi/1.0",
            "addresses": addresses,
            "access": Access(self.readers, self.authenticator, settings.pop("policy", Policy()), settings.pop("shares", True)),
            "writer": FakeWriter(self),
            "storage": UploadStorage(self.storage.served, offload, lambda error: None),
            "mirrors": mirrors,
            "pusher": self.pusher,
            "search": SearchService(os.path.join(folder, "search.sqlite")),
            "replication": replication,
            "ready": ReadyAnswers(PageCache(64 * 1024 * 1024)),
            "connections": Connections(self.clock),
            "clock": self.clock,
            "offload": offload,
            "render_description": render,
            "now": lambda: datetime.fromtimestamp(self.clock.seconds(), UTC),
            **settings,
        }
        self.components = Components(**components)
        self.access_log = None if access_log is None else AccessLog(access_log, "text", sys.stdout)
        self.site = make_site(self.components, access_log=self.access_log)
        self.commit(
            LogStarted("1" * 32),
            UserCreated("root"),
            IndexCreated(MIRROR, {"type": "mirror", "mirror_url": "https://me:secret@upstream.example/simple/"}),
        )

    def rebuild(self, **changes: Any) -> None:
        """Make the site anew, after ``changes`` of its components."""
        for name, value in changes.items():
            setattr(self.components, name, value)
        self.components.trusted_peers = self.components._make_trusted_peers()
        self.site = make_site(self.components, access_log=self.access_log)

    def close(self) -> None:
        """Lose all connections, as a request in progress must not be collected as garbage in the middle, and close files."""
        for lose in self.on_close:
            lose()
        self.readers.close()
        self.storage.close()

    def add_user(self, name: str, password: str | None = "", **config: Any) -> None:
        """A user with ``password``: blank unless one is given; None for a user who cannot log in."""
        self.commit(UserCreated(name, config, None if password is None else hash_password(password, BCRYPT_COST)))

    def commit(self, *changes: Change, by: str = "root") -> None:
        """Write an entry to the view and announce it, as a writer does."""
        self.announce(by, self.storage.write(by, changes))

    def announce(self, by: str, applied: Applied) -> None:
        """Say what readers see from now on, as a writer does."""
        for serial, changes in applied:
            self.entries.append((by, changes))
            self.site.changed(serial, changes)

    def list_links(self, project: str, links: Sequence[Link], *, header: PageHeader | None = None, index: str = MIRROR) -> None:
        """A mirror learns of ``links``, or they are uploaded to a stage."""
        if self._is_mirror(index):
            self.commit(LinksChanged(index, project, added=tuple(links), header=header))
            return
        versions = [version_of_filename(one.filename, project) or "0" for one in links]
        described = [ReleaseDescribed(index, project, version, {"name": project, "version": version}) for version in versions]
        uploaded = [
            FileUploaded(
                index, project, version, one.filename, one.sha256 or "", one.size or 0, one.hashes, one.requires_python,
                uploaded_at=one.upload_time, yanked=one.yanked,
            )
            for version, one in zip(versions, links, strict=True)
        ]  # fmt: skip
        self.commit(*(described or [ReleaseDescribed(index, project, "0", {"name": project, "version": "0"})]), *uploaded)

    def cache_file(self, project: str, one: Link, body: bytes, index: str = MIRROR) -> str:
        """Keep the bytes of a file; returns its path below the server."""
        with self.storage.elsewhere.incoming() as incoming:
            incoming.write(body)
            self.storage.elsewhere.keep(incoming, blob_address(sha256(body), one.filename), sha256(body))
        if self._is_mirror(index):
            self.commit(FileCached(index, project, one.filename, sha256(body), len(body)))
        return f"/{index}/{file_path(one)}"

    def _is_mirror(self, index: str) -> bool:
        known = self.view.reader.index(index)
        return known is None or known.is_mirror

    def cache_metadata(self, project: str, one: Link, body: bytes, index: str = MIRROR) -> str:
        address = metadata_address(blob_address(one.sha256 or "", one.filename))
        with self.storage.elsewhere.incoming() as incoming:
            incoming.write(body)
            self.storage.elsewhere.keep(incoming, address, sha256(body))
        self.commit(MetadataCached(index, project, one.filename, sha256(body), len(body)))
        return f"/{index}/{file_path(one)}.metadata"

    def grow_file(self, one: Link, size: int | None) -> FakeDownload:
        """A download a test feeds."""
        download = FakeDownload(os.path.join(self.folder, f"growing-{one.filename}"), size)
        with open(download.path, "wb"):
            pass
        self.downloads.by_filename[one.filename] = download
        return download


MakeWorld = Callable[..., World]
"""Makes a server with these settings."""

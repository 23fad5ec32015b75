"""Whatever is done to a mirror during fetches: no request waits for ever, and no fetch ends in a wrong index."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer
from zope.interface import implementer

from twistpi.http.body import BODY_DONE, BodyReader
from twistpi.http.client import HTTPClient
from twistpi.http.errors import Cause, RequestFailed
from twistpi.mirror.page_source import UpstreamPages
from twistpi.mirror.pages import PageService
from twistpi.model.changes import Change, Entry, IndexCreated, IndexDeleted, IndexModified, LinksChanged, LogStarted
from twistpi.model.errors import UnknownIndex, UnknownProject, UpstreamFailed, UpstreamUnreachable
from twistpi.model.peers import Position
from twistpi.model.records import Index
from twistpi.view.database import ViewDatabase, open_view
from twistpi.view.read import Readers

NAME = "root/up"
SOURCES = ("http://one.example/simple/", "http://two.example/simple/", "http://me:secret@two.example/simple/")
_P = ParamSpec("_P")
_R = TypeVar("_R")
EXPECTED = (UnknownIndex, UnknownProject, UpstreamFailed, UpstreamUnreachable)


@implementer(IAgent)
@attrs.define(eq=False)
class FakeUpstreams:
    """Upstreams that answer when they are told to, with a file that names them."""

    waiting: list[tuple[str, str | None, Deferred[Any]]] = attrs.field(factory=list)

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: IBodyProducer | None = None
    ) -> Deferred[Any]:
        """Wait for an answer."""
        assert headers is not None
        tags = headers.getRawHeaders("If-None-Match")
        answer: Deferred[Any] = Deferred(self._drop)
        self.waiting.append((uri.decode(), tags[0] if tags else None, answer))
        return answer

    def _drop(self, answer: Deferred[Any]) -> None:
        self.waiting = [one for one in self.waiting if one[2] is not answer]

    def answer(self, number: int, how: str) -> None:
        """Answer one of the questions that wait."""
        if not self.waiting:
            return
        url, etag, answer = self.waiting.pop(number % len(self.waiting))
        host = url.split("/")[2].partition(".")[0]
        if how == "trouble":
            answer.errback(RequestFailed("it is out of order", Cause.CONNECT if number % 2 == 0 else Cause.BROKEN))
        elif how == "missing":
            answer.callback(FakeResponse(404))
        elif how == "unchanged" and etag is not None:
            answer.callback(FakeResponse(304, etag=etag))
        else:
            page = f'<a href="/files/{host}-{how}/hello-1.0.tar.gz">hello-1.0.tar.gz</a>'
            answer.callback(FakeResponse(200, page.encode(), f'"{host}"'))


class FakeResponse:
    """A complete response, as an agent has it."""

    phrase = b""

    def __init__(self, code: int, content: bytes = b"", etag: str | None = None) -> None:
        self.code, self.length, self.content = code, len(content), content
        self.headers = Headers({"Content-Type": ["text/html"], **({"ETag": [etag]} if etag else {})})

    def deliverBody(self, protocol: BodyReader) -> None:
        protocol.makeConnection(StringTransport())
        protocol.dataReceived(self.content)
        protocol.connectionLost(BODY_DONE)


@attrs.define(eq=False)
class FakeWriter:
    """Commits at once, and keeps an eye on what is learned from an upstream that the index is not aimed at."""

    view: ViewDatabase
    misplaced: list[str] = attrs.field(factory=list)
    """Addresses of files that should not have been learned."""

    def commit(
        self, decide: Callable[[Any], Sequence[Change]], by: str, local: Callable[[Any], object] | None = None
    ) -> Deferred[Any]:
        """As the writer does."""
        try:
            changes = tuple(decide(self.view.reader))
        except Exception as refusal:
            return fail(refusal)
        index = self.view.reader.index(NAME)
        url = "" if index is None else index.config.get("mirror_url", "")
        host = f"http://{url.partition('//')[2].rpartition('@')[2].partition('/')[0]}/"
        links = [link for one in changes if isinstance(one, LinksChanged) for link in (*one.added, *one.changed)]
        self.misplaced += [link.url for link in links if not link.url.startswith(host)]
        self.write(changes, local)
        return succeed(None)

    def keep(self, work: Callable[[Any], object]) -> Deferred[None]:
        """As the writer does."""
        self.view.begin()
        work(self.view)
        self.view.commit(self.view.position)
        return succeed(None)

    def write(self, changes: Sequence[Change], local: Callable[[Any], object] | None = None) -> None:
        """An entry, when there is anything to say, and local facts, in one transaction."""
        self.view.begin()
        position = self.view.position
        if changes:
            serial = position.serial + 1
            self.view.apply(Entry(serial, "2026-11-22T17:00:00.000000Z", "root", tuple(changes)))
            position = Position(serial, f"{serial:064x}", 1, serial)
        if local is not None:
            local(self.view)
        self.view.commit(position)


def at_once(function: Callable[_P, _R], /, *args: _P.args, **kwargs: _P.kwargs) -> Deferred[_R]:
    """Do in no other thread what may block."""
    return succeed(function(*args, **kwargs))


class World:
    """One mirror, and everything it works with, without network, threads and time."""

    def __init__(self, folder: str) -> None:
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.view = open_view(f"{folder}/view.sqlite", "0" * 32)
        self.readers = Readers(f"{folder}/view.sqlite")
        self.writer = FakeWriter(self.view)
        self.upstreams = FakeUpstreams()
        client = HTTPClient(self.upstreams, self.clock, at_once, lambda call: call(), timeout=5.0, silence=5.0)
        writer: Any = self.writer
        self.mirror = PageService(UpstreamPages(client, self.readers, writer, 30.0), self.readers, self.clock)
        self.asked: list[Deferred[Any]] = []
        self.writer.write([LogStarted("0" * 32), IndexCreated(NAME, {"type": "mirror", "mirror_url": SOURCES[0]})])

    @property
    def index(self) -> Index | None:
        """The mirror as it is now."""
        return self.readers.get().index(NAME)

    def ask(self, *, force: bool) -> None:
        """Somebody asks for a page."""
        if self.index is not None and self.index.is_mirror:
            self.asked.append(Deferred.fromCoroutine(self.mirror.ensure(self.index, "hello", force=force)))

    def aim(self, number: int) -> None:
        """The index mirrors another upstream from now on."""
        if self.index is not None:
            self.writer.write([IndexModified(NAME, {"mirror_url": SOURCES[number % len(SOURCES)]})])

    def delete(self) -> None:
        """The index is gone."""
        if self.index is not None:
            self.writer.write([IndexDeleted(NAME)])

    def create(self, number: int, *, mirror: bool = True) -> None:
        """The index is there again."""
        if self.index is None:
            config = {"type": "mirror", "mirror_url": SOURCES[number % len(SOURCES)]} if mirror else {"type": "stage"}
            self.writer.write([IndexCreated(NAME, config)])

    def close(self) -> None:
        """Stop everything."""
        self.mirror.stop()
        self.readers.close()
        self.view.close()


NUMBERS = st.integers(0, 5)
ACTIONS = st.one_of(
    st.tuples(st.just("ask"), st.booleans()),
    st.tuples(st.just("answer"), NUMBERS, st.sampled_from(["first", "second", "unchanged", "missing", "trouble"])),
    st.tuples(st.just("aim"), NUMBERS),
    st.tuples(st.just("delete")),
    st.tuples(st.just("create"), NUMBERS, st.booleans()),
    st.tuples(st.just("wait"), st.sampled_from([0.5, 6.0, 100.0, 3000.0])),
)


def act(world: World, action: tuple[Any, ...]) -> None:
    """Do one thing."""
    match action:
        case ("ask", force):
            world.ask(force=force)
        case ("answer", number, how):
            world.upstreams.answer(number, how)
        case ("aim", number):
            world.aim(number)
        case ("delete",):
            world.delete()
        case ("create", number, mirror):
            world.create(number, mirror=mirror)
        case ("wait", seconds):
            world.clock.advance(seconds)


def settle(world: World) -> list[BaseException | None]:
    """Let everything end; how the asks failed that did."""
    for _ in range(100):
        world.upstreams.answer(0, "first")
        world.clock.advance(1)
    failures: list[BaseException | None] = []

    def keep(failure: Failure) -> None:
        failures.append(failure.value)

    for one in world.asked:
        assert one.called, "nobody waits for ever"
        one.addErrback(keep)
    return failures


@given(st.lists(ACTIONS, max_size=25))
@settings(max_examples=150, deadline=None)
def test_nobody_waits_for_ever_and_nothing_is_learned_from_the_wrong_upstream(actions: list[tuple[Any, ...]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = World(folder)
        try:
            for action in actions:
                act(world, action)
            assert all(isinstance(error, EXPECTED) for error in settle(world))
            assert world.writer.misplaced == []
            world.asked.clear()
            world.delete()
            world.create(1)
            world.ask(force=False)
            assert settle(world) == [], "it was never wedged"
            known = world.readers.get().project(NAME, "hello")
            assert known is not None
            assert [file.link.url for file in known.files] == ["http://two.example/files/two-first/hello-1.0.tar.gz"]
        finally:
            world.close()

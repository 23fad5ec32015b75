"""Whatever is done to a mirror while its upstreams are asked: nobody waits for ever, nothing ends where it does not belong."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from twistpi.mirror.refresh import Mirror
from twistpi.mirror.trouble import Trouble
from twistpi.mirror.upstream import Answer
from twistpi.model.changes import Change, Entry, IndexCreated, IndexDeleted, IndexModified, LinksChanged, LogStarted
from twistpi.model.errors import UnknownIndex, UnknownProject, UpstreamFailed, UpstreamUnreachable
from twistpi.model.peers import Position
from twistpi.model.records import Index
from twistpi.view.database import ViewDatabase, open_view
from twistpi.view.read import Readers

NAME = "root/up"
SOURCES = ("http://one.example/simple/", "http://two.example/simple/", "http://me:secret@two.example/simple/")
EXPECTED = (UnknownIndex, UnknownProject, UpstreamFailed, UpstreamUnreachable)


@attrs.define(eq=False)
class FakeUpstreams:
    """Upstreams that answer when they are told to, with a file that names them."""

    waiting: list[tuple[str, str | None, Deferred[Answer]]] = attrs.field(factory=list)

    async def page(self, url: str, credentials: object, *, etag: str | None = None, **_more: object) -> Answer:
        """Wait for an answer."""
        answer: Deferred[Answer] = Deferred()
        self.waiting.append((url, etag, answer))
        return await answer

    def answer(self, number: int, how: str) -> None:
        """Answer one of the questions that wait."""
        if not self.waiting:
            return
        url, etag, answer = self.waiting.pop(number % len(self.waiting))
        host = url.split("/")[2].partition(".")[0]
        if how == "trouble":
            answer.errback(Trouble("it is out of order", unreachable=number % 2 == 0))
        elif how == "missing":
            answer.callback(Answer(404, url, b""))
        elif how == "unchanged" and etag is not None:
            answer.callback(Answer(304, url, b"", etag=etag))
        else:
            page = f'<a href="/files/{host}-{how}/hello-1.0.tar.gz">hello-1.0.tar.gz</a>'
            answer.callback(Answer(200, url, page.encode(), "text/html", f'"{host}"'))


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


class World:
    """One mirror, and everything it works with, without network, threads and time."""

    def __init__(self, folder: str) -> None:
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.view = open_view(f"{folder}/view.sqlite", "0" * 32)
        self.readers = Readers(f"{folder}/view.sqlite")
        self.writer = FakeWriter(self.view)
        self.upstreams = FakeUpstreams()
        upstreams: Any = self.upstreams
        self.mirror = Mirror(upstreams, self.readers, self.writer, self.clock, offload=lambda work, *words: succeed(work(*words)))
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

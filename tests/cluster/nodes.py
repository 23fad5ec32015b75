"""A node of a cluster without a site: log, copy, view, writer, listener and leases, all in this process."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs
from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from tests.fakes.unruly_proxy import UnrulyProxy
from tests.in_reactor import until, wait_for
from twistpi.changelog.format import SEGMENT_LIMIT
from twistpi.changelog.writer import Committed, Writer
from twistpi.cluster.database import Database
from twistpi.cluster.leases import Leases
from twistpi.cluster.listener import Listener
from twistpi.cluster.local_copy import LocalCopy
from twistpi.cluster.postgres_changelog import PostgresChangelog
from twistpi.model.changes import Change, UserCreated
from twistpi.view.database import ViewDatabase, dump
from twistpi.view.read import Readers

reactor: Any = the_reactor
LOG_ID = "1" * 32


def place(folder: Path, name: str = "", segment_limit: int = SEGMENT_LIMIT) -> LocalCopy:
    """Where the node ``name`` keeps its copy."""
    return LocalCopy(str(folder / "changelog"), str(folder / "view.sqlite"), LOG_ID, name, segment_limit)


@contextmanager
def in_front(url: str) -> Iterator[tuple[UnrulyProxy, str]]:
    """A proxy between a node and the database at ``url``, and the address that leads through it."""
    server = urlsplit(url)
    with UnrulyProxy(f"http://127.0.0.1:{server.port}") as proxy:
        yield proxy, url.replace(f":{server.port}/", f":{urlsplit(proxy.url).port}/")


@attrs.define(eq=False)
class Node:
    """See the module."""

    url: str
    folder: Path
    name: str
    deaf_to: str = ""
    """The node whose notifications it takes for its own, and so does not heed."""
    patience: float = 20.0
    log: PostgresChangelog = attrs.field(init=False)
    view: ViewDatabase = attrs.field(init=False)
    readers: Readers = attrs.field(init=False)
    writer: Writer = attrs.field(init=False)
    listener: Listener = attrs.field(init=False)
    leases: Leases = attrs.field(init=False)
    announced: list[Change] = attrs.field(factory=list, init=False)
    stopped: list[Exception] = attrs.field(factory=list, init=False)
    """Why the writer ended."""
    _threads: ThreadPool = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.folder.mkdir()
        self.log, self.view = place(self.folder, self.name).open(Database(self.url, patience=self.patience))
        self.readers = Readers(str(self.folder / "view.sqlite"), self.view.keep_newest())
        self.writer = Writer(
            self.log,
            self.view,
            now=lambda: datetime.now(UTC),
            call_in_reactor=reactor.callFromThread,
            announce=lambda _serial, changes: self.announced.extend(changes),
            stop=self.stopped.append,
        )
        self.writer.start()
        listens_as, seen = self.deaf_to or self.name, lambda: self.writer.seen.serial
        self.listener = Listener(self.url, listens_as, self.writer.refresh, seen, reactor.callFromThread)
        self.listener.start()
        self._threads = ThreadPool(minthreads=0, maxthreads=1)
        self._threads.start()
        self.leases = Leases(
            Database(self.url, patience=0.5), self.name, reactor, partial(deferToThreadPool, reactor, self._threads)
        )

    async def add_user(self, name: str) -> Committed:
        """Have this node write an entry."""
        return await self.writer.commit(lambda _view: [UserCreated(name)], "root")

    def users(self) -> list[str]:
        """What a reader of this node sees."""
        return [user.name for user in self.readers.get().users()]

    def rows(self) -> list[Any]:
        """Everything that is in the view."""
        return list(itertools.islice(dump(str(self.folder / "view.sqlite")), 10_000))

    def close(self) -> None:
        """End it."""
        wait_for(Deferred.fromCoroutine(self.stop()))

    async def stop(self) -> None:
        """The same while the reactor runs."""
        self.listener.stop()
        await self.writer.stop()
        await self.leases.close()
        self._threads.stop()
        self.readers.close()
        self.view.close()
        self.log.close()


async def both_go_on(one: Node, two: Node) -> None:
    """Return once each of two nodes shows what the other wrote; ``one`` has written alice and bob."""
    await until(lambda: two.users() == ["alice", "bob"])
    await two.add_user("carol")
    await until(lambda: one.users() == ["alice", "bob", "carol"])
    assert one.rows() == two.rows()
    assert one.stopped == two.stopped == []

"""What one entry costs a cluster, measured on this machine: PostgreSQL, its followers, and the view."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from urllib.parse import urlsplit

import attrs
import psycopg
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread

from bench.cluster_model import Units
from bench.history import INDEX, changes
from tests.cluster.nodes import Node, place
from tests.fakes.live_server import LiveServer
from tests.fakes.postgres import PostgresServer
from twistpi.changelog.catch_up import catch_up
from twistpi.cluster.database import Database
from twistpi.cluster.schema import prepare
from twistpi.model.changes import Change, FileCached, LinksChanged
from twistpi.model.codec import encode_content
from twistpi.model.releases import FileRemoved

_LISTED = 20_000
"""Entries that list and cache files."""
_AGAIN = 20_000
"""Entries that remove them from the cache and cache them again."""
_BATCH = 2_000
_WRITTEN = 3_000
"""Entries that nodes write one after the other, while others follow."""
_AT = "2026-03-14T09:26:53.589793Z"
_TICKS = os.sysconf("SC_CLK_TCK")


def listed() -> list[Change]:
    """What lists and caches files."""
    return list(islice(changes(), _LISTED))


def again(first: Sequence[Change]) -> Iterator[Change]:
    """What removes them from the cache, and caches them again."""
    cached = [change for change in first if isinstance(change, FileCached)]
    for number in range(_AGAIN):
        change = cached[number // 2 % len(cached)]
        yield FileRemoved(INDEX, change.project, change.filename) if number % 2 == 0 else change


@attrs.define(eq=False)
class Measuring:
    """A database with a log of some size."""

    postgres: PostgresServer
    folder: Path
    url: str = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.url = self.postgres.new_database()
        prepare(self.url, os.urandom, time.time)

    def write(self, content: Sequence[Change]) -> None:
        """Append entries in large batches.  Blocking."""
        log, view = place(self._new(), "").open(Database(self.url))
        bodies = (encode_content(_AT, "+mirror", [change]) for change in content)
        while batch := list(islice(bodies, _BATCH)):
            log.append(batch, log.last.serial)
        log.close()
        view.close()

    def pull_and_fold(self) -> tuple[float, float, int, int]:
        """Seconds to get the log and to fold it, and bytes of the copy and of the view.  Blocking."""
        folder = self._new()
        began = time.monotonic()
        log, view = place(folder, "").open(Database(self.url))
        pulled = time.monotonic()
        catch_up(log, view)
        folded = time.monotonic()
        log.close()
        view.close()
        copy = sum(path.stat().st_size for path in (folder / "changelog").iterdir())
        return pulled - began, folded - pulled, copy, (folder / "view.sqlite").stat().st_size

    def rows(self) -> int:
        """Bytes of the lines in the database, with the index."""
        with psycopg.connect(self.url) as connection:
            row = connection.execute("SELECT pg_total_relation_size('twistpi_lines')").fetchone()
        assert row is not None
        return int(row[0])

    def _new(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self.folder))


@attrs.frozen
class Followed:
    """What some writing took."""

    seconds: float
    own_seconds: float
    """Of cores, in this process, which has all nodes."""
    database_seconds: float
    entries: int


async def follow(postgres: PostgresServer, folder: Path, writing: int, following: int) -> Followed:
    """Have some nodes write, and as many others follow."""
    url = postgres.new_database()
    prepare(url, os.urandom, time.time)
    names = [f"{number:032x}" for number in range(writing + following)]
    nodes = [Node(url, Path(tempfile.mkdtemp(dir=folder)) / "node", name) for name in names]
    own, database, began = time.process_time(), cpu_of(postgres), time.monotonic()
    each = _WRITTEN // writing
    await gatherResults([Deferred.fromCoroutine(_write(node, f"w{at}", each)) for at, node in enumerate(nodes[:writing])])
    seconds = time.monotonic() - began
    for node in nodes:
        await node.listener.reach(_WRITTEN)
    used = time.process_time() - own, cpu_of(postgres) - database
    for node in nodes:
        await node.stop()
    return Followed(seconds, *used, each * writing)


def node_of(postgres: PostgresServer, folder: Path) -> tuple[int, float]:
    """Connections to the database, and resident bytes, of a node that was just started.  Blocking."""
    url = postgres.new_database()
    node = LiveServer(folder / "node", folder / "node.log", place_option="--cache-dir")
    node.start("--changelog", url, "--no-root-pypi", "--bcrypt-cost", "4")
    try:
        time.sleep(2.0)  # until it listens, and has taken what leases it wants
        name = urlsplit(url).path[1:]
        ((count,),) = postgres.run(f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}'")
        assert node.process is not None
        (pages,) = (Path(f"/proc/{node.process.pid}/statm").read_text().split()[1],)
        return int(str(count)), float(pages) * os.sysconf("SC_PAGE_SIZE")
    finally:
        node.end()


async def measure(say: Callable[[str], None]) -> Units:
    """Measure everything; about a minute."""
    postgres = PostgresServer.make()
    try:
        with tempfile.TemporaryDirectory(prefix="twistpi-units-") as name:
            folder = Path(name)
            say("sizes of entries and files, and how fast a new node has them")
            content = listed()
            files = sum(isinstance(change, LinksChanged) for change in content) * 2
            log = Measuring(postgres, folder)
            await deferToThread(log.write, content)
            few = await deferToThread(log.pull_and_fold)
            await deferToThread(log.write, list(again(content)))
            all_of_it = await deferToThread(log.pull_and_fold)
            entries = _LISTED + _AGAIN
            say("nodes that write and follow")
            alone = await follow(postgres, folder, 1, 0)
            followed = await follow(postgres, folder, 1, 3)
            together = await follow(postgres, folder, 6, 0)
            say("a node")
            connections, memory = await deferToThread(node_of, postgres, folder)
            return Units(
                line_bytes=all_of_it[2] / entries,
                row_bytes=log.rows() / entries,
                view_bytes_of_file=few[3] / files,
                view_bytes_of_entry=max(0.0, (all_of_it[3] - few[3]) / _AGAIN),
                pulled=entries / all_of_it[0],
                folded=entries / all_of_it[1],
                appended=together.entries / together.seconds,
                follow_seconds=(followed.own_seconds - alone.own_seconds) / 3 / _WRITTEN,
                database_seconds_of_append=alone.database_seconds / _WRITTEN,
                database_seconds_of_follow=max(1e-6, (followed.database_seconds - alone.database_seconds) / 3 / _WRITTEN),
                connections=connections,
                memory_bytes=memory,
            )
    finally:
        await deferToThread(postgres.remove)


async def _write(node: Node, name: str, count: int) -> None:
    for number in range(count):
        await node.add_user(f"{name}y{number}")


def cpu_of(postgres: PostgresServer) -> float:
    """Seconds that all processes of the database have computed.  Connections that are open count, and those that were."""
    assert postgres.process is not None
    parents = _parents()
    ours = {pid for pid in parents if _is_below(pid, postgres.process.pid, parents)}
    total = 0.0
    for pid in ours:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
        except OSError:
            continue
        total += sum(map(int, fields[11:15] if pid == postgres.process.pid else fields[11:13])) / _TICKS
    return total


def _parents() -> dict[int, int]:
    found = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            found[int(entry.parent.name)] = int(entry.read_text().rpartition(") ")[2].split()[1])
        except OSError:
            continue
    return found


def _is_below(pid: int, ancestor: int, parents: dict[int, int]) -> bool:
    while pid not in (0, ancestor):
        pid = parents.get(pid, 0)
    return pid == ancestor

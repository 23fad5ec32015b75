"""Three nodes behind a balancer while everything breaks that can: what clients were told must be what one server could have told.

``test_crash_cluster.py`` runs it for a short while, ``python -m bench.cluster_soak`` for ten minutes.
"""

from __future__ import annotations

import random
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from urllib.parse import urljoin, urlsplit

import attrs
import psycopg

from tests.crash.busy_clients import BusyClients, Told
from tests.crash.cluster_chaos import Chaos
from tests.crash.cluster_clients import BROKEN, DEV, PROD, USER, Client, Projects, Record, ask, files_of
from tests.crash.linearizability import File, TooMuch, entered_twice, violation
from tests.crash.test_crash_killed import Releases
from tests.fakes.live_cluster import LiveCluster, LiveNode
from tests.fakes.live_server import eventually
from tests.live.stages import JSON, PASSWORD
from twistpi.model.codec import decode_content
from twistpi.model.releases import FileRemoved, FileUploaded
from twistpi.view.database import dump

MIRROR = "root/pypi"
_START = 3.0
"""Seconds before the end after which no node is started again."""
_PATIENCE = 120.0


@attrs.define
class Summary:
    """What happened in a soak."""

    seconds: float = 0.0
    strikes: Counter[str] = attrs.field(factory=Counter)
    counts: Counter[str] = attrs.field(factory=Counter)
    """What clients did, and what they were told."""
    projects: int = 0
    operations: int = 0
    entries: int = 0
    files: int = 0
    """Read at the end by a node that had nothing, and found to be right."""
    mirrored: int = 0
    """Files of the mirror that came whole and right meanwhile."""

    def lines(self) -> Iterator[str]:
        """For people."""
        yield f"{self.seconds:.0f} s under load; " + ", ".join(f"{what}: {count}" for what, count in sorted(self.strikes.items()))
        yield from (f"  {what}: {count:,}" for what, count in sorted(self.counts.items()))
        yield f"{self.operations:,} operations on {self.projects:,} projects are linearizable; mirrored files: {self.mirrored:,}"
        yield f"{self.entries:,} entries, none twice; all nodes' dumps are equal; {self.files:,} files read anew from the bucket"


@attrs.define(eq=False)
class Soak:
    """One run."""

    cluster: LiveCluster
    mirrored: Sequence[str]
    """Projects of the mirror."""
    releases: Releases
    """Of the upstream of that."""
    in_reactor: Callable[..., object]
    """Runs a function in the reactor, where the upstream is.  Blocking."""
    chance: random.Random
    clients: int = 6
    record: Record = attrs.field(factory=Record)
    summary: Summary = attrs.field(factory=Summary)
    _dead: list[LiveNode] = attrs.field(factory=list)
    """The node that was killed last."""

    def run(self, seconds: float) -> Summary:
        """Break things for so long, mend them, and judge.  Blocking; raise ``AssertionError``."""
        self.cluster.start()
        make_indexes(self.cluster.url)
        chaos = Chaos(self.cluster, self.chance, self.summary.strikes, self.record.complain)
        began = time.monotonic()
        with self._load(), self._killed_meanwhile(chaos, began + seconds):
            while time.monotonic() < began + seconds:
                self.in_reactor(self.releases.release, self.chance.choice(self.mirrored))
                time.sleep(self.chance.uniform(0.1, 1.0))
                chaos.strike()
        self.summary.seconds = time.monotonic() - began
        self._heal()
        self._read_everything()
        assert self.record.wrong == [], self.record.wrong[:5]
        self._judge()
        self._stop_and_compare()
        self.summary.counts.update(self.record.counts)
        return self.summary

    @contextmanager
    def _killed_meanwhile(self, chaos: Chaos, until: float) -> Iterator[None]:
        def kill() -> None:
            while True:
                time.sleep(chaos.chance.uniform(0.2, 3.0))
                node = chaos.kill_a_node()
                time.sleep(chaos.chance.uniform(0.2, 1.0))
                if time.monotonic() + _START > until:
                    self._dead.append(node)
                    return
                chaos.start_again(node)

        killer = threading.Thread(target=kill, daemon=True)
        killer.start()
        yield
        killer.join(_PATIENCE)
        assert not killer.is_alive(), "a node that was killed does not start again"

    @contextmanager
    def _load(self) -> Iterator[None]:
        over = threading.Event()
        projects = Projects(random.Random(self.chance.random()))
        works = [self._client(f"client-{number}", projects, over).run for number in range(self.clients)]
        visitor = threading.Thread(target=self._visit_mirror, args=(over, random.Random(self.chance.random())), daemon=True)
        threads = [*(threading.Thread(target=work, daemon=True) for work in works), visitor]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            over.set()
            for thread in threads:
                thread.join(_PATIENCE)
                assert not thread.is_alive(), "a client still waits for an answer"

    def _client(self, name: str, projects: Projects, over: threading.Event, url: str = "") -> Client:
        return Client(name, url or self.cluster.url, self.record, projects, random.Random(self.chance.random()), over)

    def _visit_mirror(self, over: threading.Event, chance: random.Random) -> None:
        while not over.is_set():
            visitor = BusyClients(self.cluster.url, self.mirrored, Told(), chance)
            visitor.start(1)
            over.wait(0.5)
            visitor.killed.set()
            visitor.join()
            self.summary.mirrored += visitor.told.whole
            for text in visitor.told.wrong:
                if "wrong bytes" in text:
                    self.record.complain(text)

    def _heal(self) -> None:
        """Return when all nodes run and have all that is in the database; the one killed last begins with nothing."""
        for node in self.cluster.nodes:
            node.database.release()
            node.bucket.release()
        for node in self._dead:
            shutil.rmtree(node.server.serverdir)
            node.start()
        self._settle()

    def _settle(self) -> None:
        """Return when all nodes show all that is in the database."""
        self.record.serial = max(self.record.serial, head_of(self.cluster.database_url))
        for node in self.cluster.nodes:
            assert _reaches(node.server.url, self.record.serial)
        eventually(lambda: {*map(_serial_of, self.cluster.nodes)} == {head_of(self.cluster.database_url)})

    def _read_everything(self) -> None:
        """Have each node show each project, as the last operations; and the one without a cache all files."""
        over = threading.Event()
        for number, node in enumerate(self.cluster.nodes):
            client = self._client(f"node-{number}", Projects(self.chance), over, node.server.url)
            for project in list(self.record.operations):
                for index in (DEV, PROD):
                    client.read(project, index, is_fresh=True)
            for project in self.mirrored:
                eventually(partial(self._is_as_released, node.server.url, project))
            if node in self._dead:
                self._read_files(client)

    def _is_as_released(self, url: str, project: str) -> bool:
        """Whether a node shows of a project of the mirror all that its upstream has, and else what that once had."""
        page = ask(url, "GET", f"/{MIRROR}/+simple/{project}/", headers={"Accept": JSON})
        assert page.status == 200, page
        shown = {(name, digest) for (_index, name, digest), _url in files_of(MIRROR, page)}
        return self.releases.files(project) <= shown <= self.releases.former[project]

    def _read_files(self, client: Client) -> None:
        pages = [(index, project) for project in self.record.operations for index in (DEV, PROD)]
        pages += [(MIRROR, project) for project in self.mirrored]
        for index, project in pages:
            path = f"/{index}/+simple/{project}/"
            for file, url in files_of(index, ask(client.url, "GET", path, headers={"Accept": JSON})):
                assert client.fetch(urlsplit(urljoin(path, url)).path, file[2]), f"{file} is lost"
                self.summary.files += 1

    def _judge(self) -> None:
        self.summary.projects = len(self.record.operations)
        for project, history in self.record.operations.items():
            self.summary.operations += len(history)
            try:
                found = violation(history)
            except TooMuch:
                self.summary.strikes["projects that could not be judged"] += 1
                continue
            assert found is None, f"{project}: {found}\n" + "\n".join(map(str, sorted(history, key=lambda one: one.began)))

    def _stop_and_compare(self) -> None:
        self._settle()  # the last reads had nodes record what they fetched
        for node in self.cluster.nodes:
            node.kill(signal.SIGTERM)
            assert "Traceback" not in node.told(), node.told()[-3000:]
        log = list(_log_of(self.cluster.database_url))
        self.summary.entries = len(log)
        assert entered_twice([change for entry in log for change in entry]) == []
        views = [str(node.server.serverdir / "view.sqlite") for node in self.cluster.nodes]
        for rows in zip(*(dump(view) for view in views), strict=True):
            assert rows.count(rows[0]) == len(rows), rows


def make_indexes(url: str) -> None:
    """Make the user of the clients, and the two indexes.  Blocking."""
    json = {"Content-Type": "application/json"}
    answer = ask(url, "PUT", f"/{USER}", b'{"password": "%s"}' % PASSWORD.encode(), {**json, "Authorization": ""})
    assert answer.status == 201, answer
    for index, volatile in ((DEV, b"true"), (PROD, b"false")):
        answer = ask(url, "PUT", f"/{index}", b'{"bases": "", "volatile": %s}' % volatile, json, answer.serial)
        assert answer.status == 200, answer


def head_of(url: str) -> int:
    """The last serial in the database.  Blocking."""
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT serial FROM twistpi_head").fetchone()
    assert row is not None
    return int(row[0])


def _serial_of(node: LiveNode) -> int:
    return ask(node.server.url, "GET", "/+api").serial


def _reaches(url: str, serial: int) -> bool:
    """Whether the node at ``url`` shows ``serial``, some time.  Blocking."""

    def is_there() -> bool:
        try:
            return ask(url, "GET", "/+api", serial=serial).serial >= serial
        except BROKEN:
            return False

    return bool(eventually(is_there))


def _log_of(url: str) -> Iterator[list[tuple[str, File]]]:
    """What each entry adds and removes, of files."""
    with psycopg.connect(url) as connection:
        for (body,) in connection.execute("SELECT body FROM twistpi_lines ORDER BY serial"):
            changes: list[tuple[str, File]] = []
            for change in decode_content(bytes(body)).changes:
                if isinstance(change, FileUploaded):
                    changes.append(("added", (change.index, change.filename, change.sha256)))
                elif isinstance(change, FileRemoved):
                    changes.append(("removed", (change.index, change.filename, "")))
            yield changes

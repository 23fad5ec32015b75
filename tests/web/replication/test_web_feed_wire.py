"""Feeds through transports that must see the bytes, as TLS does; and the body of a feed, whatever happens in whatever order."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from tests.contracts.changelog_contract import bodies
from tests.view.test_view_fold_property import MEMORY
from tests.web.replication.feed_setup import LOG_ID, NODE, Client
from tests.web.web_wire import Wire, read_answer, request_bytes
from tests.web.web_world import NOW, World, at_once
from twistpi.auth.tokens import NodeTokens
from twistpi.changelog.disk import Disk
from twistpi.changelog.files import FileChangelog
from twistpi.changelog.format import segment_start, write_base
from twistpi.changelog.reader import next_extent, segment_path
from twistpi.model.peers import BEGINNING
from twistpi.web.replication.authentication import NodeAuthenticator
from twistpi.web.replication.feed import GzipBody
from twistpi.web.replication.followers import FeedBody, Feeds

TOKENS = NodeTokens(b"s" * 32)


class Desk:
    """A log and a site in memory, and what a test makes of them at once."""

    def __init__(self, folder: Path, *, lines: int = 30, tail: int = 0) -> None:
        self.folder = str(folder / "changelog")
        log = FileChangelog.open(self.folder, Disk(), segment_limit=600)
        log.append(bodies(*range(1, lines + 1)), 0)
        self.written = b"".join(Path(segment_path(self.folder, part.first)).read_bytes() for part in log.segments())
        if tail:
            parts = log.segments()
            write_base(self.folder, Disk(), segment_start(parts[tail].first, parts[tail].before))
            log = FileChangelog.open(self.folder, Disk(), segment_limit=600)
        self.log = log
        self.seen = log.last
        self.clock = Clock()
        self.feeds = Feeds(log, LOG_ID, lambda: self.seen, self.clock, at_once)
        self.feeds.start()
        self.nodes = NodeAuthenticator(TOKENS, self.clock.seconds, NOW)
        self._nonces = iter(range(10**9))
        (folder / "site").mkdir()
        self.world = World(str(folder / "site"), nodes=self.nodes, feeds=self.feeds)

    def close(self) -> None:
        self.feeds.stop()
        self.world.close()

    def append(self, count: int) -> None:
        """More lines, announced."""
        start = self.log.last.serial
        self.seen = self.log.append(bodies(*range(start + 1, start + count + 1)), start)
        self.feeds.changed(self.seen.serial, ())

    def request(self, target: str, **headers: str) -> bytes:
        """A signed request."""
        self.clock.advance(1.001)
        token = TOKENS.make(NODE, "GET", target, self.nodes.now(), f"{next(self._nonces):x}")
        return request_bytes(target, authorization=f"Twistpi-Node {token}", **headers)

    def json(self, target: str) -> tuple[int, Any]:
        """The answer to a question that has an end."""
        answer = read_answer(Wire(self.world).send(self.request(target)))
        return answer.status, answer.json()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("coding", [None, "gzip"])
def test_a_feed_goes_through_a_transport_that_has_to_see_it(desk: Desk, coding: str | None) -> None:
    wire, client = Wire(desk.world), Client(b"")
    headers = {} if coding is None else {"accept_encoding": coding}
    client.dataReceived(wire.send(desk.request("/+changelog?after=0", **headers)))
    assert client.head is not None
    assert (client.head["transfer-encoding"], client.head.get("content-encoding")) == ("chunked", coding)
    assert client.head["connection"] == "close"
    assert client.lines == desk.written
    for count in (1, 5, 40):
        desk.append(count)
        client.dataReceived(wire.send(b""))
        assert client.beats[-1][0] == desk.log.last.serial
        assert client.lines.count(b"\n") == desk.log.last.serial
    wire.transport.producer.pauseProducing()
    desk.append(3)
    assert wire.send(b"") == b"", "a slow reader is waited for"
    wire.transport.producer.resumeProducing()
    client.dataReceived(wire.send(b""))
    assert client.lines.count(b"\n") == desk.log.last.serial
    desk.feeds.stop()
    client.dataReceived(wire.send(b""))
    assert wire.transport.disconnecting
    assert desk.feeds.count == 0


def test_whoever_leaves_leaves_nothing_open(desk: Desk) -> None:
    wires = [Wire(desk.world) for _ in range(5)]
    for wire in wires:
        wire.send(desk.request("/+changelog?after=0"))
    assert (desk.feeds.count, open_segments(desk)) == (5, 5)
    for wire in wires:
        wire.transport.abortConnection()
        wire.lose()
    assert (desk.feeds.count, open_segments(desk)) == (0, 0)


def open_segments(desk: Desk) -> int:
    """How many descriptors of segments this process has open, but for the one that is appended to."""
    count = -1
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            count += os.readlink(f"/proc/self/fd/{name}").startswith(desk.folder)
    return count


def test_a_prefix_that_a_proxy_puts_before_does_not_matter(desk: Desk) -> None:
    desk.world.components.addresses.outside_url = "https://packages.example/pypi"
    desk.clock.advance(2)
    token = TOKENS.make(NODE, "GET", "/+changelog/segments", desk.nodes.now(), "ff")
    signed = {"authorization": f"Twistpi-Node {token}"}
    assert read_answer(Wire(desk.world).send(request_bytes("/pypi/+changelog/segments", **signed))).status == 200
    assert read_answer(Wire(desk.world).send(request_bytes("/+changelog/segments", **signed))).status == 403


def test_a_log_without_the_older_history_feeds_what_it_has(tmp_path: Path) -> None:
    desk = Desk(tmp_path, tail=2)
    base = desk.log.begins_after
    for after in (0, base.serial - 1):
        status, refusal = desk.json(f"/+changelog?after={after}&chain={'0' * 64}")
        assert (status, refusal["reason"]) == (409, "behind")
        assert f"first line here is {base.serial + 1}" in refusal["message"]
    status, told = desk.json("/+changelog/segments")
    assert (status, told["begins_after"]) == (200, {"serial": base.serial, "chain": base.chain})
    assert told["segments"][0]["before"] == base.chain
    status, refusal = desk.json(f"/+changelog/position?serial={base.serial - 1}")
    assert (status, refusal["first"]) == (404, base.serial + 1)
    wire, client = Wire(desk.world), Client(b"")
    client.dataReceived(wire.send(desk.request(f"/+changelog?after={base.serial}&chain={base.chain}")))
    assert client.lines == b"".join(desk.written.splitlines(keepends=True)[base.serial :])
    desk.close()


# The body


class Reading:
    """Reads a body as a sender does."""

    def __init__(self, body: FeedBody | GzipBody) -> None:
        self.body = body
        self.got = bytearray()
        self._more: Deferred[None] | None = None

    def read(self, limit: int) -> None:
        """Take at most ``limit`` bytes, if there are any; ask for more if not."""
        if self._more is None and not self.body.over and not self.body.ready:
            self._more = Deferred.fromCoroutine(self.body.more())
            self._more.addCallback(self._woken)
        if self._more is None and self.body.ready:
            self.got += self.body.read(limit)

    def _woken(self, _: None) -> None:
        self._more = None

    def drain(self) -> None:
        """Take all there is."""
        before = -1
        while before != (before := len(self.got)):
            for _ in range(3):
                self.read(1 << 20)


ACTIONS = st.one_of(
    st.tuples(st.just("append"), st.integers(1, 12)),
    st.tuples(st.just("hide"), st.integers(1, 3)),
    st.tuples(st.just("read"), st.integers(1, 700)),
    st.tuples(st.just("tick"), st.integers(1, 6)),
)


@given(st.lists(ACTIONS, max_size=40), st.integers(0, 10), st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_body_gives_every_announced_line_once_in_order_and_whole(
    actions: list[tuple[str, int]], after: int, compressed: bool
) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        log = FileChangelog.open(os.path.join(folder, "changelog"), Disk(), segment_limit=500)
        log.append(bodies(*range(1, 11)), 0)
        seen, clock = [log.last], Clock()
        feeds = Feeds(log, LOG_ID, lambda: seen[0], clock, at_once)
        feeds.start()
        position = log.position(after)
        body = feeds.open(position, NODE, "", None)
        reading = Reading(GzipBody(body, at_once) if compressed else body)
        for action, number in actions:
            match action:
                case "append" | "hide":
                    start = log.last.serial
                    end = log.append(bodies(*range(start + 1, start + number + 1)), start)
                    if action == "append":
                        seen[0] = end
                        feeds.changed(end.serial, ())
                case "read":
                    reading.read(number)
                case _:
                    clock.advance(number)
        reading.drain()
        client = Client(b"")
        client.head = {"content-encoding": "gzip"} if compressed else {}
        client.dataReceived(bytes(reading.got))
        written = b"".join(Path(segment_path(log._directory, part.first)).read_bytes() for part in log.segments())
        assert client.lines == b"".join(written.splitlines(keepends=True)[after : seen[0].serial])
        assert all(serial <= seen[0].serial for serial, _time in client.beats)
        assert client.body.startswith(b"+ ")
        feeds.stop()
        feeds.closed(body)
        assert body.over


@given(st.lists(st.integers(0, 300), min_size=1, max_size=30), st.integers(1, 800), st.integers(1, 900), st.data())
@settings(max_examples=60, deadline=None)
def test_stretches_are_whole_lines_and_none_is_left_out(sizes: list[int], limit: int, most: int, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        log = FileChangelog.open(os.path.join(folder, "log"), Disk(), segment_limit=limit)
        log.append([b'{"n":"%b"}' % (b"x" * size) for size in sizes], 0)
        after = data.draw(st.integers(0, len(sizes)))
        until = log.position(data.draw(st.integers(after, len(sizes))))
        place, got = log.position(after), b""
        segment, offset = place.segment, place.offset
        while extent := next_extent(log._directory, Disk(), segment, offset, until, most):
            content = Disk().read(extent.path, extent.offset, extent.end - extent.offset)
            assert content.endswith(b"\n")
            assert len(content) <= most or content.count(b"\n") == 1
            got, segment, offset = got + content, extent.segment, extent.end
        written = b"".join(Path(segment_path(log._directory, part.first)).read_bytes() for part in log.segments())
        assert got == b"".join(written.splitlines(keepends=True)[after : until.serial])
        assert log.position(0) == BEGINNING

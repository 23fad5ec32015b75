"""A primary in memory that makes the mistakes a test asks for, and a replica with a real log, view and writer."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionRefusedError
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone, ResponseFailed
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IAgent, IBodyProducer
from zope.interface import implementer

from tests.contracts.changelog_contract import raw_lines
from tests.in_reactor import offload
from tests.replication.fake_primary import Spoken, make_client, reactor
from twistpi.changelog.disk import Disk
from twistpi.changelog.files import FileChangelog
from twistpi.changelog.format import read_header
from twistpi.changelog.writer import Writer
from twistpi.model.changes import Change
from twistpi.model.codec import encode_content
from twistpi.model.peers import BEGINNING, Position
from twistpi.replication.following import Following, PauseLengths
from twistpi.replication.primary import Primary
from twistpi.view.database import ViewDatabase, dump, open_view
from twistpi.view.read import Readers

LOG = "1" * 32
PAUSES = PauseLengths(shortest=0.001, longest=0.002, stuck=0.005)
SILENCE = 0.05
AT = "2026-11-22T17:00:00.123456Z"
SEGMENT_LIMIT = 600
_MOST_PIECES = 300


def make_lines(*entries: Sequence[Change], after: Position = BEGINNING) -> list[bytes]:
    """The lines of a log with these entries, without their line feeds."""
    return raw_lines(*(encode_content(AT, "root", changes) for changes in entries), after=after)


def chain_of(line: bytes) -> str:
    """What a line says its chain is."""
    return read_header(line)[1]


@attrs.frozen
class Fault:
    """What goes wrong with one feed."""

    kind: str
    """``cut``, ``stall`` or ``flip`` after ``at`` bytes; ``gone`` (nobody listens), ``hang`` (no answer); or a status."""
    at: int = 0


@attrs.define(eq=False)
class _Feed:
    """The body of one answer."""

    protocol: Any
    closed: bool = False

    def abortConnection(self) -> None:
        """The reader has had enough."""
        self.closed = True

    def loseConnection(self) -> None:
        """The same."""
        self.closed = True

    def pauseProducing(self) -> None:
        """Nothing is done about it here."""

    def resumeProducing(self) -> None:
        """Nothing was done about it."""

    def send(self, data: bytes) -> None:
        if not self.closed:
            self.protocol.dataReceived(data)

    def end(self, reason: Exception) -> None:
        if not self.closed:
            self.closed = True
            self.protocol.connectionLost(Failure(reason))


@attrs.define(eq=False)
class _Response:
    code: int
    headers: Headers
    deliver: Callable[[Any], None]
    length: Any = UNKNOWN_LENGTH
    phrase: bytes = b"OK"

    def deliverBody(self, protocol: Any) -> None:
        self.deliver(protocol)


@implementer(IAgent)
@attrs.define(eq=False)
class ScriptedPrimary:
    """Answers a follower's questions from ``lines``."""

    lines: list[bytes] = attrs.field(factory=list)
    log_id: str = LOG
    faults: list[Fault] = attrs.field(factory=list)
    """What happens to the next feeds, in this order; then all is well."""
    chunks: Sequence[int] = (65536,)
    """The sizes of the pieces in which bytes arrive, again and again."""
    refusal: dict[str, Any] | None = None
    """The reason of a 409 that every feed is answered."""
    asked: list[str] = attrs.field(factory=list)
    feeds: list[_Feed] = attrs.field(factory=list)

    def append(self, *entries: Sequence[Change]) -> None:
        """Write entries, and send them to the followers."""
        new = make_lines(*entries, after=self.position())
        self.lines += new
        for feed in self.feeds:
            feed.send(b"".join(line + b"\n" for line in new) + self.beat())

    def position(self) -> Position:
        """The end of the log, as far as making more lines needs it."""
        return attrs.evolve(BEGINNING, serial=len(self.lines), chain=chain_of(self.lines[-1])) if self.lines else BEGINNING

    def beat(self) -> bytes:
        """A heartbeat."""
        return b"+ %d %.6f\n" % (len(self.lines), reactor.seconds())

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: IBodyProducer | None = None
    ) -> Deferred[Any]:
        """See ``IAgent``."""
        assert headers is not None
        parts = urlsplit(uri.decode())
        self.asked.append(f"{parts.path}?{parts.query}")
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if parts.path == "/+changelog/position":
            serial = int(query["serial"])
            if not 1 <= serial <= len(self.lines):
                return succeed(self._json(404, {}))
            return succeed(self._json(200, {"serial": serial, "chain": chain_of(self.lines[serial - 1])}))
        return self._feed(int(query["after"]), query["chain"], (headers.getRawHeaders("Accept-Encoding") or [""])[0] == "gzip")

    def _feed(self, after: int, chain: str, zipped: bool) -> Deferred[Any]:
        fault = self.faults.pop(0) if self.faults else Fault("none")
        if fault.kind == "gone":
            return fail(ConnectionRefusedError())
        if fault.kind == "hang":
            return Deferred()
        if fault.kind.isdigit():
            return succeed(self._json(int(fault.kind), {"message": "no", "reason": "expired"}))
        if self.refusal is not None:
            return succeed(self._json(409, {"serial": len(self.lines), "epoch": 1, "log_id": self.log_id, **self.refusal}))
        if after > len(self.lines) or chain != (chain_of(self.lines[after - 1]) if after else BEGINNING.chain):
            told = {"reason": "diverged", "serial": len(self.lines), "epoch": 1, "log_id": self.log_id, "message": "other"}
            return succeed(self._json(409, told))
        body = self.beat() + b"".join(line + b"\n" for line in self.lines[after:]) + self.beat()
        fields = {"X-Twistpi-Log-Id": [self.log_id]}
        if zipped:
            body, fields["Content-Encoding"] = gzip.compress(body), ["gzip"]
        return succeed(_Response(200, Headers(fields), lambda protocol: self._send(protocol, body, fault)))

    def _send(self, protocol: Any, body: bytes, fault: Fault) -> None:
        feed = _Feed(protocol)
        protocol.makeConnection(feed)
        at = fault.at % (len(body) + 1)
        if fault.kind in ("cut", "stall"):
            body = body[:at]
        elif fault.kind == "flip" and at < len(body):
            body = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
        begin = 0
        while begin < len(body):
            size = max(self.chunks[len(self.asked) % len(self.chunks)], len(body) // _MOST_PIECES)
            feed.send(body[begin : begin + size])
            begin += size
        if fault.kind == "cut":
            feed.end(ResponseFailed([]))
        elif fault.kind != "stall":
            self.feeds.append(feed)

    def _json(self, status: int, value: object) -> _Response:
        content = json.dumps(value).encode()

        def deliver(protocol: Any) -> None:
            feed = _Feed(protocol)
            protocol.makeConnection(feed)
            feed.send(content)
            feed.end(ResponseDone())

        return _Response(status, Headers({"X-Twistpi-Time": [str(reactor.seconds())]}), deliver, len(content))


@attrs.define(eq=False)
class Replica:
    """A follower with everything below it."""

    folder: Path
    primary: ScriptedPrimary
    changelog: FileChangelog
    view: ViewDatabase
    readers: Readers
    writer: Writer
    following: Following
    failed: list[Exception]
    stopped: bool = False

    @classmethod
    def build(cls, folder: Path, primary: ScriptedPrimary, disk: Any = None, **options: Any) -> Replica:
        """In ``folder``, its log on ``disk``; not started."""
        changelog = FileChangelog.open(str(folder / "changelog"), disk or Disk(), segment_limit=SEGMENT_LIMIT)
        view = open_view(str(folder / "view.sqlite"), LOG)
        failed: list[Exception] = []
        told: list[Callable[..., object]] = []
        writer = Writer(
            changelog, view, now=lambda: datetime.now(UTC), call_in_reactor=reactor.callFromThread,
            announce=lambda serial, changes: [each(serial, changes) for each in told], stop=failed.append, follows=True,
        )  # fmt: skip
        asked = Primary("http://primary.example", "2" * 32, make_client(primary), Spoken(), os.urandom, patience=SILENCE)
        readers = Readers(str(folder / "view.sqlite"))
        options = {"silence": 30.0, "pauses": PAUSES, **options}
        following = Following(
            asked, LOG, changelog, writer.receive, lambda: 1, offload, reactor, lambda: 0.5, **options
        )  # fmt: skip
        told.append(following.changed)
        writer.start()
        return cls(folder, primary, changelog, view, readers, writer, following, failed)

    async def stop(self) -> None:
        """Stop and close everything."""
        if self.stopped:
            return
        self.stopped = True
        self.following.stop()
        await self.writer.stop()
        self.readers.close()
        self.view.close()
        self.changelog.close()

    def segments(self) -> dict[str, bytes]:
        """The bytes of every segment, by its name."""
        return {path.name: path.read_bytes() for path in (self.folder / "changelog").glob("*.log")}

    def dump(self) -> list[tuple[Any, ...]]:
        """The whole view."""
        return list(dump(str(self.folder / "view.sqlite")))

"""``/+changelog`` and ``/+snapshot``: what other servers follow.  This page is the specification of the feed.

All of it is for servers with the shared secret only (see ``authentication``); others get 403 and nothing else.  Refusals are JSON
with ``message``, ``error`` (a name) and the facts beside them.

The feed
========

``GET /+changelog?after=N&chain=HEX&epoch=E[&log_id=ID]`` asks for the lines after serial ``N``, whose chain digest is ``HEX`` (64
zeros, or nothing, when ``N`` is 0), for a server whose view has reached the epoch ``E``, of the log ``ID``.

200 begins a body without an end::

    + 1041 1795000000.123456
    1040 5e7dbe2f… {"at":…}
    1041 d3d0ad3c… {"at":…}
    + 1041 1795000000.123789
    + 1041 1795000005.123456

* Lines of the log come in order, whole, byte for byte as they stand in the segments, each with its line feed.  Each was synced
  and is in the view of the server that sends it, so no follower ever knows more than its clients can.
* Lines that begin with ``+`` are heartbeats: the last serial that this server has, and its time in Unix seconds.  One comes
  first, one whenever everything has been sent, and one within every five seconds while there is nothing else to send.  While
  there is, one comes at the first end of a MiB of lines after about five seconds.
* Lines that are announced while the feed is open follow at once.
* The headers ``X-Twistpi-Log-Id``, ``X-Twistpi-Epoch`` and ``X-Devpi-Serial`` say which log this is, and how far it was then.
* With ``Accept-Encoding: gzip`` the body is compressed, and flushed after each piece, so that what was sent can be read.
* The connection ends with the feed: the server stops, or the reader took nothing for more than a minute.  What was read last
  may be a part of a line; it is dropped, and the next request asks for it anew.
* A reader that is slow is waited for, at no cost but an open file.

409 says why the log cannot be followed from there, with ``reason``, ``serial`` (the last one here), ``epoch`` and ``log_id``:

``other log``
    This is another log than ``ID``.
``fenced``
    Another server became the primary: this one knows it, or hears it now, since ``E`` is higher than its own epoch.
``diverged``
    The line ``N`` has another chain here, or this log ends before it, that of all nodes where this is one of a cluster.
``behind``
    ``N`` is before the first line that is here: this server is a replica without the older history, or it was compacted.

Where lines are
===============

``GET /+changelog/position?serial=N``: ``serial``, ``chain``, ``segment`` (its first serial), ``offset`` (where in it the line
ends), ``log_id`` and ``epoch``; 404 when the line is not here.

``GET /+changelog/segments``: ``log_id``, ``begins_after`` (``serial`` and ``chain`` of the line before the first one here) and
``segments``, each with ``first``, ``size``, ``sealed`` and ``before``, the chain of the line before its first one.  Where a
summary stands for what is before the first line, ``summary`` has its ``size`` and the ``sha256`` of its lines.

``GET /+changelog/segments/FIRST``: the bytes of a segment, in ranges where asked; of the one that grows, what there is.

``GET /+changelog/summary``: the bytes of the summary, likewise; 404 without one.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Awaitable, Callable
from typing import Final

import attrs
from twisted.web.server import Request

from twistpi.auth.tokens import NodeClaim
from twistpi.changelog.interfaces import Segment
from twistpi.http.offload import Offload
from twistpi.model.errors import BadRequest, TwistpiError
from twistpi.model.peers import BEGINNING, Position
from twistpi.model.records import Json
from twistpi.model.server_errors import FeedRefused, UnknownSerial
from twistpi.simple.negotiate import accepts_gzip
from twistpi.web.access import Access
from twistpi.web.components import ReplicationServices
from twistpi.web.replication.authentication import NodeResponder, node_json
from twistpi.web.replication.blobs import NodeFiles
from twistpi.web.replication.followers import FeedBody, Feeds
from twistpi.web.replication.snapshots import Snapshots
from twistpi.web.replies import Reply, put_head
from twistpi.web.request import header
from twistpi.web.transport.bodies import BufferedBody, FileBody
from twistpi.web.transport.send import send_stream

_CHAIN: Final = re.compile(r"[0-9a-f]{64}")
_DIGITS: Final = re.compile(r"[0-9]{1,18}", re.ASCII)
_TYPE: Final = (b"Content-Type", b"application/octet-stream")
_LONGEST_URL: Final = 1000
_PIECE: Final = 256 * 1024
"""Bytes that are compressed at a time."""
_SMALL: Final = 4 * 1024
"""Bytes that are compressed in the reactor's thread."""
_LEVEL: Final = 3
"""Of zlib: lines repeat themselves, so more effort saves little."""


@attrs.frozen
class FeedRequest:
    """From where a follower wants to read."""

    after: int
    chain: str
    epoch: int
    log_id: str | None


@attrs.define(eq=False)
class FeedHandler:
    """Answers ``/+changelog`` and what is below."""

    _respond: NodeResponder
    _files: NodeFiles
    _feeds: Feeds
    _access: Access
    _replication: ReplicationServices
    _offload: Offload
    _reach: Callable[[int], Awaitable[object]] | None = None
    """Has this node of a cluster get as far as a serial: a follower may have read from another node before.  None elsewhere."""

    async def changelog(self, request: Request, claim: NodeClaim) -> bytes | None:
        """The feed."""
        feeds = self._feeds
        epoch = self._access.reader.epoch()
        asked = _read_asked(request)
        self._note_follower(request, claim, asked)
        position = await self._place(asked, epoch)
        compressed = accepts_gzip(header(request, "accept-encoding"))
        coding = ((b"Content-Encoding", b"gzip"),) if compressed else ()
        headers = (
            (b"X-Twistpi-Log-Id", feeds.log_id.encode()),
            (b"X-Twistpi-Epoch", b"%d" % epoch),
            (b"X-Accel-Buffering", b"no"),
        )
        put_head(request, 200, (*self._respond.head(), _TYPE, *coding, *headers))
        if request.method == b"HEAD":
            return b""
        body = feeds.open(position, claim.node, _address(request), _outside_url(request))
        try:
            await send_stream(request, GzipBody(body, self._offload) if compressed else body)
        finally:
            feeds.closed(body)
        return None

    async def position(self, request: Request, _claim: NodeClaim) -> bytes:
        """Where a line is."""
        serial = _number(request, "serial")
        last = (await self._seen(serial)).serial
        if serial > last:
            raise UnknownSerial(serial, self._feeds.changelog.begins_after.serial + 1, last)
        found: Position = await self._offload(self._feeds.changelog.position, serial)
        facts = {"log_id": self._feeds.log_id, "epoch": self._access.reader.epoch()}
        return self._respond.put(request, node_json({**attrs.asdict(found), **facts}))

    async def segments(self, request: Request, _claim: NodeClaim) -> bytes:
        """Which files the log consists of."""
        changelog = self._feeds.changelog
        base = changelog.begins_after
        segments = [attrs.asdict(segment) for segment in await self._seen_segments()]
        facts: dict[str, Json] = {"log_id": self._feeds.log_id, "begins_after": {"serial": base.serial, "chain": base.chain}}
        if changelog.summary is not None:
            size = os.path.getsize(changelog.summary_path)
            facts["summary"] = {"size": size, "sha256": changelog.summary}
        return self._respond.put(request, node_json({**facts, "segments": segments}))

    async def summary(self, request: Request, _claim: NodeClaim) -> Reply | None:
        """The bytes of what stands for the entries before the first segment."""
        changelog = self._feeds.changelog
        if changelog.summary is None:
            raise TwistpiError("This changelog has no summary.", 404)
        descriptor = os.open(changelog.summary_path, os.O_RDONLY | os.O_CLOEXEC)
        return await self._files.send(request, FileBody(descriptor, 0, os.fstat(descriptor).st_size), None)

    async def segment(self, request: Request, _claim: NodeClaim, first: str) -> Reply | None:
        """The bytes of one of them."""
        known = [one for one in await self._seen_segments() if str(one.first) == first]
        if not known:
            raise TwistpiError(f"There is no segment {first} in this changelog.", 404)
        path = self._feeds.changelog.segment_path(known[0].first)
        return await self._files.send(request, FileBody(os.open(path, os.O_RDONLY | os.O_CLOEXEC), 0, known[0].size), None)

    async def _seen(self, serial: int) -> Position:
        """Return the last line that readers see, once that is the one of ``serial``, or as near as the log goes."""
        if self._reach is not None and serial > self._feeds.seen().serial:
            await self._reach(serial)
        return self._feeds.seen()

    async def _seen_segments(self) -> list[Segment]:
        """Return the segments, up to the last line that readers see."""
        seen = self._feeds.seen()
        segments: list[Segment] = await self._offload(self._feeds.changelog.segments)
        return [
            attrs.evolve(one, size=seen.offset, sealed=False) if one.first == seen.segment else one
            for one in segments
            if one.first <= seen.serial
        ]

    def _note_follower(self, request: Request, claim: NodeClaim, asked: FeedRequest) -> None:
        """Remember the follower, for the next start, and notice that another server was promoted."""
        if asked.log_id not in (None, self._feeds.log_id):
            return
        if self._replication.known_followers is not None:
            self._replication.known_followers.came(claim.node, _outside_url(request))
        if self._replication.fencing is not None:
            self._replication.fencing.epoch_seen(asked.epoch)

    async def _place(self, asked: FeedRequest, epoch: int) -> Position:
        """Return where the line ``asked.after`` ends; raise ``FeedRefused``, or ``LogUnreachable`` where that is not known."""
        feeds, seen = self._feeds, await self._seen(asked.after if asked.log_id in (None, self._feeds.log_id) else 0)

        def refuse(reason: str, told: str) -> FeedRefused:
            return FeedRefused(asked.after, told, reason, seen.serial, epoch, feeds.log_id)

        if asked.log_id not in (None, feeds.log_id):
            raise refuse("other log", f"it is another log ({feeds.log_id}, not {asked.log_id})")
        fence = None if self._replication.fencing is None else self._replication.fencing.fence
        if fence is not None:
            raise refuse("fenced", f"{fence.successor} was promoted and is the one to follow")
        if asked.epoch > epoch:
            raise refuse("fenced", f"it has reached the epoch {epoch} only, and the other server knows epoch {asked.epoch}")
        if asked.after > seen.serial:
            raise refuse("diverged", f"it ends at serial {seen.serial}")
        if asked.after < feeds.changelog.begins_after.serial:
            raise refuse("behind", f"its first line here is {feeds.changelog.begins_after.serial + 1}")
        position: Position = await self._offload(feeds.changelog.position, asked.after)
        if position.chain != asked.chain:
            raise refuse("diverged", f"the line of that serial has the chain {position.chain}, not {asked.chain}")
        return position


@attrs.define(eq=False)
class SnapshotHandler:
    """Answers ``/+snapshot``."""

    _respond: NodeResponder
    _files: NodeFiles
    _snapshots: Snapshots

    async def make(self, request: Request, _claim: NodeClaim) -> bytes:
        """A snapshot of about now."""
        snapshot = await self._snapshots.get()
        stamp = snapshot.copy.stamp
        facts = {"id": snapshot.id, **attrs.asdict(stamp.position), "size": snapshot.copy.size, "sha256": snapshot.copy.sha256}
        return self._respond.put(request, node_json({**facts, "fold_version": stamp.fold_version, "log_id": stamp.log_id}))

    async def read(self, request: Request, _claim: NodeClaim, name: str) -> Reply | None:
        """The bytes of a snapshot."""
        snapshot = self._snapshots.find(name)
        body = self._snapshots.read(snapshot)
        try:
            return await self._files.send(request, body, snapshot.copy.sha256)
        finally:
            self._snapshots.was_read(snapshot)


@attrs.define(eq=False)
class GzipBody(BufferedBody):
    """A feed, compressed in threads; each piece is flushed, so that a follower can read it at once."""

    inner: FeedBody
    _offload: Offload
    offset: int = attrs.field(default=0, init=False)
    _finished: bool = attrs.field(default=False, init=False)
    _compressor: zlib._Compress = attrs.field(init=False, factory=lambda: zlib.compressobj(_LEVEL, wbits=31))
    piece: bytes = attrs.field(default=b"", init=False)

    @property
    def over(self) -> bool:
        """Whether all was sent."""
        return self._finished and not self.piece

    async def more(self) -> None:
        """Compress what the feed has, once it has something."""
        inner = self.inner
        while not self.piece and not self._finished:
            if not inner.ready:
                if inner.over:
                    self.piece, self._finished = self._compressor.flush(), True
                    return
                await inner.more()
                continue
            content = inner.read(_PIECE)
            if len(content) <= _SMALL:
                self.piece = self._compress(content)
            else:
                self.piece = await self._offload(self._compress, content)

    def close(self) -> None:
        """Give back the feed's file."""
        self.inner.close()

    def _compress(self, content: bytes) -> bytes:
        return self._compressor.compress(content) + self._compressor.flush(zlib.Z_SYNC_FLUSH)


def _read_asked(request: Request) -> FeedRequest:
    after = _number(request, "after")
    chain = _parameter(request, "chain") or BEGINNING.chain
    if not _CHAIN.fullmatch(chain):
        raise BadRequest("Bad request: chain must be the 64 hexadecimal digits that stand in the line")
    epoch = _number(request, "epoch") if _parameter(request, "epoch") is not None else 0
    return FeedRequest(after, chain, epoch, _parameter(request, "log_id"))


def _number(request: Request, name: str) -> int:
    text = _parameter(request, name) or ""
    if not _DIGITS.fullmatch(text):
        raise BadRequest(f"Bad request: {name} must be a number")
    return int(text)


def _parameter(request: Request, name: str) -> str | None:
    values = (request.args or {}).get(name.encode("ascii"))
    return values[-1].decode("latin-1") if values else None


def _address(request: Request) -> str:
    return str(getattr(request.getClientAddress(), "host", None) or "")


def _outside_url(request: Request) -> str | None:
    return (header(request, "x-devpi-replica-outside-url") or "")[:_LONGEST_URL] or None

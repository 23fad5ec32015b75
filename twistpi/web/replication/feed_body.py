"""The bytes of a feed: lines straight from the log's files, with heartbeats between them, for as long as the follower reads.

Nothing is kept in memory but where the reader is.  A reader that is slow is waited for: a body is asked for bytes only when the
connection takes some.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from typing import Any, Final, Protocol

import attrs
from twisted.internet.defer import Deferred

from twistpi.changelog.reader import Extent
from twistpi.model.peers import Position
from twistpi.web.transport.bodies import BufferedBody

_ONE_SEND: Final = 512 * 1024
"""The most bytes handed to the kernel in one call, so that a fast reader does not keep the reactor to itself."""
_PIECE: Final = 256 * 1024
"""Bytes that are compressed at a time."""
_SMALL: Final = 4 * 1024
"""Bytes up to which compressing takes less than handing over to a thread."""
_LEVEL: Final = 3
"""Of zlib: lines repeat themselves, so more effort saves little."""


class Source(Protocol):
    """Where a feed's lines come from (``feeding.Feeds``)."""

    def seen(self) -> Position:
        """Return the end of the last entry that readers see."""

    def lines(self, segment: int, offset: int, until: Position) -> Extent | Deferred[Extent | None] | None:
        """The next lines after ``offset`` of ``segment`` and not beyond ``until``; at once where that is quick."""

    def heartbeat(self) -> bytes:
        """What is said when there is nothing else to say."""

    def is_due(self, last: float) -> bool:
        """Whether a heartbeat is due, when the last one was at ``last``."""

    def seconds(self) -> float:
        """A clock."""

    def wait(self) -> Deferred[None]:
        """Fires when there may be something new, or it is time for a heartbeat."""


@attrs.define(eq=False)
class FeedBody:
    """What is sent to one follower; see ``bodies.Body``."""

    _source: Source
    _segment: int
    _place: int
    """Where in the segment the bytes begin that were not handed out yet."""
    _end: int = attrs.field(init=False)
    """Where those end that may be."""
    offset: int = attrs.field(default=0, init=False)
    over: bool = attrs.field(default=False, init=False)
    sent: int = attrs.field(default=0, init=False)
    """The serial up to which everything was handed out at some time; 0 before there was such a time."""
    _descriptor: int = attrs.field(default=-1, init=False)
    _beat: bytes = attrs.field(default=b"", init=False)
    _last_beat: float = attrs.field(default=float("-inf"), init=False)
    _quiet: bool = attrs.field(default=False, init=False)
    """Whether nothing was sent since a heartbeat."""
    _waiting: Deferred[None] | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._end = self._place

    @property
    def ready(self) -> int:
        """Bytes that can be handed out at once."""
        return len(self._beat) or self._end - self._place

    def send(self, socket_number: int) -> int:
        """Send some ready bytes to a non-blocking socket."""
        if self._beat:
            sent = os.write(socket_number, self._beat)
            self._beat = self._beat[sent:]
        else:
            sent = os.sendfile(socket_number, self._descriptor, self._place, min(self._end - self._place, _ONE_SEND))
            self._handed_out(sent)
        self.offset += sent
        return sent

    def read(self, limit: int) -> bytes:
        """The next bytes, for transports that must see them."""
        if self._beat:
            data, self._beat = self._beat[:limit], self._beat[limit:]
        else:
            data = os.pread(self._descriptor, min(self._end - self._place, limit), self._place)
            self._handed_out(len(data))
        self.offset += len(data)
        return data

    async def more(self) -> None:
        """Wait for lines, or until it is time for a heartbeat."""
        source = self._source
        while not self.over:
            if source.is_due(self._last_beat):
                self._say_heartbeat()
                return
            until = source.seen()
            found = source.lines(self._segment, self._place, until)
            lines = await found if isinstance(found, Deferred) else found
            if self.over:
                return
            if lines is not None:
                self._open(lines)
                return
            self.sent = until.serial
            if not self._quiet:
                self._say_heartbeat()
                return
            self._waiting = source.wait()
            try:
                await self._waiting
            finally:
                self._waiting = None

    def end(self) -> None:
        """Send no more, not even the rest of a line; a follower drops what is no whole line."""
        self.over = True
        self._beat = b""
        self._end = self._place
        if self._waiting is not None and not self._waiting.called:
            self._waiting.callback(None)

    def close(self) -> None:
        """Give back the file; may be called again."""
        self.over = True
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _handed_out(self, size: int) -> None:
        if size == 0:
            raise OSError("the segment is shorter than it was")
        self._place += size

    def _say_heartbeat(self) -> None:
        self._beat = self._source.heartbeat()
        self._last_beat = self._source.seconds()
        self._quiet = True

    def _open(self, lines: Extent) -> None:
        if self._descriptor < 0 or lines.segment != self._segment:
            if self._descriptor >= 0:
                os.close(self._descriptor)
            self._descriptor = -1
            self._descriptor = os.open(lines.path, os.O_RDONLY | os.O_CLOEXEC)
        self._segment, self._place, self._end = lines.segment, lines.offset, lines.end
        self._quiet = False


@attrs.define(eq=False)
class GzipBody(BufferedBody):
    """A feed, compressed beside the reactor; what was said can be read at once, because each piece is flushed."""

    inner: FeedBody
    _offload: Callable[..., Deferred[Any]]
    """Runs a function in a thread."""
    offset: int = attrs.field(default=0, init=False)
    _finished: bool = attrs.field(default=False, init=False)
    _compressor: Any = attrs.field(init=False, factory=lambda: zlib.compressobj(_LEVEL, wbits=31))
    _piece: bytes = attrs.field(default=b"", init=False)

    @property
    def over(self) -> bool:
        """Whether all was sent."""
        return self._finished and not self._piece

    async def more(self) -> None:
        """Compress what the feed has, once it has something."""
        inner = self.inner
        while not self._piece and not self._finished:
            if not inner.ready:
                if inner.over:
                    self._piece, self._finished = self._compressor.flush(), True
                    return
                await inner.more()
                continue
            content = inner.read(_PIECE)
            if len(content) <= _SMALL:
                self._piece = self._compress(content)
            else:
                self._piece = await self._offload(self._compress, content)

    def close(self) -> None:
        """Give back the feed's file."""
        self.inner.close()

    def _compress(self, content: bytes) -> bytes:
        begun: bytes = self._compressor.compress(content)
        rest: bytes = self._compressor.flush(zlib.Z_SYNC_FLUSH)
        return begun + rest

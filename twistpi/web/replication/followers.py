"""The followers of this server's changelog: open feeds, their heartbeats, and what is known of each follower."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Final

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from twistpi.changelog.files import FileChangelog
from twistpi.changelog.reader import MOST, Extent
from twistpi.http.offload import Offload
from twistpi.model.changes import Change
from twistpi.model.monitoring import Measure
from twistpi.model.peers import Position

HEARTBEAT: Final = 5.0
"""Seconds within which something is said, be it only that there is nothing new."""
_LOOKS: Final = 5
"""How often in that time it is seen to who has not heard anything for long."""
_ONE_SEND: Final = 512 * 1024
"""The most bytes handed to the kernel in one call, so that a fast reader does not keep the reactor to itself."""
_MOST_FOLLOWERS: Final = 1000
"""Remembered; those that left longest ago are forgotten first."""


@attrs.define(eq=False)
class FeedBody:
    """What is sent to one follower; see ``bodies.Body``."""

    _source: Feeds
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
                self._send_heartbeat()
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
                self._send_heartbeat()
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

    def _send_heartbeat(self) -> None:
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
class Follower:
    """A server that reads or has read the feed."""

    node: str
    """Its id."""
    address: str
    """The address of its last request."""
    outside_url: str | None
    """Its public URL, as it says."""
    last_request: float
    """When, in Unix seconds."""
    serial: int
    """After which it asked."""
    bodies: list[FeedBody] = attrs.field(factory=list)
    """The feeds that are open."""

    @property
    def reached(self) -> int:
        """The serial up to which everything was sent."""
        return max([self.serial, *(body.sent for body in self.bodies)])


@attrs.define(eq=False)
class Feeds:
    """All feeds of this server."""

    changelog: FileChangelog
    log_id: str
    seen: Callable[[], Position]
    """The end of the last entry that readers of the view see (``Writer.seen``)."""
    _clock: IReactorTime
    _offload: Offload
    followers: dict[str, Follower] = attrs.field(factory=dict, init=False)
    """By their ids, those who asked last at the end."""
    _waiting: dict[Deferred[None], None] = attrs.field(factory=dict, init=False)
    _notified_of: Position | None = attrs.field(default=None, init=False)
    """The position of the last notification."""
    _ticking: LoopingCall = attrs.field(init=False)
    _stopped: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._ticking = LoopingCall(self._wake)
        self._ticking.clock = self._clock

    def start(self) -> None:
        """Start the heartbeats."""
        self._ticking.start(HEARTBEAT / _LOOKS, now=False)

    def open(self, position: Position, node: str, address: str, outside_url: str | None) -> FeedBody:
        """A feed of the lines after ``position`` for the server ``node``; to be closed by ``closed``."""
        body = FeedBody(self, position.segment, position.offset)
        follower = self.followers.pop(node, None) or Follower(node, address, outside_url, 0.0, 0)
        follower.address, follower.outside_url = address, outside_url
        follower.last_request, follower.serial = self._clock.seconds(), position.serial
        follower.bodies.append(body)
        self.followers[node] = follower
        self._forget_some()
        if self._stopped:
            body.end()
        return body

    def closed(self, body: FeedBody) -> None:
        """``body`` is not read any more."""
        body.close()
        for follower in self.followers.values():
            if body in follower.bodies:
                follower.serial = max(follower.serial, body.sent)
                follower.bodies.remove(body)

    @property
    def count(self) -> int:
        """Feeds that are open."""
        return sum(len(follower.bodies) for follower in self.followers.values())

    def behind(self, serial: int) -> str | None:
        """Return which server that follows now still needs entries up to ``serial``; None without one."""
        for follower in self.followers.values():
            if follower.bodies and follower.reached < serial:
                return f"the replica {follower.outside_url or follower.address} has those up to {follower.reached} only"
        return None

    def changed(self, _serial: int, _changes: tuple[Change, ...]) -> None:
        """Wake the waiting feeds: entries were announced."""
        seen = self.seen()
        if seen is not self._notified_of:
            self._notified_of = seen
            self._wake()

    def stop(self) -> None:
        """End all feeds, because the server stops."""
        self._stopped = True
        if self._ticking.running:
            self._ticking.stop()
        for body in [body for follower in self.followers.values() for body in follower.bodies]:
            body.end()

    def measures(self) -> Iterator[Measure]:
        """See ``Measured``."""
        yield Measure("twistpi_feeds", "gauge", "Followers that read the changelog at this moment", self.count)

    def lines(self, segment: int, offset: int, until: Position) -> Extent | Deferred[Extent | None] | None:
        """Return the next lines after ``offset`` of ``segment`` and not beyond ``until``; at once where that is quick."""
        if segment == until.segment and until.offset - offset <= MOST:
            return self.changelog.next_extent(segment, offset, until)
        return self._offload(self.changelog.next_extent, segment, offset, until)

    def heartbeat(self) -> bytes:
        """Return a heartbeat line."""
        return b"+ %d %.6f\n" % (self.seen().serial, self._clock.seconds())

    def is_due(self, last: float) -> bool:
        """Return whether a heartbeat is due, when the last one was at ``last``."""
        # One look early, since the next would be late; and at once when the clock was set back.
        return not 0 <= self._clock.seconds() - last < HEARTBEAT * (_LOOKS - 1) / _LOOKS

    def seconds(self) -> float:
        """Return the time in Unix seconds."""
        return float(self._clock.seconds())

    def wait(self) -> Deferred[None]:
        """Return a Deferred that fires when there may be something new, or it is time for a heartbeat."""
        waiter: Deferred[None] = Deferred(lambda cancelled: self._waiting.pop(cancelled, None))
        self._waiting[waiter] = None
        return waiter

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for waiter in waiting:
            if not waiter.called:
                waiter.callback(None)

    def _forget_some(self) -> None:
        if len(self.followers) > _MOST_FOLLOWERS:
            gone = next((node for node, follower in self.followers.items() if not follower.bodies), None)
            if gone is not None:
                del self.followers[gone]

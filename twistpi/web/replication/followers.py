"""The followers of this server's changelog: open feeds, their heartbeats, and what is known of each follower."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall

from twistpi.changelog.files import FileChangelog
from twistpi.changelog.reader import MOST, Extent
from twistpi.model.changes import Change
from twistpi.model.monitoring import Measure
from twistpi.model.peers import Position
from twistpi.web.replication.feed_body import FeedBody

HEARTBEAT: Final = 5.0
"""Seconds within which something is said, be it only that there is nothing new."""
_LOOKS: Final = 5
"""How often in that time it is seen to who has not heard anything for long."""
_MOST_FOLLOWERS: Final = 1000
"""Remembered; those that left longest ago are forgotten first."""


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
        """Up to where it is known to have been sent everything."""
        return max([self.serial, *(body.sent for body in self.bodies)])


@attrs.define(eq=False)
class Feeds:
    """All feeds of this server."""

    changelog: FileChangelog
    log_id: str
    seen: Callable[[], Position]
    """The end of the last entry that readers of the view see (``Writer.seen``)."""
    _clock: Any
    """The reactor."""
    _offload: Callable[..., Deferred[Any]]
    """Runs a function in a thread."""
    heartbeat_seconds: float = attrs.field(default=HEARTBEAT, kw_only=True)
    followers: dict[str, Follower] = attrs.field(factory=dict, init=False)
    """By their ids, those who asked last at the end."""
    _waiting: dict[Deferred[None], None] = attrs.field(factory=dict, init=False)
    _told: Position | None = attrs.field(default=None, init=False)
    """The position of the last notification."""
    _ticking: LoopingCall = attrs.field(init=False)
    _stopped: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._ticking = LoopingCall(self._wake)
        self._ticking.clock = self._clock

    def start(self) -> None:
        """Begin with the heartbeats."""
        self._ticking.start(self.heartbeat_seconds / _LOOKS, now=False)

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

    def changed(self, _serial: int, _changes: tuple[Change, ...]) -> None:
        """Entries were announced; the feeds that wait get them in this very turn of the reactor, all together."""
        seen = self.seen()
        if seen is not self._told:
            self._told = seen
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

    # What a body asks for

    def lines(self, segment: int, offset: int, until: Position) -> Extent | Deferred[Extent | None] | None:
        """See ``feed_body.Source``."""
        if segment == until.segment and until.offset - offset <= MOST:
            return self.changelog.next_extent(segment, offset, until)
        return self._offload(self.changelog.next_extent, segment, offset, until)

    def heartbeat(self) -> bytes:
        """See ``feed_body.Source``."""
        return b"+ %d %.6f\n" % (self.seen().serial, self._clock.seconds())

    def is_due(self, last: float) -> bool:
        """See ``feed_body.Source``."""
        # One look early, since the next would be late; and at once when the clock was set back.
        return not 0 <= self._clock.seconds() - last < self.heartbeat_seconds * (_LOOKS - 1) / _LOOKS

    def seconds(self) -> float:
        """See ``feed_body.Source``."""
        return float(self._clock.seconds())

    def wait(self) -> Deferred[None]:
        """See ``feed_body.Source``."""
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

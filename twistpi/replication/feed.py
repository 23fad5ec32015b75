"""What comes out of a feed: lines of the changelog, and heartbeats between them.  Pure.

A feed is the changelog's own bytes, with lines in between that begin with ``+``, which no line of the changelog does:
``+ SERIAL TIME`` says the primary's last serial and its clock.
"""

from __future__ import annotations

import re

import attrs

LONGEST_LINE = 256 * 1024 * 1024
"""Bytes after which what has no end yet counts as no line at all."""

_HEARTBEAT = re.compile(rb"\+ (0|[1-9][0-9]{0,17}) ([0-9]{1,18}(?:\.[0-9]{1,18})?)")


class NotAFeed(Exception):
    """What came is no feed; the message says why."""


@attrs.frozen
class Heartbeat:
    """The primary's word that it is there."""

    serial: int
    """The last one that readers there see."""
    time: float
    """Its clock, in Unix seconds."""


@attrs.define
class FeedLines:
    """Cuts what comes, however it is chunked, into whole lines."""

    _rest: list[bytes] = attrs.field(factory=list, init=False)
    """Pieces of the line that has no end yet."""
    _length: int = attrs.field(default=0, init=False)

    def take(self, data: bytes) -> tuple[list[bytes], Heartbeat | None]:
        """The lines of the changelog that ``data`` completes, without their line feeds, and the last heartbeat among them.

        Raises ``NotAFeed``.
        """
        begin, feed, end = data.rpartition(b"\n")
        if not feed:
            self._keep(data)
            return [], None
        self._rest.append(begin)
        lines = b"".join(self._rest).split(b"\n")
        self._rest, self._length = [], 0
        self._keep(end)
        if not any(line.startswith(b"+") for line in lines):
            return lines, None
        beats = [line for line in lines if line.startswith(b"+")]
        return [line for line in lines if not line.startswith(b"+")], _heartbeat(beats[-1])

    def _keep(self, piece: bytes) -> None:
        self._length += len(piece)
        if self._length > LONGEST_LINE:
            raise NotAFeed(f"a line is longer than {LONGEST_LINE:,} bytes")
        if piece:
            self._rest.append(piece)


def heartbeat_line(beat: Heartbeat) -> bytes:
    """``beat`` as it stands in a feed, with its line feed."""
    return b"+ %d %.3f\n" % (beat.serial, beat.time)


def _heartbeat(line: bytes) -> Heartbeat:
    found = _HEARTBEAT.fullmatch(line)
    if found is None:
        raise NotAFeed(f"{line[:80]!r} is no heartbeat")
    return Heartbeat(int(found[1]), float(found[2]))

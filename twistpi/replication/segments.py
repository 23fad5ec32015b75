"""The files that a primary's log consists of, and their transfer to this disk in as many pieces as it takes.

The older history of a log that began with a snapshot comes in the background, the newest part first.  Each segment has to lead,
line by line, to the one that is here; then the log begins with it.  A replica that has all of it is the same in every byte as one
that followed from the first line.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from twistpi.changelog.files import FileChangelog
from twistpi.changelog.reader import segment_path
from twistpi.changelog.summary import lines_digest, summary_path
from twistpi.http.backoff import Backoff
from twistpi.http.conditional import parse_content_range
from twistpi.http.offload import Offload
from twistpi.model.errors import TwistpiError
from twistpi.model.records import Json
from twistpi.model.server_errors import FeedDamaged, FollowingRefused, PrimaryUnreachable, StorageFull, StrangePrimary
from twistpi.replication.primary import Primary, PrimaryAnswer

LARGE_BYTES: Final = 64 * 1024 * 1024
LARGE_ENTRIES: Final = 100_000
"""A log with more than either is not folded from its beginning by a new replica."""

_ID = re.compile(r"[0-9a-f]{32}")
_CHAIN = re.compile(r"[0-9a-f]{64}")
_AWAY: Final = frozenset({502, 503, 504})
"""Statuses of a primary that restarts, or of the proxy before it: asking again later helps."""
_SILENCE: Final = 30.0
"""Seconds without a byte after which the connection is given up."""
_SHORTEST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 600.0
"""Seconds between two attempts, while the primary cannot give what is missing of the older history."""
_log = Logger()


@attrs.frozen
class SegmentFacts:
    """One file of the log."""

    first: int
    """The serial of its first line."""
    size: int
    """Bytes."""
    sealed: bool
    """Whether nothing is added to it any more."""
    before: str
    """The chain of the line before its first one: 64 hexadecimal digits."""


@attrs.frozen
class SummaryFacts:
    """The file that stands for what is before the primary's first line; see ``changelog.summary``."""

    size: int
    """Bytes."""
    sha256: str
    """Of its lines."""


@attrs.frozen
class Overview:
    """What ``/+changelog/segments`` says."""

    log_id: str
    begins_after: int
    """The serial before the first line of the primary."""
    segments: tuple[SegmentFacts, ...]
    serial: int
    """The primary's last one."""
    summary: SummaryFacts | None = None
    """What stands for the entries before ``begins_after``, if the primary has that."""

    @property
    def is_large(self) -> bool:
        """Whether a new replica begins with a snapshot: the log is long, or the primary has not the whole of it itself."""
        size = sum(segment.size for segment in self.segments)
        return self.begins_after > 0 or size > LARGE_BYTES or self.serial > LARGE_ENTRIES

    def segment(self, first: int) -> SegmentFacts | None:
        """Return the segment that begins with the serial ``first``."""
        return next((segment for segment in self.segments if segment.first == first), None)


async def look_over(primary: Primary) -> Overview:
    """Ask ``primary`` for its overview.  Raise ``PrimaryUnreachable``, ``FollowingRefused``, ``StrangePrimary``."""
    answer = await primary.ask("GET", "/+changelog/segments")
    if answer.status == 403:
        fields = await answer.json()
        reason = fields.get("reason") if isinstance(fields, dict) else None
        text = f"it does not let this server in ({reason}); start both with the same --secretfile"
        raise FollowingRefused(f"The primary at {primary.url} refuses to be followed: {text}.")
    if answer.status in _AWAY:
        answer.discard()
        raise PrimaryUnreachable(primary.url, f"it answers {answer.status}")
    if answer.status != 200:
        answer.discard()
        raise StrangePrimary(primary.url, f"it answers {answer.status} where it should tell of its changelog")
    try:
        return read_overview(await answer.json(), answer.header("X-Devpi-Serial"))
    except (KeyError, TypeError, ValueError):
        raise StrangePrimary(primary.url, "what it tells of its changelog cannot be understood") from None


def read_overview(fields: Json, serial: str | None) -> Overview:
    """Return the overview that JSON ``fields`` are.  Raise ``KeyError``, ``TypeError`` or ``ValueError`` for what is none."""
    segments = tuple(
        SegmentFacts(int(one["first"]), int(one["size"]), one["sealed"] is True, _matching(_CHAIN, one["before"]))
        for one in fields["segments"]
    )
    told = fields.get("summary")
    summary = None if told is None else SummaryFacts(int(told["size"]), _matching(_CHAIN, told["sha256"]))
    return Overview(_matching(_ID, fields["log_id"]), int(fields["begins_after"]["serial"]), segments, int(serial or 0), summary)


def _matching(pattern: re.Pattern[str], text: str) -> str:
    if not pattern.fullmatch(text):
        raise ValueError(text)
    return text


async def transfer(
    primary: Primary, path: str, target: str, size: int, received: Callable[[int], object] = lambda _count: None
) -> bool:
    """Fetch the first ``size`` bytes at ``path`` into the file ``target``, after what is in it already.

    Return whether the primary has such a file still.

    If the answer is not the rest that was asked for, the file comes again from its beginning.  ``received`` is called with the
    number of bytes that were written, again and again; with a negative number when they are dropped.  Raise
    ``PrimaryUnreachable`` when the connection breaks (call again: it goes on), ``StrangePrimary``, and ``StorageFull`` when
    nothing can be written.
    """
    descriptor = _open(target)
    try:
        have = reported = os.fstat(descriptor).st_size
        if have >= size:
            return True
        answer = await _ask_for(primary, path, have, size)
        if answer is None and have:
            os.ftruncate(descriptor, 0)
            received(-have)
            have = reported = 0
            answer = await _ask_for(primary, path, have, size)
        if answer is None:
            raise StrangePrimary(primary.url, "it does not hand out a part of a file as it is asked to")
        if answer.status == 404:
            answer.discard()
            return False

        def written() -> None:
            nonlocal reported
            now = os.fstat(descriptor).st_size
            received(now - reported)
            reported = now

        await answer.write_to(partial(_write, descriptor), written, _SILENCE)
        written()
        return True
    except OSError as error:
        raise StorageFull("incoming", os.strerror(error.errno or 0)) from error
    finally:
        os.close(descriptor)


async def _ask_for(primary: Primary, path: str, have: int, size: int) -> PrimaryAnswer | None:
    """Return the answer with the bytes from ``have`` to ``size`` at ``path``, or that there is no such file.

    None is any other one.  Raise ``PrimaryUnreachable``.
    """
    answer = await primary.ask("GET", path, headers={"Range": f"bytes={have}-{size - 1}"})
    if answer.status == 404:
        return answer
    stated = answer.header("Content-Range")
    part = parse_content_range(stated)
    fits = (part is not None and (part.first, part.last) == (have, size - 1)) or (stated is None and have == 0)
    if answer.length == size - have and ((answer.status == 206 and fits) or (answer.status == 200 and have == 0)):
        return answer
    answer.discard()
    if answer.status in _AWAY:
        raise PrimaryUnreachable(primary.url, f"it answers {answer.status}")
    return None


def _write(descriptor: int, pieces: list[bytes]) -> None:
    for piece in pieces:
        rest = memoryview(piece)
        while rest:
            rest = rest[os.write(descriptor, rest) :]


def _open(target: str) -> int:
    try:
        return os.open(target, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StorageFull(target, os.strerror(error.errno or 0)) from error


@attrs.define(eq=False)
class History:
    """Brings what is missing before the beginning of ``changelog``."""

    _primary: Primary
    _changelog: FileChangelog
    _folder: str
    """That of the changelog."""
    _incoming: str
    _clock: IReactorTime
    _offload: Offload
    _chance: Callable[[], float]
    _pause: float = _SHORTEST_PAUSE
    whole: Deferred[None] = attrs.field(factory=Deferred, init=False)
    """Fires when the log goes back to its first line, or a summary stands for what is missing."""
    _running: Deferred[None] | None = attrs.field(default=None, init=False)

    @property
    def missing(self) -> int:
        """How many entries before the first one are neither here nor in a summary."""
        return 0 if self._changelog.summary is not None else self._changelog.begins_after.serial

    def start(self) -> None:
        """Begin, where anything is missing."""
        self._running = Deferred.fromCoroutine(self._run())
        self._running.addErrback(self._ended)

    def stop(self) -> None:
        """Leave the rest for the next start."""
        running, self._running = self._running, None
        if running is not None:
            running.cancel()

    def _ended(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            _log.failure("The older history is not fetched", failure=failure)

    async def _run(self) -> None:
        backoff = Backoff(self._pause, _LONGEST_PAUSE, self._chance)
        reason = ""
        while self.missing:
            try:
                await self._fetch_one()
                backoff.reset()
            except (TwistpiError, OSError) as error:  # the latter: the disk, which may have room another time
                if str(error) != reason:
                    reason = str(error)
                    _log.warn("The older history is put off: {reason}", reason=reason)
                await backoff.wait(self._clock)
        self.whole.callback(None)

    async def _fetch_one(self) -> None:
        """Bring the segment that ends where the log begins."""
        overview = await look_over(self._primary)
        if overview.summary is not None and overview.begins_after == self.missing:
            await self._fetch_summary(overview.summary)
            return
        segment = next((one for one in reversed(overview.segments) if one.first <= self.missing), None)
        first = 0 if segment is None else segment.first
        target = os.path.join(self._incoming, f"segment-{first}")
        if segment is None or not await transfer(self._primary, f"/+changelog/segments/{first}", target, segment.size):
            raise TwistpiError(
                f"The server at {self._primary.url} has no entries before serial {self.missing} itself, so "
                "they are not here either."
            )
        await self._offload(self._prepend, segment, target)
        _log.info("The changelog begins after serial {serial} now.", serial=self.missing)

    async def _fetch_summary(self, summary: SummaryFacts) -> None:
        """Bring the summary of what the primary has not either."""
        serial, target = self.missing, os.path.join(self._incoming, "summary")
        if not await transfer(self._primary, "/+changelog/summary", target, summary.size):
            raise TwistpiError(f"The summary at {self._primary.url} is another one by now; it is asked for again.")
        await self._offload(self._install_summary, target, summary.sha256)
        _log.info("A summary of the entries up to {serial} is here.", serial=serial)

    def _install_summary(self, fetched: str, sha256: str) -> None:
        """In a thread: the file belongs to the log, or is dropped again."""
        try:
            if lines_digest(fetched) != sha256:
                raise FeedDamaged(self.missing, "the summary of the entries up to it has another digest")
            with open(fetched, "rb") as file:
                os.fsync(file.fileno())
        except BaseException:
            with suppress(OSError):
                os.remove(fetched)
            raise
        os.replace(fetched, summary_path(self._folder, self.missing))
        self._changelog.summarised(sha256)

    def _prepend(self, segment: SegmentFacts, fetched: str) -> None:
        """In a thread: the file gets its name, which nobody looks at yet, and then belongs to the log, or is dropped again."""
        path = segment_path(self._folder, segment.first)
        os.replace(fetched, path)
        try:
            self._changelog.prepend(segment.first, segment.before)
        except BaseException:
            with suppress(OSError):
                os.remove(path)
            raise

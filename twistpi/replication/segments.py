"""The files that a primary's log consists of, and their transfer to this disk in as many pieces as it takes."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import attrs

from twistpi.model.server_errors import FollowingRefused, PrimaryUnreachable, StorageFull, StrangePrimary
from twistpi.replication.primary import Primary

LARGE_BYTES: Final = 64 * 1024 * 1024
LARGE_ENTRIES: Final = 100_000
"""A log with more than either is not folded from its beginning by a new replica."""

_ID = re.compile(r"[0-9a-f]{32}")
_CHAIN = re.compile(r"[0-9a-f]{64}")
_SILENCE: Final = 30.0
"""Seconds without a byte after which the connection is given up."""


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
class Overview:
    """What ``/+changelog/segments`` says."""

    log_id: str
    begins_after: int
    """The serial before the first line of the primary."""
    segments: tuple[SegmentFacts, ...]
    serial: int
    """The primary's last one."""

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
        told = f"it does not let this server in ({reason}); start both with the same --secretfile"
        raise FollowingRefused(f"The primary at {primary.url} refuses to be followed: {told}.")
    if answer.status in (502, 503, 504):
        answer.discard()
        raise PrimaryUnreachable(primary.url, f"it answers {answer.status}")
    if answer.status != 200:
        answer.discard()
        raise StrangePrimary(primary.url, f"it answers {answer.status} where it should tell of its changelog")
    try:
        return read_overview(await answer.json(), answer.header("X-Devpi-Serial"))
    except (KeyError, TypeError, ValueError):
        raise StrangePrimary(primary.url, "what it tells of its changelog cannot be understood") from None


def read_overview(fields: Any, serial: str | None) -> Overview:
    """Return the overview that JSON ``fields`` are.  Raise ``KeyError``, ``TypeError`` or ``ValueError`` for what is none."""
    segments = tuple(
        SegmentFacts(int(one["first"]), int(one["size"]), one["sealed"] is True, _matching(_CHAIN, one["before"]))
        for one in fields["segments"]
    )
    return Overview(_matching(_ID, fields["log_id"]), int(fields["begins_after"]["serial"]), segments, int(serial or 0))


def _matching(pattern: re.Pattern[str], text: str) -> str:
    if not pattern.fullmatch(text):
        raise ValueError(text)
    return text


class NotThere(Exception):
    """The primary has no such file any more."""


async def transfer(
    primary: Primary, path: str, target: str, size: int, received: Callable[[int], object] = lambda _count: None
) -> None:
    """Fetch the first ``size`` bytes at ``path`` into the file ``target``, after what is in it already.

    ``received`` is told how many bytes were written, again and again.  Raise ``PrimaryUnreachable`` when the connection breaks
    (call again: it goes on), ``NotThere``, ``StrangePrimary``, and ``StorageFull`` when nothing can be written.
    """
    descriptor = _open(target)
    try:
        have = told = os.fstat(descriptor).st_size
        if have >= size:
            return
        answer = await primary.ask("GET", path, headers={"Range": f"bytes={have}-{size - 1}"})
        if answer.status == 404:
            answer.discard()
            raise NotThere(path)
        whole = answer.status == 200 and have == 0 and answer.length == size
        if not whole and (answer.status != 206 or answer.length != size - have):
            answer.discard()
            raise StrangePrimary(primary.url, f"it answers {answer.status} where it should hand out a part of a file")

        def written() -> None:
            nonlocal told
            now = os.fstat(descriptor).st_size
            received(now - told)
            told = now

        await answer.write_to(partial(_write, descriptor), written, _SILENCE)
        written()
    except OSError as error:
        raise StorageFull("incoming", os.strerror(error.errno or 0)) from error
    finally:
        os.close(descriptor)


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

"""Lines, the names and limits of segment files, and ``base.json``, which says where a log begins.

The package's docstring specifies them.
"""

from __future__ import annotations

import os
import re
from binascii import hexlify
from collections.abc import Iterable, Sequence
from hashlib import sha256

import attrs
import orjson

from twistpi.changelog.disk import Disk
from twistpi.model.peers import BEGINNING, Position
from twistpi.model.server_errors import FeedDamaged, LogDamaged

_SHAPE = re.compile(rb"[1-9][0-9]* [0-9a-f]{64} \{.*\}", re.DOTALL)


class BadLine(Exception):
    """A line is not what the line before it allows; the message says why."""


def make_line(serial: int, previous: bytes, body: bytes) -> tuple[bytes, bytes]:
    """The line of ``body`` with its line feed, and its digest (32 bytes); ``previous`` is the digest of the line before."""
    number = b"%d " % serial
    digest = sha256(previous + number + body).digest()
    return b"%b%b %b\n" % (number, hexlify(digest), body), digest


def check_line(line: bytes, serial: int, previous: bytes) -> tuple[bytes, bytes]:
    """The digest and the body of ``line`` (without line feed); ``BadLine`` unless it is ``serial`` after ``previous``."""
    start = line.find(b" ") + 1  # few steps: millions of lines are checked in a row
    body = line[start + 65 :]
    digest = sha256(previous + line[:start] + body).digest()
    if line.startswith(b"%d %b " % (serial, hexlify(digest))):
        return digest, body
    if not _SHAPE.fullmatch(line):
        raise BadLine("this is not a line of a changelog")
    if not line.startswith(b"%d " % serial):
        raise BadLine(f"serial {serial} is due here, but the line says {line.split(b' ', 1)[0].decode()}")
    raise BadLine("the line and its chain digest do not belong together, or the line before it is another")


def check_lines(lines: Sequence[bytes], first_serial: int, previous: bytes) -> tuple[list[bytes], bytes]:
    """The bodies of ``lines`` (without line feeds) and the digest of the last one.

    Raises ``FeedDamaged`` unless they are the lines from ``first_serial`` on, after one with the digest ``previous``.
    """
    bodies = []
    digest = previous
    for serial, line in enumerate(lines, first_serial):
        try:
            digest, body = check_line(line, serial, digest)
        except BadLine as problem:
            raise FeedDamaged(serial, str(problem)) from None
        if b"\n" in line:
            raise FeedDamaged(serial, "it holds a line feed")
        bodies.append(body)
    return bodies, digest


def has_shape(line: bytes) -> bool:
    """Whether ``line`` (without line feed) looks like a whole line, whatever its digest."""
    return _SHAPE.fullmatch(line) is not None


def read_header(line: bytes) -> tuple[int, str, bytes]:
    """Serial, chain and body as ``line`` (without line feed) states them, unchecked; raises ``BadLine``."""
    if not has_shape(line):
        raise BadLine("this is not a line of a changelog")
    serial, chain, body = line.split(b" ", 2)
    return int(serial), chain.decode(), body


SEGMENT_LIMIT = 64 * 1024 * 1024
"""Bytes from which on a segment takes no further line."""

NEW_SUFFIX = ".new"
"""Ends the name of a segment until its first lines are synced."""

_NAME = re.compile(r"([0-9]{20})\.log")


def segment_name(first_serial: int) -> str:
    """The file name of the segment that begins with ``first_serial``."""
    return f"{first_serial:020d}.log"


def sort_segments(names: Iterable[str]) -> list[int]:
    """The first serials of the segments among the file ``names`` of a folder, ascending; other files are ignored."""
    return sorted(int(match[1]) for name in names if (match := _NAME.fullmatch(name)))


def sort_unfinished(names: Iterable[str]) -> list[str]:
    """The names of segments that a crash left unfinished; nothing in them was ever acknowledged."""
    return sorted(name for name in names if name.endswith(NEW_SUFFIX) and _NAME.fullmatch(name.removesuffix(NEW_SUFFIX)))


@attrs.frozen
class SegmentPart:
    """The part of a batch that goes into one segment."""

    segment: int
    """The first serial of the segment."""
    content: bytes
    """Whole lines."""


def split_by_segment(lines: Sequence[bytes], first_serial: int, segment: int, size: int, limit: int) -> list[SegmentPart]:
    """Divide ``lines``, of which the first is ``first_serial``, between ``segment``, which has ``size`` bytes, and new segments.

    A segment of ``limit`` bytes or more takes no further line.  The first part is the present segment's, even when it is empty.
    """
    content = b"".join(lines)
    if size + len(content) < limit:
        return [SegmentPart(segment, content)]
    parts: list[SegmentPart] = []
    waiting: list[bytes] = []
    for serial, line in enumerate(lines, first_serial):
        if size >= limit:
            parts.append(SegmentPart(segment, b"".join(waiting)))
            waiting, segment, size = [], serial, 0
        waiting.append(line)
        size += len(line)
    parts.append(SegmentPart(segment, b"".join(waiting)))
    return parts


BASE_NAME = "base.json"
_HALF_WRITTEN = "base.json.new"
_LONGEST = 4096
_CHAIN = re.compile(r"[0-9a-f]{64}")


def segment_start(first_serial: int, chain: str) -> Position:
    """The beginning of the segment that is named by ``first_serial``, where ``chain`` is the digest of the line before."""
    return Position(first_serial - 1, chain, first_serial, 0)


def read_base(directory: str, disk: Disk) -> tuple[Position, list[int]]:
    """Where the log in ``directory`` begins, and the first serials of its segments, ascending.

    Raises ``LogDamaged`` when ``base.json`` cannot be read.
    """
    names = disk.names(directory)
    base, _summary = _read_base(directory, disk, names)
    return base, [first for first in sort_segments(names) if first >= base.segment]


def read_beginning(directory: str, disk: Disk) -> tuple[Position, str | None]:
    """Where the log in ``directory`` begins, and the SHA-256 of the summary that stands for what is before; None without one.

    Raises ``LogDamaged``.
    """
    return _read_base(directory, disk, disk.names(directory))


def read_summary_digest(directory: str, disk: Disk) -> str | None:
    """The SHA-256 of the summary that stands for what is before the log; None without one.  Raises ``LogDamaged``."""
    return read_beginning(directory, disk)[1]


def _read_base(directory: str, disk: Disk, names: Iterable[str]) -> tuple[Position, str | None]:
    if BASE_NAME not in names:
        return BEGINNING, None
    try:
        return _parse(disk.read(os.path.join(directory, BASE_NAME), 0, _LONGEST))
    except FileNotFoundError:  # the oldest segment was just prepended
        return BEGINNING, None


def write_base(directory: str, disk: Disk, base: Position, summary: str | None = None) -> None:
    """Make the log in ``directory`` begin at ``base``, a position from ``segment_start``; atomic and durable.  Blocking.

    The segments that are to be part of the log have their names already, and so has the summary of what is before them, whose
    SHA-256 is ``summary``.
    """
    path = os.path.join(directory, BASE_NAME)
    if base == BEGINNING:
        if BASE_NAME in disk.names(directory):
            disk.remove(path)
    else:
        temporary = os.path.join(directory, _HALF_WRITTEN)
        file = disk.create(temporary)
        try:
            fields = {"chain": base.chain, "serial": base.serial} | ({} if summary is None else {"summary": summary})
            file.write(orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE))
            file.sync()
        finally:
            file.close()
        disk.rename(temporary, path)
    disk.sync_folder(directory)


def _parse(content: bytes) -> tuple[Position, str | None]:
    try:
        fields: object = orjson.loads(content)
    except orjson.JSONDecodeError:
        fields = None
    match fields:
        case {"serial": int(serial), "chain": str(chain), **others} if serial > 0 and _CHAIN.fullmatch(chain):
            summary = others.get("summary")
            if summary is None or (isinstance(summary, str) and _CHAIN.fullmatch(summary)):
                return segment_start(serial + 1, chain), summary
    reason = "it does not say after which line the log begins; copy that file from a backup, or make the replica anew"
    raise LogDamaged(0, BASE_NAME, 0, reason)

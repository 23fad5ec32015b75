"""Core metadata out of a wheel, without the wheel: a conversation about ranges.

``find_metadata`` asks for ranges of the file and is answered with their bytes, by a local file (``drive``) or by an upstream that
serves ranges.  The end comes first, which mostly holds the table of contents and the metadata as well: one or two ranges do.

The archive may be hostile: sizes are checked before they are believed, nothing grows beyond the limits below, and whatever is
wrong is a ``BadArchive``.  Sources: "Binary distribution format" (PEP 427), "Core metadata", APPNOTE.TXT 6.3.10 (ZIP).
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Final, NamedTuple

import attrs

from twistpi.model.distributions import is_of_project, is_of_version
from twistpi.model.errors import BadArchive, InvalidProjectName
from twistpi.model.names import is_wheel, normalize_project

LARGEST_METADATA: Final = 8 * 1024 * 1024
"""Bytes of core metadata, unpacked."""
LARGEST_DIRECTORY: Final = 16 * 1024 * 1024
"""Bytes of an archive's table of contents."""
MOST_MEMBERS: Final = 100_000
"""Members of an archive."""
_TAIL: Final = 66 * 1024
"""Bytes first asked for; the last record, with the longest comment it can have, lies within."""
_STEEPEST: Final = 200
"""Unpacked bytes for one packed byte; text hardly exceeds 20, a bomb reaches 1,000."""
_FLAT_ENOUGH: Final = 64 * 1024
"""Bytes below which steepness harms nobody."""

_END = struct.Struct("<4s4H2LH")
_END64_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_STORED, _DEFLATED = 0, 8
_ENCRYPTED = 0x1
_SEE_EXTRA_FIELD = 0xFFFFFFFF
_LONGEST_LOCAL_EXTRA = 1024
"""Bytes that are asked for along with a member for its own extra field, whose length is not known before."""


class ByteRange(NamedTuple):
    """A part of a file."""

    start: int
    length: int


Ranges = Generator[ByteRange, bytes, bytes]
"""Yields what it needs to see, is sent exactly that, and returns its result."""


@attrs.frozen
class CoreMetadata:
    """What identifies core metadata."""

    metadata_version: str
    name: str
    version: str


class _Member(NamedTuple):
    name: str
    flags: int
    method: int
    crc: int
    packed: int
    unpacked: int
    offset: int


def find_metadata(filename: str, size: int) -> Ranges:
    """The bytes of ``METADATA`` in the wheel ``filename`` of ``size`` bytes; raises ``BadArchive``.

    The generator yields ``ByteRange``s inside the file and must be sent exactly the bytes of each.
    """
    if not is_wheel(filename):
        raise BadArchive(filename, "only wheels tell their metadata without being built")
    window = _Window(filename, size)
    try:
        members = yield from _directory(window)
        body = yield from _contents(window, _metadata_member(filename, members))
    except struct.error as error:
        raise BadArchive(filename, f"a record is cut short ({error})") from error
    check_core_metadata(filename, body)
    return body


def drive(ranges: Ranges, read: Callable[[int, int], bytes]) -> bytes:
    """Answer ``ranges`` with ``read(start, length)`` of a local file; raises what ``ranges`` and ``read`` raise."""
    try:
        wanted = next(ranges)
        while True:
            wanted = ranges.send(read(wanted.start, wanted.length))
    except StopIteration as end:
        result: bytes = end.value
        return result


def check_core_metadata(filename: str, body: bytes) -> CoreMetadata:
    """What ``body`` says it is the metadata of; raises ``BadArchive`` unless that is the distribution ``filename``."""
    if len(body) > LARGEST_METADATA:
        raise BadArchive(filename, "its metadata is too large")
    headers = re.split(rb"\r?\n\r?\n", body, maxsplit=1)[0].decode("utf-8", errors="replace")
    metadata = CoreMetadata(*(_header(filename, headers, name) for name in ("Metadata-Version", "Name", "Version")))
    try:
        project = normalize_project(metadata.name)
    except InvalidProjectName as error:
        raise BadArchive(filename, f"its metadata is of {metadata.name[:100]!r}, which is no name") from error
    if not is_of_project(filename, project) or not is_of_version(filename, project, metadata.version):
        raise BadArchive(filename, f"its metadata is of {metadata.name[:100]} {metadata.version[:100]}")
    return metadata


def _header(filename: str, headers: str, name: str) -> str:
    found = re.search(rf"^{name}[ \t]*:[ \t]*([^\r\n]*)", headers, re.IGNORECASE | re.MULTILINE)
    value = found[1].strip() if found else ""
    if not value:
        raise BadArchive(filename, f"its metadata has no {name}")
    return value


@attrs.define
class _Window:
    """What was seen of the file: its end, and how far the end reaches forward."""

    filename: str
    size: int
    start: int = attrs.field(init=False)
    tail: bytes = b""

    def __attrs_post_init__(self) -> None:
        self.start = self.size

    def read(self, start: int, length: int) -> Ranges:
        """The bytes at ``start``; asks only for those never seen."""
        end = start + length
        if start < 0 or length < 0 or end > self.size:
            raise BadArchive(self.filename, "a record points outside of the file")
        fresh = b""
        if start < self.start:
            wanted = ByteRange(start, min(end, self.start) - start)
            fresh = (yield wanted) if wanted.length else b""
            if len(fresh) != wanted.length:
                raise BadArchive(self.filename, f"{len(fresh)} bytes came where {wanted.length} were asked for")
            if end < self.start:
                return fresh
            self.start, self.tail, fresh = start, fresh + self.tail, b""
        return self.tail[start - self.start : end - self.start]


# The table of contents ---------------------------------------------------------------------------------------------


def _directory(window: _Window) -> Generator[ByteRange, bytes, Sequence[_Member]]:
    tail_start = max(0, window.size - _TAIL)
    tail = yield from window.read(tail_start, window.size - tail_start)
    end = _find_end(window.filename, tail)
    _sign, disk, first_disk, here, count, length, start, _comment = _END.unpack_from(tail, end)
    stop = tail_start + end
    if 0xFFFF in (here, count) or _SEE_EXTRA_FIELD in (length, start):
        locator = yield from window.read(stop - _END64_LOCATOR.size, _END64_LOCATOR.size)
        sign, disk, stop, disks = _END64_LOCATOR.unpack(locator)
        record = yield from window.read(stop, _END64.size)
        record_sign, _length, _made, _needed, _disk, first_disk, here, count, length, start = _END64.unpack(record)
        if sign != b"PK\x06\x07" or record_sign != b"PK\x06\x06" or disks > 1:
            raise BadArchive(window.filename, "its last ZIP64 record is wrong")
    if disk or first_disk or here != count:
        raise BadArchive(window.filename, "it is one of several volumes")
    if count > MOST_MEMBERS or length > LARGEST_DIRECTORY:
        raise BadArchive(window.filename, f"its table of contents is too large ({count} members, {length} bytes)")
    if start + length != stop:
        raise BadArchive(window.filename, "its table of contents is not where it should be")
    table = yield from window.read(start, length)
    members = list(_members(window.filename, table))
    if len(members) != count:
        raise BadArchive(window.filename, f"its table of contents has {len(members)} members, not {count}")
    return members


def _find_end(filename: str, tail: bytes) -> int:
    """Where in ``tail`` the last record begins: the one whose comment ends with the file."""
    end = tail.rfind(b"PK\x05\x06")
    while end >= 0:
        if end + _END.size <= len(tail) and end + _END.size + _END.unpack_from(tail, end)[-1] == len(tail):
            return end
        end = tail.rfind(b"PK\x05\x06", 0, end)
    raise BadArchive(filename, "it is no ZIP archive, or not all of one")


def _members(filename: str, table: bytes) -> Iterator[_Member]:
    position = 0
    while position < len(table):
        fields = _ENTRY.unpack_from(table, position)
        sign, _made, _needed, flags, method, _time, _date, crc, packed, unpacked, name, extra, comment, _disk = fields[:14]
        if sign != b"PK\x01\x02":
            raise BadArchive(filename, "its table of contents is garbled")
        position += _ENTRY.size
        text = table[position : position + name].decode("utf-8" if flags & 0x800 else "cp437", errors="replace")
        sizes = _wide(table[position + name : position + name + extra], [unpacked, packed, fields[-1]])
        yield _Member(text, flags, method, crc, sizes[1], sizes[0], sizes[2])
        position += name + extra + comment


def _wide(extra: bytes, sizes: list[int]) -> list[int]:
    """``sizes`` with those that do not fit 32 bits taken from the ZIP64 extra field."""
    position = 0
    while _SEE_EXTRA_FIELD in sizes and position + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, position)
        if kind == 1:
            wide = list(struct.unpack_from(f"<{length // 8}Q", extra, position + 4))
            return [wide.pop(0) if size == _SEE_EXTRA_FIELD and wide else size for size in sizes]
        position += 4 + length
    return sizes


def _metadata_member(filename: str, members: Sequence[_Member]) -> _Member:
    """The one ``METADATA`` of the distribution: in the folder ``.dist-info`` that bears the wheel's name, however spelled."""
    project = filename.partition("-")[0]
    found = []
    for member in members:
        folder, _slash, name = member.name.partition("/")
        if name == "METADATA" and folder.endswith(".dist-info"):
            owner = folder.removesuffix(".dist-info").rpartition("-")[0]
            if re.sub(r"[-_.]+", "-", owner).lower() == re.sub(r"[-_.]+", "-", project).lower():
                found.append(member)
    if len(found) != 1:
        raise BadArchive(filename, "it holds no METADATA of its name" if not found else "it holds METADATA more than once")
    return found[0]


# The member --------------------------------------------------------------------------------------------------------


def _contents(window: _Window, member: _Member) -> Ranges:
    if member.flags & _ENCRYPTED or member.method not in (_STORED, _DEFLATED):
        raise BadArchive(window.filename, "its METADATA is packed in a way no installer reads")
    if max(member.packed, member.unpacked) > LARGEST_METADATA:
        raise BadArchive(window.filename, "its METADATA is too large")
    if member.unpacked > max(_FLAT_ENOUGH, member.packed * _STEEPEST):
        raise BadArchive(window.filename, "its METADATA unpacks to far more than it is")
    # Header and body in one go; should the header be longer than foreseen, the rest is asked for afterwards.
    foreseen = _LOCAL.size + len(member.name.encode()) + _LONGEST_LOCAL_EXTRA + member.packed
    seen = yield from window.read(member.offset, min(foreseen, window.size - member.offset))
    sign, _needed, flags, method, *_repeated, name, extra = _LOCAL.unpack_from(seen)
    encoding = "utf-8" if flags & 0x800 else "cp437"
    is_named = seen[_LOCAL.size : _LOCAL.size + name].decode(encoding, errors="replace") == member.name
    if sign != b"PK\x03\x04" or method != member.method or not is_named:
        raise BadArchive(window.filename, "its METADATA is not where its table of contents says")
    start = _LOCAL.size + name + extra
    packed = seen[start : start + member.packed]
    if len(packed) < member.packed:
        missing = member.packed - len(packed)
        packed += yield from window.read(member.offset + start + len(packed), missing)
    return _unpack(window.filename, member, packed)


def _unpack(filename: str, member: _Member, packed: bytes) -> bytes:
    body, is_whole = packed, True
    if member.method == _DEFLATED:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            body = inflater.decompress(packed, member.unpacked + 1)
        except zlib.error as error:
            raise BadArchive(filename, f"its METADATA cannot be unpacked ({error})") from error
        is_whole = inflater.eof
    if not is_whole or len(body) != member.unpacked or zlib.crc32(body) != member.crc:
        raise BadArchive(filename, "its METADATA is not what its table of contents says")
    return body

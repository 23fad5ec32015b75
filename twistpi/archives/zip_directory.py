"""The central directory of a ZIP archive: where it is, and the members it lists.

Both readers of ZIP archives use it.  ``zip_members`` reads uploads and refuses whatever two programs could read in two ways;
``wheel_ranges`` reads wheels of upstreams and takes what installers take.  Source: APPNOTE.TXT 6.3.10.
"""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Final

import attrs

from twistpi.archives.source import Cursor, Limits, shown
from twistpi.model.errors import InvalidDistribution

STORED: Final = 0
DEFLATED: Final = 8
BZIP2: Final = 12
LZMA: Final = 14
ENCRYPTED: Final = 0x1 | 0x40 | 0x2000
"""Flags."""
DESCRIBED_LATER: Final = 0x8
"""Flag: checksum and sizes stand behind the member, not before it."""
UTF8: Final = 0x800
"""Flag: the name is UTF-8."""
LOCAL_HEADER: Final = struct.Struct("<4s5H3L2H")
TAIL_LENGTH: Final = 66 * 1024
"""Bytes at the end of an archive that hold the last record, with the longest comment it can have, and its ZIP64 records."""

_END = struct.Struct("<4s4H2LH")
_END64_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_ENTRY = struct.Struct("<4s4B4H3L5H2L")
_SEE_EXTRA_FIELD: Final = 0xFFFFFFFF
_SIZES, UNICODE_PATH = 0x0001, 0x7075
"""Kinds of extra fields."""
_UNIX: Final = 3
"""Maker of an archive whose members have Unix modes."""


@attrs.frozen
class Directory:
    """Where the central directory is."""

    start: int
    length: int
    """Bytes."""
    count: int
    """Members."""
    shift: int = 0
    """Bytes before the archive, which its offsets do not count."""


@attrs.frozen
class Member:
    """A member as the central directory describes it."""

    raw_name: bytes
    flags: int
    method: int
    crc: int
    packed: int
    """Bytes, as the next two; -1 when the archive refers to a ZIP64 field that is missing."""
    unpacked: int
    offset: int
    """Of its local header."""
    disk: int
    file_type: int
    """The highest four bits of a Unix mode; 0 when unsaid."""
    extra: bytes

    @property
    def name(self) -> str:
        """Its path; characters that cannot be decoded are replaced."""
        return self.raw_name.decode("utf-8" if self.flags & UTF8 else "cp437", errors="replace")

    @property
    def is_folder(self) -> bool:
        """Whether it is an entry for a folder."""
        return self.raw_name.endswith(b"/")


def find_directory(filename: str, size: int, tail: bytes, limits: Limits, *, strict: bool) -> Directory:
    """Find the central directory of an archive of ``size`` bytes whose last ``TAIL_LENGTH`` bytes, or all, are ``tail``.

    Raise ``InvalidDistribution`` for a damaged archive.  With ``strict`` a comment that looks like another last record counts as
    damage, since programs differ in which one they take, and so do bytes before or behind the archive, which Python's ``zipfile``
    passes over.
    """
    end = tail.rfind(b"PK\x05\x06")
    while end >= 0 and not (len(tail) - end >= _END.size and end + _END.size + _END.unpack_from(tail, end)[-1] == len(tail)):
        end = -1 if strict else tail.rfind(b"PK\x05\x06", 0, end)
    if end < 0 and not strict:
        end = tail.rfind(b"PK\x05\x06", 0, max(0, len(tail) - _END.size + 4))
    if end < 0:
        raise InvalidDistribution(filename, "it is not a ZIP archive, or is incomplete")
    _sign, disk, first_disk, here, count, length, start, _comment = _END.unpack_from(tail, end)
    stop = size - len(tail) + end
    locator = end - _END64_LOCATOR.size
    if locator >= 0 and tail.startswith(b"PK\x06\x07", locator):
        narrow = (here, count, length, start)
        stop, wide = _zip64_end(filename, size - len(tail), tail, locator, strict=strict)
        see_there = (0xFFFF, 0xFFFF, _SEE_EXTRA_FIELD, _SEE_EXTRA_FIELD)
        if any(one not in (other, there) for one, other, there in zip(narrow, wide, see_there, strict=True)):
            raise InvalidDistribution(filename, "its central directory has two different descriptions")
        here, count, length, start = wide
    elif disk or first_disk:
        raise InvalidDistribution(filename, "it is one part of a split archive")
    if count > limits.most_members:
        raise InvalidDistribution(filename, f"it has {count} members, more than the {limits.most_members} that are taken")
    if length > limits.largest_directory:
        raise InvalidDistribution(filename, "its central directory is too large")
    shift = stop - length - start
    if here != count or shift < 0 or (strict and shift):
        raise InvalidDistribution(filename, "its central directory is not where it should be")
    return Directory(start + shift, length, count, shift)


def _zip64_end(
    filename: str, tail_start: int, tail: bytes, locator: int, *, strict: bool
) -> tuple[int, tuple[int, int, int, int]]:
    """Return the offset of the ZIP64 last record, and its two counts of members, length and start of the directory."""
    _sign, disk, place, disks = _END64_LOCATOR.unpack_from(tail, locator)
    record = locator - _END64.size
    if disk or disks > 1 or record < 0 or (strict and place != tail_start + record):
        raise InvalidDistribution(filename, "its end record points elsewhere")
    sign, length, _made, _needed, disk, first_disk, here, count, table, start = _END64.unpack_from(tail, record)
    if sign != b"PK\x06\x06" or length != _END64.size - 12 or disk or first_disk:
        raise InvalidDistribution(filename, "its end record is damaged")
    return tail_start + record, (here, count, table, start)


def list_members(filename: str, directory: Directory, pieces: Iterator[bytes]) -> Iterator[Member]:
    """Yield the members that ``directory``, whose bytes come in ``pieces``, lists, in its order.

    Raise ``InvalidDistribution`` for a damaged directory.  What it says of a single member is not judged here.
    """
    entries = Cursor(pieces)
    left = directory.length
    for _ in range(directory.count):
        record = entries.take(_ENTRY.size)
        if len(record) < _ENTRY.size:
            raise InvalidDistribution(filename, "its central directory is truncated")
        sign, _made, system, _needed, _for, flags, method, _time, _date, crc, packed, unpacked, *rest = _ENTRY.unpack(record)
        name_length, extra_length, comment_length, disk, _kind, mode, offset = rest
        left -= _ENTRY.size + name_length + extra_length + comment_length
        if left < 0 or sign != b"PK\x01\x02":
            raise InvalidDistribution(filename, "its central directory is damaged")
        name, extra = entries.take(name_length), entries.take(extra_length)
        entries.skip(comment_length)
        unpacked, packed, offset = wide_sizes(extra, (unpacked, packed, offset))
        offset += directory.shift
        yield Member(name, flags, method, crc, packed, unpacked, offset, disk, mode >> 28 if system == _UNIX else 0, extra)
    if left:
        raise InvalidDistribution(filename, "its central directory is longer than its members")


def extra_fields(extra: bytes) -> dict[int, bytes] | None:
    """Return kind -> content of extra fields, None when they are cut short or have two of a kind that matters here."""
    found: dict[int, bytes] = {}
    position = 0
    while position < len(extra):
        kind, length = struct.unpack_from("<2H", extra, position) if position + 4 <= len(extra) else (0, len(extra))
        if position + 4 + length > len(extra) or (kind in found and kind in (_SIZES, UNICODE_PATH)):
            return None
        found[kind] = extra[position + 4 : position + 4 + length]
        position += 4 + length
    return found


def wide_sizes(extra: bytes, sizes: Sequence[int]) -> Sequence[int]:
    """Return ``sizes`` with those that do not fit 32 bits taken from the ZIP64 extra field; -1 where it has none."""
    if _SEE_EXTRA_FIELD not in sizes:
        return sizes
    content = (extra_fields(extra) or {}).get(_SIZES, b"")
    wide = iter(struct.unpack(f"<{len(content) // 8}Q", content[: len(content) // 8 * 8]))
    return [next(wide, -1) if size == _SEE_EXTRA_FIELD else size for size in sizes]


def unpack_member(filename: str, member: Member, packed: bytes, *, strict: bool) -> bytes:
    """Return the content of ``member`` out of its bytes in the archive.

    Raise ``InvalidDistribution`` when it is damaged; with ``strict`` also when bytes are left over.
    """
    try:
        body, is_whole = _unpacked(member, packed, strict=strict)
    except (zlib.error, OSError, lzma.LZMAError, struct.error, ValueError) as error:
        raise InvalidDistribution(filename, f"its {shown(member.name)} cannot be unpacked ({error})") from error
    if not is_whole or len(body) != member.unpacked or zlib.crc32(body) != member.crc:
        raise InvalidDistribution(filename, f"its {shown(member.name)} differs from what the central directory says")
    return body


def _unpacked(member: Member, packed: bytes, *, strict: bool) -> tuple[bytes, bool]:
    """Return at most one byte more than the content of ``member``, and whether it ends there; raise what unpacking raises."""
    most = member.unpacked + 1
    if member.method == DEFLATED:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        body = inflater.decompress(packed, most)
        return body, inflater.eof and not (strict and inflater.unused_data)
    if member.method == BZIP2:
        return bz2.BZ2Decompressor().decompress(packed, most), True
    if member.method == LZMA:
        _version, length, packing, dictionary = struct.unpack_from("<2HBL", packed)
        coder = {"id": lzma.FILTER_LZMA1, "lc": packing % 9, "lp": packing // 9 % 5, "pb": packing // 45}
        # A dictionary need not be larger than what it serves for; it takes memory.
        filters = [{**coder, "dict_size": max(4096, min(dictionary, most))}]
        return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters).decompress(packed[4 + length :], most), True
    return packed, True

"""The table of contents of a ZIP archive.

Installers disagree on broken archives: one believes the table, another reads the members from the front.  So only archives with a
single reading are taken: nothing before, between and behind the members, one table, and the same said of a member wherever
something is said of it (``zip_layout.py`` looks at the members).  Source: APPNOTE.TXT 6.3.10.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import attrs

from twistpi.archives.limits import Limits
from twistpi.archives.source import Cursor, Source, shown

STORED: Final = 0
DEFLATED: Final = 8
DESCRIBED_LATER: Final = 0x8
"""Flag: checksum and sizes stand behind the member, not before it."""
_ENCRYPTED: Final = 0x1 | 0x40 | 0x2000
_UTF8: Final = 0x800
_SEE_EXTRA_FIELD: Final = 0xFFFFFFFF
_SIZES, _UNICODE_PATH = 0x0001, 0x7075
"""Kinds of extra fields."""
_UNIX: Final = 3
"""Maker of an archive whose members have Unix modes."""
_REGULAR, _FOLDER, _UNSAID = 0o10, 0o04, 0
"""Types of files in the highest bits of a Unix mode."""

_END = struct.Struct("<4s4H2LH")
_END64_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_ENTRY = struct.Struct("<4s4B4H3L5H2L")


@attrs.frozen
class Member:
    """A member as the table of contents describes it."""

    name: str
    raw_name: bytes
    flags: int
    method: int
    crc: int
    packed: int
    """Bytes."""
    unpacked: int
    """Bytes."""
    offset: int
    """Of its local header."""

    @property
    def is_folder(self) -> bool:
        """Whether it is an entry for a folder."""
        return self.name.endswith("/")


@attrs.frozen
class Table:
    """Where the table of contents is."""

    start: int
    length: int
    """Bytes."""
    count: int
    """Members."""


def find_table(source: Source, limits: Limits) -> Table:
    """Where the table of contents of ``source`` is; raises ``InvalidDistribution``."""
    tail_start = max(0, source.size - _END.size - 0xFFFF)
    tail = source.at(tail_start, source.size - tail_start)
    # The last one counts, as for installers; a comment that holds another would be read in two ways.
    end = tail.rfind(b"PK\x05\x06")
    if end < 0 or end + _END.size > len(tail) or end + _END.size + _END.unpack_from(tail, end)[-1] != len(tail):
        raise source.refusal("it is no ZIP archive, or not all of one")
    _sign, disk, first_disk, here, count, length, start, _comment = _END.unpack_from(tail, end)
    stop = tail_start + end
    locator = stop - _END64_LOCATOR.size
    if locator >= 0 and source.at(locator, 4) == b"PK\x06\x07":
        told = (here, count, length, start)
        stop, wide = _wide_end(source, locator)
        see_there = (0xFFFF, 0xFFFF, _SEE_EXTRA_FIELD, _SEE_EXTRA_FIELD)
        if any(one not in (other, there) for one, other, there in zip(told, wide, see_there, strict=True)):
            raise source.refusal("its table of contents is described in two ways")
        here, count, length, start = wide
    elif disk or first_disk:
        raise source.refusal("it is one part of several")
    if count > limits.most_members:
        raise source.refusal(f"it has {count} members, more than the {limits.most_members} that are taken")
    if length > limits.largest_directory:
        raise source.refusal("its table of contents is too large")
    if here != count or start + length != stop:
        raise source.refusal("its table of contents is not where it should be")
    return Table(start, length, count)


def _wide_end(source: Source, locator: int) -> tuple[int, tuple[int, int, int, int]]:
    """The ZIP64 record that says where the table is: its place, and both counts, length and start of the table."""
    _sign, disk, place, disks = _END64_LOCATOR.unpack(source.at(locator, _END64_LOCATOR.size))
    if disk or disks > 1 or place + _END64.size != locator:
        raise source.refusal("its last record points elsewhere")
    sign, length, _made, _needed, disk, first_disk, here, count, table, start = _END64.unpack(source.at(place, _END64.size))
    if sign != b"PK\x06\x06" or length != _END64.size - 12 or disk or first_disk:
        raise source.refusal("its last record is garbled")
    return place, (here, count, table, start)


def read_table(source: Source, table: Table) -> Iterator[Member]:
    """Every member that ``table`` lists, in its order; raises ``InvalidDistribution`` for those that no installer should meet."""
    entries = Cursor(source.pieces(table.start, table.length))
    left = table.length
    for _ in range(table.count):
        record = entries.take(_ENTRY.size)
        if len(record) < _ENTRY.size:
            raise source.refusal("its table of contents is cut short")
        fields = _ENTRY.unpack(record)
        lengths = fields[12:15]
        left -= _ENTRY.size + sum(lengths)
        if left < 0 or fields[0] != b"PK\x01\x02":
            raise source.refusal("its table of contents is garbled")
        name, extra, _comment = (entries.take(length) for length in lengths)
        yield _member(source, fields, name, extra)
    if left:
        raise source.refusal("its table of contents is longer than its members")


def _member(source: Source, fields: tuple[Any, ...], raw_name: bytes, extra: bytes) -> Member:
    _sign, _made, system, _needed, _for, flags, method, _time, _date, crc, packed, unpacked = fields[:12]
    disk, _kind, mode, offset = fields[15:]
    name = _name(source, raw_name, flags)
    if flags & _ENCRYPTED:
        raise source.refusal(f"{shown(name)} in it is encrypted")
    if method not in (STORED, DEFLATED):
        raise source.refusal(f"{shown(name)} in it is packed in a way that not every installer reads")
    if system == _UNIX and mode >> 28 not in (_REGULAR, _FOLDER, _UNSAID):
        raise source.refusal(f"{shown(name)} in it is a link or a device")
    extras = extra_fields(source, name, extra)
    unpacked, packed, offset = wide_sizes(source, name, extras, [unpacked, packed, offset])
    if disk not in (0, 0xFFFF):
        raise source.refusal("it is one part of several")
    if method == STORED and packed != unpacked:
        raise source.refusal(f"{shown(name)} in it has two sizes")
    if _UNICODE_PATH in extras and extras[_UNICODE_PATH][5:] not in (raw_name, name.encode()):
        raise source.refusal(f"{shown(name)} in it has two names")
    return Member(name, raw_name, flags, method, crc, packed, unpacked, offset)


def _name(source: Source, raw: bytes, flags: int) -> str:
    if not flags & _UTF8:
        return raw.decode("cp437")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise source.refusal(f"the name of a member is not the UTF-8 it is said to be: {shown(raw)}") from None


def extra_fields(source: Source, name: str, extra: bytes) -> dict[int, bytes]:
    """Kind -> content of the extra fields of the member ``name``."""
    found: dict[int, bytes] = {}
    position = 0
    while position < len(extra):
        kind, length = struct.unpack_from("<2H", extra, position) if position + 4 <= len(extra) else (0, len(extra))
        if position + 4 + length > len(extra) or (kind in found and kind in (_SIZES, _UNICODE_PATH)):
            raise source.refusal(f"what is said of {shown(name)} in it is garbled")
        found[kind] = extra[position + 4 : position + 4 + length]
        position += 4 + length
    return found


def wide_sizes(source: Source, name: str, extras: Mapping[int, bytes], sizes: Sequence[int]) -> list[int]:
    """``sizes`` with those that do not fit 32 bits taken from the ZIP64 extra field."""
    content = extras.get(_SIZES, b"")
    wide = iter(struct.unpack(f"<{len(content) // 8}Q", content[: len(content) // 8 * 8]))
    found = [next(wide, -1) if size == _SEE_EXTRA_FIELD else size for size in sizes]
    if -1 in found:
        raise source.refusal(f"the size of {shown(name)} in it is not said")
    return found

"""The members of a ZIP archive: where they lie, and what is in the few that matter.

Every member's own header must say what the table of contents says, and the members must fill the file up to the table.  Nothing
but headers is read for that; a member is unpacked only by ``read_member``.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

from twistpi.archives.limits import Limits
from twistpi.archives.source import Source, shown
from twistpi.archives.zip_directory import DEFLATED, DESCRIBED_LATER, Member, extra_fields, find_table, read_table, wide_sizes

_LOCAL = struct.Struct("<4s5H3L2H")
_SAME_FLAGS = 0x1 | DESCRIBED_LATER | 0x800
_DESCRIPTORS = frozenset({12, 16, 20, 24})
"""Bytes of what describes a member behind it: with and without a sign, sizes of 32 and of 64 bits."""


def read_members(source: Source, limits: Limits) -> Sequence[Member]:
    """The members of ``source``, in the order of the file; raises ``InvalidDistribution`` unless all is well with all of them."""
    table = find_table(source, limits)
    members: list[Member] = []
    names: set[bytes] = set()
    unpacked = 0
    for member in read_table(source, table):
        unpacked += member.unpacked
        if unpacked > limits.most_unpacked(source.size):
            raise source.refusal("it unpacks to far more than it is")
        if member.raw_name in names:
            raise source.refusal(f"it holds {shown(member.name)} more than once")
        names.add(member.raw_name)
        members.append(member)
    members.sort(key=lambda member: member.offset)
    _check_layout(source, members, table.start)
    return members


def read_member(source: Source, member: Member, most: int) -> bytes:
    """What is in ``member``, at most ``most`` bytes; raises ``InvalidDistribution``."""
    if max(member.packed, member.unpacked) > most:
        raise source.refusal(f"its {shown(member.name)} is too large")
    *_fields, name, extra = _LOCAL.unpack(source.at(member.offset, _LOCAL.size))
    packed = source.at(member.offset + _LOCAL.size + name + extra, member.packed)
    body, is_whole = packed, True
    if member.method == DEFLATED:
        inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            body = inflater.decompress(packed, member.unpacked + 1)
        except zlib.error as error:
            raise source.refusal(f"its {shown(member.name)} cannot be unpacked ({error})") from error
        is_whole = inflater.eof and not inflater.unused_data
    if not is_whole or len(body) != member.unpacked or zlib.crc32(body) != member.crc:
        raise source.refusal(f"its {shown(member.name)} is not what its table of contents says")
    return body


def _check_layout(source: Source, members: Sequence[Member], table_start: int) -> None:
    """Refuse members that overlap, that leave room for what the table does not list, or that say something else of themselves."""
    expected, before = 0, 0
    for member in members:
        _check_gap(source, expected, member.offset, before)
        expected, before = _end_of(source, member), member.flags
    _check_gap(source, expected, table_start, before)


def _check_gap(source: Source, expected: int, actual: int, flags_before: int) -> None:
    gap = actual - expected
    is_descriptor = bool(flags_before & DESCRIBED_LATER) and gap in _DESCRIPTORS
    if gap < 0:
        raise source.refusal("its members overlap")
    if gap and not is_descriptor:
        raise source.refusal("it has bytes that belong to no member")


def _end_of(source: Source, member: Member) -> int:
    """Where ``member`` ends; raises ``InvalidDistribution`` when its own header contradicts the table of contents."""
    length = _LOCAL.size + len(member.raw_name)
    if member.offset + length > source.size:
        raise source.refusal(f"{shown(member.name)} lies outside of the file")
    header = source.at(member.offset, length)
    sign, _needed, flags, method, _time, _date, crc, packed, unpacked, name, extra = _LOCAL.unpack_from(header)
    is_alike = sign == b"PK\x03\x04" and method == member.method and header[_LOCAL.size :] == member.raw_name
    if not is_alike or name != len(member.raw_name) or (flags ^ member.flags) & _SAME_FLAGS:
        raise source.refusal(f"{shown(member.name)} is not where its table of contents says")
    extras = extra_fields(source, member.name, source.at(member.offset + length, extra)) if extra else {}
    told = (crc, *wide_sizes(source, member.name, extras, (unpacked, packed)))
    wanted = (member.crc, member.unpacked, member.packed)
    may_be_unsaid = bool(flags & DESCRIBED_LATER)
    if any(one != other and not (may_be_unsaid and one == 0) for one, other in zip(told, wanted, strict=True)):
        raise source.refusal(f"{shown(member.name)} has a size that its table of contents denies")
    return int(member.offset + length + extra + member.packed)

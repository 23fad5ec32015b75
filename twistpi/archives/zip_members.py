"""The members of an uploaded ZIP archive.

Installers disagree on broken archives: one trusts the central directory, another reads the members from the front.  So only
archives with a single reading are taken.  Nothing may lie before, between or behind the members, every local header must say
what the directory says, and every member must unpack to that.  A lenient inspection (``Source.is_strict``) reads the directory
alone.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence

from twistpi.archives.source import PIECE, Limits, Source, is_utf8, shown
from twistpi.archives.zip_directory import (
    DEFLATED,
    DESCRIBED_LATER,
    ENCRYPTED,
    LOCAL_HEADER,
    STORED,
    TAIL_LENGTH,
    UNICODE_PATH,
    UTF8,
    Directory,
    Member,
    extra_fields,
    find_directory,
    list_members,
    unpack_member,
    wide_sizes,
)

_SAME_FLAGS = 0x1 | DESCRIBED_LATER | UTF8
_DESCRIPTORS = frozenset({12, 16, 20, 24})
"""Bytes of a data descriptor behind a member: with and without a signature, sizes of 32 and of 64 bits."""
_REGULAR, _FOLDER, _UNSAID = 0o10, 0o04, 0
"""Types of files."""


def directory_of(source: Source, limits: Limits) -> Directory:
    """Find the central directory of ``source``; raise ``InvalidDistribution`` for a damaged archive."""
    start = max(0, source.size - TAIL_LENGTH)
    return find_directory(source.filename, source.size, source.at(start, source.size - start), limits, strict=source.is_strict)


def checked_members(source: Source, directory: Directory) -> Iterator[Member]:
    """Yield the members that ``directory`` lists; raise ``InvalidDistribution`` for one that not every installer reads."""
    for member in list_members(source.filename, directory, source.pieces(directory.start, directory.length)):
        reason = fault_of(member)
        if reason is not None:
            source.complain(reason)
        yield member


def read_members(source: Source, limits: Limits) -> Sequence[Member]:
    """Return the members of ``source`` in the order of the file; raise ``InvalidDistribution`` unless all of them are sound."""
    directory = directory_of(source, limits)
    members: list[Member] = []
    names: set[bytes] = set()
    unpacked = 0
    for member in checked_members(source, directory):
        unpacked += member.unpacked
        if unpacked > limits.most_unpacked(source.size):
            raise source.refusal("it unpacks to far more than its size")
        if member.raw_name in names:
            source.complain(f"it holds {shown(member.name)} more than once")
        names.add(member.raw_name)
        members.append(member)
    members.sort(key=lambda member: member.offset)
    if source.is_strict:
        _check_layout(source, members, directory.start)
        for member in members:
            for _piece in member_pieces(source, member):
                pass
    return members


def read_member(source: Source, member: Member, most: int) -> bytes:
    """Return the content of ``member``, at most ``most`` bytes; raise ``InvalidDistribution`` when it is larger or damaged."""
    if min(member.packed, member.unpacked, member.offset) < 0 or max(member.packed, member.unpacked) > most:
        raise source.refusal(f"its {shown(member.name)} is too large")
    *_fields, name, extra = LOCAL_HEADER.unpack(source.at(member.offset, LOCAL_HEADER.size))
    packed = source.at(member.offset + LOCAL_HEADER.size + name + extra, member.packed)
    return unpack_member(source.filename, member, packed, strict=source.is_strict)


def member_pieces(source: Source, member: Member) -> Iterator[bytes]:
    """Yield the content of ``member``, stored or deflated, in pieces; some are empty, so that none takes long.

    Raise ``InvalidDistribution`` instead of the last piece when the whole is not what the central directory says.
    """
    *_fields, name, extra = LOCAL_HEADER.unpack(source.at(member.offset, LOCAL_HEADER.size))
    packed = source.pieces(member.offset + LOCAL_HEADER.size + name + extra, member.packed)
    differs = source.refusal(f"its {shown(member.name)} differs from what the central directory says")
    size = crc = 0
    for piece in _inflated(source, member, packed) if member.method == DEFLATED else packed:
        size, crc = size + len(piece), zlib.crc32(piece, crc)
        if size > member.unpacked or (size == member.unpacked and crc != member.crc):
            raise differs
        yield piece
    if size != member.unpacked or crc != member.crc:
        raise differs


def _inflated(source: Source, member: Member, packed: Iterator[bytes]) -> Iterator[bytes]:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    while not inflater.eof:
        given = inflater.unconsumed_tail or next(packed, b"")
        try:
            piece = inflater.decompress(given, PIECE)
        except zlib.error as error:
            raise source.refusal(f"its {shown(member.name)} cannot be unpacked ({error})") from error
        if not piece and not given:
            raise source.refusal(f"its {shown(member.name)} is truncated")
        yield piece
    if inflater.unused_data or next(packed, b""):
        source.complain(f"its {shown(member.name)} differs from what the central directory says")


def fault_of(member: Member) -> str | None:
    """Return what is wrong with the directory's entry for ``member``, None for nothing."""
    if member.flags & UTF8 and not is_utf8(member.raw_name):
        return f"the name of a member is marked as UTF-8, but is not: {shown(member.raw_name)}"
    name = shown(member.name)
    if member.flags & ENCRYPTED:
        return f"{name} in it is encrypted"
    if member.method not in (STORED, DEFLATED):
        return f"{name} in it is compressed in a way that not every installer supports"
    if member.file_type not in (_REGULAR, _FOLDER, _UNSAID):
        return f"{name} in it is a link or a device"
    extras = extra_fields(member.extra)
    if extras is None:
        return f"the extra fields of {name} in it are damaged"
    if -1 in (member.packed, member.unpacked, member.offset):
        return f"the size of {name} in it is missing"
    if member.disk not in (0, 0xFFFF):
        return "it is one part of a split archive"
    if member.method == STORED and member.packed != member.unpacked:
        return f"{name} in it has two different sizes"
    if UNICODE_PATH in extras and extras[UNICODE_PATH][5:] not in (member.raw_name, member.name.encode()):
        return f"{name} in it has two different names"
    return None


def _check_layout(source: Source, members: Sequence[Member], directory_start: int) -> None:
    """Refuse members that overlap, leave gaps, or say something else of themselves than the directory does."""
    expected, before = 0, 0
    for member in (*members, None):
        gap = (directory_start if member is None else member.offset) - expected
        if gap < 0:
            raise source.refusal("its members overlap")
        if gap and not (before & DESCRIBED_LATER and gap in _DESCRIPTORS):
            raise source.refusal("it has bytes that belong to no member")
        if member is not None:
            expected, before = _end_of(source, member), member.flags


def _end_of(source: Source, member: Member) -> int:
    """Return where ``member`` ends; raise ``InvalidDistribution`` when its own header contradicts the directory."""
    length = LOCAL_HEADER.size + len(member.raw_name)
    if member.offset + length > source.size:
        raise source.refusal(f"{shown(member.name)} lies outside of the file")
    header = source.at(member.offset, length)
    sign, _needed, flags, method, _time, _date, crc, packed, unpacked, name, extra = LOCAL_HEADER.unpack_from(header)
    is_alike = sign == b"PK\x03\x04" and method == member.method and header[LOCAL_HEADER.size :] == member.raw_name
    if not is_alike or name != len(member.raw_name) or (flags ^ member.flags) & _SAME_FLAGS:
        raise source.refusal(f"{shown(member.name)} is not where the central directory says")
    extras = source.at(member.offset + length, extra) if extra else b""
    if extra_fields(extras) is None:
        raise source.refusal(f"the extra fields of {shown(member.name)} in it are damaged")
    facts = (crc, *wide_sizes(extras, (unpacked, packed)))
    if -1 in facts:
        raise source.refusal(f"the size of {shown(member.name)} in it is missing")
    wanted = (member.crc, member.unpacked, member.packed)
    may_be_unsaid = bool(flags & DESCRIBED_LATER)
    if any(one != other and not (may_be_unsaid and one == 0) for one, other in zip(facts, wanted, strict=True)):
        raise source.refusal(f"{shown(member.name)} has another size or checksum than the central directory says")
    return int(member.offset + length + extra + member.packed)

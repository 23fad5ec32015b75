"""Core metadata of a wheel, read through byte ranges instead of the whole file.

``find_metadata`` yields the ranges it needs and is sent their bytes, out of a local file (``read_from``) or from an upstream.
The end comes first, which mostly holds the directory and the metadata as well: one or two ranges do.  Whatever an installer finds
with Python's ``zipfile`` is found, and not judged.  The archive may be hostile, so sizes are checked before they are believed.
Sources: "Binary distribution format" (PEP 427), "Core metadata".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable
from typing import Final, NamedTuple

import attrs

from twistpi.archives.source import DEFAULT_LIMITS, Limits, shown
from twistpi.archives.zip_directory import (
    BZIP2,
    DEFLATED,
    LOCAL_HEADER,
    LZMA,
    STORED,
    TAIL_LENGTH,
    Member,
    find_directory,
    list_members,
    unpack_member,
)
from twistpi.model.errors import InvalidDistribution
from twistpi.model.names import is_wheel

_ENCRYPTED: Final = 0x1
_STEEPEST: Final = 200
"""Unpacked bytes per packed byte of metadata; text hardly exceeds 20, a decompression bomb reaches 1,000."""
_FLAT_ENOUGH: Final = 64 * 1024
"""Unpacked bytes up to which the ratio does not matter."""
_LONGEST_LOCAL_EXTRA: Final = 1024
"""Bytes asked for along with a member for its own extra field, whose length is not known before."""


class ByteRange(NamedTuple):
    """A part of a file."""

    start: int
    length: int


Ranges = Generator[ByteRange, bytes, bytes]
"""Yields the ranges it needs, is sent the bytes of each, and returns its result."""


def find_metadata(filename: str, size: int, limits: Limits = DEFAULT_LIMITS) -> Ranges:
    """Return the bytes of ``METADATA`` in the wheel ``filename`` of ``size`` bytes.

    The generator yields ``ByteRange``s inside the file and must be sent exactly the bytes of each.  Raise ``InvalidDistribution``
    for a file that is no wheel, or is damaged.
    """
    if not is_wheel(filename):
        raise InvalidDistribution(filename, "only the metadata of wheels can be read without building")
    window = _Window(filename, size, size)
    start = max(0, size - TAIL_LENGTH)
    tail = yield from window.read(start, size - start)
    directory = find_directory(filename, size, tail, limits, strict=False)
    entries = yield from window.read(directory.start, directory.length)
    member = _metadata_member(filename, list_members(filename, directory, iter([entries])))
    return (yield from _content(window, member, limits))


def read_from(ranges: Ranges, read: Callable[[int, int], bytes]) -> bytes:
    """Answer ``ranges`` with ``read(start, length)``; raise what either of them raises."""
    try:
        wanted = next(ranges)
        while True:
            wanted = ranges.send(read(*wanted))
    except StopIteration as end:
        return bytes(end.value)


@attrs.define
class _Window:
    """What was seen of the file: ``tail``, its end from ``start`` on."""

    filename: str
    size: int
    start: int
    tail: bytes = b""

    def read(self, start: int, length: int) -> Ranges:
        """Return the bytes at ``start``; ask only for those never seen."""
        end = start + length
        if start < 0 or length < 0 or end > self.size:
            raise InvalidDistribution(self.filename, "a record points outside of the file")
        if start < self.start and length:
            wanted = ByteRange(start, min(end, self.start) - start)
            fresh = yield wanted
            if len(fresh) != wanted.length:
                raise InvalidDistribution(self.filename, f"{len(fresh)} bytes arrived instead of {wanted.length}")
            if end < self.start:
                return fresh
            self.start, self.tail = start, fresh + self.tail
        return self.tail[start - self.start : end - self.start]


def _metadata_member(filename: str, members: Iterable[Member]) -> Member:
    """Return the last ``METADATA`` in a ``.dist-info`` folder that has the wheel's name, in any spelling."""
    project = _canonical(filename.partition("-")[0])
    last = None
    for member in members:
        folder, _slash, name = member.name.partition("/")
        if name == "METADATA" and folder.endswith(".dist-info"):
            owner = folder.removesuffix(".dist-info").rpartition("-")[0]
            if _canonical(owner) == project:
                last = member
    if last is None:
        raise InvalidDistribution(filename, "it contains no METADATA for its name")
    return last


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _content(window: _Window, member: Member, limits: Limits) -> Ranges:
    name = shown(member.name)
    if member.flags & _ENCRYPTED or member.method not in (STORED, DEFLATED, BZIP2, LZMA):
        raise InvalidDistribution(window.filename, f"its {name} is compressed in a way that no installer supports")
    if min(member.packed, member.unpacked) < 0 or max(member.packed, member.unpacked) > limits.largest_metadata:
        raise InvalidDistribution(window.filename, f"its {name} is too large")
    if member.unpacked > max(_FLAT_ENOUGH, member.packed * _STEEPEST):
        raise InvalidDistribution(window.filename, f"its {name} unpacks to far more than its size")
    # Header and body in one go; should the header be longer than foreseen, the rest is asked for afterwards.
    foreseen = LOCAL_HEADER.size + len(member.raw_name) + _LONGEST_LOCAL_EXTRA + member.packed
    seen = yield from window.read(member.offset, min(foreseen, window.size - member.offset))
    header = seen[: LOCAL_HEADER.size].ljust(LOCAL_HEADER.size, b"\0")
    sign, *_repeated, name_length, extra_length = LOCAL_HEADER.unpack(header)
    start = LOCAL_HEADER.size + name_length
    if sign != b"PK\x03\x04" or seen[LOCAL_HEADER.size : start] != member.raw_name:
        raise InvalidDistribution(window.filename, f"its {name} is not where the central directory says")
    start += extra_length
    packed = seen[start : start + member.packed]
    if len(packed) < member.packed:
        packed += yield from window.read(member.offset + start + len(packed), member.packed - len(packed))
    return unpack_member(window.filename, member, packed, strict=False)

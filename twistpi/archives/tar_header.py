"""Headers of a tar archive: a member's own, and those that extend it.

A header that tar programs read in different ways is refused.  Sources: POSIX.1-2017 ``pax``, GNU tar's manual.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from twistpi.archives.source import Source, is_utf8, shown

RECORD: Final = 512
"""Bytes of a header; what follows is padded to as many."""

FILES: Final = frozenset(b"0\x007")
HARD_LINK: Final = ord("1")
SYMBOLIC_LINK: Final = ord("2")
FOLDER: Final = ord("5")
EXTENDED: Final = ord("x")
FOR_ALL: Final = ord("g")
LONG_NAME: Final = ord("L")
LONG_TARGET: Final = ord("K")

_TAKEN_FROM_PAX: Final = frozenset({"path", "linkpath", "size"})


@attrs.frozen
class Header:
    """A member's header, unextended."""

    name: str
    kind: int
    """The type of the member, one of the constants above or another byte."""
    size: int
    """Bytes that follow, without their padding."""
    target: str
    """Of a link."""


def read_header(source: Source, record: bytes) -> Header:
    """Parse a header; raise ``InvalidDistribution``."""
    unsigned = sum(record) - sum(record[148:156]) + 8 * 0x20
    if _number(source, record[148:156]) != unsigned:
        raise source.refusal("it is no tar archive, or a header in it is garbled")
    name, prefix = _text(record[:100]), _text(record[345:500])
    if prefix:
        if record[257:263] != b"ustar\0":
            raise source.refusal(f"{shown(name)} in it has two names")
        name = f"{prefix}/{name}"
    return Header(name, record[156], _number(source, record[124:136]), _text(record[157:257]))


def read_long_text(source: Source, content: bytes) -> str:
    """Parse the name or target that GNU tar puts before a member when it is long; raise ``InvalidDistribution``."""
    text = _text(content)
    if content.rstrip(b"\0") != content[: len(content.split(b"\0", 1)[0])]:
        raise source.refusal(f"{shown(text)} in it has two names")
    return text


def read_extension(source: Source, content: bytes, *, for_all: bool) -> Mapping[str, str]:
    """Return ``path``, ``linkpath`` and ``size`` of a pax header, whose lines are ``LENGTH KEY=VALUE``; others do not matter.

    Raise ``InvalidDistribution`` for damaged headers, sparse files, and a header that would give all members one path.
    """
    found: dict[str, str] = {}
    position = 0
    while position < len(content):
        head, space, _rest = content[position : position + 20].partition(b" ")
        end = position + int(head) if space and head.isdigit() else 0
        line = content[position + len(head) + 1 : end]
        key, equals, value = line.partition(b"=")
        if end > len(content) or not line.endswith(b"\n") or not equals:
            raise source.refusal("an extended header in it is garbled")
        position = end
        name = key.decode("latin-1")
        if name.startswith("GNU.sparse"):
            raise source.refusal("it holds a sparse file")
        if name in _TAKEN_FROM_PAX:
            if for_all or name in found:
                raise source.refusal(f"an extended header in it gives members a common or a second {name}")
            if not is_utf8(value):
                raise source.refusal("an extended header in it is not UTF-8")
            found[name] = value[:-1].decode()
    return found


def size_of(source: Source, header: Header, extension: Mapping[str, str]) -> int:
    """Return the size of a member in bytes; the extended header has it when it is too large for the header."""
    told = extension.get("size")
    if told is None:
        return header.size
    if not (told.isascii() and told.isdigit() and len(told) < 20) or header.size not in (0, int(told)):
        raise source.refusal(f"{shown(header.name)} in it has two sizes")
    return int(told)


def _text(field: bytes) -> str:
    """Decode a text that ends with the first NUL, if any.  Old archives are in any encoding."""
    raw = field.split(b"\0", 1)[0]
    return raw.decode("utf-8" if is_utf8(raw) else "latin-1")


def _number(source: Source, field: bytes) -> int:
    """Parse octal digits, or GNU's binary form of large numbers."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:])
    digits = field.strip(b" \0")
    if not all(digit in b"01234567" for digit in digits):
        raise source.refusal("a header in it is garbled")
    return int(digits or b"0", 8)

"""The members of a compressed tar archive, one after the other, as it is unpacked.

A header that tar programs read in different ways is refused.  Sources: POSIX.1-2017 ``pax``, GNU tar's manual.
"""

from __future__ import annotations

import bz2
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import attrs

from twistpi.archives.source import PIECE, Cursor, Limits, Links, Source, is_utf8, member_path, shown

_RECORD: Final = 512
"""Bytes of a header; what follows is padded to as many."""
_FILES: Final = frozenset(b"0\x007")
"""This and the next seven are types of members and of headers that extend a member's."""
_HARD_LINK: Final = ord("1")
_SYMBOLIC_LINK: Final = ord("2")
_FOLDER: Final = ord("5")
_EXTENDED: Final = ord("x")
_FOR_ALL: Final = ord("g")
_LONG_NAME: Final = ord("L")
_LONG_TARGET: Final = ord("K")
_TAKEN_FROM_PAX: Final = frozenset({"path", "linkpath", "size"})


@attrs.frozen
class TarMember:
    """A member, with everything that extends its header taken into account."""

    path: tuple[str, ...]
    size: int
    """Bytes."""
    is_file: bool
    is_folder: bool
    """A member that is neither is a link."""


@attrs.define
class TarArchive:
    """A compressed tar archive, read once from its beginning to its end."""

    source: Source
    limits: Limits
    _bytes: Cursor = attrs.field(init=False)
    _left: int = 0
    """Bytes of the last member that were not read yet, with their padding."""
    _headers: int = 0

    def __attrs_post_init__(self) -> None:
        self._bytes = Cursor(_unpacked_pieces(self.source, self.limits))

    def members(self) -> Iterator[TarMember]:
        """Yield every member; raise ``InvalidDistribution`` as soon as something is wrong, also behind the last one."""
        links = Links(self.source, self.limits)
        while (member := self._next(links)) is not None:
            yield member
        links.finish()
        while piece := self._bytes.take(64 * _RECORD):
            if piece.strip(b"\0"):
                self.source.complain("it has data after its end")

    def _next(self, links: Links) -> TarMember | None:
        """Return the next member, None at the end of the archive."""
        texts: dict[int, str] = {}
        extension: Mapping[str, str] | None = None
        while (header := self._next_header()) is not None:
            if header.kind in (_LONG_NAME, _LONG_TARGET) and header.kind not in texts and extension is None:
                texts[header.kind] = _read_long_text(self.source, self._extension(header))
            elif header.kind == _FOR_ALL:
                _read_extension(self.source, self._extension(header), for_all=True)
            elif header.kind == _EXTENDED and extension is None and not texts:
                extension = _read_extension(self.source, self._extension(header), for_all=False)
            else:
                return self._member(header, texts, extension or {}, links)
        if texts or extension is not None:
            raise self.source.refusal("it ends within a member")
        return None

    def _next_header(self) -> _Header | None:
        is_short = self._bytes.skip(self._left) < self._left
        self._left = 0
        record = self._bytes.take(_RECORD)
        if not record and not is_short:
            self.source.complain("it is truncated")
            return None
        if is_short or len(record) < _RECORD:
            raise self.source.refusal("it is truncated")
        if record == bytes(_RECORD):
            return None
        self._headers += 1
        if self._headers > self.limits.most_members:
            raise self.source.refusal(f"it has more than the {self.limits.most_members} members that are allowed")
        header = _read_header(self.source, record)
        self._left = _padded(header.size)
        return header

    def _member(self, header: _Header, texts: Mapping[int, str], extension: Mapping[str, str], links: Links) -> TarMember:
        name = texts.get(_LONG_NAME) or extension.get("path") or header.name
        target = texts.get(_LONG_TARGET) or extension.get("linkpath") or header.target
        size = _size_of(self.source, header, extension.get("size"))
        path = member_path(self.source, name, self.limits)
        kind = _FOLDER if header.kind in _FILES and name.endswith("/") else header.kind
        if kind in (_HARD_LINK, _SYMBOLIC_LINK):
            links.take(path, target, is_hard=kind == _HARD_LINK)
        elif kind not in _FILES and kind != _FOLDER:
            raise self.source.refusal(f"{shown(name)} in it is neither a file nor a folder nor a link")
        if size and kind not in _FILES:
            self.source.complain(f"{shown(name)} in it has content but is not a file")
            size = 0  # Some programs write the size of the other file into a hard link.
        self._left = _padded(size)
        return TarMember(path, size, kind in _FILES, kind == _FOLDER)

    def _extension(self, header: _Header) -> bytes:
        if header.size > self.limits.largest_extension:
            raise self.source.refusal("an extended header in it is too large")
        return self.read(header.size)

    def read(self, size: int) -> bytes:
        """Return the content of the member that was yielded last, of ``size`` bytes."""
        content = self._bytes.take(size)
        if len(content) < size:
            raise self.source.refusal("it is truncated")
        self._left -= size
        return content


@attrs.frozen
class _Header:
    """A member's header, unextended."""

    name: str
    kind: int
    size: int
    """Bytes that follow, without their padding."""
    target: str


def _read_header(source: Source, record: bytes) -> _Header:
    """Parse a header; raise ``InvalidDistribution``."""
    unsigned = sum(record) - sum(record[148:156]) + 8 * 0x20
    if _number(source, record[148:156]) != unsigned:
        raise source.refusal("it is not a tar archive, or a header in it is damaged")
    name, prefix = _text(record[:100]), _text(record[345:500])
    if prefix:
        if record[257:263] != b"ustar\0":
            raise source.refusal(f"{shown(name)} in it has two different names")
        name = f"{prefix}/{name}"
    return _Header(name, record[156], _number(source, record[124:136]), _text(record[157:257]))


def _read_long_text(source: Source, content: bytes) -> str:
    """Parse the name or target that GNU tar puts before a member when it is long; raise ``InvalidDistribution``."""
    text = _text(content)
    if content.rstrip(b"\0") != content[: len(content.split(b"\0", 1)[0])]:
        raise source.refusal(f"{shown(text)} in it has two different names")
    return text


def _read_extension(source: Source, content: bytes, *, for_all: bool) -> Mapping[str, str]:
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
            raise source.refusal("an extended header in it is damaged")
        position = end
        name = key.decode("latin-1")
        if name.startswith("GNU.sparse"):
            raise source.refusal("it holds a sparse file")
        if name in _TAKEN_FROM_PAX:
            if for_all or name in found:
                raise source.refusal(f"an extended header in it sets {name} twice or for all members")
            if not is_utf8(value):
                raise source.refusal("an extended header in it is not UTF-8")
            found[name] = value[:-1].decode()
    return found


def _size_of(source: Source, header: _Header, told: str | None) -> int:
    """Return the size of a member in bytes; an extended header has it if it is too large for the header."""
    if told is None:
        return header.size
    if not (told.isascii() and told.isdigit() and len(told) < 20):
        raise source.refusal("an extended header in it is damaged")
    if header.size not in (0, int(told)):
        source.complain(f"{shown(header.name)} in it has two different sizes")
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
        raise source.refusal("a header in it is damaged")
    return int(digits or b"0", 8)


def _padded(size: int) -> int:
    return -(-size // _RECORD) * _RECORD


def _unpacked_pieces(source: Source, limits: Limits) -> Iterator[bytes]:
    """Yield what ``source``, whose name says how it is compressed, unpacks to, never more than ``limits`` allow.

    Raise ``InvalidDistribution`` for damaged data.  Zeros behind the last stream are padding.
    """
    is_bzip2 = source.filename.lower().endswith(".bz2")
    if not source.at(0, min(3, source.size)).startswith(b"BZh" if is_bzip2 else b"\x1f\x8b\x08"):
        raise source.refusal(f"it is not compressed with {'bzip2' if is_bzip2 else 'gzip'}")
    unpacked = 0
    for piece in _streams(source, bz2.BZ2Decompressor if is_bzip2 else _GzipDecompressor, limits):
        unpacked += len(piece)
        if unpacked > limits.most_unpacked(source.size):
            raise source.refusal("it unpacks to far more than its size")
        yield piece


class _GzipDecompressor:
    """Decompresses one gzip stream, with the interface of ``bz2.BZ2Decompressor``."""

    def __init__(self) -> None:
        self._inflater = zlib.decompressobj(zlib.MAX_WBITS | 16)

    @property
    def eof(self) -> bool:
        return self._inflater.eof

    @property
    def needs_input(self) -> bool:
        return not self._inflater.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inflater.unused_data

    def decompress(self, packed: bytes, most: int) -> bytes:
        return self._inflater.decompress(self._inflater.unconsumed_tail + packed, most)


def _streams(
    source: Source, decompressor: Callable[[], _GzipDecompressor | bz2.BZ2Decompressor], limits: Limits
) -> Iterator[bytes]:
    """Yield the content of the compressed streams, one behind the other, that ``source`` consists of."""
    pieces = source.pieces(0, source.size)
    packed, streams = next(pieces, b""), 0
    while packed:
        streams += 1
        if streams > limits.most_members:
            raise source.refusal("it is compressed in too many parts")
        stream = decompressor()
        while not stream.eof:
            if stream.needs_input and not packed:
                packed = next(pieces, b"")
                if not packed:
                    raise source.refusal("it is truncated")
            given, packed = packed, b""
            try:
                piece = stream.decompress(given, PIECE)
            except (zlib.error, OSError) as error:
                raise source.refusal(f"it cannot be unpacked ({error})") from error
            if piece:
                yield piece
        packed = stream.unused_data.lstrip(b"\0")
        while not packed and (more := next(pieces, b"")):
            packed = more.lstrip(b"\0")

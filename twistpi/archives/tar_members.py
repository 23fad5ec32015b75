"""The members of a compressed tar archive, one after the other, as it is unpacked."""

from __future__ import annotations

import bz2
import zlib
from collections.abc import Callable, Iterator, Mapping

import attrs

from twistpi.archives.paths import Links, member_path
from twistpi.archives.source import PIECE, Cursor, Limits, Source, shown
from twistpi.archives.tar_header import (
    EXTENDED,
    FILES,
    FOLDER,
    FOR_ALL,
    HARD_LINK,
    LONG_NAME,
    LONG_TARGET,
    RECORD,
    SYMBOLIC_LINK,
    Header,
    read_extension,
    read_header,
    read_long_text,
    size_of,
)

_ZEROS = bytes(RECORD)


@attrs.frozen
class TarMember:
    """A member, with everything that extends its header taken into account."""

    path: tuple[str, ...]
    kind: int
    """As in ``tar_header``; only files, folders and links occur."""
    size: int
    """Bytes."""

    @property
    def is_file(self) -> bool:
        """Whether it has content."""
        return self.kind in FILES

    @property
    def is_folder(self) -> bool:
        """Whether it is an entry for a folder."""
        return self.kind == FOLDER


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
        self._bytes = Cursor(unpacked_pieces(self.source, self.limits))

    def members(self) -> Iterator[TarMember]:
        """Yield every member; raise ``InvalidDistribution`` as soon as something is wrong, also behind the last one."""
        links = Links(self.source, self.limits)
        while (member := self._next(links)) is not None:
            yield member
        links.finish()
        while piece := self._bytes.take(64 * RECORD):
            if piece.strip(b"\0"):
                raise self.source.refusal("it has bytes behind its end")

    def read(self, member: TarMember) -> bytes:
        """Return the content of ``member``, which must be the last one that was yielded."""
        return self._content(member.size)

    def _next(self, links: Links) -> TarMember | None:
        """Return the next member, None at the end of the archive."""
        texts: dict[int, str] = {}
        extension: Mapping[str, str] | None = None
        while (header := self._next_header()) is not None:
            if header.kind in (LONG_NAME, LONG_TARGET) and header.kind not in texts and extension is None:
                texts[header.kind] = read_long_text(self.source, self._extension(header))
            elif header.kind == FOR_ALL:
                read_extension(self.source, self._extension(header), for_all=True)
            elif header.kind == EXTENDED and extension is None and not texts:
                extension = read_extension(self.source, self._extension(header), for_all=False)
            else:
                return self._member(header, texts, extension or {}, links)
        if texts or extension is not None:
            raise self.source.refusal("it ends within a member")
        return None

    def _next_header(self) -> Header | None:
        if self._bytes.skip(self._left) < self._left:
            raise self.source.refusal("it is cut short")
        self._left = 0
        record = self._bytes.take(RECORD)
        if len(record) < RECORD:
            raise self.source.refusal("it is cut short")
        if record == _ZEROS:
            return None
        self._headers += 1
        if self._headers > self.limits.most_members:
            raise self.source.refusal(f"it has more than the {self.limits.most_members} members that are taken")
        header = read_header(self.source, record)
        self._left = _padded(header.size)
        return header

    def _member(self, header: Header, texts: Mapping[int, str], extension: Mapping[str, str], links: Links) -> TarMember:
        name = texts.get(LONG_NAME) or extension.get("path") or header.name
        target = texts.get(LONG_TARGET) or extension.get("linkpath") or header.target
        size = size_of(self.source, header, extension)
        path = member_path(self.source, name, self.limits)
        kind = FOLDER if header.kind in FILES and name.endswith("/") else header.kind
        if kind in (HARD_LINK, SYMBOLIC_LINK):
            links.take(path, target, is_hard=kind == HARD_LINK)
        elif kind not in FILES and kind != FOLDER:
            raise self.source.refusal(f"{shown(name)} in it is neither a file nor a folder nor a link")
        if size and kind not in FILES:
            raise self.source.refusal(f"{shown(name)} in it has content and is no file")
        self._left = _padded(size)
        return TarMember(path, kind, size)

    def _extension(self, header: Header) -> bytes:
        if header.size > self.limits.largest_extension:
            raise self.source.refusal("an extended header in it is too large")
        return self._content(header.size)

    def _content(self, size: int) -> bytes:
        content = self._bytes.take(size)
        if len(content) < size:
            raise self.source.refusal("it is cut short")
        self._left -= size
        return content


def _padded(size: int) -> int:
    return -(-size // RECORD) * RECORD


def unpacked_pieces(source: Source, limits: Limits) -> Iterator[bytes]:
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
            raise source.refusal("it unpacks to far more than it is")
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
                    raise source.refusal("it is cut short")
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

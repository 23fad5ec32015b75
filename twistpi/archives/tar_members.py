"""The members of a tar archive, one after the other, as it is unpacked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import attrs

from twistpi.archives.limits import Limits
from twistpi.archives.paths import Links, member_path
from twistpi.archives.source import Cursor, Source, shown
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
from twistpi.archives.unpacking import unpacked_pieces

_ZEROS = bytes(RECORD)


@attrs.frozen
class TarMember:
    """A member with everything that extends its header taken into account."""

    path: tuple[str, ...]
    kind: int
    """As in ``tar_header``; only files, folders and links come."""
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
    """A compressed tar archive that is read from its beginning to its end, once."""

    source: Source
    limits: Limits
    _bytes: Cursor = attrs.field(init=False)
    _left: int = 0
    """Bytes of the member that was told last which nobody has read yet, with their padding."""
    _headers: int = 0

    def __attrs_post_init__(self) -> None:
        self._bytes = Cursor(unpacked_pieces(self.source, self.limits))

    def members(self) -> Iterator[TarMember]:
        """Every member, and at the end that it was the end; raises ``InvalidDistribution`` as soon as something is wrong."""
        links = Links(self.source, self.limits)
        while (member := self._next(links)) is not None:
            yield member
        links.finish()
        while piece := self._bytes.take(64 * RECORD):
            if piece.strip(b"\0"):
                raise self.source.refusal("it has bytes behind its end")

    def read(self, member: TarMember) -> bytes:
        """What is in ``member``, the one that was told last."""
        return self._content(member.size)

    def _next(self, links: Links) -> TarMember | None:
        """The next member, None at the end of the archive."""
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
        self._skip_rest()
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

    def _skip_rest(self) -> None:
        if self._bytes.skip(self._left) < self._left:
            raise self.source.refusal("it is cut short")
        self._left = 0


def _padded(size: int) -> int:
    return -(-size // RECORD) * RECORD

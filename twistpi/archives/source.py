"""The file that is inspected: how large its parts may be, how it is refused, and where its paths and links may lead."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO, Final

import attrs

from twistpi.model.errors import InvalidDistribution

PIECE: Final = 64 * 1024
"""Bytes read at once where much is read."""
_LONGEST_SHOWN: Final = 100
"""Characters of a text out of an archive that a message repeats."""


@attrs.frozen
class Limits:
    """Upper bounds for the parts of an archive.  They bound the time and the memory that an inspection takes."""

    most_members: int = 100_000
    """Members of an archive, and compressed streams that make up one."""
    largest_directory: int = 16 * 1024 * 1024
    """Bytes of a ZIP archive's central directory."""
    largest_name: int = 1024
    """Characters of a member's path or of a link's target."""
    deepest: int = 100
    """Folders around a member."""
    largest_extension: int = 1024 * 1024
    """Bytes of one extended header of a tar archive."""
    most_links: int = 10_000
    """Links in a tar archive."""
    steepest: int = 50
    """Unpacked bytes per packed byte, over the whole archive; the public index draws the same line."""
    flat_enough: int = 64 * 1024 * 1024
    """Unpacked bytes up to which the ratio does not matter."""
    largest_unpacked: int = 16 * 1024 * 1024 * 1024
    """Unpacked bytes of a whole archive."""
    largest_metadata: int = 8 * 1024 * 1024
    """Bytes of core metadata."""
    largest_headers: int = 1024 * 1024
    """Bytes of core metadata before its body."""
    most_fields: int = 10_000
    """Fields of core metadata; repeated ones count each time."""

    def most_unpacked(self, size: int) -> int:
        """Return the number of bytes that an archive of ``size`` bytes may unpack to."""
        return min(self.largest_unpacked, max(self.flat_enough, self.steepest * size))


DEFAULT_LIMITS: Final = Limits()


@attrs.frozen
class Source:
    """The file that is inspected, and its name for error messages."""

    file: BinaryIO
    """Seekable; its position is neither used nor kept."""
    filename: str
    size: int
    """Bytes."""
    is_strict: bool = True
    """Whether everything is refused that installers read in different ways; otherwise only what no installer reads, and paths
    and sizes that would harm one."""

    def at(self, start: int, length: int) -> bytes:
        """Return exactly ``length`` bytes from ``start``; raise ``InvalidDistribution`` when the file is too short."""
        if start < 0 or length < 0 or start + length > self.size:
            raise self.refusal("a record points outside of the file")
        self.file.seek(start)
        found = b""
        while len(found) < length and (more := self.file.read(length - len(found))):
            found += more
        if len(found) != length:
            raise self.refusal("the file is shorter than announced")
        return found

    def pieces(self, start: int, length: int) -> Iterator[bytes]:
        """Yield the same bytes in pieces.  Other parts of the file may be read between two of them."""
        for place in range(start, start + length, PIECE):
            yield self.at(place, min(PIECE, start + length - place))

    def refusal(self, reason: str) -> InvalidDistribution:
        """Return the error to raise for this file."""
        return InvalidDistribution(self.filename, reason)

    def complain(self, reason: str) -> None:
        """Raise that error, unless the inspection is lenient."""
        if self.is_strict:
            raise self.refusal(reason)


@attrs.define
class Cursor:
    """Reads an iterator of pieces in the lengths that are wanted."""

    pieces: Iterator[bytes]
    _seen: bytes = b""
    _place: int = 0

    def take(self, length: int) -> bytes:
        """Return the next ``length`` bytes, or fewer at the end."""
        if self._place + length > len(self._seen):
            parts = [self._seen[self._place :]]
            missing = length - len(parts[0])
            while missing > 0 and (piece := next(self.pieces, b"")):
                parts.append(piece)
                missing -= len(piece)
            self._seen, self._place = b"".join(parts), 0
        found = self._seen[self._place : self._place + length]
        self._place += len(found)
        return found

    def skip(self, length: int) -> int:
        """Pass over ``length`` bytes, or fewer at the end; return how many were passed over."""
        left = length
        while left > 0:
            if self._place >= len(self._seen):
                self._seen, self._place = next(self.pieces, b""), 0
                if not self._seen:
                    break
            step = min(left, len(self._seen) - self._place)
            self._place += step
            left -= step
        return length - left


def shown(text: str | bytes) -> str:
    """Return ``text`` out of an archive as messages show it: quoted, and cut when it is long."""
    return repr(text[:_LONGEST_SHOWN]).removeprefix("b")


def is_utf8(raw: bytes) -> bool:
    """Return whether ``raw`` is text in UTF-8."""
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


# Paths and links -----------------------------------------------------------------------------------------------------


_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
_DRIVE = re.compile(r"[A-Za-z]:")


def member_path(source: Source, name: str, limits: Limits) -> tuple[str, ...]:
    """Return the parts of ``name``, without empty ones and ``.``; raise ``InvalidDistribution`` when it leads elsewhere."""
    if len(name) > limits.largest_name:
        raise source.refusal(f"the name of a member is too long: {shown(name)}")
    if _CONTROLS.search(name):
        raise source.refusal(f"the name of a member contains a control character: {shown(name)}")
    on_windows = name.replace("\\", "/")
    if on_windows.startswith("/") or _DRIVE.match(name):
        raise source.refusal(f"a member has an absolute name: {shown(name)}")
    if ".." in on_windows.split("/"):
        raise source.refusal(f"a member leads out of the archive: {shown(name)}")
    path = tuple(part for part in name.split("/") if part not in ("", "."))
    if len(path) > limits.deepest:
        raise source.refusal(f"a member is nested too deeply: {shown(name)}")
    return path


@attrs.define
class TopFolder:
    """The one folder that holds all of an sdist (PEP 625); its name does not matter.  A lenient inspection demands none."""

    source: Source
    name: str | None = None

    def take(self, path: tuple[str, ...], *, is_folder: bool) -> None:
        """Record a member; raise ``InvalidDistribution`` for one outside of the folder."""
        if not path and is_folder:
            return
        if len(path) < 2 and not is_folder:
            self.source.complain(f"{shown('/'.join(path))} is outside of its top-level folder")
        if self.name is None:
            self.name = "/".join(path[:1])
        if path[:1] != (self.name,):
            self.source.complain(f"it has more than one top-level folder: {shown(self.name)} and {shown(path[0])}")

    def finish(self) -> None:
        """Raise ``InvalidDistribution`` for an archive without the folder."""
        if self.name is None:
            raise self.source.refusal("it is empty")


@attrs.define
class Links:
    """The links of an archive, all of which must stay inside of it."""

    source: Source
    limits: Limits
    symbolic: set[tuple[str, ...]] = attrs.Factory(set)
    beside: set[tuple[str, ...]] = attrs.Factory(set)
    """Paths of hard links and of their targets."""

    def take(self, path: tuple[str, ...], target: str, *, is_hard: bool) -> None:
        """Record the link at ``path``; raise ``InvalidDistribution`` when ``target`` may lie outside.

        Installers judge links themselves, so a lenient inspection does not.

        A symbolic link's target is relative to the folder of the link.  Its ``..`` must come first, since behind a folder that is
        a link itself they lead anywhere.  A hard link's target is a path of the archive.
        """
        if not self.source.is_strict:
            return
        parts = tuple(part for part in target.replace("\\", "/").split("/") if part not in ("", "."))
        if is_hard:
            self.beside |= {path, parts}
            stays = parts[:1] == path[:1] and ".." not in parts
        else:
            self.symbolic.add(path)
            up = next((place for place, part in enumerate(parts) if part != ".."), len(parts))
            # The top folder is as far as a link may go.
            stays = up <= len(path) - 2 and ".." not in parts[up:]
        is_strange = not target or len(target) > self.limits.largest_name or len(parts) > self.limits.deepest
        if not stays or is_strange or target.startswith(("/", "\\")) or _DRIVE.match(target) or _CONTROLS.search(target):
            raise self.source.refusal(f"the link {shown('/'.join(path))} points out of the archive, to {shown(target)}")
        if len(self.symbolic) + len(self.beside) > self.limits.most_links:
            raise self.source.refusal("it has too many links")

    def finish(self) -> None:
        """Raise ``InvalidDistribution`` for links below or to symbolic ones: their names do not say where those lead."""
        for path in (*self.symbolic, *self.beside):
            longest = len(path) + (path in self.beside)
            if any(path[:length] in self.symbolic for length in range(1, longest)):
                raise self.source.refusal(f"the link {shown('/'.join(path))} is below another link or points to one")

"""Copying the files that a log names to another place, while the server runs that they belong to.

A blob whose file is removed meanwhile may be gone from the disk before it is copied.  Then the copy goes on up to a later line,
at which the blob is not named any more.  Hence all that the last line names is in the other place, or among what is missing here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

import attrs

from twistpi.backup.blob_state import what_is_wrong
from twistpi.backup.manifest import MissingFile
from twistpi.blobs.tree import Tree
from twistpi.changelog.disk import Disk
from twistpi.changelog.places import position_at
from twistpi.changelog.reader import read_lines
from twistpi.model.codec import decode_content
from twistpi.model.errors import TwistpiError
from twistpi.model.peers import Position
from twistpi.replication.missing_blobs import Naming, named_by
from twistpi.server.directory import Layout
from twistpi.view.read import KeptBlob, NamedBlob, Reader
from twistpi.view.read_releases import BEGINNING as FIRST
from twistpi.view.read_releases import Mark

AT_ONCE: Final = 1000
"""Files that are copied in one go."""
_MOST_MISSING: Final = 10_000
_MOST_ROUNDS: Final = 20
"""More than enough: each covers only what was written during the one before."""

Progress = Callable[[str, int, int], object]
"""Called with what is copied, how much is done, and how much there is."""
Key = tuple[str, str]


@attrs.frozen
class Copied:
    """What a former copy to the same place left."""

    end: Position
    """The line up to which all that is named was copied."""
    missing: tuple[MissingFile, ...] = ()
    """What was named, but not here."""


@attrs.define(eq=False)
class NamedFiles:
    """One copy; ``reader`` is of the view of the server directory."""

    _serverdir: str
    _reader: Reader
    _put: Callable[[Sequence[KeptBlob]], object]
    """Copies blobs that are here, and not all there; it passes over those that are gone meanwhile."""
    _progress: Progress
    _tree: Tree = attrs.field(init=False)
    _disk: Disk = attrs.field(factory=Disk, init=False)
    files: int = attrs.field(default=0, init=False)
    """Blobs that were copied, or were there from an interrupted run."""
    size: int = attrs.field(default=0, init=False)
    """Bytes of those."""
    has_all_missing: bool = attrs.field(default=True, init=False)
    """False if more is missing than ``missing`` has."""
    _missing: dict[Key, MissingFile] = attrs.field(factory=dict, init=False)
    _unsure: bool = attrs.field(default=False, init=False)
    """Whether something was not named any more when it was looked for."""

    def __attrs_post_init__(self) -> None:
        self._tree = Tree(self._serverdir)

    @property
    def missing(self) -> tuple[MissingFile, ...]:
        """What is named and not here."""
        return tuple(self._missing.values())

    def copy(self, previous: Copied | None) -> Position:
        """Copy what is new since ``previous``; return the line up to which all that is named is there.

        Raise ``TwistpiError`` and ``OSError``, after which it can be called again.
        """
        directory = Layout(self._serverdir).changelog
        end = position_at(directory, self._disk, self._reader.serial())
        if previous is None:
            for _ in read_lines(directory, self._disk, None, end.serial):
                pass  # only the chain is checked
            self._copy(self._all_named())
            self._unsure = True
        else:
            self._copy(self._still_missing(previous))
            self._copy(self._named_between(directory, previous.end, end))
        for _ in range(_MOST_ROUNDS):
            self._forget_unnamed()
            later = position_at(directory, self._disk, self._reader.serial())
            if not self._unsure or later == end:
                return end
            self._unsure = False
            self._copy(self._named_between(directory, end, later))
            end = later
        raise TwistpiError("Files are removed faster than they can be copied. Run this again: it goes on where it is.")

    def _all_named(self) -> Iterator[NamedBlob]:
        mark: Mark | None = FIRST
        total, done = self._reader.count_files(), 0
        while mark is not None:
            named, mark = self._reader.named_blobs(mark, AT_ONCE)
            yield from named
            done += len(named)
            self._progress("files", min(done, total), total)

    def _named_between(self, directory: str, after: Position, end: Position) -> Iterator[NamedBlob]:
        """Yield what the entries after ``after`` up to ``end`` name, as far as it is named now; check their chain."""
        for line in read_lines(directory, self._disk, after, end.serial):
            for change in decode_content(line.body, line.serial).changes:
                if isinstance(change, Naming):
                    named = list(named_by(change, self._reader))
                    self._unsure |= not named
                    yield from named
            self._progress("entries", line.serial - after.serial, end.serial - after.serial)

    def _still_missing(self, previous: Copied) -> Iterator[NamedBlob]:
        for one in previous.missing:
            blob = self._reader.kept_blob(one.digits, one.filename)
            if blob is not None:
                yield NamedBlob("", one.is_private, blob)

    def _copy(self, named: Iterable[NamedBlob]) -> None:
        iterator = iter(named)
        while batch := list(islice(iterator, AT_ONCE)):
            blobs = {(one.blob.digits, one.blob.filename): one for one in batch if self._is_fit(one)}
            self._put([one.blob for one in blobs.values()])
            for one in blobs.values():
                if self._is_fit(one, only_size=True):  # else it may have gone before it was copied
                    self.files += 1
                    self.size += one.blob.size

    def _is_fit(self, named: NamedBlob, *, only_size: bool = False) -> bool:
        """Return whether a blob is here as it should be; note it among the missing ones if not."""
        blob = named.blob
        reason = what_is_wrong(self._tree, blob, only_size=only_size)
        if reason is None:
            self._missing.pop((blob.digits, blob.filename), None)
            return True
        if len(self._missing) < _MOST_MISSING:
            self._missing[blob.digits, blob.filename] = MissingFile(blob.digits, blob.filename, named.is_private, reason)
        else:
            self.has_all_missing = False
        return False

    def _forget_unnamed(self) -> None:
        for digits, filename in list(self._missing):
            if not self._reader.names_blob(digits, filename):
                del self._missing[digits, filename]
                self._unsure = True

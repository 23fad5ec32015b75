"""The part of ``twistpi check`` that reads the stored files, and has them repaired."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Final

import attrs

from twistpi.backup.blob_state import MISSING, address_of, what_is_wrong
from twistpi.blobs.address import BlobAddress
from twistpi.blobs.tree import Tree
from twistpi.cli.repair import Repair
from twistpi.server.directory import Layout
from twistpi.view.read import NamedBlob, Reader, Readers
from twistpi.view.read_releases import BEGINNING, Mark

Progress = Callable[[str, int, int], object]
"""Called with what is read, how many of its bytes are done, and their total."""
_ROWS: Final = 1000
_MOST_EXAMPLES: Final = 3
_TO_SERVE: Final = "twistpi check --repair has it fetched again"
_LOST: Final = "restore it from a backup: twistpi check --repair --backup PLACE"


@attrs.frozen
class Finding:
    """Something to report."""

    text: str
    wrong: bool = True
    """False for a mere note."""
    repaired: bool = False
    """Whether it was wrong, and is not any more."""


@attrs.define
class Counts:
    """What was verified."""

    entries: int = 0
    files: int = 0
    bytes: int = 0
    fetchable: int = 0
    """Files that are not here and can be fetched."""
    repaired: int = 0


@attrs.define(eq=False)
class FileCheck:
    """Reads every blob that ``reader`` names, and looks for others."""

    _path: str
    """The server directory."""
    _reader: Reader
    """Of a view that is as new as the changelog was when it was read."""
    _progress: Progress
    _counts: Counts
    _is_replica: bool
    _repair: Repair | None
    _tree: Tree = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._tree = Tree(self._path)

    def run(self) -> Iterator[Finding]:
        """Yield what there is to report."""
        is_named_now = later_names(Layout(self._path).view, self._reader.serial())
        total, done = sum(one.blob.size for one in self._all_named()), 0
        seen: set[int] = set()
        for one in self._all_named():  # uploaded ones come first: of what a mirror has, too, no upstream is sure to have it
            done += one.blob.size
            number = hash((one.blob.digits, one.blob.filename))  # a number takes a tenth of the memory of an address
            if number in seen:
                continue
            seen.add(number)
            reason = what_is_wrong(self._tree, one.blob)
            if reason is None:
                self._counts.files += 1
                self._counts.bytes += one.blob.size
            elif is_named_now(address_of(one.blob)):
                yield from self._judge(one, reason)
            self._progress("files", done, total)
        yield from self._fetchable()
        yield from self._others()

    def _all_named(self) -> Iterator[NamedBlob]:
        mark: Mark | None = BEGINNING
        while mark is not None:
            found, mark = self._reader.named_blobs(mark, _ROWS)
            yield from found

    def _judge(self, one: NamedBlob, reason: str) -> Iterator[Finding]:
        path = self._tree.path(address_of(one.blob))
        text = f"{path} {reason.removeprefix('it ')}"
        done = None if self._repair is None else self._repair.blob(one)
        can_be_fetched = self._is_replica or not one.is_private
        if done is not None:
            self._counts.repaired += 1
            yield Finding(f"{text}; {done}", wrong=False, repaired=True)
        elif reason == MISSING and can_be_fetched:
            self._counts.fetchable += 1
        elif can_be_fetched:
            yield Finding(f"{text}; it cannot be served; {_TO_SERVE}")
        else:
            yield Finding(f"{text}; {'' if reason == MISSING else 'it cannot be served; '}{_LOST}")

    def _fetchable(self) -> Iterator[Finding]:
        if count := self._counts.fetchable:
            when = "while this replica runs, it fetches them" if self._is_replica else "they are fetched when they are asked for"
            yield Finding(f"files that are not here: {count:,}; {when}", wrong=False)

    def _others(self) -> Iterator[Finding]:
        examples: list[str] = []
        count = 0
        for address, _size in self._tree.walk():
            if not self._reader.names_blob(address.digits, address.filename):
                count += 1
                examples += [address.relative] if count <= _MOST_EXAMPLES else []
        if count:
            more = ", …" if count > _MOST_EXAMPLES else ""
            text = f"files that no index knows: {count} ({', '.join(examples)}{more})"
            leavers = "they remain after removals and interrupted transfers; twistpi gc removes them"
            yield Finding(f"{text}; {leavers}", wrong=False)
        yield from (Finding(f"{stranger} is no file of twistpi's; move it elsewhere") for stranger in self._tree.foreign_paths())


def later_names(view: str, serial: int) -> Callable[[BlobAddress], bool]:
    """Return a function that tells whether a blob is still named, True if unknown.

    A server may have taken the ``view`` further than ``serial`` meanwhile, and have removed the blob.
    """

    def names(address: BlobAddress) -> bool:
        try:
            with closing(Readers(view)) as readers:
                reader = readers.get()
                return reader.serial() <= serial or reader.names_blob(address.digits, address.filename)
        except sqlite3.Error:
            return True

    return names

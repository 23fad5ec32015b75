"""Keeps the search index up to date with the changelog; in the first process of a server, primary or replica.

What an entry changes is written a moment later.  A start that finds the index behind the view, or none, has everything compared
in the background, in small steps, while the old content answers.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from twistpi.blobs.interfaces import IBlobs
from twistpi.http.backoff import sleep
from twistpi.http.offload import Offload
from twistpi.model.changes import Change, FileCached, IndexDeleted, LinksChanged, MetadataCached
from twistpi.model.releases import (
    AttachmentAdded,
    AttachmentRemoved,
    FileRemoved,
    FileUploaded,
    ProjectMarked,
    ProjectRemoved,
    ReleaseDescribed,
    ReleaseRemoved,
)
from twistpi.model.server_errors import StorageFull
from twistpi.search.database import Project, drop_database, open_database
from twistpi.search.writing import IndexWriter, NameFile
from twistpi.view.read import Readers

_DELAY: Final = 0.1
"""Seconds from a change to its writing: what comes together is written together."""
_PAUSE: Final = 0.002
"""Seconds between two steps of longer work: requests need the processor, too."""
_AFTER_FAILURE: Final = 60.0
"""Seconds until another attempt, and until files that were missing are looked for again."""
_MOST_CHANGED: Final = 5_000
"""Changed projects that are remembered; with more everything is compared."""
_MOST_AT_END: Final = 500
"""Those that are written before the server stops; with more the next start compares everything."""
_CHANGING: Final = (
    *(AttachmentAdded, AttachmentRemoved, FileCached, FileRemoved, FileUploaded, MetadataCached),
    *(ProjectMarked, ProjectRemoved, ReleaseDescribed, ReleaseRemoved),
)
"""The changes after which a project is read again."""
_NOTHING: Final = object()


@attrs.define(eq=False)
class Indexer:
    """Writes the index.  Its methods are called in the reactor's thread."""

    _path: str
    _log_id: str
    _readers: Readers
    _blobs: IBlobs
    _clock: IReactorTime
    _offload: Offload
    _lists_on_disk: Callable[[], Mapping[str, NameFile]] = dict
    """Returns the name lists of mirrors that are on the disk, by index.  Blocking."""
    _serial: int = attrs.field(default=0, init=False)
    """That of the last entry that was announced."""
    _first_serial: int = attrs.field(default=0, init=False)
    """The last one before the first that was announced."""
    _stamped: int = attrs.field(default=0, init=False)
    """Up to which the file is complete."""
    _changed: dict[Project, bool] = attrs.field(factory=dict, init=False)
    """Projects to be read, and whether for certain: else only if they are in the index."""
    _deleted: set[str] = attrs.field(factory=set, init=False)
    """Indexes that are to be forgotten before anything else."""
    _is_behind: bool = attrs.field(default=False, init=False)
    """Whether everything is to be compared."""
    _lists: dict[str, NameFile | None] = attrs.field(factory=dict, init=False)
    """Name lists to be read; None for those to be forgotten."""
    _steps: Iterator[None] | None = attrs.field(default=None, init=False)
    """The longer work under way."""
    _is_comparing: bool = attrs.field(default=False, init=False)
    _pause: Deferred[None] | None = attrs.field(default=None, init=False)
    _is_idle: bool = attrs.field(default=False, init=False)
    _stopping: bool = attrs.field(default=False, init=False)
    _ended: Deferred[None] | None = attrs.field(default=None, init=False)
    _log: Logger = attrs.field(init=False, factory=lambda: Logger("twistpi.search"))

    def start(self) -> None:
        """Begin; to be called before the first entry is announced."""
        self._serial = self._first_serial = self._readers.get().serial()
        self._ended = Deferred.fromCoroutine(self._run())

    async def stop(self) -> None:
        """Write what was announced, and end."""
        self._stopping = True
        if len(self._changed) > _MOST_AT_END:
            self._changed.clear()
            self._is_behind = True
        if self._pause is not None:
            self._pause.cancel()
        if self._ended is not None:
            await self._ended

    def changed(self, serial: int, changes: Sequence[Change]) -> None:
        """Note what the entry ``serial`` changed."""
        self._serial = serial
        for change in changes:
            if isinstance(change, _CHANGING):
                self._changed[change.index, change.project] = True
            elif isinstance(change, LinksChanged):
                self._changed.setdefault((change.index, change.project), False)
            elif isinstance(change, IndexDeleted):
                self._deleted.add(change.index)
        if len(self._changed) > _MOST_CHANGED:
            self._changed.clear()
            self._is_behind = True
        self._wake()

    def list_changed(self, index: str, names: NameFile | None) -> None:
        """Note that the name list of the mirror ``index`` is another one now; None when there is none any more."""
        self._lists[index] = names
        self._wake()

    def _wake(self) -> None:
        if self._is_idle and self._pause is not None:
            self._pause.cancel()

    async def _sleep(self, seconds: float) -> None:
        """Wait, but not for the end of the server."""
        if self._stopping:
            return
        self._pause = sleep(self._clock, seconds)
        try:
            await self._pause
        except CancelledError:
            pass
        finally:
            self._pause = None

    async def _run(self) -> None:
        while not self._stopping:
            try:
                await self._keep()
            except StorageFull as full:
                self._log.warn("The search index is not written: {reason}", reason=str(full))
            except sqlite3.DatabaseError as error:
                self._log.warn("The search index is made anew: {reason}", reason=str(error))
                await self._offload(drop_database, self._path)
            except Exception:
                self._log.failure("The search index could not be written")
            self._is_behind = True  # what was to be written is lost
            await self._sleep(_AFTER_FAILURE)

    async def _keep(self) -> None:
        """Keep the index up to date until the server stops."""
        self._steps, self._is_comparing = None, False
        writer, self._stamped, other_lists = await self._offload(self._open)
        self._lists = {**other_lists, **self._lists}
        self._is_behind = self._is_behind or self._stamped != self._first_serial
        try:
            while not self._stopping or self._is_due:
                await self._work(writer)
        finally:
            await self._offload(writer.close)

    def _open(self) -> tuple[IndexWriter, int, dict[str, NameFile | None]]:
        """Return what writes the file, up to which serial that is complete, and which lists differ from it.  Blocking."""
        writer = IndexWriter(open_database(self._path, self._log_id), self._readers, self._blobs)
        return writer, writer.serial(), writer.other_lists(self._lists_on_disk())

    @property
    def _is_due(self) -> bool:
        """Whether there is something to be written at once."""
        is_unstamped = self._stamped != self._serial and not (self._is_behind or self._is_comparing)
        return bool(self._changed or self._deleted) or is_unstamped

    async def _work(self, writer: IndexWriter) -> None:
        """Do what is most urgent, or wait for something to do."""
        if self._is_due:
            await self._sleep(_DELAY)
            await self._write(writer)
        elif self._steps is not None:
            if await self._offload(next, self._steps, _NOTHING) is _NOTHING:
                self._steps, self._is_comparing = None, False
            await self._sleep(_PAUSE)
        elif self._is_behind:
            self._is_behind, self._is_comparing, self._steps = False, True, writer.compare()
        elif self._lists:
            index, names = self._lists.popitem()
            self._steps = self._if_there(writer.read_list(index, names))
        else:
            self._is_idle = True
            await self._sleep(_AFTER_FAILURE)
            self._is_idle = False
            if not (self._stopping or self._is_due or self._lists):
                await self._offload(writer.look_again)

    async def _write(self, writer: IndexWriter) -> None:
        deleted, self._deleted = self._deleted, set()
        changed, self._changed = self._changed, {}
        serial = None if self._is_behind or self._is_comparing else self._serial
        await self._offload(writer.write, deleted, changed, serial)
        if serial is not None:
            self._stamped = serial

    def _if_there(self, steps: Iterator[None]) -> Iterator[None]:
        """Do ``steps`` as long as the file is there: a newer list may have taken its place, which is announced then."""
        try:
            yield from steps
        except FileNotFoundError:
            self._log.debug("A list of names is gone; another one is in its place")

"""Imports records one after the other: their bytes first, in several threads, then one entry for up to a hundred records.

Killed at any moment it leaves a server directory as a killed server does; run again, it passes over what is there.  Memory holds
two chunks of records and, for each thread, one megabyte of a file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

import attrs
import orjson

from twistpi.blobs.address import path_address
from twistpi.model.changes import Change
from twistpi.model.errors import BadRequest
from twistpi.model.records import KnownFile
from twistpi.model.releases import DOCZIP, TOXRESULT, Release
from twistpi.model.server_errors import BlobConflict
from twistpi.transfer.decisions import (
    Stored,
    attachment_path,
    decide_attachment,
    decide_cached,
    decide_file,
    decide_index,
    decide_release,
    decide_removal,
    decide_user,
    is_there,
    result_names,
    tested_file,
)
from twistpi.transfer.records import (
    FILE,
    FileRecord,
    IndexRecord,
    Item,
    Record,
    ReleaseRecord,
    Remark,
    RemovalRecord,
    Source,
    UserRecord,
    kind_of,
)
from twistpi.transfer.report import REFUSED, TAKEN, THERE, Report
from twistpi.transfer.target import Target
from twistpi.view.read import Reader

Outcome = tuple[Sequence[Change], Sequence[Remark]]
_MOST: Final = 100
"""Records in one entry."""
_LARGEST: Final = 1024 * 1024
"""Bytes of metadata in one entry, but for a single release that has more."""
_THREADS: Final = 8
"""Files that are stored at the same time: a file system answers several syncs at once with one write to its journal."""


@attrs.define(eq=False)
class _Pending:
    """A record whose bytes are on their way; ``stored`` gives them, or why they are not here."""

    record: FileRecord
    stored: Future[tuple[Stored, str]] | None
    """With the path of an attachment; None for a file that is there already."""
    refusal: str = ""


@attrs.define(eq=False)
class Importer:
    """Imports from a source into a target."""

    _target: Target
    report: Report
    _progress: Callable[[int], object]
    """Called with the number of records that are done."""
    _done: int = attrs.field(default=0, init=False)

    def run(self, source: Source) -> None:
        """Take everything.  Blocking.  Raise ``BadRequest`` for a source that cannot be read, and what the disk raises."""
        waiting: list[_Pending] = []
        with ThreadPoolExecutor(_THREADS, "twistpi import") as pool:
            try:
                for chunk in chunks(self._said(source.items())):
                    files = [record for record in chunk if isinstance(record, FileRecord)]
                    if not files or (waiting and waiting[0].record.kind != files[0].kind):
                        self._commit_files(waiting)  # what follows may build on them
                        waiting = []
                    if files:
                        begun = [self._begin(record, pool) for record in files]
                        self._commit_files(waiting)
                        waiting = begun
                    else:
                        self._commit(chunk, self._decide_other)
                self._commit_files(waiting)
            finally:
                pool.shutdown(cancel_futures=True)

    def _said(self, items: Iterator[Item]) -> Iterator[Record]:
        """Yield the records among ``items``, and keep the remarks."""
        for item in items:
            if not isinstance(item, Remark):
                yield item
                continue
            self.report.remark(item)
            if item.kind is not None:
                self.report.count(item.kind, REFUSED)
                self._advance(1)

    # Bytes ---------------------------------------------------------------------------------------------------------

    def _begin(self, record: FileRecord, pool: ThreadPoolExecutor) -> _Pending:
        """Begin to store the bytes of a file, unless it is there."""
        reader = self._target.reader
        try:
            index = reader.index(record.index)
            if index is None:
                raise BadRequest("its index is not here")
            if index.is_mirror and record.kind != FILE:
                raise BadRequest("it belongs to no private release")
            if (record.hashes or record.path) and self._has(reader, record, is_mirror=index.is_mirror):
                return _Pending(record, None)
            tested = None
            if record.kind == TOXRESULT:
                tested = tested_file(_holder(reader, record, record.for_filename or ""), record)
            return _Pending(record, pool.submit(self._store, record, tested))
        except BadRequest as refusal:
            return _Pending(record, None, str(refusal))

    def _has(self, reader: Reader, record: FileRecord, *, is_mirror: bool) -> bool:
        if is_mirror:
            known = [
                file for project, file in reader.files_by_filename(record.index, record.filename) if project == record.project
            ]
            return any(file.cached and file.sha256 == record.hashes.get("sha256") for file in known)
        name = record.for_filename if record.kind == TOXRESULT else record.filename
        holder = None if record.kind == DOCZIP else _holder(reader, record, name or "")
        return is_there(record, holder or _release(reader, record))

    def _store(self, record: FileRecord, tested: KnownFile | None) -> tuple[Stored, str]:
        """Store the bytes; return with them the path of an attachment.  In a thread of the pool."""
        if tested is None:
            stored = self._target.store(record, None)
            return stored, "" if record.kind == FILE else attachment_path(record, None, record.filename, stored.sha256)
        for name in result_names(record):
            path = attachment_path(record, tested, name, "")
            try:
                return self._target.store(record, path_address(path)), path
            except BlobConflict:
                continue
        raise BadRequest("too many other test results have its name")

    # Entries -------------------------------------------------------------------------------------------------------

    def _commit_files(self, waiting: Sequence[_Pending]) -> None:
        """Append an entry that names the files whose bytes are stored."""
        stored: dict[int, tuple[Stored, str]] = {}
        taken: list[Record] = []
        for pending in waiting:
            record = pending.record
            try:
                if pending.refusal:
                    raise BadRequest(pending.refusal)
                if pending.stored is None:
                    self._settle(record, THERE)
                    continue
                stored[id(record)] = pending.stored.result()
                taken.append(record)
            except (BadRequest, BlobConflict) as refusal:
                self._refuse(record, str(refusal))

        def decide(reader: Reader, record: Record) -> Outcome:
            assert isinstance(record, FileRecord)
            return self._decide_file(reader, record, *stored[id(record)]), ()

        self._commit(taken, decide)
        self.report.bytes_taken += sum(one.size for one, _path in stored.values())

    def _commit(self, records: Sequence[Record], decide_one: Callable[[Reader, Record], Outcome]) -> None:
        """Append one entry with the changes of ``records``, and count what became of each."""
        if not records:
            return
        outcomes: dict[int, Outcome | str] = {}

        def decide(reader: Reader) -> Sequence[Change]:
            changes: list[Change] = []
            for record in records:
                try:
                    outcome = decide_one(reader, record)
                except BadRequest as refusal:
                    outcomes[id(record)] = str(refusal)
                else:
                    outcomes[id(record)] = outcome
                    changes += outcome[0]
            return changes

        self._target.commit(decide)
        for record in records:
            outcome = outcomes[id(record)]
            if isinstance(outcome, str):
                self._refuse(record, outcome)
                continue
            for remark in outcome[1]:
                self.report.remark(remark)
            self._settle(record, TAKEN if outcome[0] else THERE)

    def _decide_other(self, reader: Reader, record: Record) -> Outcome:
        if isinstance(record, UserRecord):
            return decide_user(reader.user(record.name), record)
        if isinstance(record, IndexRecord):
            return decide_index(reader.index(record.name), record)
        if isinstance(record, RemovalRecord):
            return decide_removal(reader.releases(record.index, record.project), record), ()
        assert isinstance(record, ReleaseRecord)
        if reader.index(record.index) is None:
            raise BadRequest("its index is not here")
        return decide_release(_release(reader, record), record), ()

    def _decide_file(self, reader: Reader, record: FileRecord, stored: Stored, path: str) -> Sequence[Change]:
        index = reader.index(record.index)
        if index is not None and index.is_mirror:
            return decide_cached(reader.project(record.index, record.project), record, stored)
        release = _release(reader, record)
        if record.kind == FILE:
            return decide_file(release, _holder(reader, record, record.filename), record, stored)
        if record.kind == TOXRESULT:
            release = _holder(reader, record, record.for_filename or "") or release
        return decide_attachment(
            release, record, stored, path, lambda path: reader.attachment_by_path(record.index, path) is not None
        )

    def _settle(self, record: Record, outcome: str) -> None:
        self.report.count(kind_of(record), outcome)
        self._advance(1)

    def _refuse(self, record: Record, reason: str) -> None:
        self.report.remark(Remark(record.subject, reason))
        self._settle(record, REFUSED)

    def _advance(self, count: int) -> None:
        self._done += count
        self._progress(self._done)


def chunks(records: Iterator[Record]) -> Iterator[list[Record]]:
    """Yield ``records`` in groups of one kind in which nothing occurs twice, so that each can be decided by itself."""
    chunk: list[Record] = []
    subjects: set[str] = set()
    size = 0
    for record in records:
        weight = len(orjson.dumps(record.metadata)) if isinstance(record, ReleaseRecord) else 0
        is_full = len(chunk) >= _MOST or size + weight > _LARGEST
        if chunk and (is_full or kind_of(record) != kind_of(chunk[0]) or record.subject in subjects):
            yield chunk
            chunk, subjects, size = [], set(), 0
        chunk.append(record)
        subjects.add(record.subject)
        size += weight
    if chunk:
        yield chunk


def _release(reader: Reader, record: ReleaseRecord | FileRecord) -> Release | None:
    """Return the release whose version is written as in ``record``."""
    return reader.release_written(record.index, record.project, record.version)


def _holder(reader: Reader, record: FileRecord, filename: str) -> Release | None:
    return reader.release_of_file(record.index, record.project, filename)

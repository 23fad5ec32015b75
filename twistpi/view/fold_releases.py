"""The fold of private releases: uploads to stages, and removals.

A distribution of a release is a row of ``file`` and ``kept`` like those of mirrors, so that pages need not know the difference;
``uploaded`` holds the facts of uploads.  A removed file leaves its path in ``removed``: its URL is answered with 410, not 404.
"""

from __future__ import annotations

import sqlite3
from typing import Final

import attrs
import orjson

from twistpi.model.changes import Entry
from twistpi.model.records import BY_ANONYMOUS, Link
from twistpi.model.releases import (
    DOCZIP,
    AttachmentAdded,
    AttachmentRemoved,
    FileRemoved,
    FileUploaded,
    FileYanked,
    LogLine,
    ProjectMarked,
    ProjectRemoved,
    ReleaseDescribed,
    ReleaseRemoved,
)
from twistpi.rules.mirrors import file_path
from twistpi.view.rows import INSERT_FILE, Folds, entry_time, header_json, header_of, link_row, log_json, log_of, to_json

_OVERWRITE: Final = "overwrite"
_FILE_OF: Final = """
SELECT project.id, file.id, release FROM project
CROSS JOIN file ON filename = ? AND project = project.id AND replaced = 0
LEFT JOIN uploaded ON uploaded.file = file.id
WHERE index_name = ? AND name = ?
"""
"""A project, its file and the release of that, if it is private.  One look-up: evictions are half of a long history."""


class ReleaseFold:
    """Folds changes to private releases through one cursor."""

    def __init__(self, cursor: sqlite3.Cursor) -> None:
        self._execute = cursor.execute
        self.folds: Folds = {
            ReleaseDescribed: self._described,
            FileUploaded: self._uploaded,
            AttachmentAdded: self._attached,
            AttachmentRemoved: self._detached,
            FileRemoved: self._file_removed,
            ReleaseRemoved: self._release_removed,
            ProjectRemoved: self._project_removed,
            FileYanked: self._yanked,
            ProjectMarked: self._marked,
        }

    def index_deleted(self, index: str) -> None:
        """Forget all releases of an index; its projects are still there."""
        releases = "(SELECT release.id FROM release JOIN project ON project.id = release.project WHERE index_name = ?)"
        self._execute(f"DELETE FROM uploaded WHERE release IN {releases}", (index,))
        self._execute(f"DELETE FROM attachment WHERE release IN {releases}", (index,))
        self._execute("DELETE FROM release WHERE project IN (SELECT id FROM project WHERE index_name = ?)", (index,))
        self._execute("DELETE FROM removed WHERE index_name = ?", (index,))

    # Adding --------------------------------------------------------------------------------------------------------

    def _described(self, change: ReleaseDescribed, _entry: Entry) -> None:
        _, number = self._release(change.index, change.project, change.version)
        (former,) = self._execute("SELECT metadata FROM release WHERE id = ?", (number,)).fetchone()
        metadata = {**orjson.loads(former), **change.changed}
        kept = {key: value for key, value in metadata.items() if key not in change.removed}
        self._execute("UPDATE release SET metadata = ? WHERE id = ?", (to_json(kept), number))

    def _uploaded(self, change: FileUploaded, entry: Entry) -> None:
        project, release = self._release(change.index, change.project, change.version)
        link = _link(change, entry)
        overwritten = self._take_away(change.index, project, change.filename)
        number = self._execute(INSERT_FILE, link_row(project, link)).lastrowid
        self._execute(
            "INSERT INTO kept (file, sha256, size, metadata_sha256, metadata_size) VALUES (?, ?, ?, ?, ?)",
            (number, change.sha256, change.size, change.metadata_sha256, change.metadata_size),
        )
        log = _log(change, entry, overwritten)
        provenance = (change.provenance_sha256, change.provenance_size)
        self._execute("INSERT INTO uploaded VALUES (?, ?, ?, ?, ?)", (number, release, log_json(log), *provenance))
        self._execute("DELETE FROM removed WHERE index_name = ? AND path = ?", (change.index, file_path(link)))

    def _attached(self, change: AttachmentAdded, entry: Entry) -> None:
        project, release = self._release(change.index, change.project, change.version)
        overwritten: tuple[LogLine, ...] = ()
        if change.attachment == DOCZIP:
            for number, path, log in self._execute(
                "SELECT id, path, log FROM attachment WHERE release = ? AND kind = ?", (release, DOCZIP)
            ).fetchall():
                overwritten = _overwritten(log, change.index)
                self._remove_attachment(change.index, number, path)
        file = self._file(project, change.for_filename)
        log = log_json(_log(change, entry, overwritten))
        row = (release, file, change.attachment, change.filename, change.path, change.sha256, change.size, log)
        self._execute(
            "INSERT INTO attachment (release, file, kind, filename, path, sha256, size, log) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row
        )
        self._execute("DELETE FROM removed WHERE index_name = ? AND path = ?", (change.index, change.path))

    def _yanked(self, change: FileYanked, _entry: Entry) -> None:
        number = self._file(self._project(change.index, change.project), change.filename)
        yanked = None if change.yanked is False else change.yanked
        self._execute("UPDATE file SET yanked = ? WHERE id = ?", (yanked, number))

    def _marked(self, change: ProjectMarked, _entry: Entry) -> None:
        found = self._execute(
            "SELECT id, header FROM project WHERE index_name = ? AND name = ?", (change.index, change.project)
        ).fetchone()
        if found is not None:
            header = attrs.evolve(header_of(found[1]), status=change.status, status_reason=change.reason)
            self._execute("UPDATE project SET header = ? WHERE id = ?", (header_json(header), found[0]))

    # Removing ------------------------------------------------------------------------------------------------------

    def _detached(self, change: AttachmentRemoved, _entry: Entry) -> None:
        project = self._project(change.index, change.project)
        found = self._execute(
            "SELECT attachment.id, release FROM attachment JOIN release ON release.id = release"
            " WHERE attachment.path = ? AND release.project = ?",
            (change.path, project),
        ).fetchone()
        if found is not None:
            self._remove_attachment(change.index, found[0], change.path)
            self._remove_empty(project, found[1])

    def _file_removed(self, change: FileRemoved, _entry: Entry) -> None:
        found = self._execute(_FILE_OF, (change.filename, change.index, change.project)).fetchone()
        if found is None:
            return
        project, file, release = found
        if release is None:
            self._execute("DELETE FROM kept WHERE file = ?", (file,))
        else:
            self._take_away(change.index, project, change.filename)
            self._remove_empty(project, release)

    def _release_removed(self, change: ReleaseRemoved, _entry: Entry) -> None:
        project = self._project(change.index, change.project)
        release = self._id("SELECT id FROM release WHERE project = ? AND version = ?", project, change.version)
        if release is not None:
            self._remove_release(change.index, project, release)
            self._remove_project_if_empty(project)

    def _project_removed(self, change: ProjectRemoved, _entry: Entry) -> None:
        project = self._project(change.index, change.project)
        for (release,) in self._execute("SELECT id FROM release WHERE project = ?", (project,)).fetchall():
            self._remove_release(change.index, project, release)
        self._execute("DELETE FROM kept WHERE file IN (SELECT id FROM file WHERE project = ?)", (project,))
        self._execute("DELETE FROM file WHERE project = ?", (project,))
        self._execute("DELETE FROM freshness WHERE index_name = ? AND project = ?", (change.index, change.project))
        self._remove_project(project)

    def _remove_release(self, index: str, project: int | None, release: int) -> None:
        for (filename,) in self._execute(
            "SELECT filename FROM file WHERE id IN (SELECT file FROM uploaded WHERE release = ?)", (release,)
        ).fetchall():
            self._take_away(index, project, filename)
        for number, path in self._execute("SELECT id, path FROM attachment WHERE release = ?", (release,)).fetchall():
            self._remove_attachment(index, number, path)
        self._forget_release(project, release)

    def _remove_empty(self, project: int | None, release: int) -> None:
        """Remove ``release`` if it has no files, and then ``project`` if it has no releases."""
        used = "SELECT 1 FROM uploaded WHERE release = ?1 UNION ALL SELECT 1 FROM attachment WHERE release = ?1"
        if self._id(used, release) is None:
            self._forget_release(project, release)
            self._remove_project_if_empty(project)

    def _forget_release(self, project: int | None, release: int) -> None:
        version = "(SELECT version FROM release WHERE id = ?)"
        self._execute(f"DELETE FROM version WHERE project = ? AND version = {version}", (project, release))
        self._execute("DELETE FROM release WHERE id = ?", (release,))

    def _remove_project_if_empty(self, project: int | None) -> None:
        used = "SELECT 1 FROM release WHERE project = ?1 UNION ALL SELECT 1 FROM file WHERE project = ?1"
        if self._id(used, project) is None:
            self._remove_project(project)

    def _remove_project(self, project: int | None) -> None:
        self._execute("DELETE FROM version WHERE project = ?", (project,))
        self._execute("DELETE FROM project WHERE id = ?", (project,))

    def _take_away(self, index: str, project: int | None, filename: str) -> tuple[LogLine, ...]:
        """Remove a distribution with its test results; return the first lines of the log of a successor."""
        found = self._execute(
            "SELECT file.id, link_sha256, uploaded.log FROM file LEFT JOIN uploaded ON uploaded.file = file.id"
            " WHERE filename = ? AND project = ? AND replaced = 0",
            (filename, project),
        ).fetchone()
        if found is None:
            return ()
        number, sha256, log = found
        for attachment, path in self._execute("SELECT id, path FROM attachment WHERE file = ?", (number,)).fetchall():
            self._remove_attachment(index, attachment, path)
        for table, column in (("file", "id"), ("kept", "file"), ("uploaded", "file")):
            self._execute(f"DELETE FROM {table} WHERE {column} = ?", (number,))
        if log is None:  # a mirror's
            return ()
        path = file_path(Link(filename, "", {"sha256": sha256}))
        self._execute("INSERT OR IGNORE INTO removed VALUES (?, ?)", (index, path))
        return _overwritten(log, index)

    def _remove_attachment(self, index: str, number: int, path: str) -> None:
        self._execute("DELETE FROM attachment WHERE id = ?", (number,))
        self._execute("INSERT OR IGNORE INTO removed VALUES (?, ?)", (index, path))

    # Finding -------------------------------------------------------------------------------------------------------

    def _id(self, query: str, *values: object) -> int | None:
        """The first column of the first row, or None."""
        row = self._execute(query, values).fetchone()
        return None if row is None else int(row[0])

    def _project(self, index: str, name: str) -> int | None:
        return self._id("SELECT id FROM project WHERE index_name = ? AND name = ?", index, name)

    def _file(self, project: int | None, filename: str | None) -> int | None:
        return self._id("SELECT id FROM file WHERE filename = ? AND project = ? AND replaced = 0", filename, project)

    def _release(self, index: str, name: str, version: str) -> tuple[int, int]:
        """The ids of a project and of its release, which are made when they are missing."""
        self._execute("INSERT OR IGNORE INTO project (index_name, name) VALUES (?, ?)", (index, name))
        project = self._project(index, name) or 0
        self._execute("INSERT OR IGNORE INTO release (project, version, metadata) VALUES (?, ?, '{}')", (project, version))
        self._execute("INSERT OR IGNORE INTO version VALUES (?, ?)", (project, version))
        return project, self._id("SELECT id FROM release WHERE project = ? AND version = ?", project, version) or 0


def _link(change: FileUploaded, entry: Entry) -> Link:
    """The link of an uploaded file; it has no URL at an upstream."""
    return Link(
        change.filename,
        "",
        {**change.hashes, "sha256": change.sha256},
        change.size,
        change.requires_python,
        change.uploaded_at or entry.at,
        change.yanked,
        None if change.metadata_sha256 is None else {"sha256": change.metadata_sha256},
    )


def _log(change: FileUploaded | AttachmentAdded, entry: Entry, overwritten: tuple[LogLine, ...]) -> tuple[LogLine, ...]:
    """The log of a new file: overwriting first, then its former log, then the present action; that of an import as it is."""
    if change.log and change.pushed_from is None:
        return change.log
    now = entry_time(entry)
    counted = tuple(attrs.evolve(line, when=now, dst=change.index, count=(line.count or 0) + 1) for line in overwritten[:1])
    former = tuple(line for line in change.log if line.what != _OVERWRITE)
    what = "upload" if change.pushed_from is None else "push"
    who = None if entry.by == BY_ANONYMOUS else entry.by
    return (*counted, *former, LogLine(what, who, now, change.index, change.pushed_from))


def _overwritten(log: str, index: str) -> tuple[LogLine, ...]:
    """The first lines of the log of a file that overwrites one with ``log``, not counted up yet."""
    lines = tuple(line for line in log_of(log) if line.what == _OVERWRITE)
    return lines or (LogLine(_OVERWRITE, None, "", index, count=0),)

"""Queries about private releases."""

from __future__ import annotations

import sqlite3

import orjson

from twistpi.model.releases import DOCZIP, Attachment, Release, UploadedFile
from twistpi.view.rows import FILE_COLUMNS, Row, known_files, log_of

_PROJECT = "(SELECT id FROM project WHERE index_name = ? AND name = ?)"
_ATTACHMENT = "attachment.kind, attachment.filename, attachment.path, attachment.sha256, attachment.size, attachment.log"


class ReleaseReader:
    """The part of ``Reader`` for private releases."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._execute = connection.execute

    def release(self, index: str, project: str, version: str) -> Release | None:
        """One release of a private project, or None; ``version`` as it was uploaded."""
        row = self._execute(
            f"SELECT id, version, metadata FROM release WHERE project = {_PROJECT} AND version = ?", (index, project, version)
        ).fetchone()
        return None if row is None else self._release(index, project, row)

    def releases(self, index: str, project: str) -> list[Release]:
        """Every release of a private project, oldest first."""
        rows = self._execute(
            f"SELECT id, version, metadata FROM release WHERE project = {_PROJECT} ORDER BY id", (index, project)
        ).fetchall()
        return [self._release(index, project, row) for row in rows]

    def release_of_file(self, index: str, project: str, filename: str) -> Release | None:
        """The release of a private project that has a distribution called ``filename``, or None."""
        row = self._execute(
            "SELECT id, version, metadata FROM release WHERE id ="
            " (SELECT uploaded.release FROM file JOIN uploaded ON uploaded.file = file.id"
            f" WHERE filename = ? AND file.project = {_PROJECT})",
            (filename, index, project),
        ).fetchone()
        return None if row is None else self._release(index, project, row)

    def attested_files(self, index: str, project: str) -> list[str]:
        """The names of the distributions of a private project that have a provenance object."""
        rows = self._execute(
            "SELECT filename FROM file JOIN uploaded ON uploaded.file = file.id"
            f" WHERE file.project = {_PROJECT} AND provenance_sha256 IS NOT NULL",
            (index, project),
        )
        return [filename for (filename,) in rows]

    def docs(self, index: str, project: str) -> list[tuple[str, Attachment]]:
        """The versions of a private project that have documentation, with it, oldest first."""
        rows = self._execute(
            f"SELECT release.version, {_ATTACHMENT}, NULL FROM attachment JOIN release ON release.id = attachment.release"
            f" WHERE attachment.kind = ? AND release.project = {_PROJECT} ORDER BY attachment.id",
            (DOCZIP, index, project),
        )
        return [(version, _attachment(tuple(rest))) for version, *rest in rows]

    def attachment_by_path(self, index: str, path: str) -> tuple[str, str, Attachment] | None:
        """Project, version and the test result or documentation to which ``path`` below ``index`` leads, or None."""
        row = self._execute(
            f"SELECT project.name, release.version, {_ATTACHMENT}, file.filename"
            " FROM attachment JOIN release ON release.id = attachment.release JOIN project ON project.id = release.project"
            " LEFT JOIN file ON file.id = attachment.file WHERE attachment.path = ? AND project.index_name = ?",
            (path, index),
        ).fetchone()
        return None if row is None else (row[0], row[1], _attachment(row[2:]))

    def was_removed(self, index: str, path: str) -> bool:
        """Whether ``path`` below ``index`` led to something that was removed or overwritten since."""
        return self._execute("SELECT 1 FROM removed WHERE index_name = ? AND path = ?", (index, path)).fetchone() is not None

    def removed_paths(self, index: str, filename: str) -> list[str]:
        """The paths below ``index`` that led to something called ``filename`` and lead nowhere now."""
        tail = f"/{filename}"
        rows = self._execute("SELECT path FROM removed WHERE index_name = ? AND substr(path, ?) = ?", (index, -len(tail), tail))
        return [path for (path,) in rows]

    def _release(self, index: str, project: str, row: Row) -> Release:
        number, version, metadata = row
        files = self._execute(
            f"SELECT uploaded.log, provenance_sha256, provenance_size, {FILE_COLUMNS}"
            " FROM uploaded JOIN file ON file.id = uploaded.file"
            " LEFT JOIN kept ON kept.file = file.id WHERE uploaded.release = ? ORDER BY file.id",
            (number,),
        )
        attachments = self._execute(
            f"SELECT {_ATTACHMENT}, file.filename FROM attachment LEFT JOIN file ON file.id = attachment.file"
            " WHERE attachment.release = ? ORDER BY attachment.id",
            (number,),
        )
        return Release(
            index,
            project,
            version,
            orjson.loads(metadata),
            tuple(
                UploadedFile(known, log_of(log), provenance, provenance_size)
                for log, provenance, provenance_size, *rest in files
                for known in known_files([tuple(rest)])
            ),
            tuple(map(_attachment, attachments)),
        )


def _attachment(row: Row) -> Attachment:
    kind, filename, path, sha256, size, log, for_filename = row
    return Attachment(kind, filename, path, sha256, size, log_of(log), for_filename)

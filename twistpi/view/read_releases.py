"""Queries about private releases, and about the blobs that files, attachments and provenance objects name."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from typing import Final

import attrs
import orjson

from twistpi.model.changes import ADVISORY_SET
from twistpi.model.names import find_version, project_of_filename
from twistpi.model.records import Json, KnownFile
from twistpi.model.releases import DOCZIP, TOXRESULT, Attachment, Release, UploadedFile
from twistpi.view.rows import FILE_COLUMNS, Row, known_files, log_of

_PROJECT = "(SELECT id FROM project WHERE index_name = ? AND name = ?)"
_ATTACHMENT = "attachment.kind, attachment.filename, attachment.path, attachment.sha256, attachment.size, attachment.log"
_METADATA: Final = ".metadata"
_PROVENANCE: Final = ".provenance"

Mark = tuple[int, int]
"""A stage of ``named_blobs`` and the last id read in it."""
BEGINNING: Final[Mark] = (0, 0)

_OWNER: Final = "JOIN project ON project.id = file.project"
_FILE: Final = "filename, link_sha256, kept.sha256, kept.size, metadata_sha256, metadata_size"
_UPLOADED: Final = (
    f"SELECT file.id, index_name, {_FILE}, provenance_sha256, provenance_size"
    " FROM uploaded CROSS JOIN file ON file.id = uploaded.file"
    f" LEFT JOIN kept ON kept.file = file.id {_OWNER} WHERE uploaded.file > ? ORDER BY uploaded.file LIMIT ?"
)
_ATTACHED: Final = (
    "SELECT attachment.id, index_name, path, sha256, size FROM attachment JOIN release ON release.id = attachment.release"
    " JOIN project ON project.id = release.project WHERE attachment.id > ? ORDER BY attachment.id LIMIT ?"
)
_MIRRORED: Final = (
    f"SELECT file.id, index_name, {_FILE}, NULL, NULL FROM kept CROSS JOIN file ON file.id = kept.file {_OWNER}"
    " WHERE kept.file > ? AND NOT EXISTS (SELECT 1 FROM uploaded WHERE uploaded.file = kept.file) ORDER BY kept.file LIMIT ?"
)
_OF_SERVER: Final = (
    f"SELECT id, '', '{ADVISORY_SET}', NULL, sha256, size, NULL, NULL FROM advisory_set WHERE id > ? ORDER BY id LIMIT ?"
)
_STAGES: Final = (_UPLOADED, _ATTACHED, _MIRRORED, _OF_SERVER)


@attrs.frozen
class KeptBlob:
    """A blob that some file of the view needs."""

    digits: str
    """The 16 hexadecimal digits in its path."""
    filename: str
    """``NAME``, ``NAME.metadata`` for core metadata, or ``NAME.provenance``."""
    sha256: str
    size: int
    """Bytes."""


@attrs.frozen
class NamedBlob:
    """A blob of one index, or of the server."""

    index: str
    """``user/name``; empty for the set of advisories."""
    is_private: bool
    """Whether it was uploaded: only the primary has it."""
    blob: KeptBlob


class ReleaseReader:
    """The part of ``Reader`` for private releases and for blobs."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._execute = connection.execute

    def release(self, index: str, project: str, version: str) -> Release | None:
        """The release of a private project with this ``version``, in any spelling, or None."""
        row = self._release_row(index, project, version)
        return None if row is None else self._release(index, project, row)

    def release_metadata(self, index: str, project: str, version: str) -> Mapping[str, Json] | None:
        """The metadata of the same release, or None; cheaper where that has many files."""
        row = self._release_row(index, project, version)
        return None if row is None else orjson.loads(row[2])

    def _release_row(self, index: str, project: str, version: str) -> Row | None:
        rows = self._execute(f"SELECT version, id FROM release WHERE project = {_PROJECT} ORDER BY id", (index, project))
        numbers = dict(rows.fetchall())
        spelled = find_version(version, numbers)
        if spelled is None:
            return None
        query = "SELECT id, version, metadata FROM release WHERE id = ?"
        row: Row | None = self._execute(query, (numbers[spelled],)).fetchone()
        return row  # None if it was removed between the two statements

    def release_written(self, index: str, project: str, version: str) -> Release | None:
        """The release of a private project whose version is written as ``version``, or None; one look-up."""
        query = f"SELECT id, version, metadata FROM release WHERE project = {_PROJECT} AND version = ?"
        row = self._execute(query, (index, project, version)).fetchone()
        return None if row is None else self._release(index, project, row)

    def releases(self, index: str, project: str) -> list[Release]:
        """Every release of a private project, oldest first."""
        rows = self._execute(
            f"SELECT id, version, metadata FROM release WHERE project = {_PROJECT} ORDER BY id", (index, project)
        ).fetchall()
        return [self._release(index, project, row) for row in rows]

    def release_versions(self, index: str, project: str) -> list[str]:
        """The versions of the releases of a private project, oldest first."""
        rows = self._execute(f"SELECT version FROM release WHERE project = {_PROJECT} ORDER BY id", (index, project))
        return [version for (version,) in rows]

    def listed_versions(self, index: str, project: str) -> list[str]:
        """The versions that the page of ``project`` names, those without files included."""
        return [
            version for (version,) in self._execute(f"SELECT version FROM version WHERE project = {_PROJECT}", (index, project))
        ]

    def files_here(self, index: str, project: str) -> list[KnownFile]:
        """The files of ``project`` that are cached, or whose core metadata is, in the order of their first listing."""
        rows = self._execute(
            f"SELECT {FILE_COLUMNS} FROM file CROSS JOIN kept ON kept.file = file.id"
            f" WHERE project = {_PROJECT} AND replaced = 0 AND (sha256 IS NOT NULL OR metadata_sha256 IS NOT NULL) ORDER BY id",
            (index, project),
        )
        return list(known_files(rows))

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

    def toxresults_size(self, index: str) -> int:
        """Bytes that the test results of an index take on the disk, at least 4 KiB each."""
        (size,) = self._execute(
            "SELECT total(max(attachment.size, 4096)) FROM project JOIN release ON release.project = project.id"
            " JOIN attachment ON attachment.release = release.id WHERE project.index_name = ? AND attachment.kind = ?",
            (index, TOXRESULT),
        ).fetchone()
        return int(size)

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

    def had_project(self, index: str, project: str) -> bool:
        """Whether a file of ``project`` was removed from ``index``."""
        rows = self._execute("SELECT path FROM removed WHERE index_name = ?", (index,))
        return any(project_of_filename(path.rpartition("/")[2]) == project for (path,) in rows)

    def removed_paths(self, index: str, filename: str) -> list[str]:
        """The paths below ``index`` that led to something called ``filename`` and lead nowhere now."""
        tail = f"/{filename}"
        rows = self._execute("SELECT path FROM removed WHERE index_name = ? AND substr(path, ?) = ?", (index, -len(tail), tail))
        return [path for (path,) in rows]

    def count_files(self) -> int:
        """How many distributions, test results, documentation and sets of advisories are here."""
        others = "(SELECT count(*) FROM attachment) + (SELECT count(*) FROM advisory_set)"
        counted = f"SELECT (SELECT count(*) FROM kept WHERE sha256 IS NOT NULL) + {others}"
        return int(self._execute(counted).fetchone()[0])

    def named_blobs(self, after: Mark, limit: int) -> tuple[list[NamedBlob], Mark | None]:
        """The next blobs that the view says are here, after a mark, once for each index that holds one: uploaded ones first.

        ``after`` is ``BEGINNING`` or the mark returned before; ``limit`` is how many rows are read.  The mark is None at the end.
        """
        stage, last = after
        rows = self._execute(_STAGES[stage], (last, limit)).fetchall()
        is_private = _STAGES[stage] in (_UPLOADED, _ATTACHED)
        found: list[NamedBlob] = []
        for _, index, *row in rows:
            blobs = [_attached_blob(*row)] if _STAGES[stage] is _ATTACHED else _blobs_of_file(*row)
            found += [NamedBlob(index, is_private, blob) for blob in blobs]
        if len(rows) == limit:
            return found, (stage, rows[-1][0])
        return found, (stage + 1, 0) if stage + 1 < len(_STAGES) else None

    def kept_blob(self, digits: str, filename: str) -> KeptBlob | None:
        """The blob of ``named_blobs`` with these ``digits`` and this ``filename``, or None; a few look-ups."""
        for columns, source, values in _ways_to(digits, filename):
            row = self._execute(f"SELECT {columns} {source}", values).fetchone()
            if row is not None:
                return KeptBlob(digits, filename, *row)
        return None

    def mirrors_with(self, filename: str) -> list[str]:
        """The indexes for which a file called ``filename`` was mirrored, or its core metadata; a few look-ups."""
        rows = self._execute(
            f"SELECT DISTINCT index_name FROM file CROSS JOIN kept ON kept.file = file.id {_OWNER} WHERE filename = ?"
            " AND NOT EXISTS (SELECT 1 FROM uploaded WHERE uploaded.file = file.id) ORDER BY index_name",
            (filename,),
        )
        return [index for (index,) in rows]

    def lists_blob(self, digits: str, filename: str) -> bool:
        """Whether a mirror lists a file with these ``digits`` and this ``filename``, or one whose core metadata is called so."""
        listed = "SELECT 1 FROM file WHERE filename = ? AND substr(link_sha256, 1, 16) = ?"
        names = {filename, filename.removesuffix(_METADATA)}
        return any(self._execute(listed, (name, digits)).fetchone() is not None for name in names)

    def names_blob(self, digits: str, filename: str) -> bool:
        """Whether ``named_blobs`` has a blob with these ``digits`` and this ``filename``; a few look-ups."""
        return self.kept_blob(digits, filename) is not None

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


def _ways_to(digits: str, filename: str) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """The queries that may find a blob: columns of its digest and size, FROM clause, and values."""
    kept = "FROM file CROSS JOIN kept ON kept.file = file.id WHERE filename = ? AND"
    yield "kept.sha256, kept.size", f"{kept} substr(sha256, 1, 16) = ?", (filename, digits)
    yield "sha256, size", "FROM attachment WHERE path = ?", (f"+f/{digits[:3]}/{digits[3:]}/{filename}",)
    if filename == ADVISORY_SET:
        yield "sha256, size", "FROM advisory_set WHERE substr(sha256, 1, 16) = ?", (digits,)
    if filename.endswith(_METADATA):
        theirs = "metadata_sha256 IS NOT NULL AND substr(coalesce(link_sha256, metadata_sha256), 1, 16) = ?"
        yield "metadata_sha256, metadata_size", f"{kept} {theirs}", (filename.removesuffix(_METADATA), digits)
    if filename.endswith(_PROVENANCE):
        uploaded = "FROM file CROSS JOIN uploaded ON uploaded.file = file.id WHERE filename = ?"
        theirs = f"{uploaded} AND substr(provenance_sha256, 1, 16) = ?"
        yield "provenance_sha256, provenance_size", theirs, (filename.removesuffix(_PROVENANCE), digits)


def _blobs_of_file(
    filename: str,
    link_sha256: str | None,
    sha256: str | None,
    size: int,
    metadata_sha256: str | None,
    metadata_size: int,
    provenance_sha256: str | None = None,
    provenance_size: int = 0,
) -> Iterator[KeptBlob]:
    """The blobs of one file."""
    if sha256 is not None:
        yield KeptBlob(sha256[:16], filename, sha256, size)
    if metadata_sha256 is not None:
        yield KeptBlob((link_sha256 or metadata_sha256)[:16], f"{filename}{_METADATA}", metadata_sha256, metadata_size)
    if provenance_sha256 is not None:
        yield KeptBlob(provenance_sha256[:16], f"{filename}{_PROVENANCE}", provenance_sha256, provenance_size)


def _attached_blob(path: str, sha256: str, size: int) -> KeptBlob:
    _, three, thirteen, filename = path.split("/")
    return KeptBlob(three + thirteen, filename, sha256, size)

"""Queries about whole indexes, for pages that people read: counts, lists of projects, the latest uploads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

import attrs
import orjson

from twistpi.model.releases import LogLine
from twistpi.rules.attachments import preferred_version
from twistpi.view.read_releases import ReleaseReader
from twistpi.view.rows import log_of

_LONGEST_SUMMARY: Final = 500
"""Characters."""

Order = Literal["name", "newest"]


@attrs.frozen
class Upload:
    """A distribution that was uploaded, or pushed, to a private index."""

    index: str
    project: str
    version: str
    filename: str
    log: tuple[LogLine, ...]
    """Its history; the last line is the newest."""


@attrs.frozen
class ProjectSummary:
    """A project of an index in one line."""

    name: str
    version: str | None
    """Its newest version, pre-releases only where there is no other; None where there is none."""
    summary: str
    """Of the newest version; empty for mirrored projects."""
    files: int
    """How many are listed; of a mirror, how many are stored here."""
    uploaded: str | None
    """When its last file was uploaded, in UTC (``2026-11-22T17:24:48Z``); None for mirrored projects."""


class OverviewReader(ReleaseReader):
    """The part of ``Reader`` for overviews."""

    def project_counts(self) -> dict[str, int]:
        """Index -> the number of projects it knows."""
        return dict(self._execute("SELECT index_name, count(*) FROM project GROUP BY index_name").fetchall())

    def uploads(self) -> Iterator[Upload]:
        """Every uploaded file, the last one first; read as far as the caller iterates."""
        rows = self._execute(
            "SELECT project.index_name, project.name, release.version, file.filename, uploaded.log FROM uploaded"
            " CROSS JOIN file ON file.id = uploaded.file CROSS JOIN release ON release.id = uploaded.release"
            " CROSS JOIN project ON project.id = release.project ORDER BY uploaded.file DESC"
        )
        for index, project, version, filename, log in rows:
            yield Upload(index, project, version, filename, log_of(log))

    def count_projects(self, index: str, containing: str, *, stored: bool) -> int:
        """How many projects of ``index`` have ``containing`` in their normalised names; with ``stored`` those with files here."""
        matching = f"SELECT count(*) FROM project WHERE {_MATCHING}{_STORED if stored else ''}"
        return int(self._execute(matching, (index, containing)).fetchone()[0])

    def list_projects(
        self, index: str, containing: str, order: Order, limit: int, offset: int, *, stored: bool
    ) -> list[ProjectSummary]:
        """A page of the same projects: by name, or those with the newest file first."""
        ordered = "name" if order == "name" else "(SELECT max(id) FROM file WHERE project = project.id) DESC"
        rows = self._execute(
            f"SELECT id, name FROM project WHERE {_MATCHING}{_STORED if stored else ''} ORDER BY {ordered} LIMIT ? OFFSET ?",
            (index, containing, limit, offset),
        ).fetchall()
        return [self._summary(number, name, stored=stored) for number, name in rows]

    def _summary(self, project: int, name: str, *, stored: bool) -> ProjectSummary:
        if stored:
            statement = "SELECT count(*) FROM file JOIN kept ON kept.file = file.id WHERE project = ? AND sha256 IS NOT NULL"
            (files,) = self._execute(statement, (project,)).fetchone()
            versions = [version for (version,) in self._execute("SELECT version FROM version WHERE project = ?", (project,))]
            return ProjectSummary(name, preferred_version(versions), "", files, None)
        versions = [version for (version,) in self._execute("SELECT version FROM release WHERE project = ?", (project,))]
        newest = preferred_version(versions)
        row = self._execute("SELECT metadata FROM release WHERE project = ? AND version = ?", (project, newest)).fetchone()
        described: dict[str, object] = {} if row is None else orjson.loads(row[0])
        files, last = self._execute(
            "SELECT count(*), max(uploaded.file) FROM uploaded JOIN release ON release.id = uploaded.release"
            " WHERE release.project = ?",
            (project,),
        ).fetchone()
        row = self._execute("SELECT log FROM uploaded WHERE file = ?", (last,)).fetchone()
        log = () if row is None else log_of(row[0])
        summary = str(described.get("summary") or "")[:_LONGEST_SUMMARY]
        return ProjectSummary(name, newest, summary, files, log[-1].when if log else None)


_MATCHING: Final = "index_name = ? AND instr(name, ?) AND vanished = 0"
_STORED: Final = (
    " AND EXISTS (SELECT 1 FROM file JOIN kept ON kept.file = file.id"
    " WHERE file.project = project.id AND kept.sha256 IS NOT NULL AND replaced = 0)"
)

"""Queries about where a project is, which of its files are here, and which releases require it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import attrs
import orjson

from twistpi.view.read_sizes import SizeReader

_REQUIRED: Final = "json_extract(metadata, '$.requires_dist')"
_REQUIRING: Final = (
    f"SELECT index_name, name, version, {_REQUIRED} FROM release CROSS JOIN project ON project.id = release.project"
    f" WHERE {_REQUIRED} LIKE ? ORDER BY index_name, name, release.id"
)


@attrs.frozen
class RequiringRelease:
    """A release of a private index, with all that it requires."""

    index: str
    project: str
    version: str
    required: tuple[str, ...]
    """As its core metadata has it."""


@attrs.frozen
class StoredFile:
    """A file of an index whose bytes are here."""

    index: str
    filename: str
    sha256: str
    is_mirrored: bool
    """Whether a mirror cached it; else it was uploaded."""


class UsesReader(SizeReader):
    """The part of ``Reader`` for the use of projects."""

    def project_names(self) -> list[str]:
        """The names of the projects that any index knows, each once, sorted."""
        return [name for (name,) in self._execute("SELECT DISTINCT name FROM project ORDER BY name")]

    def stored_files(self, project: str) -> list[StoredFile]:
        """The files of ``project`` (normalised) whose bytes are here, by index; also those that another took the place of."""
        rows = self._execute(
            "SELECT index_name, filename, kept.sha256, NOT EXISTS (SELECT 1 FROM uploaded WHERE uploaded.file = file.id)"
            " FROM package_index CROSS JOIN project ON project.index_name = package_index.name"
            " CROSS JOIN file ON file.project = project.id CROSS JOIN kept ON kept.file = file.id"
            " WHERE project.name = ? AND kept.sha256 IS NOT NULL ORDER BY index_name, file.id",
            (project,),
        )
        return [StoredFile(index, filename, sha256, is_mirrored == 1) for index, filename, sha256, is_mirrored in rows]

    def is_mirrored(self, filename: str, sha256: str) -> bool:
        """Whether a mirror lists, or once listed, the file ``filename`` with this SHA-256."""
        rows = self._execute(
            "SELECT 1 FROM file WHERE filename = ? AND link_sha256 = ?"
            " AND NOT EXISTS (SELECT 1 FROM uploaded WHERE uploaded.file = file.id) LIMIT 1",
            (filename, sha256),
        )
        return rows.fetchone() is not None

    def indexes_with_project(self, project: str) -> list[str]:
        """The indexes that know ``project`` (normalised), by name; also where it vanished."""
        rows = self._execute(
            "SELECT package_index.name FROM package_index CROSS JOIN project ON project.index_name = package_index.name"
            " WHERE project.name = ? ORDER BY package_index.name",
            (project,),
        )
        return [name for (name,) in rows]

    def releases_that_may_require(self, project: str) -> Iterator[RequiringRelease]:
        """The releases of private indexes in whose requirements the name of ``project`` occurs, perhaps as a part of another.

        It reads the metadata of all releases: a second for 100,000.
        """
        spelled_anyhow = f"%{project.replace('-', '%')}%"  # a normalised name has no character that means something here
        for index, name, version, required in self._execute(_REQUIRING, (spelled_anyhow,)):
            texts = orjson.loads(required) if required.startswith("[") else [required]
            yield RequiringRelease(index, name, version, tuple(text for text in texts if isinstance(text, str)))

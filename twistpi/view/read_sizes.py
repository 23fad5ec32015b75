"""Queries about the room that files take: what mirrors cached, and where all bytes are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import attrs

from twistpi.model.releases import DOCZIP
from twistpi.rules.eviction import CachedFile
from twistpi.view.read_overview import OverviewReader

_NOT_UPLOADED: Final = "NOT EXISTS (SELECT 1 FROM uploaded WHERE uploaded.file = kept.file)"
_IS_RELEASED: Final = (
    "EXISTS (SELECT 1 FROM file AS own CROSS JOIN uploaded ON uploaded.file = own.id CROSS JOIN kept AS bytes"
    " ON bytes.file = own.id WHERE own.filename = file.filename AND bytes.sha256 = kept.sha256)"
)
"""Whether a release of a private index has the same file."""
_CACHED: Final = (
    "SELECT file.id, index_name, project.name, filename, kept.sha256, coalesce(size, 0) + coalesce(metadata_size, 0),"
    f" gone = 0 AND replaced = 0 AND vanished = 0 AND NOT {_IS_RELEASED}"
    " FROM kept CROSS JOIN file ON file.id = kept.file CROSS JOIN project ON project.id = file.project"
    f" WHERE sha256 IS NOT NULL AND {_NOT_UPLOADED} AND "
)

_FILE_SIZES: Final = (
    "SELECT project, count(sha256), total(size), total(metadata_size) FROM file INDEXED BY file_by_project"
    " CROSS JOIN kept ON kept.file = file.id GROUP BY project"
)
"""Without a look at the table of files, whose rows are long."""
_SHARED: Final = (
    "SELECT max(size), group_concat(index_name) FROM"
    " (SELECT filename AS twice FROM file GROUP BY filename HAVING count(*) > 1) CROSS JOIN file ON filename = twice"
    " CROSS JOIN kept ON kept.file = file.id CROSS JOIN project ON project.id = file.project"
    " WHERE sha256 IS NOT NULL GROUP BY filename, sha256 HAVING count(*) > 1"
)


@attrs.define
class ProjectSize:
    """The bytes that a project of an index takes."""

    index: str
    project: str
    files: int = 0
    """How many distributions are here."""
    distributions: int = 0
    """Bytes of them."""
    metadata: int = 0
    """Bytes of core metadata and provenance objects."""
    results: int = 0
    """Bytes of test results."""
    documentation: int = 0

    @property
    def total(self) -> int:
        """All bytes."""
        return self.distributions + self.metadata + self.results + self.documentation


@attrs.frozen
class SharedFiles:
    """Files that several indexes have, and that are stored once."""

    indexes: tuple[str, ...]
    files: int
    size: int
    """Bytes that are not stored because of that."""


class SizeReader(OverviewReader):
    """The part of ``Reader`` for the room that files take."""

    def cached_files(self, after: int, limit: int) -> list[CachedFile]:
        """The next files whose bytes mirrors have, after the one with the number ``after``; 0 for the first."""
        rows = self._execute(f"{_CACHED} kept.file > ? ORDER BY kept.file LIMIT ?", (after, limit))
        return [_cached_file(*row) for row in rows]

    def still_cached(self, numbers: Sequence[int]) -> list[CachedFile]:
        """Those of the files with these ``numbers`` whose bytes mirrors have."""
        statement = f"{_CACHED} kept.file = ?"
        return [_cached_file(*row) for number in numbers for row in self._execute(statement, (number,))]

    def cached_bytes(self) -> Mapping[str, int]:
        """Index -> the bytes of the files that it cached, with their core metadata; reads all of them."""
        rows = self._execute(
            "SELECT index_name, total(coalesce(size, 0) + coalesce(metadata_size, 0)) FROM kept"
            " CROSS JOIN file ON file.id = kept.file CROSS JOIN project ON project.id = file.project"
            f" WHERE sha256 IS NOT NULL AND {_NOT_UPLOADED} GROUP BY index_name"
        )
        return {index: int(size) for index, size in rows}

    def project_sizes(self) -> list[ProjectSize]:
        """The projects that take room, by index and name; a file counts for every index that has it."""
        names = {number: (index, name) for number, index, name in self._execute("SELECT id, index_name, name FROM project")}
        found: dict[int, ProjectSize] = {}

        def size_of(number: int) -> ProjectSize:
            return found.setdefault(number, ProjectSize(*names[number]))

        for number, files, size, metadata in self._execute(_FILE_SIZES):
            one = size_of(number)
            one.files, one.distributions, one.metadata = files, int(size), int(metadata)
        owner = "JOIN release ON release.id = release GROUP BY project"
        for number, size in self._execute(f"SELECT project, total(provenance_size) FROM uploaded {owner}"):
            size_of(number).metadata += int(size)
        for number, kind, size in self._execute(f"SELECT project, kind, total(size) FROM attachment {owner}, kind"):
            if kind == DOCZIP:
                size_of(number).documentation += int(size)
            else:
                size_of(number).results += int(size)
        return sorted((one for one in found.values() if one.total), key=lambda one: (one.index, one.project))

    def shared_files(self) -> list[SharedFiles]:
        """The distributions that several indexes have, by these indexes."""
        sums: dict[tuple[str, ...], tuple[int, int]] = {}
        for size, indexes in self._execute(_SHARED):
            names = indexes.split(",")
            files, saved = sums.get(key := tuple(sorted(set(names))), (0, 0))
            sums[key] = files + 1, saved + size * (len(names) - 1)
        return [SharedFiles(indexes, *sums[indexes]) for indexes in sorted(sums)]


def _cached_file(number: int, index: str, project: str, filename: str, sha256: str, size: int, replaceable: int) -> CachedFile:
    return CachedFile(number, index, project, filename, sha256, size, replaceable == 1)

"""The fold of many entries at once, for logs of millions: what ``Fold`` does one after the other, in a third of the time.

Nearly all entries of a long log say that a project is new, or that a file or its metadata is here, or not any more.  Such changes
become rows straight from their JSON, and the rows of several hundred entries are written together.  Every other change is left to
``Fold``, after what was gathered before it is written.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Final

from twistpi.model.changes import Entry
from twistpi.model.codec import decode_change, read_content
from twistpi.model.records import Json, Link, PageHeader
from twistpi.model.server_errors import MalformedChange
from twistpi.view.fold import KEEP_FILE, KEEP_METADATA, NEW_PROJECT, Fold
from twistpi.view.insert import insert_files, insert_versions
from twistpi.view.rows import Row, header_json, link_row, to_json

_Fields = dict[str, Json]
_Name = tuple[str, str]
"""Index and project."""

_OF_NAME: Final = "filename = ? AND project = ?"
_KEEP_FILE: Final = KEEP_FILE.format(f"{_OF_NAME} AND (link_sha256 = ? OR link_sha256 IS NULL AND replaced = 0)")
_KEEP_METADATA: Final = KEEP_METADATA.format(f"{_OF_NAME} AND replaced = 0")
_EVICT: Final = f"DELETE FROM kept WHERE file = (SELECT id FROM file WHERE {_OF_NAME} AND replaced = 0)"
_FIND: Final = """
SELECT id, EXISTS (SELECT 1 FROM release WHERE project = project.id) FROM project WHERE index_name = ? AND name = ?
"""
_PLAIN: Final = 6
"""How many fields ``FileCached`` and ``MetadataCached`` have without a path, their kind included."""
_OF_NEW_PROJECT: Final = frozenset({"kind", "index", "project", "added", "versions_added", "header"})
_OF_PLAIN_LINK: Final = frozenset(
    {"filename", "url", "hashes", "size", "requires_python", "upload_time", "yanked", "core_metadata", "provenance"}
)
_SIZES: Final = range(2**63)


class ManyFold:
    """Folds one run of entries; made anew for each."""

    def __init__(self, fold: Fold, cursor: sqlite3.Cursor) -> None:
        self._fold = fold
        self._cursor = cursor
        self._gatherers: dict[str, Callable[[_Fields], bool]] = {}
        if fold.newest is None:  # it is to be notified of every change
            self._gatherers = {
                "LinksChanged": self._links_changed,
                "FileCached": self._file_cached,
                "MetadataCached": self._metadata_cached,
                "FileRemoved": self._file_removed,
            }
        self._projects: dict[_Name, tuple[int, int]] = {}
        """The ids of projects, and whether they have releases; only what is certainly so."""
        self._forget_rows()

    def _forget_rows(self) -> None:
        self._files: list[Row] = []
        self._versions: list[tuple[int, str]] = []
        self._evicted: list[Row] = []
        self._cached: list[Row] = []
        self._metadata: list[Row] = []
        self._kept: set[tuple[str, int]] = set()
        """Names and projects of ``_cached`` and ``_metadata``."""

    def apply(self, first: int, bodies: Sequence[bytes]) -> None:
        """Fold the entries in ``bodies``, of which the first has the serial ``first``.

        Raises ``MalformedChange`` with a note of the serial; the transaction is good for nothing then.
        """
        serial = first
        try:
            # Each step for all entries: the processor's caches hold the code of one step, but not that of all of them.
            contents = []
            for serial, body in enumerate(bodies, first):  # noqa: B007 -- looked at when that fails
                contents.append(read_content(body))
            for serial, (at, by, changes) in enumerate(contents, first):
                for change in changes:
                    if not self._gather(change):
                        self._write()
                        self._projects.clear()
                        self._fold.apply(Entry(serial, at, by, (decode_change(change),)))
        except MalformedChange as error:
            error.add_note(f"That is in serial {serial}.")
            raise
        self._write()

    def _gather(self, change: _Fields) -> bool:
        """Whether ``change`` was gathered, or has no effect."""
        try:
            return self._gatherers[change["kind"]](change)
        except (KeyError, TypeError, AttributeError):  # another kind, or not what it should be: decoding it tells
            return False

    def _write(self) -> None:
        """Write the rows.  Their order is that of the changes, as far as it matters: no file is evicted after it was kept."""
        executemany = self._cursor.executemany
        insert_files(self._cursor, self._files)
        insert_versions(self._cursor, self._versions)
        executemany(_EVICT, self._evicted)
        executemany(_KEEP_FILE, self._cached)
        executemany(_KEEP_METADATA, self._metadata)
        self._forget_rows()

    def _project(self, name: _Name) -> tuple[int, int] | None:
        found = self._projects.get(name) or self._cursor.execute(_FIND, name).fetchone()
        if found is not None:
            self._projects[name] = found
        return found

    def _links_changed(self, change: _Fields) -> bool:
        if not change.keys() <= _OF_NEW_PROJECT:
            return False
        name = (change["index"], change["project"])
        header = change.get("header")
        text = None if header is None else header_json(PageHeader(**header))
        if self._cursor.execute(NEW_PROJECT, (*name, text)).rowcount != 1:
            return False
        project = self._cursor.lastrowid or 0
        self._projects[name] = (project, 0)
        # Should a change name a file twice, its last word counts.
        self._files += {fields["filename"]: _row(project, fields) for fields in change.get("added", ())}.values()
        self._versions += [(project, version) for version in change.get("versions_added", ())]
        return True

    def _file_cached(self, change: _Fields) -> bool:
        project = self._project((change["index"], change["project"]))
        filename, sha256, size = change["filename"], change["sha256"], change["size"]
        if project is not None and len(change) == _PLAIN:
            self._kept.add((filename, project[0]))
            self._cached.append((sha256, size, filename, project[0], sha256))
        return len(change) == _PLAIN

    def _metadata_cached(self, change: _Fields) -> bool:
        project = self._project((change["index"], change["project"]))
        filename, sha256, size = change["filename"], change["sha256"], change["size"]
        if project is not None and len(change) == _PLAIN:
            self._kept.add((filename, project[0]))
            self._metadata.append((sha256, size, 0, filename, project[0]))
        return len(change) == _PLAIN

    def _file_removed(self, change: _Fields) -> bool:
        """Of a mirror, whose files are evicted; those of releases are left to ``Fold``."""
        project, filename = self._project((change["index"], change["project"])), change["filename"]
        if len(change) != 4 or (project is not None and project[1]):
            return False
        if project is not None:
            if (filename, project[0]) in self._kept:
                self._write()
            self._evicted.append((filename, project[0]))
        return True


def _row(project: int, fields: _Fields) -> Row:
    """What ``link_row`` makes of the link with ``fields``, without making the link where it is of the usual kind."""
    get = fields.get
    hashes, size, yanked, core_metadata = get("hashes"), get("size"), get("yanked"), get("core_metadata")
    is_usual = hashes is not None and len(hashes) == 1 and fields.keys() <= _OF_PLAIN_LINK and (size is None or size in _SIZES)
    sha256 = hashes.get("sha256") if hashes is not None and is_usual else None
    if sha256 is None:
        return link_row(project, Link(**fields))
    return (
        fields["filename"],
        None,
        project,
        fields["url"],
        sha256,
        None,
        size,
        get("requires_python"),
        get("upload_time"),
        None if yanked is False else yanked,
        None if core_metadata is None else to_json(core_metadata),
        get("provenance"),
        None,
    )

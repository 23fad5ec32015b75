"""The fold: apply one entry to the tables (law 4).

Pure: what an entry does depends on the entry and on the folded tables alone.  Total: every kind of change has its fold, and a
kind without one stops a follower.  A change to a project or a file that was never listed has no effect.

A row of ``file`` is a path.  When an upstream gives a file name to other bytes (another SHA-256, or without one another
folder), the old row becomes *replaced*: pages do not list it, but its path, which lock files hold, still leads to it and to its
cached bytes.  When the upstream takes that back, the old row is listed again.
"""

from __future__ import annotations

import sqlite3
from typing import Final

import orjson

from twistpi.model.changes import (
    AdvisoriesAccepted,
    Entry,
    EpochBegan,
    FileCached,
    HistoryCompacted,
    IndexCreated,
    IndexDeleted,
    IndexModified,
    LinksChanged,
    LogStarted,
    MetadataCached,
    MetadataMissing,
    ProjectVanished,
    TokenCreated,
    TokenRevoked,
    UserCreated,
    UserDeleted,
    UserModified,
)
from twistpi.model.codec import unknown_kind
from twistpi.model.records import Link
from twistpi.rules.mirrors import file_path
from twistpi.view.fold_releases import ReleaseFold
from twistpi.view.insert import insert_files, insert_versions
from twistpi.view.newest import Newest
from twistpi.view.rows import INSERT_FILE, LINK_COLUMNS, Folds, Row, entry_time, header_json, link_row, to_json

_PROJECT: Final = "index_name = ? AND name = ?"
NEW_PROJECT: Final = "INSERT OR IGNORE INTO project (index_name, name, header) VALUES (?, ?, ?)"
_LIST_NEW_NAME: Final = INSERT_FILE.replace("INSERT", "INSERT OR IGNORE", 1)
_LIST_AGAIN: Final = "UPDATE file SET gone = 0, replaced = 0, {} WHERE id = ?".format(
    ", ".join(f"{column} = ?" for column in LINK_COLUMNS.split(", ")[3:])
)
"""All but name, path and project, which stay: naming a column would write its index anew."""
_OF_NAME: Final = "filename = ? AND project = ?"
_NAMESAKES: Final = """
SELECT id, replaced, path, link_sha256, hashes, core_metadata, sha256, size, metadata_missing
FROM file LEFT JOIN kept ON kept.file = file.id
WHERE {}
"""
KEEP_FILE: Final = """
INSERT INTO kept (file, sha256, size) SELECT id, ?, ? FROM file WHERE {}
ON CONFLICT (file) DO UPDATE SET sha256 = excluded.sha256, size = excluded.size
"""
KEEP_METADATA: Final = """
INSERT INTO kept (file, metadata_sha256, metadata_size, metadata_missing) SELECT id, ?, ?, ? FROM file WHERE {}
ON CONFLICT (file) DO UPDATE SET metadata_sha256 = excluded.metadata_sha256, metadata_size = excluded.metadata_size,
    metadata_missing = excluded.metadata_missing
"""
_OF_PROJECT: Final = f"filename = ? AND project = (SELECT id FROM project WHERE {_PROJECT})"
_KEEP_FILE_OF_NAME: Final = KEEP_FILE.format(f"{_OF_PROJECT} AND (link_sha256 = ? OR link_sha256 IS NULL AND replaced = 0)")
_KEEP_FILE_OF_ID: Final = KEEP_FILE.format("id = ?")
_KEEP_METADATA_OF_NAME: Final = KEEP_METADATA.format(f"{_OF_PROJECT} AND replaced = 0")
_KEEP_METADATA_OF_ID: Final = KEEP_METADATA.format("id = ?")


class Fold:
    """Folds entries through one connection, inside whatever transaction is open there."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._cursor = connection.cursor()
        self._execute = self._cursor.execute
        self._releases = ReleaseFold(self._cursor)
        self.newest: Newest | None = None
        """Notified of every change; None when not needed."""
        self._folds: Folds = {
            LogStarted: self._log_started,
            EpochBegan: self._epoch_began,
            HistoryCompacted: self._history_compacted,
            IndexDeleted: self._index_deleted,
            LinksChanged: self._links_changed,
            ProjectVanished: self._project_vanished,
            FileCached: self._file_cached,
            MetadataCached: self._metadata_cached,
            MetadataMissing: self._metadata_missing,
            AdvisoriesAccepted: self._advisories_accepted,
            UserCreated: self._user_created,
            UserModified: self._user_modified,
            UserDeleted: self._user_deleted,
            IndexCreated: self._index_created,
            IndexModified: self._index_modified,
            TokenCreated: self._token_created,
            TokenRevoked: self._token_revoked,
            **self._releases.folds,
        }

    def apply(self, entry: Entry) -> None:
        """Take the tables one entry further; ``MalformedChange`` for a kind that has no fold."""
        for change in entry.changes:
            fold = self._folds.get(type(change))
            if fold is None:
                raise unknown_kind(type(change).__name__)
            if self.newest is not None:
                self.newest.invalidated(change)
            fold(change, entry)

    def close(self) -> None:
        """Close the cursor, without which the connection would not close."""
        self._cursor.close()

    def _log_started(self, _change: LogStarted, _entry: Entry) -> None:
        """Do nothing: the log's id is in the stamp from the beginning."""

    def _history_compacted(self, _change: HistoryCompacted, _entry: Entry) -> None:
        """Do nothing: which entries a server still has is its own affair."""

    def _epoch_began(self, change: EpochBegan, entry: Entry) -> None:
        self._execute("INSERT OR REPLACE INTO epoch VALUES (?, ?, ?)", (change.epoch, change.node_id, entry.serial))

    def _advisories_accepted(self, change: AdvisoriesAccepted, entry: Entry) -> None:
        row = (1, change.sha256, change.size, change.count, change.source, change.modified, entry_time(entry))
        self._execute("INSERT OR REPLACE INTO advisory_set VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    # Users, indexes and API tokens --------------------------------------------------------------------------------

    def _user_created(self, change: UserCreated, entry: Entry) -> None:
        times = (change.created or entry_time(entry), change.modified)
        row = (change.user, to_json(change.config), change.password_hash, *times)
        self._execute("INSERT OR REPLACE INTO user (name, config, password_hash, created, modified) VALUES (?, ?, ?, ?, ?)", row)

    def _user_modified(self, change: UserModified, entry: Entry) -> None:
        row = self._execute("SELECT config, password_hash FROM user WHERE name = ?", (change.user,)).fetchone()
        if row is None:
            return
        config = _modified(row[0], change)
        password_hash = row[1] if change.password_hash is None else change.password_hash
        statement = "UPDATE user SET config = ?, password_hash = ?, modified = ? WHERE name = ?"
        self._execute(statement, (config, password_hash, entry_time(entry), change.user))

    def _user_deleted(self, change: UserDeleted, _entry: Entry) -> None:
        self._execute("DELETE FROM user WHERE name = ?", (change.user,))
        self._execute("DELETE FROM api_token WHERE user = ?", (change.user,))

    def _index_created(self, change: IndexCreated, _entry: Entry) -> None:
        self._execute("INSERT OR REPLACE INTO package_index VALUES (?, ?)", (change.index, to_json(change.config)))

    def _index_modified(self, change: IndexModified, _entry: Entry) -> None:
        row = self._execute("SELECT config FROM package_index WHERE name = ?", (change.index,)).fetchone()
        if row is not None:
            self._execute("UPDATE package_index SET config = ? WHERE name = ?", (_modified(row[0], change), change.index))

    def _index_deleted(self, change: IndexDeleted, _entry: Entry) -> None:
        execute = self._execute
        self._releases.index_deleted(change.index)
        projects = "(SELECT id FROM project WHERE index_name = ?)"
        execute(f"DELETE FROM kept WHERE file IN (SELECT id FROM file WHERE project IN {projects})", (change.index,))
        execute(f"DELETE FROM file WHERE project IN {projects}", (change.index,))
        execute(f"DELETE FROM version WHERE project IN {projects}", (change.index,))
        for table in ("project", "freshness", "api_token"):  # a token for this index is not one for a later one of its name
            execute(f"DELETE FROM {table} WHERE index_name = ?", (change.index,))
        execute("DELETE FROM package_index WHERE name = ?", (change.index,))

    def _token_created(self, change: TokenCreated, entry: Entry) -> None:
        may, scope = ",".join(change.may), (change.index, change.project)
        self._execute(
            "INSERT OR REPLACE INTO api_token (token, user, digest, may, index_name, project, expires, title, created)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (change.token, change.user, change.digest, may, *scope, change.expires, change.title, entry_time(entry)),
        )

    def _token_revoked(self, change: TokenRevoked, _entry: Entry) -> None:
        self._execute("DELETE FROM api_token WHERE token = ?", (change.token,))

    # Projects ------------------------------------------------------------------------------------------------------

    def _project_vanished(self, change: ProjectVanished, _entry: Entry) -> None:
        self._execute(f"UPDATE project SET vanished = 1 WHERE {_PROJECT}", (change.index, change.project))

    # Links ---------------------------------------------------------------------------------------------------------

    def _links_changed(self, change: LinksChanged, _entry: Entry) -> None:
        execute, executemany = self._execute, self._cursor.executemany
        header = None if change.header is None else header_json(change.header)
        is_new = execute(NEW_PROJECT, (change.index, change.project, header)).rowcount == 1
        if is_new:
            project = self._cursor.lastrowid or 0
        else:
            found = execute(f"SELECT id, vanished FROM project WHERE {_PROJECT}", (change.index, change.project))
            project, vanished = found.fetchone()
            if vanished:
                execute("UPDATE project SET vanished = 0 WHERE id = ?", (project,))
            if change.header is not None:
                execute("UPDATE project SET header = ? WHERE id = ?", (header, project))
        if change.removed:
            gone = [(filename, project) for filename in change.removed]
            executemany(f"UPDATE file SET gone = 1 WHERE {_OF_NAME} AND replaced = 0", gone)
        if change.added or change.changed:
            # Should a change name a file twice, its last word counts.
            links = {link.filename: link for link in (*change.added, *change.changed)}
            if is_new:
                insert_files(self._cursor, [link_row(project, link) for link in links.values()])
            else:
                known = {link.filename for link in change.changed}
                for row in (link_row(project, link) for link in links.values()):
                    if row[0] in known or execute(_LIST_NEW_NAME, row).rowcount != 1:
                        self._list_name_again(row)
        if change.versions_removed:
            versions = [(project, version) for version in change.versions_removed]
            executemany("DELETE FROM version WHERE project = ? AND version = ?", versions)
        if change.versions_added:
            insert_versions(self._cursor, [(project, version) for version in change.versions_added])
        if is_new and self.newest is not None:
            self.newest.learned(change)

    def _list_name_again(self, row: Row) -> None:
        """List a file whose name the project had before: the same file, or another in its place."""
        execute = self._execute
        filename, path, project, sha256 = row[0], row[1], row[2], row[4]
        same, bytes_here = None, None
        for namesake in execute(_NAMESAKES.format(_OF_NAME), (filename, project)).fetchall():
            number, replaced, its_path, its_sha256, *_, kept_sha256, kept_size, _ = namesake
            if (its_path or its_sha256[:16]) == (path or sha256[:16]):
                same = namesake
            elif not replaced:
                execute("UPDATE file SET gone = 1, replaced = id WHERE id = ?", (number,))
            if sha256 is not None and kept_sha256 == sha256:
                bytes_here = (sha256, kept_size)
        if same is None:
            number = execute(INSERT_FILE, row).lastrowid
            if bytes_here is not None:
                # The link had no SHA-256 before, and now the one that its cached bytes have.
                execute(_KEEP_FILE_OF_ID, (*bytes_here, number))
        else:
            self._list_file_again(same, row)

    def _list_file_again(self, known: Row, row: Row) -> None:
        number, core_metadata, metadata_missing = known[0], known[5], known[8]
        self._execute(_LIST_AGAIN, (*row[3:], number))
        if _other_bytes(known, row):
            self._execute("DELETE FROM kept WHERE file = ?", (number,))
        elif metadata_missing and core_metadata != row[10]:
            # The upstream lists other metadata now: it is worth fetching again.
            self._execute("UPDATE kept SET metadata_missing = 0 WHERE file = ?", (number,))

    # What is here --------------------------------------------------------------------------------------------------

    def _file_cached(self, change: FileCached, _entry: Entry) -> None:
        sha256, size = change.sha256, change.size
        if change.path is None:
            self._execute(_KEEP_FILE_OF_NAME, (sha256, size, change.filename, change.index, change.project, sha256))
        else:
            self._execute(_KEEP_FILE_OF_ID, (sha256, size, self._find_file(change, change.path, sha256)))

    def _metadata_cached(self, change: MetadataCached, _entry: Entry) -> None:
        self._keep_metadata(change, (change.sha256, change.size, 0))

    def _metadata_missing(self, change: MetadataMissing, _entry: Entry) -> None:
        self._keep_metadata(change, (None, None, 1))

    def _keep_metadata(self, change: MetadataCached | MetadataMissing, values: Row) -> None:
        if change.path is None:
            self._execute(_KEEP_METADATA_OF_NAME, (*values, change.filename, change.index, change.project))
        else:
            self._execute(_KEEP_METADATA_OF_ID, (*values, self._find_file(change, change.path, None)))

    def _find_file(self, change: FileCached | MetadataCached | MetadataMissing, path: str, sha256: str | None) -> int | None:
        """The id of the file at ``path``, unless its link says another SHA-256 than ``sha256``."""
        namesakes = self._execute(_NAMESAKES.format(_OF_PROJECT), (change.filename, change.index, change.project))
        for number, _, its_path, its_sha256, *_ in namesakes.fetchall():
            if its_path is None:
                its_path = file_path(Link(change.filename, "", {"sha256": its_sha256}))
            if its_path == path and (its_sha256 is None or sha256 is None or its_sha256 == sha256):
                return int(number)
        return None


def _other_bytes(known: Row, row: Row) -> bool:
    """Whether the link of ``row`` has other bytes than ``known``, a row of ``_NAMESAKES`` with the same path."""
    _, _, _, sha256, hashes, _, _, size, _ = known
    if sha256 is not None:
        return bool(sha256 != row[4])  # only 16 digits of it stand in the path
    before, now = (orjson.loads(text) if text is not None else {} for text in (hashes, row[5]))
    if any(before.get(algorithm, digest) != digest for algorithm, digest in now.items()):
        return True
    return None not in (size, row[6]) and size != row[6]


def _modified(config: str, change: UserModified | IndexModified) -> str:
    """The configuration ``config``, JSON, with what ``change`` says of it."""
    former = {**orjson.loads(config), **change.changed}
    return to_json({key: value for key, value in former.items() if key not in change.removed})

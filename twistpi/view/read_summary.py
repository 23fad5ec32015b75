"""The fewest changes that give a view when they are folded into an empty one: the content of a summary (``changelog.summary``).

Every column of every folded table comes back, and every order that a query asks for; only ids are others.  Changes carry what the
fold would take from the entry around them (times, authors) where they can; where not, the entry here has the original's value.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import chain, islice
from typing import Final
from urllib.parse import quote

import orjson

from twistpi.model.changes import (
    AdvisoriesAccepted,
    Change,
    Entry,
    EpochBegan,
    FileCached,
    IndexCreated,
    LinksChanged,
    LogStarted,
    MetadataCached,
    MetadataMissing,
    ProjectVanished,
    TokenCreated,
    UserCreated,
)
from twistpi.model.records import KnownFile, Link
from twistpi.model.releases import TOXRESULT, AttachmentAdded, AttachmentRemoved, FileUploaded, ReleaseDescribed
from twistpi.view.database import read_stamp
from twistpi.view.read import Reader
from twistpi.view.rows import FILE_COLUMNS, header_of, known_files, log_of

BY: Final = "+compact"
"""The author of what stands for older entries."""
_AT_ONCE: Final = 100
"""Files, attachments or paths in one entry."""
_NOWHERE: Final = "+removed"
"""The project to which removed paths are said to have belonged.  No project has such a name, and it is gone with the path."""
_LINKS: Final = (
    f"SELECT {FILE_COLUMNS}, replaced FROM file LEFT JOIN kept ON kept.file = file.id WHERE project = ?"
    " AND NOT EXISTS (SELECT 1 FROM uploaded WHERE uploaded.file = file.id) ORDER BY file.id"
)
_UPLOADED: Final = (
    f"SELECT index_name, name, version, log, provenance_sha256, provenance_size, {FILE_COLUMNS} FROM uploaded"
    " JOIN release ON release.id = uploaded.release JOIN project ON project.id = release.project"
    " JOIN file ON file.id = uploaded.file LEFT JOIN kept ON kept.file = file.id ORDER BY uploaded.file"
)
_ATTACHED: Final = (
    "SELECT index_name, name, version, kind, attachment.filename, sha256, size, attachment.path, file.filename, log"
    " FROM attachment JOIN release ON release.id = attachment.release JOIN project ON project.id = release.project"
    " LEFT JOIN file ON file.id = attachment.file ORDER BY attachment.id"
)


def summarise(path: str, at: str) -> Iterator[Entry]:
    """The entries of a summary of the view at ``path``, which nobody writes meanwhile; ``at`` is the time of its last entry.

    Constant memory, but for the links of one project.  Blocking.  Raises ``sqlite3.Error``.
    """
    with closing(sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, isolation_level=None)) as connection:
        stamp = read_stamp(connection)
        serial = stamp.position.serial
        yield Entry(1, at, BY, (LogStarted(stamp.log_id),))
        for epoch, node_id, began in connection.execute("SELECT epoch, node_id, serial FROM epoch ORDER BY epoch"):
            yield Entry(began, at, BY, (EpochBegan(epoch, node_id),))
        for token, created in _tokens(connection):
            yield Entry(serial, f"{created[:19]}.000000Z", BY, (token,))
        for advisories, accepted in _advisories(connection):
            yield Entry(serial, f"{accepted[:19]}.000000Z", BY, (advisories,))
        releases = (_uploaded(connection), _attached(connection), _removed(connection))
        for changes in chain((_accounts(connection),), _projects(connection), releases):
            while bunch := tuple(islice(changes, _AT_ONCE)):
                yield Entry(serial, at, BY, bunch)


def _tokens(connection: sqlite3.Connection) -> Iterator[tuple[TokenCreated, str]]:
    columns = "token, user, digest, may, index_name, project, expires, title, created"
    for token, user, digest, may, *scope, created in connection.execute(f"SELECT {columns} FROM api_token ORDER BY token"):
        yield TokenCreated(token, user, digest, tuple(may.split(",")), *scope), created


def _advisories(connection: sqlite3.Connection) -> Iterator[tuple[AdvisoriesAccepted, str]]:
    for *facts, accepted in connection.execute("SELECT sha256, size, count, source, modified, accepted FROM advisory_set"):
        yield AdvisoriesAccepted(*facts), accepted


def _accounts(connection: sqlite3.Connection) -> Iterator[Change]:
    reader = Reader(connection)
    for user in reader.users():
        yield UserCreated(user.name, user.config, user.password_hash, user.created, user.modified)
    for index in reader.indexes():
        yield IndexCreated(index.name, index.config)


# Projects and the links of mirrors -----------------------------------------------------------------------------------


def _projects(connection: sqlite3.Connection) -> Iterator[Iterator[Change]]:
    for number, *facts, vanished in connection.execute("SELECT id, index_name, name, header, vanished FROM project ORDER BY id"):
        yield _project(connection, number, *facts, is_vanished=bool(vanished))


def _project(
    connection: sqlite3.Connection, number: int, index: str, name: str, header: str | None, *, is_vanished: bool
) -> Iterator[Change]:
    rows = connection.execute(_LINKS, (number,)).fetchall()
    files = list(known_files(row[:-1] for row in rows))
    versions = connection.execute("SELECT version FROM version WHERE project = ? ORDER BY version", (number,))
    first, *later = _runs(files)
    yield LinksChanged(
        index,
        name,
        added=tuple(first),
        versions_added=tuple(version for (version,) in versions),
        header=None if header is None else header_of(header),
    )
    current = {file.link.filename: file for file, row in zip(files, rows, strict=True) if not row[-1]}
    last = {file.link.filename: file for file in files}
    taken_back = [file.link for filename, file in current.items() if file is not last[filename]]
    for run in (*later, *([link] for link in taken_back)):
        yield LinksChanged(index, name, changed=tuple(run))
    gone = tuple(filename for filename, file in current.items() if file.vanished)
    if gone:
        yield LinksChanged(index, name, removed=gone)
    for file in files:
        yield from _kept(index, name, file, None if len(files) == len(last) else file.path)
    for version, metadata in connection.execute("SELECT version, metadata FROM release WHERE project = ? ORDER BY id", (number,)):
        yield ReleaseDescribed(index, name, version, orjson.loads(metadata))
    if is_vanished:
        yield ProjectVanished(index, name)


def _runs(files: Iterable[KnownFile]) -> list[list[Link]]:
    """The links of ``files`` in their order: those up to the first whose name comes again, and that one, and so on."""
    runs: list[list[Link]] = [[]]
    listed: set[str] = set()
    follows = False
    for file in files:
        comes_again = file.link.filename in listed
        if comes_again or follows:
            runs.append([])
        runs[-1].append(file.link)
        listed.add(file.link.filename)
        follows = comes_again
    return runs


def _kept(index: str, project: str, file: KnownFile, path: str | None) -> Iterator[Change]:
    """What is here of a mirror's file; ``path`` where its name alone does not tell which one it is."""
    filename = file.link.filename
    if file.sha256 is not None:
        yield FileCached(index, project, filename, file.sha256, file.size or 0, path)
    if file.metadata_sha256 is not None:
        yield MetadataCached(index, project, filename, file.metadata_sha256, file.metadata_size or 0, path)
    elif file.metadata_missing:
        yield MetadataMissing(index, project, filename, "", path)


# Private releases ----------------------------------------------------------------------------------------------------


def _uploaded(connection: sqlite3.Connection) -> Iterator[Change]:
    """The uploads of all indexes, in their order: pages list the newest ones."""
    for index, project, version, log, provenance_sha256, provenance_size, *columns in connection.execute(_UPLOADED):
        (file,) = known_files([tuple(columns)])
        link = file.link
        yield FileUploaded(
            index,
            project,
            version,
            link.filename,
            link.sha256 or "",
            size=file.size or 0,
            hashes={algorithm: digest for algorithm, digest in link.hashes.items() if algorithm != "sha256"},
            requires_python=link.requires_python,
            metadata_sha256=file.metadata_sha256,
            metadata_size=file.metadata_size,
            provenance_sha256=provenance_sha256,
            provenance_size=provenance_size,
            uploaded_at=link.upload_time,
            yanked=link.yanked,
            log=log_of(log),
        )


def _attached(connection: sqlite3.Connection) -> Iterator[Change]:
    for *facts, path, for_filename, log in connection.execute(_ATTACHED):
        index, project, version, kind, filename, sha256, size = facts
        yield AttachmentAdded(
            index, project, version, kind, filename, sha256, size, path, for_filename=for_filename, log=log_of(log)
        )


def _removed(connection: sqlite3.Connection) -> Iterator[Change]:
    """Paths that led to something once: it is added, and removed at once."""
    for index, path in connection.execute("SELECT index_name, path FROM removed ORDER BY index_name, path"):
        yield AttachmentAdded(index, _NOWHERE, "0", TOXRESULT, path.rpartition("/")[2], "0" * 64, 0, path)
        yield AttachmentRemoved(index, _NOWHERE, path)

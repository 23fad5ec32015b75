"""What records are imported into: a server directory that this process holds, or for a trial run a copy of its view."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, Protocol

import attrs

from twistpi.archives.inspect import inspect
from twistpi.blobs.address import BlobAddress, blob_address, metadata_address, path_address
from twistpi.blobs.interfaces import IBlobs
from twistpi.changelog.batch import Batches, Commit
from twistpi.changelog.interfaces import IChangelog
from twistpi.model.changes import Change, Entry
from twistpi.model.errors import BadRequest, TwistpiError
from twistpi.model.names import is_wheel
from twistpi.model.peers import Position
from twistpi.model.releases import TOXRESULT
from twistpi.transfer.decisions import BY_IMPORT, Stored
from twistpi.transfer.records import FileRecord
from twistpi.view.database import ViewDatabase
from twistpi.view.read import Reader

_CHUNK: Final = 1024 * 1024
"""Bytes that are read at a time."""
Decide = Callable[[Reader], Sequence[Change]]


class Target(Protocol):
    """Takes bytes and changes."""

    @property
    def reader(self) -> Reader:
        """The view with everything that was committed."""

    def commit(self, decide: Decide) -> None:
        """Append what ``decide`` returns as one entry; it may be called twice.  Raise what it raises, and of the disk."""

    def store(self, record: FileRecord, address: BlobAddress | None) -> Stored:
        """Keep the bytes of a file as the blob at ``address``, by default that of its digest and name.  In any thread.

        Raise ``BadRequest`` when the bytes are not those that the source tells, ``OSError`` where they cannot be read,
        ``BlobConflict`` when others are at ``address``, and of the disk.
        """


@attrs.define(eq=False)
class ServerTarget:
    """The changelog and the blobs of a server directory."""

    _changelog: IChangelog
    _view: ViewDatabase
    _blobs: IBlobs
    _now: Callable[[], datetime]
    _batches: Batches = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._batches = Batches(self._changelog, self._view, self._now)

    @property
    def reader(self) -> Reader:
        """See ``Target``."""
        return self._view.reader

    def commit(self, decide: Decide) -> None:
        """See ``Target``."""
        outcome = self._batches.process([Commit(decide, BY_IMPORT)])
        if isinstance(outcome.answers[0], Exception):
            raise outcome.answers[0]

    def store(self, record: FileRecord, address: BlobAddress | None) -> Stored:
        """See ``Target``."""
        with self._blobs.incoming() as incoming:
            stored = read_bytes(record, incoming.write)
            if (is_wheel(record.filename) and record.url is None) or record.describes:
                stored = self._inspected(record, stored, incoming.path)
            place = blob_address(stored.sha256, record.filename) if address is None else address
            self._blobs.keep(incoming, place, stored.sha256)
        return stored

    def _inspected(self, record: FileRecord, stored: Stored, path: str) -> Stored:
        """Keep the core metadata of a wheel beside it.  A file in which none is found is taken as it is."""
        try:
            with open(path, "rb") as file:
                inspected = inspect(file, record.filename, stored.size, is_strict=False)
        except TwistpiError:
            return stored
        if record.describes and inspected.core is not None:
            stored = attrs.evolve(stored, described=inspected.core.fields)
        if inspected.metadata is None or not is_wheel(record.filename):
            return stored
        digest = hashlib.sha256(inspected.metadata).hexdigest()
        with self._blobs.incoming() as beside:
            beside.write(inspected.metadata)
            self._blobs.keep(beside, metadata_address(blob_address(stored.sha256, record.filename)), digest)
        return attrs.evolve(stored, metadata_sha256=digest, metadata_size=len(inspected.metadata))


@attrs.define(eq=False)
class TrialTarget:
    """A copy of a view, which is thrown away: what is wrong with the source is found, and nothing is kept."""

    _view: ViewDatabase
    _at: str
    """The time of all entries."""

    @property
    def reader(self) -> Reader:
        """See ``Target``."""
        return self._view.reader

    def commit(self, decide: Decide) -> None:
        """See ``Target``."""
        changes = tuple(decide(self._view.reader))
        serial = self._view.position.serial + 1
        self._view.begin()
        self._view.apply(Entry(serial, self._at, BY_IMPORT, changes))
        self._view.commit(Position(serial, "0" * 64, 1, serial))

    def store(self, record: FileRecord, address: BlobAddress | None) -> Stored:
        """See ``Target``."""
        return read_bytes(record, lambda _chunk: None)


def read_bytes(record: FileRecord, write: Callable[[bytes], object]) -> Stored:
    """Pass the bytes of a file to ``write``; raise ``BadRequest`` when they are not those of its record."""
    wanted = {name for name in record.hashes if name in hashlib.algorithms_guaranteed and not name.startswith("shake")}
    digests = {name: hashlib.new(name, usedforsecurity=False) for name in {"sha256", *wanted}}
    size = 0
    with record.open() as file:
        while chunk := file.read(_CHUNK):
            write(chunk)
            size += len(chunk)
            for digest in digests.values():
                digest.update(chunk)
    if record.size is not None and size != record.size:
        raise BadRequest(f"it has {size:,} bytes instead of {record.size:,}")
    for name in sorted(wanted):
        if digests[name].hexdigest() != record.hashes[name]:
            raise BadRequest(f"its {name} is {digests[name].hexdigest()} instead of {record.hashes[name]}")
    sha256 = digests["sha256"].hexdigest()
    if record.path is not None and record.kind != TOXRESULT and path_address(record.path).digits != sha256[:16]:
        raise BadRequest(f"its sha256 is {sha256}, which does not go with its address {record.path}")
    return Stored(sha256, size)

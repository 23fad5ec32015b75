"""Applies a bundle to the directory of an offline replica, which no server uses meanwhile.

All is verified before anything is changed: the signature, whether the lines follow on those that are here, and whether this
version can read them.  Then come the blobs, then the lines.  What is here already is passed over, so that a run that was
interrupted is completed by the next, and a bundle that was applied does nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime
from itertools import islice
from typing import Final

import attrs

from twistpi.blobs.interfaces import IBlobs
from twistpi.bundle.format import CHUNK, BlobMember, Bundle, LogPoint
from twistpi.bundle.state import MOST_MISSING, State
from twistpi.changelog.batch import Batches, Receive
from twistpi.changelog.catch_up import decode_body
from twistpi.changelog.disk import Disk
from twistpi.changelog.format import check_lines, read_header
from twistpi.model.errors import TwistpiError
from twistpi.model.peers import BEGINNING
from twistpi.model.server_errors import FeedDamaged, UnknownSerial
from twistpi.replication.missing_blobs import BlobSearch
from twistpi.rules.replication import BlobPolicy
from twistpi.server.directory import Layout, ServerDirectory
from twistpi.server.node import Node
from twistpi.server.settings import Settings
from twistpi.server.storage import Storage
from twistpi.view.read import Readers
from twistpi.view.read_releases import BEGINNING as FIRST
from twistpi.view.read_releases import Mark

Progress = Callable[[str, int, int], object]
"""Called with what is done, how much of it, and how much there is."""
_NEW: Final = LogPoint(BEGINNING.serial, BEGINNING.chain)


@attrs.frozen
class Applied:
    """What a bundle brought."""

    since: int
    """The serial that was here."""
    serial: int
    """The one that is here now."""
    files: int
    """Blobs that were not here."""
    bytes: int


@attrs.frozen(eq=False)
class Application:
    """Applies one bundle to the directory of ``settings``."""

    _settings: Settings
    _bundle: Bundle
    _now: Callable[[], datetime]
    _progress: Progress

    def begin(self, primary_url: str, secret: bytes) -> None:
        """Make a new directory, of a replica of ``primary_url``; raise ``TwistpiError`` if the bundle does not begin at 0."""
        self._check_fit(_NEW, lambda _serial: None)
        serverdir = ServerDirectory.open(self._settings.serverdir, primary_url=primary_url, secret=secret)
        try:
            serverdir.note(log_id=self._bundle.description.log_id)
        finally:
            serverdir.close()

    def run(self) -> Applied:
        """Apply.

        Raise ``TwistpiError`` for a bundle that does not fit, with nothing changed; ``ServerdirRefused`` while another process
        has the directory; and ``StorageFull``, after which it can be run again.
        """
        storage = Storage.open(self._settings, self._now, Disk())
        try:
            self._check_node(storage.serverdir.node)
            last = storage.changelog.last

            def chain_of(serial: int) -> str | None:
                try:
                    return storage.changelog.position(serial).chain
                except UnknownSerial:  # it was compacted
                    return None

            self._check_fit(LogPoint(last.serial, last.chain), chain_of)
            files, size = self._keep_blobs(storage.blobs)
            self._receive(storage)
            if not storage.serverdir.node.initialised:
                storage.serverdir.initialised()
            return Applied(last.serial, storage.changelog.last.serial, files, size)
        finally:
            storage.close()

    def _check_node(self, node: Node) -> None:
        if node.log_id != self._bundle.description.log_id:
            raise self._refused(f"it is of the log {self._bundle.description.log_id}, and this server has {node.log_id}")
        if not node.is_replica:
            raise self._refused("this server is a primary, which writes its own entries; apply it to a replica")

    def _check_fit(self, last: LogPoint, chain_of: Callable[[int], str | None]) -> None:
        """Raise ``TwistpiError`` unless the lines follow on a log that ends at ``last``, and can be read by this version."""
        since, end = self._bundle.description.since, self._bundle.description.end
        if last.serial < since.serial:
            begin = f"it begins after serial {since.serial}, and this server is at {last.serial}"
            raise self._refused(f"{begin}; make one with --since {last.serial}, or apply those in between first")
        for point in (since, end):
            if point.serial <= last.serial and (chain := chain_of(point.serial)) is not None and chain != point.chain:
                raise self._differ(point.serial)
        for _ in self._bundle.blobs():
            pass  # only the names are checked
        serial, digest = since.serial, bytes.fromhex(since.chain)
        for lines in self._bundle.lines():
            try:
                bodies, digest = check_lines(lines, serial + 1, digest)
            except FeedDamaged as error:
                raise self._refused(str(error)) from None
            for number, body in enumerate(bodies, serial + 1):
                decode_body(number, body)
            if serial < last.serial <= serial + len(lines) and read_header(lines[last.serial - serial - 1])[1] != last.chain:
                raise self._differ(last.serial)
            serial += len(lines)
        if (serial, digest.hex()) != (end.serial, end.chain):
            raise self._refused(f"its lines end at serial {serial} and do not lead to serial {end.serial}")

    def _keep_blobs(self, blobs: IBlobs) -> tuple[int, int]:
        """Store the blobs that are not here; return how many those were, and their bytes."""
        files = size = 0
        for done, member in enumerate(self._bundle.blobs(), 1):
            if blobs.find(member.address) != member.size:
                self._keep(blobs, member)
                files += 1
                size += member.size
            self._progress("files", done, self._bundle.description.files)
        return files, size

    def _keep(self, blobs: IBlobs, member: BlobMember) -> None:
        digest = hashlib.sha256()
        blobs.remove(member.address)  # what is there has another size
        with blobs.incoming() as incoming:
            while data := member.content.read(CHUNK):
                incoming.write(data)
                digest.update(data)
            if digest.hexdigest() != member.sha256:
                raise TwistpiError(
                    f"The bundle {self._bundle.path} changed while it was read. Copy it again, and run this again."
                )
            blobs.keep(incoming, member.address, member.sha256)

    def _receive(self, storage: Storage) -> None:
        """Append the lines that are not here."""
        batches = Batches(storage.log, storage.view, self._now)
        serial, end = self._bundle.description.since.serial, self._bundle.description.end.serial
        for lines in self._bundle.lines():
            new = list(islice(lines, max(0, storage.changelog.last.serial - serial), None))
            serial += len(lines)
            if new:
                answer = batches.process([Receive(new)]).answers[0]
                if isinstance(answer, Exception):
                    raise answer
            self._progress("entries", serial, end)

    def _differ(self, serial: int) -> TwistpiError:
        return self._refused(
            f"it and this server have different entries up to serial {serial}: one of the servers was restored or promoted"
            " meanwhile. Make this server anew, of a bundle with --since 0"
        )

    def _refused(self, reason: str) -> TwistpiError:
        return TwistpiError(
            f"The bundle {self._bundle.path} does not fit {self._settings.serverdir}: {reason}. Nothing was changed."
        )


def state_of(settings: Settings, now: Callable[[], datetime]) -> State:
    """Return what the directory of ``settings`` has, and which blobs it lacks; raise ``ServerdirRefused`` beside a server."""
    storage = Storage.open(settings, now, Disk())
    readers = Readers(Layout(settings.serverdir).view)
    missing: list[tuple[str, str]] = []
    try:
        search = BlobSearch(readers, storage.blobs, BlobPolicy.parse(settings.replicate_files))
        mark: Mark | None = FIRST
        while mark is not None and len(missing) < MOST_MISSING:
            found, mark = search.walk(mark)
            missing += [one.key for one in found]
        last = storage.changelog.last
        return State(storage.serverdir.node.log_id, LogPoint(last.serial, last.chain), tuple(missing[:MOST_MISSING]))
    finally:
        readers.close()
        storage.close()

"""Making a backup: what the log names since the last one, then the log (``log_copy.py``), then the manifest.

The server may run and write meanwhile.  Nothing is asked of it: the view says what is durable and named, and the log only grows.

All that the manifest's line names is in the backup, or in the manifest's list of what the server itself lacked: see
``named_files.py``.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Final

import attrs

from twistpi.backup.blob_state import address_of, blob_path
from twistpi.backup.history import find_manifests, load_manifest
from twistpi.backup.log_copy import LogCopy, newest_epoch
from twistpi.backup.manifest import Manifest, ManifestName, MissingFile
from twistpi.backup.named_files import Copied, NamedFiles, Progress
from twistpi.backup.store import BackupStore
from twistpi.blobs.tree import ROOT
from twistpi.model.errors import TwistpiError
from twistpi.model.server_errors import LogDamaged, ServerdirRefused, UnknownPosition
from twistpi.server.node import Node
from twistpi.view.read import KeptBlob, Reader

SECRET: Final = "secret"


@attrs.define(eq=False)
class BackupWriter:
    """One run; ``reader`` is of the view of the server directory."""

    _serverdir: str
    _node: Node
    _reader: Reader
    _store: BackupStore
    _now: Callable[[], datetime]
    _progress: Progress
    _log: LogCopy = attrs.field(init=False)
    skipped: tuple[int, int] | None = attrs.field(default=None, init=False)
    """The first and the last serial of entries that were compacted before they were in any backup; None if there are none."""

    def __attrs_post_init__(self) -> None:
        self._log = LogCopy(self._serverdir, self._store, self._reader)

    def run(self, *, secret: bytes | None = None) -> Manifest:
        """Back up; raise ``TwistpiError`` and ``OSError``, after which it can be run again.

        ``secret`` is the server's, if it is to be in the backup.
        """
        names = find_manifests(self._store)
        previous = load_manifest(self._store, names[-1]) if names else None
        if previous is not None and previous.log_id != self._node.log_id:
            raise TwistpiError(f"{self._store.url} has backups of another server; name another place. Nothing was changed.")
        with _alone(self._serverdir):
            manifest = self._copy(previous)
            if secret is not None:
                self._store.write(SECRET, secret)
            name = ManifestName(manifest.end.serial, max([self._now(), *(name.at for name in names[-1:])]))
            self._store.write(name.path, manifest.content())
        return manifest

    def _copy(self, previous: Manifest | None) -> Manifest:
        """Copy the files and the log; again from the beginning if the log is compacted meanwhile."""
        while True:
            before = self._log.beginning()
            try:
                manifest = self._copy_once(previous)
            except (LogDamaged, UnknownPosition, FileNotFoundError):
                if self._log.beginning().base.serial <= before.base.serial:
                    raise
            else:
                if self._log.beginning().base.serial <= before.base.serial:
                    return manifest

    def _copy_once(self, previous: Manifest | None) -> Manifest:
        begin, former = self._log.choose_beginning(previous), 0 if previous is None else previous.end.serial
        self._require_view(self._log.beginning().base.serial + 1)
        joint = None if previous is None else self._log.find_joint(previous)
        self._require_view(former)
        self.skipped = (former + 1, begin.base.serial) if joint is None and begin.base.serial > former else None
        files = NamedFiles(self._serverdir, self._reader, self._put, self._progress)
        copied = None if previous is None or joint is None else Copied(joint, previous.missing)
        end = files.copy(copied if previous is not None and previous.has_all_missing else None)
        self._log.copy(previous, begin, end)
        counts = files.files, files.size, files.missing, files.has_all_missing
        return Manifest(self._node.log_id, self._node.node_id, end, *counts, begin, newest_epoch(self._reader, end.serial))

    def _require_view(self, needed: int) -> None:
        """Raise ``ServerdirRefused`` if the view lacks the entry ``needed``: as long as a server builds it."""
        serial = self._reader.serial()
        if serial < needed:
            reason = f"its view goes up to serial {serial} only, because it is being built"
            raise ServerdirRefused(self._serverdir, f"{reason}; run this again when the server is ready")

    def _put(self, blobs: Sequence[KeptBlob]) -> None:
        self._store.put(self._serverdir, [blob_path(address_of(blob)) for blob in blobs])


@contextmanager
def _alone(serverdir: str) -> Iterator[None]:
    """Lock out a second backup of the server; raise ``TwistpiError`` if one is under way.  The server locks the folder above."""
    descriptor = os.open(os.path.join(serverdir, ROOT), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TwistpiError(f"Another backup of {serverdir} is being made; wait until it is done.") from None
        yield
    finally:
        os.close(descriptor)


def missing_lines(missing: Sequence[MissingFile]) -> Iterator[str]:
    """Yield what people are told of files that a backup lacks: uploaded ones by name, those of mirrors by number."""
    for one in missing:
        if one.is_private:
            yield f"WRONG: {one.filename} ({one.digits}) was uploaded and is not in the backup: {one.reason}"
    fetchable = sum(not one.is_private for one in missing)
    if fetchable:
        yield f"note: files of mirrors that are not here, and are fetched again when they are asked for: {fetchable:,}"

"""Makes bundles: the blobs that the log names since some line, then the lines.  The server may run and write meanwhile.

A blob whose file is removed meanwhile may be gone before it is copied.  Then the bundle goes on up to a later line, at which the
blob is not named any more, as in ``backup/writer.py``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Final

import attrs

from twistpi.backup.blob_state import address_of
from twistpi.blobs.interfaces import IBlobs
from twistpi.bundle.format import CHUNK, BundleFile, Description, LogPoint
from twistpi.bundle.state import State
from twistpi.changelog.disk import Disk
from twistpi.changelog.format import read_base
from twistpi.changelog.places import position_at
from twistpi.changelog.reader import read_lines
from twistpi.model.codec import decode_content
from twistpi.model.errors import TwistpiError
from twistpi.model.peers import Position
from twistpi.replication.missing_blobs import Naming, named_by
from twistpi.server.directory import Layout
from twistpi.server.node import Node
from twistpi.view.read import KeptBlob, Reader
from twistpi.view.read_releases import BEGINNING as FIRST
from twistpi.view.read_releases import Mark

_ROWS: Final = 1000
_MOST_ROUNDS: Final = 20
"""More than enough: each covers only what was written during the one before."""
Progress = Callable[[str, int, int], object]
"""Called with what is done, how much of it, and how much there is."""
Key = tuple[str, str]


@attrs.frozen
class Written:
    """What is in a bundle."""

    description: Description
    missing: tuple[Key, ...]
    """Digits and names of files that should be in it, and that the server lacks itself."""


@attrs.define(eq=False)
class BundleWriter:
    """Makes one bundle of the server directory whose view is ``reader``."""

    _serverdir: str
    _node: Node
    _reader: Reader
    _blobs: IBlobs
    _now: Callable[[], datetime]
    _progress: Progress
    _disk: Disk = attrs.field(factory=Disk, init=False)
    _done: set[Key] = attrs.field(factory=set, init=False)
    _bytes: int = attrs.field(default=0, init=False)
    _missing: set[Key] = attrs.field(factory=set, init=False)

    def run(self, path: str, secret: bytes, since: int, state: State | None = None) -> Written:
        """Write the file at ``path``, which is there once it is complete; raise ``TwistpiError`` and ``OSError``.

        It begins after the serial ``since``, or where the server of ``state`` is.
        """
        start = self._start(since if state is None else state.last.serial, state)
        temporary = f"{path}.new"
        try:
            with open(os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
                bundle = BundleFile(file)
                end = self._add_blobs(bundle, start, () if state is None else state.missing)
                self._add_lines(bundle, start, end)
                points = LogPoint(start.serial, start.chain), LogPoint(end.serial, end.chain)
                at = f"{self._now():%Y-%m-%dT%H:%M:%SZ}"
                description = Description(self._node.log_id, *points, at, len(self._done), self._bytes)
                bundle.finish(description, secret)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            self._disk.sync_folder(os.path.dirname(os.path.abspath(path)))
        except BaseException:
            if os.path.exists(temporary):
                os.remove(temporary)
            raise
        return Written(description, tuple(sorted(self._missing)))

    def _start(self, since: int, state: State | None) -> Position:
        """Return the line after which the bundle begins."""
        directory, last = Layout(self._serverdir).changelog, self._reader.serial()
        base, _segments = read_base(directory, self._disk)
        if state is not None and state.log_id != self._node.log_id:
            raise TwistpiError(
                f"The offline server has another log than {self._serverdir}: that is {state.log_id}, and this one is"
                f" {self._node.log_id}. Make the bundle on its own primary."
            )
        if since > last:
            raise TwistpiError(f"{self._serverdir} ends at serial {last}, so nothing is after serial {since}.")
        if since < base.serial:
            raise TwistpiError(
                f"The changelog of {self._serverdir} begins after serial {base.serial}, and the bundle is to begin after"
                f" {since}. Make it on a server that has the whole history."
            )
        start = position_at(directory, self._disk, since)
        if state is not None and start.chain != state.last.chain:
            raise TwistpiError(
                f"The offline server and {self._serverdir} have different entries up to serial {since}: one of them was"
                " restored or promoted meanwhile. Make the offline server anew, of a bundle with --since 0."
            )
        return start

    def _add_blobs(self, bundle: BundleFile, start: Position, wanted: Iterable[Key]) -> Position:
        """Add the blobs; return the line up to which all that is named, and is here, is in the bundle."""
        directory = Layout(self._serverdir).changelog
        end = position_at(directory, self._disk, self._reader.serial())
        kept = (self._reader.kept_blob(*key) for key in wanted)
        self._copy(bundle, (blob for blob in kept if blob is not None))
        self._copy(bundle, self._all_named() if start.serial == 0 else self._named_between(start, end))
        for _ in range(_MOST_ROUNDS):
            later = position_at(directory, self._disk, self._reader.serial())
            if later == end:
                self._missing = {key for key in self._missing if self._reader.names_blob(*key)}
                return end
            self._copy(bundle, self._named_between(end, later))
            end = later
        raise TwistpiError("Entries are written faster than files can be copied. Run this again at a quieter time.")

    def _all_named(self) -> Iterator[KeptBlob]:
        mark: Mark | None = FIRST
        total, done = self._reader.count_files(), 0
        while mark is not None:
            named, mark = self._reader.named_blobs(mark, _ROWS)
            for one in named:
                yield one.blob
            done += len(named)
            self._progress("files", min(done, total), total)

    def _named_between(self, after: Position, end: Position) -> Iterator[KeptBlob]:
        for line in read_lines(Layout(self._serverdir).changelog, self._disk, after, end.serial):
            for change in decode_content(line.body, line.serial).changes:
                if isinstance(change, Naming):
                    for one in named_by(change, self._reader):
                        yield one.blob
            self._progress("files", line.serial - after.serial, end.serial - after.serial)

    def _copy(self, bundle: BundleFile, blobs: Iterable[KeptBlob]) -> None:
        for blob in blobs:
            key = blob.digits, blob.filename
            if key in self._done:
                continue
            try:
                with self._blobs.open(address_of(blob)) as file:
                    is_added = bundle.add_blob(blob.digits, blob.sha256, blob.filename, blob.size, file)
            except FileNotFoundError:
                is_added = False
            if is_added:
                self._done.add(key)
                self._bytes += blob.size
                self._missing.discard(key)
            else:
                self._missing.add(key)

    def _add_lines(self, bundle: BundleFile, start: Position, end: Position) -> None:
        first, size, waiting = start.serial + 1, 0, []
        for line in read_lines(Layout(self._serverdir).changelog, self._disk, start, end.serial):
            waiting.append(b"%d %b %b\n" % (line.serial, line.chain.encode("ascii"), line.body))
            size += len(waiting[-1])
            if size >= CHUNK:
                bundle.add_lines(first, b"".join(waiting))
                first, size, waiting = line.serial + 1, 0, []
                self._progress("entries", line.serial - start.serial, end.serial - start.serial)
        if waiting:
            bundle.add_lines(first, b"".join(waiting))

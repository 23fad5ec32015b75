"""The beginning of a new replica of a large primary: the view's file, and the part of the log that it ends in.

Instead of folding millions of entries, a new replica takes a copy of the primary's view, which is the fold of the log up to some
line, and the segment in which that line stands up to there.  Everything after comes by the feed, everything before in the
background (``history``) or not at all.  The view is checked by its digest and its stamp, the segment by its chain, which has to
lead to the line that the stamp names.

Nothing is under its final name before it is whole and right, and the directory says whose log it has only after that: what a
crash leaves behind is cleared away by the next attempt.
"""

from __future__ import annotations

import hashlib
import os

import attrs

from twistpi.changelog.disk import Disk
from twistpi.changelog.format import NEW_SUFFIX, segment_start, write_base
from twistpi.changelog.reader import check_segment, segment_path
from twistpi.http.offload import Offload
from twistpi.model.peers import Position
from twistpi.model.server_errors import FeedDamaged, StorageFull, StrangePrimary
from twistpi.replication.primary import Primary
from twistpi.replication.segments import Overview, look_over, transfer
from twistpi.view.database import FOLD_VERSION, drop_view


@attrs.frozen
class SnapshotPaths:
    """The paths in a server directory of what a snapshot brings."""

    changelog: str
    """The folder of the segments."""
    view: str
    incoming: str
    """The folder of files that are not complete yet."""


@attrs.frozen
class SnapshotFacts:
    """What the primary says of a snapshot."""

    id: str
    end: Position
    """The line up to which it is the fold."""
    size: int
    sha256: str
    fold_version: int
    log_id: str


@attrs.define(eq=False)
class Bootstrap:
    """Brings a snapshot and what belongs to it; called again after an error, it goes on where it was."""

    _primary: Primary
    _paths: SnapshotPaths
    _disk: Disk
    _offload: Offload
    received: int = attrs.field(default=0, init=False)
    """Bytes so far."""
    expected: int = attrs.field(default=0, init=False)
    """Bytes in all, as far as is known."""
    _facts: SnapshotFacts | None = attrs.field(default=None, init=False)

    async def clear(self) -> None:
        """Remove what a former attempt left; the directory is to have no log yet."""
        await self._offload(self._clear)

    async def run(self) -> str:
        """Begin the directory with a snapshot; return the id of the log.

        Raises ``PrimaryUnreachable``, ``StrangePrimary``, ``FeedDamaged``, ``StorageFull``.
        """
        if self._facts is None:
            await self.clear()
            self._facts = await self._make()
            self.expected = self._facts.size + self._facts.end.offset
        facts = self._facts
        try:
            await self._bring(facts)
        except OSError as error:  # what is on the disk now is not known, least of all after a sync that failed
            self._facts = None
            raise StorageFull(self._paths.incoming, os.strerror(error.errno or 0)) from error
        return facts.log_id

    async def _bring(self, facts: SnapshotFacts) -> None:
        overview = await look_over(self._primary)
        await self._fetch(f"/+snapshot/{facts.id}", self._view, facts.size)
        await self._offload(self._check_view, facts)
        first = facts.end.segment
        os.makedirs(self._paths.changelog, mode=0o700, exist_ok=True)
        segment = segment_path(self._paths.changelog, first) + NEW_SUFFIX
        await self._fetch(f"/+changelog/segments/{first}", segment, facts.end.offset)
        await self._offload(self._install, facts, self._before(overview, first), segment)

    @property
    def _view(self) -> str:
        return os.path.join(self._paths.incoming, "view")

    async def _make(self) -> SnapshotFacts:
        answer = await self._primary.ask("POST", "/+snapshot", patience=600.0)
        if answer.status != 200:
            answer.discard()
            raise StrangePrimary(self._primary.url, f"it answers {answer.status} where it should make a snapshot")
        fields = await answer.json()
        try:
            end = Position(int(fields["serial"]), str(fields["chain"]), int(fields["segment"]), int(fields["offset"]))
            size, version = int(fields["size"]), int(fields["fold_version"])
            facts = SnapshotFacts(str(fields["id"]), end, size, str(fields["sha256"]), version, fields["log_id"])
        except (KeyError, TypeError, ValueError):
            raise StrangePrimary(self._primary.url, "what it tells of its snapshot cannot be understood") from None
        if facts.fold_version != FOLD_VERSION:
            text = f"its snapshots are of version {facts.fold_version}, and this version of twistpi knows {FOLD_VERSION} only"
            raise StrangePrimary(self._primary.url, text)
        return facts

    async def _fetch(self, path: str, target: str, size: int) -> None:
        if not await transfer(self._primary, path, target, size, self._count):
            self._facts = None
            raise StrangePrimary(self._primary.url, "the snapshot is not there any more; a new one is asked for")

    def _count(self, count: int) -> None:
        self.received += count

    def _before(self, overview: Overview, first: int) -> Position:
        segment = overview.segment(first)
        if segment is None:
            self._facts = None
            raise StrangePrimary(self._primary.url, f"it has no segment {first}, in which its snapshot ends")
        return segment_start(first, segment.before)

    # In a thread

    def _clear(self) -> None:
        """Begin from nothing."""
        self.received = 0
        os.makedirs(self._paths.incoming, mode=0o700, exist_ok=True)
        drop_view(self._paths.view)
        folders = [self._paths.incoming, *([self._paths.changelog] if os.path.isdir(self._paths.changelog) else [])]
        for folder in folders:
            for name in os.listdir(folder):
                os.remove(os.path.join(folder, name))

    def _check_view(self, facts: SnapshotFacts) -> None:
        with open(self._view, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
        if digest != facts.sha256:
            self._facts = None
            raise FeedDamaged(facts.end.serial, "the snapshot of the view has another digest")

    def _install(self, facts: SnapshotFacts, before: Position, segment: str) -> None:
        """Check the segment, and give everything its name."""
        try:
            check_segment(self._disk, segment, before, facts.end)
        except FeedDamaged:
            self._facts = None
            raise
        file = self._disk.append_to(segment)
        try:
            file.sync()
        finally:
            file.close()
        write_base(self._paths.changelog, self._disk, before)
        self._disk.rename(segment, segment.removesuffix(NEW_SUFFIX))
        self._disk.sync_folder(self._paths.changelog)
        os.replace(self._view, self._paths.view)
        self._disk.sync_folder(os.path.dirname(self._paths.view))

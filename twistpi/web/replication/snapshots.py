"""``/+snapshot``: the view as a file, from which a new replica starts instead of folding a long log.

``POST /+snapshot`` makes one, or tells of one that was made less than a minute ago: ``id``, ``serial``, ``chain``, ``segment``
and ``offset`` (the place in the log it stands for), ``size``, ``sha256``, ``fold_version`` and ``log_id``.  ``GET /+snapshot/ID``
is the file, in ranges where asked.  It is the fold of the lines up to ``serial``, in every table; when mirrors were last
refreshed is not in it.  One that was not requested for an hour is removed; then, and after a restart, ``ID`` is 404.

For other servers only: it holds hashes of passwords.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Final

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from twistpi.http.offload import Offload
from twistpi.http.single_flight import SingleFlight
from twistpi.model.errors import TwistpiError
from twistpi.model.monitoring import Measure
from twistpi.view.database import Copy, copy_view
from twistpi.web.transport.bodies import FileBody

SHARED: Final = 60.0
"""Seconds for which a snapshot is new enough to be shared."""
KEPT: Final = 3600.0
"""Seconds without a question after which it is removed."""
_LOOK: Final = 300.0
"""Seconds between two looks whether one can be removed."""
_MOST: Final = 3
"""Kept at a time: with so many, the newest is good enough at any age.  Each is as large as the view."""
_log = Logger()


@attrs.define(eq=False)
class Snapshot:
    """A copy of the view."""

    id: str
    copy: Copy
    made: float
    """Unix seconds."""
    used: float
    readers: int = 0
    """Answers that are being sent."""


@attrs.define(eq=False)
class Snapshots:
    """Makes snapshots, one at a time, and keeps them for a while."""

    _view: str
    """The path of the view."""
    _folder: str
    """Where they are kept; emptied at start by its owner."""
    _clock: IReactorTime
    _offload: Offload
    _entropy: Callable[[int], bytes]
    _kept: dict[str, Snapshot] = attrs.field(factory=dict, init=False)
    """By id, in the order they were made."""
    _making: SingleFlight[str, Snapshot] = attrs.field(factory=SingleFlight, init=False)
    _made: int = attrs.field(default=0, init=False)
    _looking: LoopingCall = attrs.field(init=False)
    _stopped: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._looking = LoopingCall(self._drop_unused)
        self._looking.clock = self._clock

    def start(self) -> None:
        """Start to remove unused snapshots."""
        self._looking.start(_LOOK, now=False)

    def stop(self) -> None:
        """Remove all, because the server stops."""
        self._stopped = True
        if self._looking.running:
            self._looking.stop()
        for snapshot in list(self._kept.values()):
            self._drop(snapshot)

    async def get(self) -> Snapshot:
        """A snapshot of about now; raises ``StorageFull``.  Cancelling does not stop it being made."""
        newest = next(reversed(self._kept.values()), None)
        now = self._clock.seconds()
        if newest is not None and (0 <= now - newest.made < SHARED or len(self._kept) >= _MOST):
            newest.used = now
            return newest
        return await self._making.join("", self._make)

    def find(self, name: str) -> Snapshot:
        """Return the snapshot with the id ``name``; raise ``TwistpiError``."""
        if name not in self._kept:
            raise TwistpiError(f"There is no snapshot {name} here any more; have a new one made with POST /+snapshot.", 404)
        self._kept[name].used = self._clock.seconds()
        return self._kept[name]

    def read(self, snapshot: Snapshot) -> FileBody:
        """Open its file; ``was_read`` must be called afterwards."""
        file = os.open(snapshot.copy.path, os.O_RDONLY | os.O_CLOEXEC)
        snapshot.readers += 1  # only now: what could not be opened has no reader that ends
        return FileBody(file, 0, snapshot.copy.size)

    def was_read(self, snapshot: Snapshot) -> None:
        """Note that the file of ``read`` was closed."""
        snapshot.readers -= 1
        snapshot.used = self._clock.seconds()

    def measures(self) -> Iterator[Measure]:
        """See ``Measured``."""
        yield Measure("twistpi_snapshots_made", "counter", "Snapshots of the view that were made for replicas", self._made)
        size = sum(snapshot.copy.size for snapshot in self._kept.values())
        yield Measure("twistpi_snapshots_bytes", "gauge", "Room that snapshots for replicas take", size)

    async def _make(self) -> Snapshot:
        name = self._entropy(16).hex()
        copy: Copy = await self._offload(partial(copy_view, self._view, os.path.join(self._folder, f"snapshot-{name}")))
        now = self._clock.seconds()
        snapshot = Snapshot(name, copy, now, now)
        self._made += 1
        if self._stopped:
            self._remove(copy)
        else:
            self._kept[name] = snapshot
        _log.info("Made a snapshot of {size} bytes at serial {serial}.", size=copy.size, serial=copy.stamp.position.serial)
        return snapshot

    def _drop_unused(self) -> None:
        now = self._clock.seconds()
        for snapshot in list(self._kept.values()):
            if not snapshot.readers and not 0 <= now - snapshot.used < KEPT:
                self._drop(snapshot)

    def _drop(self, snapshot: Snapshot) -> None:
        del self._kept[snapshot.id]
        self._remove(snapshot.copy)

    def _remove(self, copy: Copy) -> None:
        with suppress(OSError):  # the next start empties the folder
            os.remove(copy.path)

"""Notices that there is room again after a full disk, so that a server is ready again before anybody writes."""

from __future__ import annotations

from typing import Final

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from twistpi.blobs.interfaces import IBlobs
from twistpi.changelog.writer import Writer
from twistpi.http.offload import Offload
from twistpi.model.server_errors import StorageFull, WriterStopped

_LOOK: Final = 2.0
"""Seconds between two attempts to write something."""
_SAMPLE: Final = bytes(64 * 1024)
_log = Logger()


@attrs.define(eq=False)
class RoomWatch:
    """Tries to write for as long as nothing can be written."""

    _writer: Writer
    _blobs: IBlobs
    _clock: IReactorTime
    _offload: Offload
    _looking: LoopingCall = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._looking = LoopingCall(lambda: Deferred.fromCoroutine(self.look()))
        self._looking.clock = self._clock

    def start(self) -> None:
        """Begin."""
        self._looking.start(_LOOK, now=False)

    def stop(self) -> None:
        """End."""
        if self._looking.running:
            self._looking.stop()

    async def look(self) -> None:
        """If the last write failed for want of room, find out whether there is some now."""
        if not isinstance(self._writer.failure, StorageFull):
            return
        try:
            await self._offload(self._write_sample)
            await self._writer.keep(lambda _view: None)  # which brings the view to the end of the log, too
        except (StorageFull, WriterStopped):
            return
        except Exception:
            _log.failure("It could not be found out whether there is room on the disk again")
            return
        self._writer.retry()
        _log.info("There is room on the disk again, and writing goes on.")

    def _write_sample(self) -> None:
        """Raise ``StorageFull`` if there is no room for a small file.  Blocking."""
        with self._blobs.incoming() as file:
            file.write(_SAMPLE)

"""A replica that was just made: it finds out whose log it is going to have, and takes the beginning of that.

Until its primary was reached once there is nothing to serve, and nothing is opened but the ports, which say so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from twistpi.http.backoff import Backoff
from twistpi.model.errors import TwistpiError
from twistpi.replication.primary import Primary
from twistpi.replication.progress import Progress, state_after
from twistpi.replication.segments import look_over
from twistpi.replication.snapshot import Bootstrap
from twistpi.server.directory import ServerDirectory

_SHORTEST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 10.0
"""Seconds between two attempts."""
_log = Logger()


@attrs.define(eq=False)
class FirstSync:
    """Prepares the directory of a new replica."""

    _primary: Primary
    _serverdir: ServerDirectory
    _clock: IReactorTime
    _chance: Callable[[], float]
    _bootstrap: Bootstrap
    progress: Progress = attrs.field(init=False)
    """What can be said until something follows."""

    def __attrs_post_init__(self) -> None:
        self.progress = Progress(self._clock.seconds(), 0)

    @property
    def sentence(self) -> str:
        """Why nothing is served yet."""
        if self._bootstrap.expected:
            done = 100 * self._bootstrap.received // self._bootstrap.expected
            return f"This replica of {self._primary.url} is fetching a snapshot, {done} % so far. Try again in a moment."
        told = f" {self.progress.last_error}" if self.progress.state != "connecting" else ""
        return f"This replica of {self._primary.url} has nothing to serve yet.{told} Try again in a moment."

    async def run(self) -> None:
        """Return when the directory says whose log it is to have; tries for as long as it takes."""
        backoff = Backoff(_SHORTEST_PAUSE, _LONGEST_PAUSE, self._chance)
        if not self._serverdir.node.log_id:
            await self._bootstrap.clear()  # what a crash may have left
        while not self._serverdir.node.log_id:
            try:
                await self._meet()
            except TwistpiError as error:
                self._note(error)
                await backoff.wait(self._clock)

    async def _meet(self) -> None:
        """Get to know the primary's log, and take a snapshot where it is a long one."""
        if self._bootstrap.expected:
            log_id = await self._bootstrap.run()
        else:
            overview = await look_over(self._primary)
            log_id = await self._bootstrap.run() if overview.is_large else overview.log_id
        self._serverdir.note(log_id=log_id)

    def _note(self, error: TwistpiError) -> None:
        sentence = str(error)
        if sentence != self.progress.last_error:
            _log.warn("{reason}", reason=sentence)
        self.progress.failed(state_after(error), sentence, self._clock.seconds())

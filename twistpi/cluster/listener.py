"""Learns of entries that other nodes append."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

import attrs
import psycopg
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from twistpi.cluster.database import Row, database_name, first_line, open_connection
from twistpi.model.peers import Position

_POLL: Final = 1.0
"""Seconds without a notification after which the head is looked at: through a pool, notifications do not arrive."""
_PAUSE: Final = 1.0
"""Seconds before the next attempt to connect."""
_log = Logger()


@attrs.define(eq=False)
class Listener:
    """Has the view brought up to date when another node appended; a thread with a connection of its own."""

    _url: str = attrs.field(repr=False)
    _node_id: str
    """The id of this node, whose own notifications are ignored."""
    _refresh: Callable[[], Deferred[Position]]
    """Brings what is in the database into the view; called in the reactor."""
    _seen: Callable[[], int]
    """The last serial that the view shows; called in the reactor."""
    _call_in_reactor: Callable[..., object]
    _seconds: Callable[[], float] = time.monotonic
    heard: int = attrs.field(default=0, init=False)
    """The last serial that is in the database, as far as is known."""
    _behind_since: float | None = attrs.field(default=None, init=False)
    """Since when the view lacks something of that."""
    _stopping: threading.Event = attrs.field(factory=threading.Event, init=False)
    _is_refreshing: bool = attrs.field(default=False, init=False)

    def start(self) -> None:
        """Start the thread; it is a daemon."""
        threading.Thread(target=self._run, name="twistpi listener", daemon=True).start()

    def stop(self) -> None:
        """Let the thread end, within a second, and change nothing any more."""
        self._stopping.set()

    @property
    def lag(self) -> tuple[int, float]:
        """How many entries the view lacks, and for how many seconds it has lacked some."""
        missing = max(0, self.heard - self._seen())
        return (missing, 0.0 if self._behind_since is None else self._seconds() - self._behind_since) if missing else (0, 0.0)

    async def reach(self, serial: int) -> None:
        """Return once the view shows ``serial``, if the database has it; raise ``LogUnreachable``."""
        if self._seen() < serial:
            await self._refresh()

    # In the thread -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        told = ""
        while not self._stopping.is_set():
            try:
                with open_connection(self._url) as connection:
                    connection.execute("LISTEN twistpi")
                    told = ""
                    self._follow(connection)
            except psycopg.Error as error:
                if first_line(error) != told:
                    told = first_line(error)
                    text = "Nothing is heard of what other nodes write, since the database at {name} is gone: {reason}"
                    _log.warn(text, name=database_name(self._url), reason=told)
                self._stopping.wait(_PAUSE)

    def _follow(self, connection: psycopg.Connection[Row]) -> None:
        while not self._stopping.is_set():
            came = [notification.payload for notification in connection.notifies(timeout=_POLL, stop_after=1)]
            for payload in came:
                serial, _, node_id = payload.partition(" ")
                if node_id != self._node_id and serial.isdecimal():
                    self._call_in_reactor(self.appended, int(serial))
            if not came and (row := connection.execute("SELECT serial FROM twistpi_head").fetchone()) is not None:
                # Told each time: what could not be brought a second ago is tried again.
                self._call_in_reactor(self.appended, int(row[0]))

    # In the reactor ------------------------------------------------------------------------------------------------

    def appended(self, serial: int) -> None:
        """Bring the view up to date if the database has ``serial``, and the view does not."""
        self.heard = max(self.heard, serial)
        if self.heard <= self._seen():
            self._behind_since = None
        elif self._behind_since is None:
            self._behind_since = self._seconds()
        if serial == self._seen() or self._is_refreshing or self._stopping.is_set():
            return
        self._is_refreshing = True
        self._refresh().addBoth(self._refreshed, self.heard)

    def _refreshed(self, outcome: Position | Failure, heard: int) -> None:
        self._is_refreshing = False
        if self.heard <= self._seen():
            self._behind_since = None
        if isinstance(outcome, Failure):
            _log.debug("What other nodes wrote is not here yet: {reason}", reason=outcome.getErrorMessage())
        elif self.heard > heard:
            self.appended(self.heard)

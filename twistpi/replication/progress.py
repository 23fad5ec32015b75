"""How far a follower is: what the status page, ``twistpi status`` and the figures say of it.  Pure."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from twistpi.model.monitoring import Measure
from twistpi.model.server_errors import FollowingRefused, PrimaryUnreachable
from twistpi.replication.feed import Heartbeat


def state_after(error: Exception) -> str:
    """The ``Progress.state`` in which an attempt leaves a follower that ended with ``error``."""
    if isinstance(error, FollowingRefused):
        return error.state
    return "unreachable" if isinstance(error, PrimaryUnreachable) else "failing"


@attrs.define
class Progress:
    """What is known of the primary, of what is here, and since when.  All times are Unix seconds of this server's clock."""

    started_at: float
    serial: int
    """The last one that readers here see."""
    state: str = attrs.field(default="connecting", init=False)
    """``connecting``, ``following``, ``unreachable`` (the primary is gone), ``failing`` (what comes cannot be kept; it is tried
    again), ``refused``, ``other log``, ``diverged``, ``fenced``, ``behind`` (these need a human)."""
    primary_serial: int | None = attrs.field(default=None, init=False)
    """The primary's last one, as far as is known."""
    primary_time: float | None = attrs.field(default=None, init=False)
    """The primary's clock when it last said something."""
    primary_uuid: str | None = attrs.field(default=None, init=False)
    """The id of the server at the beginning of the chain, once it is known."""
    contacted_at: float | None = attrs.field(default=None, init=False)
    """When the primary last said something."""
    connected_at: float | None = attrs.field(default=None, init=False)
    """Since when it is followed without interruption; None while it is not."""
    updated_at: float | None = attrs.field(default=None, init=False)
    """When the last entry came."""
    synced_at: float | None = attrs.field(default=None, init=False)
    """When everything was last known to be here."""
    complete_at: float | None = attrs.field(default=None, init=False)
    """When everything was first known to be here, since this process began."""
    last_error: str | None = attrs.field(default=None, init=False)
    """The sentence of what last went wrong; it stays after it was put right."""
    last_error_at: float | None = attrs.field(default=None, init=False)

    @property
    def is_connected(self) -> bool:
        """Whether the primary is being followed."""
        return self.connected_at is not None

    @property
    def is_complete(self) -> bool:
        """Whether everything is here that the primary is known to have, now that it is followed."""
        return self.is_connected and self.primary_serial is not None and self.serial >= self.primary_serial

    @property
    def lag_entries(self) -> int | None:
        """How many entries of the primary's are missing, as far as is known; None before the first contact."""
        return None if self.primary_serial is None else max(0, self.primary_serial - self.serial)

    def lag_seconds(self, now: float) -> float | None:
        """For how long it is not certain that everything is here: 0 while it is; None when it never was."""
        if self.is_complete:
            return 0.0
        return None if self.synced_at is None else max(0.0, now - self.synced_at)

    def heard(self, beat: Heartbeat, now: float) -> None:
        """The primary said where it is."""
        if self.connected_at is None:
            self.connected_at = now
        self.state = "following"
        self.contacted_at = now
        self.primary_serial, self.primary_time = beat.serial, beat.time
        self._look(now)

    def applied(self, serial: int, now: float) -> None:
        """The entries up to ``serial`` are in the view."""
        self.serial = serial
        self.updated_at = now
        if self.connected_at is None:
            return
        self.contacted_at = now
        if self.primary_serial is None or serial > self.primary_serial:
            self.primary_serial = serial
        if serial == self.primary_serial:
            self._look(now)

    def disconnected(self, now: float) -> None:
        """The primary is not followed any more."""
        self._look(now)
        self.connected_at = None

    def failed(self, state: str, sentence: str, now: float) -> None:
        """Something went wrong."""
        self.connected_at = None
        self.state, self.last_error, self.last_error_at = state, sentence, now

    def measures(self, now: float) -> Iterator[Measure]:
        """Figures for administrators."""
        connected = 1.0 if self.is_connected else 0.0
        yield Measure("twistpi_replica_connected", "gauge", "Whether the primary is being followed", connected)
        yield Measure("twistpi_replica_serial", "gauge", "The last serial that is here", self.serial)
        if self.primary_serial is not None:
            help = "The primary's last serial, as far as it is known here"
            yield Measure("twistpi_replica_primary_serial", "gauge", help, self.primary_serial)
        if (entries := self.lag_entries) is not None:
            yield Measure("twistpi_replica_lag_entries", "gauge", "Entries of the primary's that are missing here", entries)
        if (seconds := self.lag_seconds(now)) is not None:
            help = "For how long it has not been certain that everything is here; 0 while it is"
            yield Measure("twistpi_replica_lag_seconds", "gauge", help, seconds)
        if self.contacted_at is not None:
            help = "When the primary last said something, in Unix seconds"
            yield Measure("twistpi_replica_last_contact_seconds", "gauge", help, self.contacted_at)

    def _look(self, now: float) -> None:
        if self.is_complete:
            self.synced_at = now
            self.complete_at = self.complete_at or now

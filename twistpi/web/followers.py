"""Who follows this server: the ``polling_replicas`` of its status.

The feed's door says when a follower comes, how far what it was sent goes, and when it leaves.  One that left is remembered for a
while, since an administrator looks for those that should be there and are not.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from twistpi.model.measures import Measure
from twistpi.model.records import Json

REMEMBERED = 86400.0
"""Seconds for which a follower that left is still named."""
_MOST = 1000


@attrs.define(eq=False)
class Follower:
    """One server that follows this one, from one connection to the next."""

    node_id: str
    address: str | None
    """Where it asks from."""
    outside_url: str | None
    """Where people reach it, when it told."""
    since: float
    """When it came, in Unix seconds."""
    serial: int
    """Up to where it was sent the log."""
    last_contact: float
    """When it asked, or when it was last sent something that it took."""
    connections: int = 1
    """Feeds that are open; 0 when it left."""

    def sent(self, serial: int, now: float) -> None:
        """It was handed the log up to ``serial``."""
        self.serial = serial
        self.last_contact = now

    def left(self, now: float) -> None:
        """A feed of its ended."""
        self.connections -= 1
        self.last_contact = now


@attrs.define
class Followers:
    """All that follow, or did so lately."""

    _known: dict[str, Follower] = attrs.field(factory=dict)

    def came(self, node_id: str, address: str | None, outside_url: str | None, serial: int, now: float) -> Follower:
        """A feed after ``serial`` was opened; tell what is returned how it goes on."""
        follower = self._known.pop(node_id, None)
        if follower is None:
            follower = Follower(node_id, address, outside_url, now, serial, now)
        elif follower.connections > 0:
            follower.connections += 1
        else:
            follower.connections, follower.since = 1, now
        follower.address, follower.outside_url, follower.serial, follower.last_contact = address, outside_url, serial, now
        self._known[node_id] = follower
        self._forget(now)
        return follower

    def all(self, now: float) -> list[Follower]:
        """Who follows, and who did so lately; who came last is last."""
        self._forget(now)
        return list(self._known.values())

    def facts(self, now: float) -> dict[str, Json]:
        """What the status says: by node id, in the words of the devpi protocol and in ours."""
        return {
            one.node_id: {
                "remote-ip": one.address,
                "outside-url": one.outside_url,
                "serial": one.serial,
                "in-request": one.connections > 0,
                "is-streaming": one.connections > 0,
                "last-request": one.last_contact,
                "since": one.since,
            }
            for one in self.all(now)
        }

    def measures(self) -> Iterator[Measure]:
        """See ``Measuring``."""
        following = [one for one in self._known.values() if one.connections > 0]
        yield Measure("twistpi_followers", "gauge", "Servers that follow this one now", len(following))
        for one in following:
            labels = (("node", one.node_id),)
            yield Measure("twistpi_follower_serial", "gauge", "Up to where a server was sent the log", one.serial, labels)

    def _forget(self, now: float) -> None:
        gone = [one for one in self._known.values() if one.connections <= 0]
        gone.sort(key=lambda one: one.last_contact)
        surplus = len(self._known) - _MOST
        for place, one in enumerate(gone):
            if one.last_contact + REMEMBERED < now or place < surplus:
                del self._known[one.node_id]

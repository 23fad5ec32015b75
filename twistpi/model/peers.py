"""What the servers of one log tell each other of themselves: what ``/+peer`` answers and ``/+fence`` is sent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import attrs

_ID = re.compile(r"[0-9a-f]{32}\Z")
_CHAIN = re.compile(r"[0-9a-f]{64}\Z")
NO_CHAIN = "0" * 64
"""The chain before the first entry."""


@attrs.frozen
class Fork:
    """The end of a line up to which logs that differ afterwards are the same."""

    serial: int = 0
    chain: str = NO_CHAIN
    """64 hexadecimal digits."""


@attrs.frozen
class Epoch:
    """By what a server takes writes: the epoch, who began it, and where.

    Epoch 1 is the one that a log begins with; each promotion begins the next.
    """

    epoch: int = 1
    node_id: str = ""
    """The server that was promoted; empty for epoch 1."""
    fork: Fork = Fork()
    """The line before the epoch's first one."""

    @property
    def rank(self) -> tuple[int, int, str]:
        """Of two reigns over one log the one with the higher rank counts: the later epoch; where two servers were promoted to
        the same one, that which had more entries.  No two servers' reigns have the same rank, but for epoch 1.
        """
        return (self.epoch, self.fork.serial, self.node_id)


@attrs.frozen
class Peer:
    """One server, as it tells another that holds the same secret."""

    node_id: str
    log_id: str
    """Empty for a replica that never reached its primary."""
    role: str
    """``primary`` or ``replica``."""
    serial: int
    """Of the newest entry here."""
    chain: str
    """Its chain."""
    epoch_start: Epoch = Epoch()
    """The newest that it knows of."""
    fenced: bool = False
    """Whether it takes no writes because another server was promoted."""
    url: str | None = None
    """Where people and servers reach it, as far as it knows."""
    primary_url: str | None = None
    """Whom it follows, or, when it is fenced, whom it should follow."""

    def to_json(self) -> Mapping[str, Any]:
        """What ``/+peer`` answers."""
        fields = attrs.asdict(self)
        epoch_start = fields.pop("epoch_start")
        return {**fields, "epoch": epoch_start["epoch"], "begun_by": epoch_start["node_id"], "fork": epoch_start["fork"]}


@attrs.frozen
class FenceNote:
    """A server says that it was promoted: whoever took writes by a lower epoch_start stops.

    With ``hold`` it says that it is about to be promoted: no writes for so many seconds, and what is the last serial?
    """

    node_id: str
    log_id: str
    epoch_start: Epoch
    url: str | None = None
    """Where it answers."""
    hold: float = 0.0
    """Seconds; 0 when it is promoted."""

    def to_json(self) -> Mapping[str, Any]:
        """What ``/+fence`` is sent."""
        epoch_start = attrs.asdict(self.epoch_start)
        told = {"epoch": epoch_start["epoch"], "begun_by": epoch_start["node_id"], "fork": epoch_start["fork"]}
        return {"node_id": self.node_id, "log_id": self.log_id, **told, "url": self.url, "hold": self.hold}


def read_peer(fields: Any) -> Peer:
    """A ``Peer`` out of JSON; ``ValueError`` for what is none.  Unknown fields are ignored."""
    node_id, log_id = _id(fields, "node_id"), _text(fields, "log_id")
    if log_id:
        _matching(_ID, log_id)
    chain = _matching(_CHAIN, _text(fields, "chain"))
    url, primary_url = _text_or_none(fields, "url"), _text_or_none(fields, "primary_url")
    fenced, epoch_start = fields.get("fenced") is True, _epoch_start(fields)
    return Peer(node_id, log_id, _text(fields, "role"), _count(fields, "serial"), chain, epoch_start, fenced, url, primary_url)


def read_fence_note(fields: Any) -> FenceNote:
    """A ``FenceNote`` out of JSON; ``ValueError`` for what is none.  Unknown fields are ignored."""
    note = FenceNote(_id(fields, "node_id"), _id(fields, "log_id"), _epoch_start(fields), _text_or_none(fields, "url"))
    hold = fields.get("hold", 0.0)
    if not isinstance(hold, int | float) or not 0 <= hold <= 3600:
        raise ValueError(f"hold is {hold!r}")
    return attrs.evolve(note, hold=float(hold))


def _epoch_start(fields: Any) -> Epoch:
    fork = _field(fields, "fork")
    begun_by = _text(fields, "begun_by")
    if begun_by:
        _matching(_ID, begun_by)
    return Epoch(_count(fields, "epoch"), begun_by, Fork(_count(fork, "serial"), _matching(_CHAIN, _text(fork, "chain"))))


def _field(fields: Any, name: str) -> Any:
    if not isinstance(fields, dict) or name not in fields:
        raise ValueError(f"{name} is missing")
    return fields[name]


def _text(fields: Any, name: str) -> str:
    value = _field(fields, name)
    if not isinstance(value, str):
        raise ValueError(f"{name} is {value!r}")
    return value


def _text_or_none(fields: Any, name: str) -> str | None:
    return None if fields.get(name) is None else _text(fields, name)


def _count(fields: Any, name: str) -> int:
    value = _field(fields, name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{name} is {value!r}")
    return value


def _id(fields: Any, name: str) -> str:
    return _matching(_ID, _text(fields, name))


def _matching(pattern: re.Pattern[str], text: str) -> str:
    if not pattern.match(text):
        raise ValueError(f"{text!r} cannot be")
    return text


@attrs.frozen
class Position:
    """The end of one line of the changelog."""

    serial: int
    """The line's serial; 0 before the first line."""
    chain: str
    """The line's chain digest, 64 hexadecimal digits."""
    segment: int
    """The first serial of the segment that holds the line."""
    offset: int
    """Bytes from the start of that segment to the end of the line."""


BEGINNING = Position(serial=0, chain="0" * 64, segment=1, offset=0)
"""Before the first line."""

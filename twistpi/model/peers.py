"""How servers of one log describe themselves to each other: the JSON of ``/+peer`` and ``/+fence``, and places in the log."""

from __future__ import annotations

import re
from collections.abc import Mapping

import attrs

from twistpi.model.records import Json

PEER_PATH = "/+peer"
FENCE_PATH = "/+fence"
TIME_HEADER = "X-Twistpi-Time"
"""The primary's clock, in Unix seconds, in every answer to another server."""
_ID = re.compile(r"[0-9a-f]{32}\Z")
_ID_OR_EMPTY = re.compile(r"([0-9a-f]{32})?\Z")
_CHAIN = re.compile(r"[0-9a-f]{64}\Z")
NO_CHAIN = "0" * 64
"""The chain before the first entry."""
_LONGEST_HOLD = 3600
"""Seconds."""


@attrs.frozen
class Fork:
    """The end of the last line that two logs have in common."""

    serial: int = 0
    chain: str = NO_CHAIN
    """64 hexadecimal digits."""


@attrs.frozen
class Epoch:
    """The epoch in which a server takes writes, which server began it, and where.

    A log begins with epoch 1; each promotion begins the next one.
    """

    epoch: int = 1
    node_id: str = ""
    """The server that was promoted; empty for epoch 1."""
    fork: Fork = Fork()
    """The line before the epoch's first one."""

    @property
    def rank(self) -> tuple[int, int, str]:
        """Of two epochs of one log the one with the higher rank counts: the later one, or, where two servers were promoted to
        the same epoch, that of the server with more entries.  Only in epoch 1 can two servers have the same rank.
        """
        return (self.epoch, self.fork.serial, self.node_id)


@attrs.frozen
class Peer:
    """A server, as it describes itself to another one that holds the same secret."""

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
    """The newest epoch that it knows of."""
    fenced: bool = False
    """Whether it takes no writes because another server was promoted."""
    url: str | None = None
    """Where clients and servers reach it; None when it does not know."""
    primary_url: str | None = None
    """The server that it follows, or, when it is fenced, that it should follow."""

    def to_json(self) -> Mapping[str, Json]:
        """Return the answer of ``/+peer``."""
        return _to_json(self)


@attrs.frozen
class FenceNote:
    """The message of a promoted server: a server that took writes in an epoch of lower rank stops doing so.

    With ``hold`` it is about to be promoted: it asks for no writes in so many seconds, and for the last serial.
    """

    node_id: str
    log_id: str
    epoch_start: Epoch
    url: str | None = None
    """Where it answers."""
    hold: float = 0.0
    """Seconds; 0 when it is promoted."""

    def to_json(self) -> Mapping[str, Json]:
        """Return the body of a request to ``/+fence``."""
        return _to_json(self)


def _to_json(record: Peer | FenceNote) -> Mapping[str, Json]:
    fields = attrs.asdict(record)
    start = fields.pop("epoch_start")
    return {**fields, "epoch": start["epoch"], "begun_by": start["node_id"], "fork": start["fork"]}


def read_peer(fields: Json) -> Peer:
    """Return a ``Peer`` from JSON; raise ``ValueError``.  Unknown fields are ignored."""
    return Peer(
        _text(fields, "node_id", _ID),
        _text(fields, "log_id", _ID_OR_EMPTY),
        _text(fields, "role"),
        _count(fields, "serial"),
        _text(fields, "chain", _CHAIN),
        _read_epoch_start(fields),
        fields.get("fenced") is True,
        _text_or_none(fields, "url"),
        _text_or_none(fields, "primary_url"),
    )


def read_fence_note(fields: Json) -> FenceNote:
    """Return a ``FenceNote`` from JSON; raise ``ValueError``.  Unknown fields are ignored."""
    node_id, log_id = _text(fields, "node_id", _ID), _text(fields, "log_id", _ID)
    hold = fields.get("hold", 0.0)
    if not isinstance(hold, int | float) or not 0 <= hold <= _LONGEST_HOLD:
        raise ValueError(f"hold is {hold!r}")
    return FenceNote(node_id, log_id, _read_epoch_start(fields), _text_or_none(fields, "url"), float(hold))


def _read_epoch_start(fields: Json) -> Epoch:
    fork = _field(fields, "fork")
    begun_by = _text(fields, "begun_by", _ID_OR_EMPTY)
    return Epoch(_count(fields, "epoch"), begun_by, Fork(_count(fork, "serial"), _text(fork, "chain", _CHAIN)))


def _field(fields: Json, name: str) -> Json:
    if not isinstance(fields, dict) or name not in fields:
        raise ValueError(f"{name} is missing")
    return fields[name]


def _text(fields: Json, name: str, pattern: re.Pattern[str] | None = None) -> str:
    value = _field(fields, name)
    if not isinstance(value, str) or (pattern is not None and not pattern.match(value)):
        raise ValueError(f"{name} is {value!r}")
    return value


def _text_or_none(fields: Json, name: str) -> str | None:
    return None if fields.get(name) is None else _text(fields, name)


def _count(fields: Json, name: str) -> int:
    value = _field(fields, name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{name} is {value!r}")
    return value


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


BEGINNING = Position(serial=0, chain=NO_CHAIN, segment=1, offset=0)
"""Before the first line."""

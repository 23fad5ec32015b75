"""Which nodes of a cluster run: each says so in the database every ten seconds, and reads what the others say."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, LiteralString

import attrs
import orjson
from psycopg import errors
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from twistpi.cluster.database import Database, Row
from twistpi.http.offload import Offload
from twistpi.model.errors import TwistpiError
from twistpi.model.records import Json

_EVERY: Final = 10.0
"""Seconds between two reports."""
_log = Logger()

FIND_NODES: Final[LiteralString] = """
SELECT node_id, extract(epoch FROM now() - seen_at)::float8, facts FROM twistpi_nodes
WHERE seen_at > now() - interval '30 seconds' ORDER BY node_id
"""
"""Finds the nodes that run: one that did not report for 30 seconds counts as gone."""
_REPORT: Final[LiteralString] = """
INSERT INTO twistpi_nodes (node_id, seen_at, facts) VALUES (%(node_id)s, now(), %(facts)s)
ON CONFLICT (node_id) DO UPDATE SET seen_at = now(), facts = EXCLUDED.facts RETURNING node_id
"""
_FORGET: Final[LiteralString] = """
DELETE FROM twistpi_nodes WHERE node_id = %(node_id)s OR seen_at < now() - interval '1 day' RETURNING node_id
"""
_IDENTITY: Final[LiteralString] = """
SELECT system_identifier::text || '/' || current_database() || '/' || current_schema() FROM pg_control_system()
"""
_NAME: Final[LiteralString] = "SELECT current_database() || '/' || current_schema()"
_LEADER: Final[LiteralString] = "SELECT owner FROM twistpi_leases WHERE name = %(name)s AND expires > now()"


def find_identity(database: Database) -> str:
    """Return what tells a database from a copy of it; blocking.  Raise ``LogUnreachable``."""
    try:
        [(identity,)] = database.ask(_IDENTITY)
    except errors.InsufficientPrivilege:  # some hosts of databases allow it to nobody
        [(identity,)] = database.ask(_NAME)
    return str(identity)


@attrs.frozen
class SeenNode:
    """A node that reported lately."""

    node_id: str
    age: float
    """Seconds since it did."""
    facts: Mapping[str, Json]
    """What it said of itself."""


def seen_nodes(rows: Sequence[Row]) -> list[SeenNode]:
    """Return what ``FIND_NODES`` found."""
    return [SeenNode(str(node_id), float(age), _read(str(facts))) for node_id, age, facts in rows]


def _read(text: str) -> Mapping[str, Json]:
    try:
        fields = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return fields if isinstance(fields, dict) else {}


@attrs.define(eq=False)
class Presence:
    """Reports the node ``node_id``."""

    _database: Database
    node_id: str
    _facts: Callable[[], Mapping[str, Json]]
    """Returns what this node reports; called in the reactor."""
    _leadership: str
    """The name of the lease of the node that leads."""
    _clock: IReactorTime
    _run: Offload
    """Calls functions that wait for the database, in a thread."""
    nodes: Sequence[SeenNode] = attrs.field(default=(), init=False)
    """Those that run, as far as is known."""
    leader: str | None = attrs.field(default=None, init=False)
    """The one that leads, as far as is known."""
    failure: str | None = attrs.field(default=None, init=False)
    """Why that is not known any more; None while it is."""
    _identity: str | None = attrs.field(default=None, init=False)
    _reporting: LoopingCall = attrs.field(init=False)
    _ended: Deferred[LoopingCall] = attrs.field(factory=Deferred, init=False)

    def __attrs_post_init__(self) -> None:
        self._reporting = LoopingCall(lambda: Deferred.fromCoroutine(self._report()))
        self._reporting.clock = self._clock

    def start(self) -> None:
        """Begin to report."""
        self._ended = self._reporting.start(_EVERY)

    async def stop(self) -> None:
        """Say that this node does not run any more."""
        if self._reporting.running:
            self._reporting.stop()
            await self._ended
        try:
            await self._run(self._database.ask, _FORGET, {"node_id": self.node_id})
        except TwistpiError as error:  # it counts as gone soon
            _log.debug("The other nodes are not told that this one stops: {reason}", reason=str(error))

    async def identity(self) -> str:
        """Return what tells the database from a copy of it: the id of its PostgreSQL, and its name there.

        A standby that takes over has the same.  Raise ``LogUnreachable``.
        """
        if self._identity is None:
            self._identity = await self._run(find_identity, self._database)
        return self._identity

    async def _report(self) -> None:
        facts = orjson.dumps(dict(self._facts())).decode()
        try:
            nodes, leader = await self._run(self._exchange, facts)
        except TwistpiError as error:
            self.failure = str(error)
            return
        self.nodes, self.leader, self.failure = seen_nodes(nodes), leader, None

    def _exchange(self, facts: str) -> tuple[list[Row], str | None]:
        self._database.ask(_REPORT, {"node_id": self.node_id, "facts": facts})
        leader = self._database.ask(_LEADER, {"name": self._leadership})
        return self._database.ask(FIND_NODES), str(leader[0][0]) if leader else None

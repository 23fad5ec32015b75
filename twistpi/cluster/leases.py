"""Leases: one node alone does what need not be done twice, until it is done or the node is gone.

A lease is a row with an expiry by the clock of the database.  Its holder renews it; when a node dies, the lease expires and
another one takes it.  Each time it is taken it has a higher token, and what is renewed or ended with an older one counts no
more.  A holder that cannot renew in time stops counting itself the holder earlier than others do.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final, LiteralString

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from twistpi.cluster.database import Database, Row
from twistpi.http.backoff import sleep
from twistpi.http.offload import Offload
from twistpi.model.errors import TwistpiError

SECONDS: Final = 10.0
"""Until a lease expires that is not renewed."""
_RENEWALS: Final = 3
"""Within that time."""
_KEPT: Final = "1 day"
"""How long the note of an ended lease is kept."""
_FORGET_EVERY: Final = 3600.0
"""Seconds."""
_SHORTEST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 0.4
"""Seconds between two attempts to take a lease."""
_log = Logger()

_TAKE: Final[LiteralString] = """
WITH former AS (
    SELECT note, done_at FROM twistpi_leases WHERE name = %(name)s
), taken AS (
    INSERT INTO twistpi_leases (name, owner, token, expires)
    VALUES (%(name)s, %(owner)s, nextval('twistpi_lease_tokens'), now() + %(seconds)s * interval '1 second')
    ON CONFLICT (name) DO UPDATE SET owner = EXCLUDED.owner, token = EXCLUDED.token, expires = EXCLUDED.expires
        WHERE twistpi_leases.expires <= now()
    RETURNING token
)
SELECT (SELECT token FROM taken), (SELECT note FROM former), (SELECT done_at FROM former)
"""
_RENEW: Final[LiteralString] = """
UPDATE twistpi_leases SET expires = now() + %(seconds)s * interval '1 second'
WHERE name = %(name)s AND token = %(token)s AND expires > now() RETURNING token
"""
_END: Final[LiteralString] = """
UPDATE twistpi_leases SET expires = now(), done_at = now(), note = %(note)s
WHERE name = %(name)s AND token = %(token)s AND expires > now() RETURNING token
"""
_FORGET: Final[LiteralString] = "DELETE FROM twistpi_leases WHERE expires < now() - %(kept)s::interval RETURNING token"


@attrs.define(eq=False)
class Turn:
    """A lease that this node holds."""

    name: str
    token: int
    """Higher than that of everybody who held the lease before."""
    note: str
    """What the former holder left; empty without one."""
    is_news: bool
    """Whether another node left the note while this one waited."""
    _leases: Leases
    _until: float
    """When the lease expires, by this machine's clock."""
    _renewing: LoopingCall = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._renewing = LoopingCall(lambda: Deferred.fromCoroutine(self._renew()))
        self._renewing.clock = self._leases.clock
        self._renewing.start(SECONDS / _RENEWALS, now=False)

    @property
    def is_held(self) -> bool:
        """Whether nobody else can have the lease yet."""
        return self._leases.clock.seconds() < self._until

    async def end(self, note: str) -> bool:
        """Give the lease back, and leave ``note``; return whether it was still held."""
        if self._renewing.running:
            self._renewing.stop()
        self._until = 0.0
        return await self._leases.end(self, note)

    async def _renew(self) -> None:
        asked_at = self._leases.clock.seconds()
        try:
            renewed = await self._leases.renew(self)
        except TwistpiError as error:  # the database may be there again before the lease is over
            _log.debug("The lease {name} could not be renewed: {reason}", name=self.name, reason=str(error))
            return
        if renewed:
            self._until = asked_at + SECONDS
        elif self._renewing.running:
            self._until = 0.0
            self._renewing.stop()


@attrs.define(eq=False)
class Leases:
    """The leases of a cluster, as one node takes them."""

    _database: Database
    _node_id: str
    clock: IReactorTime
    _run: Offload
    """Calls functions that wait for the database, in a thread that nothing else waits for."""

    async def take(self, name: str, patience: float) -> Turn | None:
        """Return the lease ``name`` once nobody else has it; None if that takes longer than ``patience`` seconds, or cannot be
        found out, because the database is gone.
        """
        began = self.clock.seconds()
        pause = _SHORTEST_PAUSE
        first_done_at: datetime | None = None
        waited = False
        while True:
            asked_at = self.clock.seconds()
            try:
                [(token, note, done_at)] = await self._ask(_TAKE, {"name": name, "owner": self._node_id, "seconds": SECONDS})
            except TwistpiError as error:
                _log.warn("The lease {name} could not be taken: {reason}", name=name, reason=str(error))
                return None
            if token is not None:
                return Turn(name, token, note or "", waited and done_at != first_done_at, self, asked_at + SECONDS)
            if not waited:
                waited, first_done_at = True, done_at
            if self.clock.seconds() + pause > began + patience:
                return None
            await sleep(self.clock, pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def renew(self, turn: Turn) -> bool:
        """Return whether ``turn`` is held, and for how long anew; raise ``LogUnreachable``."""
        return bool(await self._ask(_RENEW, {"name": turn.name, "token": turn.token, "seconds": SECONDS}))

    async def end(self, turn: Turn, note: str) -> bool:
        """See ``Turn.end``."""
        try:
            return bool(await self._ask(_END, {"name": turn.name, "token": turn.token, "note": note}))
        except TwistpiError as error:
            _log.warn("The lease {name} will end by itself: {reason}", name=turn.name, reason=str(error))
            return False

    async def forget(self) -> int:
        """Drop what was remembered of leases that ended long ago; return how many.  Raise ``LogUnreachable``."""
        return len(await self._ask(_FORGET, {"kept": _KEPT}))

    def close(self) -> Deferred[None]:
        """Close the connection."""
        return self._run(self._database.close)

    def _ask(self, statement: LiteralString, arguments: Mapping[str, object]) -> Deferred[list[Row]]:
        return self._run(self._database.ask, statement, arguments)


@attrs.define(eq=False)
class Leadership:
    """One lease that some node of the cluster always has, as long as any is there."""

    _leases: Leases
    _name: str
    _turn: Turn | None = attrs.field(default=None, init=False)
    _forget_at: float = attrs.field(default=0.0, init=False)
    """When former leases are dropped next; the node that leads does it."""
    _trying: LoopingCall = attrs.field(init=False)
    _ended: Deferred[LoopingCall] = attrs.field(factory=Deferred, init=False)
    """Fires after ``stop``, when nothing is under way any more."""

    def __attrs_post_init__(self) -> None:
        self._trying = LoopingCall(lambda: Deferred.fromCoroutine(self._try()))
        self._trying.clock = self._leases.clock

    @property
    def is_held(self) -> bool:
        """Whether it is this node's turn."""
        return self._turn is not None and self._turn.is_held

    def start(self) -> None:
        """Begin to try."""
        self._ended = self._trying.start(SECONDS / 2)

    async def stop(self) -> None:
        """Leave it to another node."""
        if self._trying.running:
            self._trying.stop()
            await self._ended
        if self._turn is not None:
            await self._turn.end("")
            self._turn = None

    async def _try(self) -> None:
        if not self.is_held:
            self._turn = await self._leases.take(self._name, 0.0)
        now = self._leases.clock.seconds()
        if self.is_held and now >= self._forget_at:
            self._forget_at = now + _FORGET_EVERY
            try:
                await self._leases.forget()
            except TwistpiError as error:  # there is no hurry
                _log.debug("Former leases are forgotten later: {reason}", reason=str(error))

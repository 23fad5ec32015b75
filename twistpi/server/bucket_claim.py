"""Which of two clusters with the same log has a bucket: a database that was copied must not remove files of the original.

The node that leads says each minute, in the object ``leader``, of which database its cluster is.  While another one said so
within the last ten minutes, this cluster removes nothing: no node of it leads.  A database that replaces a lost one has the
bucket when that has been silent for so long.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import attrs
import orjson
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from twistpi.model.errors import TwistpiError
from twistpi.model.text import one_line
from twistpi.s3.bucket import Bucket
from twistpi.s3.errors import NoSuchObject

KEY: Final = "leader"
EVERY: Final = 60.0
"""Seconds between two looks."""
_SOON: Final = 10.0
"""Seconds after which a node looks that became the leading one."""
SILENT: Final = 600.0
"""Seconds after which another cluster counts as gone."""
_LONGEST: Final = 4096
_log = Logger()


@attrs.frozen
class Claim:
    """What is in the bucket."""

    database: str
    """The identity of the database."""
    node_id: str
    """The node that wrote it."""
    age: float
    """Seconds since it did, by the bucket's clock."""


async def read_claim(bucket: Bucket) -> Claim | None:
    """Return what the bucket says; None when nobody said anything that can be understood."""
    found = await bucket.head(KEY)
    if found is None:
        return None
    try:
        fields = orjson.loads(await bucket.read(KEY, _LONGEST))
        return Claim(one_line(str(fields["database"])), one_line(str(fields["node"])), found.age)
    except (NoSuchObject, orjson.JSONDecodeError, KeyError, TypeError):
        return None


def rival_of(claim: Claim | None, database: str) -> Claim | None:
    """Return ``claim`` if it is that of another cluster than the one with ``database``, which is alive; None otherwise."""
    return claim if claim is not None and claim.database != database and claim.age < SILENT else None


def rival_sentence(rival: Claim) -> str:
    """Return what to do about another cluster."""
    who = f"its node {rival.node_id[:8]} said so {rival.age:.0f} seconds ago"
    return (
        f"Another cluster with a copy of this log uses the bucket ({who}), so this one removes nothing from it. Stop one of them,"
        " or give the copy a bucket or prefix of its own."
    )


@attrs.define(eq=False)
class BucketClaim:
    """The claim of one node's cluster."""

    _bucket: Bucket
    _identify: Callable[[], Awaitable[str]]
    """Returns the identity of the database; raises ``TwistpiError``."""
    _node_id: str
    _leads: Callable[[], bool]
    """Whether the claim is up to this node."""
    rival: Claim | None = attrs.field(default=None, init=False)
    """Another cluster that has the bucket, when it was last looked at."""
    _again_at: float = attrs.field(default=0.0, init=False)
    _is_made: bool = attrs.field(default=False, init=False)
    _looking: LoopingCall = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._looking = LoopingCall(lambda: Deferred.fromCoroutine(self._look_again()))
        self._looking.clock = self._bucket.requests.clock

    @property
    def is_made(self) -> bool:
        """Whether the bucket is this cluster's."""
        return self._is_made and self.rival is None

    def start(self) -> None:
        """Begin to look."""
        self._looking.start(_SOON)

    def stop(self) -> None:
        """Look no more."""
        if self._looking.running:
            self._looking.stop()

    async def look(self) -> None:
        """Make the claim if nobody else has, and renew it; raise ``TwistpiError``."""
        if not self._leads():
            self._is_made = False
            return
        now = self._bucket.requests.clock.seconds()
        if self._is_made and now < self._again_at:
            return
        database = await self._identify()
        claim = await read_claim(self._bucket)
        before, self.rival = self.rival, rival_of(claim, database)
        if self.rival is not None:
            if before is None:
                _log.error("{reason}", reason=rival_sentence(self.rival))
            return
        if claim is None or claim.database != database or claim.age >= EVERY:
            await self._bucket.put(KEY, orjson.dumps({"database": database, "node": self._node_id}))
        self._is_made, self._again_at = True, now + EVERY

    async def _look_again(self) -> None:
        with suppress(TwistpiError):  # what was so stays so; others tell of a bucket or a database that is gone
            await self.look()

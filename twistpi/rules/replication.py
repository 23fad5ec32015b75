"""Promotion: its conditions, the servers that are fenced by it, and where two logs fork.  And which files a replica fetches.

A promotion begins an **epoch**: the promoted server appends ``EpochBegan`` and takes writes from then on.  The line before that
is the **fork**: entries that a former primary has after it exist only there.  A server that took writes in an epoch of lower rank
(``Epoch.rank``) is **fenced**: it serves what it has and takes no writes, until ``twistpi resync`` makes a replica of it.
"""

from __future__ import annotations

from typing import Final

import attrs

from twistpi.model.errors import InvalidName, TwistpiError
from twistpi.model.names import IndexName
from twistpi.model.peers import Epoch, FenceNote, Fork, Peer
from twistpi.model.server_errors import promotion_refused

HOLD: Final = 30.0
"""Seconds for which a primary holds its writes."""
SHORTEST_HOLD: Final = 0.001
"""Seconds of a hold that takes the place of a longer one."""
PRIMARY = "primary"
REPLICA = "replica"


@attrs.frozen
class Fence:
    """Why a former primary takes no writes any more; stored in ``node.json``."""

    epoch: int
    """The epoch that began elsewhere."""
    node_id: str = ""
    """The promoted server; empty while only the epoch is known."""
    url: str | None = None
    """The address of the promoted server, when it is known."""
    serial: int | None = None
    """Of the fork; None when it is not known, or when the logs differ already before it."""
    last: int = 0
    """The serial of the last entry here."""

    @property
    def successor(self) -> str:
        """The promoted server, for messages."""
        return self.url or (f"the server {self.node_id}" if self.node_id else "another server")

    @property
    def beyond(self) -> str:
        """A sentence about the entries that only this server has."""
        if self.serial is None:
            return "The logs differ; what exists only here is not known yet."
        return beyond_sentence(self.serial, self.last)

    def error(self) -> TwistpiError:
        """Return the error for a write."""
        return TwistpiError(
            f"Writes are not taken here any more, since {self.successor} was promoted and began epoch "
            f"{self.epoch}. {self.beyond} Use the new primary; twistpi resync makes a replica of this "
            "server.",
            503,
        )


def beyond_sentence(common: int, last: int) -> str:
    """Return a sentence about the entries after serial ``common`` up to ``last``, which exist only here."""
    if last <= common:
        return "Nothing exists only here."
    if last == common + 1:
        return f"Entry {last} exists only here."
    return f"Entries {common + 1} to {last} exist only here."


def is_stale(own: Peer, other: Epoch) -> bool:
    """Whether ``own`` takes writes and has to stop because of the epoch ``other`` of the same log."""
    return own.role == PRIMARY and other.epoch > 1 and other.node_id != own.node_id and other.rank > own.epoch_start.rank


def decide_fence(own: Peer, note: FenceNote, chain_at_fork: str | None, known: Fence | None) -> Fence | None:
    """Return the fence of ``own`` that follows from ``note``; None when the note is older, of another log or its own.

    ``chain_at_fork`` is the chain of the line here with the fork's serial, None when there is no such line.  ``known`` is the
    present fence, which a note about the same epoch may complete.
    """
    if note.log_id != own.log_id or not is_stale(own, note.epoch_start):
        return None
    if known is not None and _knows_better(known, note):
        return None
    fork = note.epoch_start.fork
    common = fork.serial if chain_at_fork == fork.chain else None
    last = own.serial if known is None else known.last
    return Fence(note.epoch_start.epoch, note.epoch_start.node_id, note.url, common, last)


def _knows_better(known: Fence, note: FenceNote) -> bool:
    if known.epoch != note.epoch_start.epoch:
        return known.epoch > note.epoch_start.epoch
    return bool(known.node_id) and known.url is not None and note.url is None


def fence_by_peer(own: Peer, other: Peer, chain_at_fork: str | None) -> Fence | None:
    """Return the fence that follows from the description of another server of the log; None when none does."""
    begun_by_other = other.epoch_start.node_id == other.node_id
    url = other.url if begun_by_other else other.primary_url
    return decide_fence(own, FenceNote(other.node_id, other.log_id, other.epoch_start, url), chain_at_fork, None)


@attrs.frozen
class Promotion:
    """The outcome of a promotion."""

    epoch_start: Epoch
    """The epoch that begins with it."""
    missing: tuple[int, int] | None
    """The first and last serial of the entries that only the former primary has; None when there are none, or when it does not
    answer."""


def check_directness(there: Peer, url: str) -> None:
    """Raise ``TwistpiError`` when the server that is followed, ``there`` at ``url``, is a replica itself."""
    if there.role != PRIMARY:
        chain = f"it follows a replica, so that the primary would not learn of it; promote the server at {url}"
        raise promotion_refused(f"{chain}, or go on nevertheless: twistpi promote --force")


def decide_promotion(own: Peer, primary: Peer | None, overcome: Fence | None = None) -> Promotion:
    """Return the outcome of promoting ``own`` now; ``primary`` is the server it follows, None when that does not answer.

    A former primary is promoted again only when its fence is to be ``overcome``.
    """
    if own.role == PRIMARY and not own.fenced:
        raise promotion_refused("it is a primary already")
    if own.role == PRIMARY and overcome is None:
        reason = "it was a primary, and another server was promoted: make a replica of it first, with twistpi resync"
        raise promotion_refused(f"{reason}; or, where that other one is lost for good: twistpi promote --force")
    epoch, missing = max(own.epoch_start.epoch, 1 if overcome is None else overcome.epoch), None
    if primary is not None and primary.log_id == own.log_id:
        epoch = max(epoch, primary.epoch_start.epoch)
        if primary.serial > own.serial:
            missing = (own.serial + 1, primary.serial)
    return Promotion(Epoch(epoch + 1, own.node_id, Fork(own.serial, own.chain)), missing)


@attrs.define
class ForkSearch:
    """Finds the last serial up to which two logs are the same, by comparing few lines.

    The chain of a line depends on all lines before it: logs that agree at a serial agree before it, and logs that differ at one
    differ after it.  While ``wanted`` is a serial, compare both logs there and ``learn``.
    """

    agreed: int
    """The logs are known to be the same up to here."""
    differ: int
    """The logs are known to differ here, or one of them ends before."""
    _untried: bool = attrs.field(default=True, init=False)

    @classmethod
    def between(cls, agreed: int, one: int, other: int) -> ForkSearch:
        """Begin a search in logs that end at the serials ``one`` and ``other`` and agree up to ``agreed``, at least."""
        return cls(agreed, min(one, other) + 1)

    @property
    def wanted(self) -> int | None:
        """The serial to compare next; None when ``agreed`` is the last common one."""
        if self.differ - self.agreed <= 1:
            return None
        # The end first: mostly one log is a part of the other, or has only a few entries more.
        return self.differ - 1 if self._untried else (self.agreed + self.differ) // 2

    def learn(self, serial: int, *, same: bool) -> None:
        """Record whether the logs are the same up to ``serial``."""
        self._untried = False
        if same:
            self.agreed = max(self.agreed, serial)
        else:
            self.differ = min(self.differ, serial)


# Files of a replica --------------------------------------------------------------------------------------------------


ALL: Final = "all"
ON_DEMAND: Final = "on-demand"


@attrs.frozen
class BlobPolicy:
    """The setting ``replicate-files``."""

    everything: bool = True
    indexes: frozenset[str] = frozenset()
    """The indexes whose files are fetched when not everything is."""

    @classmethod
    def parse(cls, text: str) -> BlobPolicy:
        """Parse ``all``, ``on-demand``, or a comma-separated list of indexes.  Raise ``ValueError``."""
        if text in (ALL, ON_DEMAND):
            return cls(everything=text == ALL)
        names = [name.strip() for name in text.split(",")]
        try:
            return cls(False, frozenset(str(IndexName.parse(name)) for name in names))
        except InvalidName as error:
            raise ValueError(text) from error

    def wants(self, index: str) -> bool:
        """Whether files of ``index`` are fetched; of none, empty, are those that the server itself needs."""
        return self.everything or not index or index in self.indexes

    @property
    def wants_nothing(self) -> bool:
        """Whether no files are fetched."""
        return not self.everything and not self.indexes

    def __str__(self) -> str:
        if self.everything:
            return ALL
        return ",".join(sorted(self.indexes)) or ON_DEMAND

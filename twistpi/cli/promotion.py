"""``twistpi promote`` without a running server: the replica in a server directory becomes the primary."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final, Protocol

import attrs

from twistpi.model.errors import TwistpiError
from twistpi.model.peers import Epoch, FenceNote, Peer
from twistpi.model.server_errors import NotFenced, PrimaryUnreachable, StrangePrimary, promotion_refused
from twistpi.rules.replication import HOLD, SHORTEST_HOLD, Promotion, check_directness, decide_promotion
from twistpi.server.epochs import begin_epoch
from twistpi.server.storage import Storage

_BETWEEN: Final = 1.0
"""Seconds between two attempts to tell the former primary."""
_LONGEST: Final = 10.0
"""Seconds for which that is tried."""


class Primary(Protocol):
    """The server that was followed: a ``PeerClient``."""

    url: str

    def peer(self) -> Peer:
        """Return what it says of itself."""

    def notify(self, note: FenceNote) -> Peer:
        """Notify it of a promotion."""


@attrs.frozen
class Promoted:
    """A promotion that was done."""

    epoch: int
    """The epoch that began."""
    serial: int
    """The entry with which it began."""
    unaware: str | None
    """The URL of the former primary, if that does not know of it yet."""
    notes: tuple[str, ...]
    """Sentences on what happened meanwhile."""
    tried: float = 0.0
    """Seconds during which the former primary could not be reached."""


def promote_directly(
    storage: Storage,
    primary: Primary | None,
    now: Callable[[], datetime],
    pause: Callable[[float], object],
    *,
    force: bool,
    url: str | None,
) -> Promoted:
    """Make a primary of a replica, and tell its former ``primary`` that the new one is at ``url``. Blocking.

    A former primary that answered before is notified again until it knows, for ten seconds at most.

    Raise ``TwistpiError``, and unless by ``force`` ``TwistpiError``.
    """
    own, notes = _own(storage), list[str]()
    if not storage.serverdir.node.initialised and (not force or own.serial == 0):
        raise promotion_refused("it never had all that its primary had; by force, it becomes the primary of what it has")
    there: Peer | None = None
    try:
        there = None if primary is None else primary.peer()
    except (PrimaryUnreachable, StrangePrimary) as error:
        notes.append(f"The primary was not asked: {error}")
    fence = storage.serverdir.node.fence
    decision = decide_promotion(own, there, fence if force else None)
    if there is not None and primary is not None and there.log_id == own.log_id and not force:
        _refuse_missing(decision, primary, own)
        check_directness(there, primary.url)
        note = FenceNote(own.node_id, own.log_id, decision.epoch_start, url, HOLD)
        decision = decide_promotion(own, _hold(primary, there, note))
        if decision.missing is not None:
            _notify(primary, attrs.evolve(note, hold=SHORTEST_HOLD))
        _refuse_missing(decision, primary, own)
    former = primary.url if primary is not None else None if fence is None else fence.url
    serial = begin_epoch(storage, decision.epoch_start.epoch, former, now)
    note = FenceNote(own.node_id, own.log_id, decision.epoch_start, url)
    tried = 0.0
    if primary is not None and there is not None:
        while not (knows := _notify(primary, note)) and tried < _LONGEST:
            pause(_BETWEEN)
            tried += _BETWEEN
        if knows:
            former, tried = None, 0.0
            storage.serverdir.note(former_url=None)
    return Promoted(decision.epoch_start.epoch, serial, former, tuple(notes), tried)


def _own(storage: Storage) -> Peer:
    node, last, epochs = storage.serverdir.node, storage.changelog.last, storage.view.reader.epochs()
    epoch_start = Epoch(epochs[-1][0], epochs[-1][1]) if epochs else Epoch()
    return Peer(node.node_id, node.log_id, node.role, last.serial, last.chain, epoch_start, node.fence is not None)


def _hold(primary: Primary, there: Peer, note: FenceNote) -> Peer:
    try:
        return primary.notify(note)
    except NotFenced as refusal:
        raise promotion_refused(f"the primary does not step back: {refusal.reason}") from None
    except TwistpiError:
        return there


def _refuse_missing(decision: Promotion, primary: Primary, own: Peer) -> None:
    if decision.missing is not None:
        waited = ", and it receives no more because it does not run"
        raise TwistpiError(
            f"Nothing was changed: the primary at {primary.url} has the entries up to "
            f"{decision.missing[1]}, this server only up to {own.serial}{waited}. Try again when they are "
            "here, or go without them: twistpi promote --force.",
            409,
        )


def _notify(primary: Primary, note: FenceNote) -> bool:
    """Tell the former primary; return whether it knows."""
    try:
        primary.notify(note)
    except TwistpiError:
        return False
    return True

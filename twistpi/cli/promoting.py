"""``twistpi promote``: by the server that runs, or directly where none does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final, Protocol

import attrs

from twistpi.http.blocking import BlockingResponse
from twistpi.model.errors import ServerAnsweredOtherwise, TwistpiError
from twistpi.model.following_errors import PrimaryUnreachable, StrangePrimary
from twistpi.model.peers import Epoch, FenceNote, Peer
from twistpi.model.promotion_errors import EntriesOutstanding, NotFenced, NotPromotable
from twistpi.replication.promotion import AT_ONCE, HOLD, check_directness
from twistpi.rules.promotion import PRIMARY, Promotion, decide_promotion
from twistpi.server.epochs import begin_epoch
from twistpi.server.storage import Storage

PATH: Final = "/+promote"
"""Where a server is asked to become the primary."""
_BETWEEN: Final = 0.2
"""Seconds between two looks at what the server does."""
_LOOKS: Final = 600


class Primary(Protocol):
    """The server that was followed, as it is asked (``cli.asking.Asked``)."""

    url: str

    def peer(self) -> Peer:
        """What it says of itself."""

    def tell(self, note: FenceNote) -> Peer:
        """Tell it of a promotion."""


@attrs.frozen
class Promoted:
    """What came of it."""

    epoch: int
    """That began."""
    serial: int
    """With which entry."""
    untold: str | None
    """The former primary that does not know of it yet."""
    told: tuple[str, ...]
    """What happened on the way."""


def promote_by_server(
    serverdir: str, begin: Callable[[], BlockingResponse], look: Callable[[], BlockingResponse], pause: Callable[[float], object]
) -> Promoted:
    """Have the server that runs on ``serverdir`` become the primary, and wait until it is.

    ``begin`` asks it to, ``look`` how far it is.  Raises ``ServerAnsweredOtherwise`` when it does not.
    """
    told: Sequence[str] = ()
    facts = _result(serverdir, begin())
    for _ in range(_LOOKS):
        if facts.get("role") == PRIMARY:
            return Promoted(int(facts["epoch"]), int(facts["serial"]), facts.get("former"), tuple(told))
        if facts.get("state") == "failed":
            raise ServerAnsweredOtherwise(serverdir, str(facts.get("failure")))
        told = facts.get("told") or told
        pause(_BETWEEN)
        facts = _result(serverdir, look())
    raise ServerAnsweredOtherwise(serverdir, "it is still at it; twistpi status tells what becomes of it")


def _result(serverdir: str, told: BlockingResponse) -> dict[str, Any]:
    result = told.json.get("result")
    if told.status >= 400 or not isinstance(result, dict):
        raise ServerAnsweredOtherwise(serverdir, told.message)
    return result


def promote_directly(
    storage: Storage, primary: Primary | None, now: Callable[[], datetime], *, force: bool, url: str | None
) -> Promoted:
    """Make a primary of the replica whose server does not run, and tell its former ``primary`` once that it will be at ``url``.

    Raises ``NotPromotable``, and ``EntriesOutstanding`` unless by ``force``.  Blocking.
    """
    own, told = _own(storage), list[str]()
    if not storage.serverdir.node.initialised and (not force or own.serial == 0):
        raise NotPromotable("it never had all that its primary had; by force, it becomes the primary of what it has")
    there: Peer | None = None
    try:
        there = None if primary is None else primary.peer()
    except (PrimaryUnreachable, StrangePrimary) as error:
        told.append(f"The primary was not asked: {error}")
    fence = storage.serverdir.node.fence
    decision = decide_promotion(own, there, fence if force else None)
    if there is not None and primary is not None and there.log_id == own.log_id and not force:
        _refuse_missing(decision, primary, own)
        check_directness(there, primary.url)
        note = FenceNote(own.node_id, own.log_id, decision.epoch_start, url, HOLD)
        decision = decide_promotion(own, _hold(primary, there, note))
        if decision.missing is not None:
            _tell(primary, attrs.evolve(note, hold=AT_ONCE))
        _refuse_missing(decision, primary, own)
    former = primary.url if primary is not None else None if fence is None else fence.url
    serial = begin_epoch(storage, decision.epoch_start.epoch, former, now)
    note = FenceNote(own.node_id, own.log_id, decision.epoch_start, url)
    if primary is not None and there is not None and _tell(primary, note):
        former = None
        storage.serverdir.note(former_url=None)
    return Promoted(decision.epoch_start.epoch, serial, former, tuple(told))


def _own(storage: Storage) -> Peer:
    node, last, epochs = storage.serverdir.node, storage.changelog.last, storage.view.reader.epochs()
    epoch_start = Epoch(epochs[-1][0], epochs[-1][1]) if epochs else Epoch()
    return Peer(node.node_id, node.log_id, node.role, last.serial, last.chain, epoch_start, node.fence is not None)


def _hold(primary: Primary, there: Peer, note: FenceNote) -> Peer:
    try:
        return primary.tell(note)
    except NotFenced as refusal:
        raise NotPromotable(f"the primary does not step back: {refusal.reason}") from None
    except TwistpiError:
        return there


def _refuse_missing(decision: Promotion, primary: Primary, own: Peer) -> None:
    if decision.missing is not None:
        waited = "; this server does not run, so nothing more comes"
        raise EntriesOutstanding(primary.url, decision.missing[1], own.serial, waited)


def _tell(primary: Primary, note: FenceNote) -> bool:
    """Whether the former primary knows."""
    try:
        primary.tell(note)
    except TwistpiError:
        return False
    return True

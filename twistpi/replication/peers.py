"""Questions that servers of one log ask each other, whoever follows whom: ``/+peer`` and ``/+fence``."""

from __future__ import annotations

import orjson

from twistpi.model.following_errors import StrangePrimary
from twistpi.model.peers import FenceNote, Peer, read_peer
from twistpi.model.promotion_errors import NotFenced
from twistpi.replication.primary import Primary, PrimaryAnswer

PEER_PATH = "/+peer"
FENCE_PATH = "/+fence"


async def ask_peer(other: Primary, patience: float) -> Peer:
    """What another server says of itself; raises ``PrimaryUnreachable`` after ``patience`` seconds, and ``StrangePrimary``."""
    return await _read(other, await other.ask("GET", PEER_PATH, patience=patience))


async def tell(other: Primary, note: FenceNote, patience: float) -> Peer:
    """Tell another server that this one was promoted, or is about to be; what that one is from then on.

    Raises ``NotFenced`` when it does not step back, ``PrimaryUnreachable`` after ``patience`` seconds, and ``StrangePrimary``.
    """
    headers = {"Content-Type": "application/json"}
    answer = await other.ask("POST", FENCE_PATH, headers=headers, body=orjson.dumps(note.to_json()), patience=patience)
    if answer.status == NotFenced.status:
        fields = await answer.json()
        raise NotFenced(str(fields.get("reason", "")) if isinstance(fields, dict) else "")
    return await _read(other, answer)


async def _read(other: Primary, answer: PrimaryAnswer) -> Peer:
    fields = await answer.json()
    if answer.status != 200:
        message = fields.get("message", "") if isinstance(fields, dict) else ""
        raise StrangePrimary(other.url, f"status {answer.status}: {message}")
    try:
        return read_peer(fields)
    except ValueError as error:
        raise StrangePrimary(other.url, str(error)) from None

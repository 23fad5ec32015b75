"""What servers of one log ask each other, whoever follows whom (``/+peer`` and ``/+fence``), and which followers are known.

``followers.json`` says where the servers that follow this one can be asked.  One of them may have been promoted while this server
was away, so it asks them before it takes writes again.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import attrs
import orjson
from twisted.logger import Logger

from twistpi.model.peers import FenceNote, Peer, read_peer
from twistpi.model.server_errors import NotFenced, StrangePrimary
from twistpi.replication.primary import Primary, PrimaryAnswer

PEER_PATH = "/+peer"
FENCE_PATH = "/+fence"
_FOLLOWERS = "followers.json"
_MOST_FOLLOWERS = 100
"""Followers that are remembered; the one that came longest ago is forgotten first."""

_log = Logger()


async def ask_peer(other: Primary, patience: float) -> Peer:
    """Return what another server says of itself.

    Raise ``PrimaryUnreachable``, after ``patience`` seconds at the latest, and ``StrangePrimary``.
    """
    return await _read(other, await other.ask("GET", PEER_PATH, patience=patience))


async def tell(other: Primary, note: FenceNote, patience: float) -> Peer:
    """Tell another server that this one was promoted, or is about to be.  Return what that one is from then on.

    Raise ``NotFenced`` when it does not step back, ``PrimaryUnreachable`` after ``patience`` seconds, and ``StrangePrimary``.
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


@attrs.define(eq=False)
class KnownFollowers:
    """The servers that follow this one, as ``followers.json`` has them."""

    _path: str
    _urls: dict[str, str]
    """By node id; the one that came last is last."""

    @classmethod
    def open(cls, serverdir: str) -> KnownFollowers:
        """Return what is known in ``serverdir``: nothing when the file is missing or cannot be understood."""
        path = os.path.join(serverdir, _FOLLOWERS)
        try:
            with open(path, "rb") as file:
                fields: Any = orjson.loads(file.read())
        except (OSError, orjson.JSONDecodeError):
            fields = {}
        known = fields.items() if isinstance(fields, dict) else ()
        return cls(path, {node: url for node, url in known if isinstance(url, str)})

    @property
    def urls(self) -> Mapping[str, str]:
        """URLs by node id."""
        return dict(self._urls)

    def came(self, node_id: str, url: str | None) -> None:
        """Note that a follower asked for the log, and the URL that it says it answers at, if any."""
        if url is None or self._urls.get(node_id) == url:
            return
        self._urls.pop(node_id, None)
        self._urls[node_id] = url
        while len(self._urls) > _MOST_FOLLOWERS:
            del self._urls[next(iter(self._urls))]
        try:
            with open(f"{self._path}.new", "wb") as file:
                file.write(orjson.dumps(self._urls, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
            os.replace(f"{self._path}.new", self._path)
        except OSError as error:
            _log.warn("The follower at {url} will not be remembered: {reason}", url=url, reason=str(error))

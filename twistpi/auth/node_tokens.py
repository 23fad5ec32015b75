"""How servers of one house know each other: each request is signed with the secret they share, and the signature serves once.

A token is a JSON object as itsdangerous signs it: the node that asks, method and target of the request, the time, a nonce, and
the SHA-256 of what the node tells beside it, which is for whom it passes a request on.  It travels as ``Authorization:
Twistpi-Node TOKEN``.  What is pure of it is here; that a nonce counts once is seen to in ``web/replication/authentication.py``.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, Final

import attrs
from itsdangerous import BadData, BadSignature, URLSafeSerializer

from twistpi.model.replication_errors import NodeRefused

SCHEME: Final = "Twistpi-Node"
"""The scheme of the header ``Authorization``."""
WINDOW: Final = 60.0
"""Seconds for which a token is good."""
AHEAD: Final = 1.0
"""Seconds by which the asker's clock may be ahead; one that is further ahead learns what time it is here."""
_PURPOSE: Final = b"twistpi node"
"""Keeps these signatures apart from any other made with the same secret."""
_SHAPE = re.compile(r"\.?[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{43}\Z", re.ASCII)
_LONGEST: Final = 16 * 1024
"""Characters; no header is longer."""


@attrs.frozen
class NodeClaim:
    """What a token says, after its signature, its age and its request were found right."""

    node: str
    """The id of the server that asks: 32 hexadecimal digits."""
    at: float
    """When it was made, in Unix seconds."""
    nonce: str
    """Hexadecimal digits that no other token of this time has."""


def target_of(uri: str) -> str:
    """The part of a request's path and query that is signed: from the door on.

    What stands before is the prefix under which a proxy serves the primary; it may be another on either side of the proxy.
    """
    start = uri.find("/+")
    return uri if start < 0 else uri[start:]


class NodeTokens:
    """Makes and reads the tokens of servers."""

    def __init__(self, secret: bytes) -> None:
        signing = {"key_derivation": "hmac", "digest_method": hashlib.sha256}
        self._serializer = URLSafeSerializer(secret, salt=_PURPOSE, signer_kwargs=signing)

    def make(self, node: str, method: str, target: str, at: float, nonce: str, told: str = "") -> str:
        """A token for one request of ``node``: ``target`` is path and query exactly as they are sent, ``at`` the time in Unix
        seconds by the clock of the server that is asked, ``told`` what ``node`` says beside it (``X-Twistpi-Passed-On``).
        """
        claims = {"node": node, "method": method, "target": target_of(target), "at": at, "nonce": nonce, "told": _digest(told)}
        signed: Any = self._serializer.dumps(claims)
        return signed if isinstance(signed, str) else str(signed, "ascii")

    def read(self, text: str, method: str, target: str, now: float, told: str = "") -> NodeClaim:
        """What ``text``, the token of a request to ``target`` with ``told`` beside it, claims; raises ``NodeRefused``.

        Its reasons here are ``malformed``, ``wrong secret``, ``expired`` and ``other request``.
        """
        if len(text) > _LONGEST or _SHAPE.match(text) is None:
            raise NodeRefused("malformed")
        try:
            claims: Any = self._serializer.loads(text)
        except BadSignature:
            raise NodeRefused("wrong secret") from None
        except BadData:
            raise NodeRefused("malformed") from None
        return self._judge(claims, (method, target_of(target), _digest(told)), now)

    def _judge(self, claims: Any, request: tuple[str, str, str], now: float) -> NodeClaim:
        match claims:
            case {
                "node": str(node), "method": str(method), "target": str(target), "at": int() | float() as at,
                "nonce": str(nonce), "told": str(told),
            }:  # fmt: skip
                pass
            case _:
                raise NodeRefused("malformed")
        if not now - WINDOW <= at <= now + AHEAD:
            raise NodeRefused("expired")
        if (method, target, told) != request:
            raise NodeRefused("other request")
        return NodeClaim(node, float(at), nonce)


def _digest(told: str) -> str:
    """What of ``told`` is signed; nothing of nothing."""
    return hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest() if told else ""

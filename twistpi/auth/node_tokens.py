"""Tokens by which servers that share a secret recognise each other.  Each token is valid for one request.

A token is a JSON object signed by itsdangerous: the node that sends the request, method and target, the time, a nonce, and the
SHA-256 of the header that names the client of a forwarded request.  It is sent as ``Authorization: Twistpi-Node TOKEN``.
``web/replication/authentication.py`` refuses a nonce that was used before.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

import attrs
from itsdangerous import BadData, BadSignature, URLSafeSerializer

from twistpi.model.records import Json
from twistpi.model.replication_errors import NodeRefused

SCHEME: Final = "Twistpi-Node"
"""The scheme of the header ``Authorization``."""
WINDOW: Final = 60.0
"""Seconds for which a token is valid."""
AHEAD: Final = 1.0
"""Seconds by which the sender's clock may be ahead; a sender that is further ahead is told the time here."""
_PURPOSE: Final = b"twistpi node"
"""Distinguishes these signatures from others made with the same secret."""
_SHAPE = re.compile(r"\.?[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{43}\Z", re.ASCII)
_LONGEST: Final = 16 * 1024
"""Characters; no header is longer."""


@attrs.frozen
class NodeClaim:
    """The content of a token whose signature, age and request are valid."""

    node: str
    """The id of the server that sent the request: 32 hexadecimal digits."""
    at: float
    """When it was made, in Unix seconds."""
    nonce: str
    """Hexadecimal digits, different in each token of this time."""


def target_of(uri: str) -> str:
    """Return the part of a request's path and query that is signed: from the first ``/+``.

    Before that is the prefix under which a proxy serves the primary; it may differ on either side of the proxy.
    """
    start = uri.find("/+")
    return uri if start < 0 else uri[start:]


class NodeTokens:
    """Makes and reads the tokens of servers."""

    def __init__(self, secret: bytes) -> None:
        signing = {"key_derivation": "hmac", "digest_method": hashlib.sha256}
        self._serializer = URLSafeSerializer(secret, salt=_PURPOSE, signer_kwargs=signing)

    def make(self, node: str, method: str, target: str, at: float, nonce: str, client: str = "") -> str:
        """Return a token for one request of ``node``.

        ``target`` is path and query exactly as they are sent, ``at`` the time in Unix seconds by the clock of the server that is
        asked, ``client`` the value of ``X-Twistpi-Passed-On``.
        """
        claims = {"node": node, "method": method, "target": target_of(target), "at": at, "nonce": nonce, "told": _digest(client)}
        return self._serializer.dumps(claims)

    def read(self, text: str, method: str, target: str, now: float, client: str = "") -> NodeClaim:
        """Return the content of ``text``, the token of a request to ``target`` on behalf of ``client``.

        Raise ``NodeRefused``: ``malformed``, ``wrong secret``, ``expired`` or ``other request``.
        """
        if len(text) > _LONGEST or _SHAPE.match(text) is None:
            raise NodeRefused("malformed")
        try:
            claims = self._serializer.loads(text)
        except BadSignature:
            raise NodeRefused("wrong secret") from None
        except BadData:
            raise NodeRefused("malformed") from None
        return self._check(claims, (method, target_of(target), _digest(client)), now)

    def _check(self, claims: Json, request: tuple[str, str, str], now: float) -> NodeClaim:
        match claims:
            case {
                "node": str(node),
                "method": str(method),
                "target": str(target),
                "at": int() | float() as at,
                "nonce": str(nonce),
                "told": str(told),
            }:
                pass
            case _:
                raise NodeRefused("malformed")
        if not now - WINDOW <= at <= now + AHEAD:
            raise NodeRefused("expired")
        if (method, target, told) != request:
            raise NodeRefused("other request")
        return NodeClaim(node, float(at), nonce)


def _digest(client: str) -> str:
    return hashlib.sha256(client.encode("utf-8", "surrogatepass")).hexdigest() if client else ""

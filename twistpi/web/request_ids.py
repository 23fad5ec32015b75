"""What requests are called in answers and logs, so that who saw a failure and who reads the log speak of the same one.

The ``X-Request-Id`` of a trusted proxy, or of another server of the house, is taken over when it is plain text of a sensible
length; everybody else's is ignored, since it would be text of a stranger's choice in our logs.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import count

from twisted.web.server import Request

from twistpi.web.addresses import Addresses, is_trusted_peer
from twistpi.web.request import header, passed_on_of

HEADER = b"X-Request-Id"
_SENSIBLE = re.compile(r"[A-Za-z0-9._:=@/+-]{1,128}\Z", re.ASCII)


class RequestIds:
    """Names requests; no two of this process alike, and hardly any two of different ones."""

    def __init__(self, addresses: Addresses, entropy: Callable[[int], bytes]) -> None:
        self._addresses = addresses
        self._prefix = entropy(4).hex()
        self._numbers = count(int.from_bytes(entropy(3), "big"))

    def name(self, request: Request) -> str:
        """What ``request`` is called."""
        told = header(request, "x-request-id")
        is_trusted = passed_on_of(request) is not None or is_trusted_peer(request, self._addresses)
        if told is not None and _SENSIBLE.match(told) and is_trusted:
            return told
        return self.new()

    def new(self) -> str:
        """Return an id for a request that brings none."""
        return f"{self._prefix}{next(self._numbers):08x}"

"""The ways on which requests are handed on: to the primary, signed, and to the first process of this machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol
from urllib.parse import urlsplit

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint

from twistpi.web.forwarding.heads import Line
from twistpi.web.forwarding.passed_on import NODE


class Signing(Protocol):
    """What proves to the primary who asks (``replication.primary.Primary``)."""

    def token(self, method: str, target: str, told: str) -> str:
        """A token for one request, with ``told`` beside it."""

    def clock_is(self, seconds: float) -> None:
        """The primary's clock."""


@attrs.frozen(eq=False)
class PrimaryWay:
    """The way of a replica to its primary."""

    url: str
    """Where it is, as people read it: without credentials."""
    base: str
    """What stands before the path of a request: ``http://primary.example:4040/prefix``."""
    _endpoint: IStreamClientEndpoint
    _signing: Signing
    most_idle: int = 0

    @property
    def name(self) -> str:
        """See ``Way``."""
        return f"the primary at {self.url}"

    @property
    def host(self) -> bytes:
        """See ``Way``."""
        return urlsplit(self.base).netloc.rpartition("@")[2].encode("ascii")

    def target(self, raw: bytes, bare: bytes) -> bytes:
        """See ``Way``."""
        return urlsplit(self.base).path.encode("ascii") + bare

    def connect(self, factory: IProtocolFactory) -> Deferred[Any]:
        """See ``Way``."""
        return self._endpoint.connect(factory)

    def signature(self, method: bytes, target: bytes, told: bytes) -> Sequence[Line]:
        """See ``Way``; the prefix of the primary is not signed, since a proxy there may take it away."""
        bare = target.decode("latin-1").removeprefix(urlsplit(self.base).path)
        token = self._signing.token(method.decode("latin-1"), bare, told.decode("latin-1"))
        return ((NODE.encode("ascii"), token.encode("ascii")),)

    def clock_is(self, seconds: float) -> None:
        """See ``Way``."""
        self._signing.clock_is(seconds)


@attrs.frozen(eq=False)
class FirstProcessWay:
    """The way of a worker to the first process, which knows it by the socket it comes through."""

    _endpoint: IStreamClientEndpoint
    name: str = "the first process of this server"
    host: bytes = b"localhost"
    most_idle: int = 64

    def target(self, raw: bytes, bare: bytes) -> bytes:
        """See ``Way``."""
        return raw

    def connect(self, factory: IProtocolFactory) -> Deferred[Any]:
        """See ``Way``."""
        return self._endpoint.connect(factory)

    def signature(self, method: bytes, target: bytes, told: bytes) -> Sequence[Line]:
        """See ``Way``."""
        return ()

    def clock_is(self, seconds: float) -> None:
        """See ``Way``."""

"""Where the server listens: endpoints from text, with room for many who come at once, and certificates that can be read anew."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Final, TextIO

import attrs
from twisted.internet.endpoints import SSL4ServerEndpoint, serverFromString
from twisted.internet.interfaces import IListeningPort, IOpenSSLContextFactory, IStreamServerEndpoint
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer

from twistpi.http.errors import explain
from twistpi.model.errors import invalid_setting
from twistpi.server.run_file import address_of
from twistpi.server.settings import Settings
from twistpi.web.access_log import AccessLog

BACKLOG: Final = 4096
"""Clients that may wait to be accepted, as far as the system allows: when a company's builds start, many come in one moment."""
_NOTHING_HANDED_OVER: Final = "systemd handed over no such socket; start the server through its socket unit"
_LISTENING = ("tcp:", "tcp6:", "ssl:", "unix:")
_log = Logger()


def endpoint_strings(settings: Settings) -> tuple[str, ...]:
    """Where to listen, as Twisted endpoints."""
    host = settings.host.replace("\\", "\\\\").replace(":", "\\:")
    return settings.listen or (f"tcp:{settings.port}:interface={host}",)


def make_endpoint(reactor: Any, text: str) -> IStreamServerEndpoint:
    """The endpoint that ``text`` describes; one for TLS has a ``Certificate`` for its context.  Raises ``TwistpiError``."""
    if text.startswith(_LISTENING) and ":backlog=" not in text:
        text = f"{text}:backlog={BACKLOG}"
    try:
        endpoint: IStreamServerEndpoint = serverFromString(reactor, text)
        if isinstance(endpoint, SSL4ServerEndpoint):
            endpoint._sslContextFactory = Certificate(reactor, text, _context(endpoint))
    except Exception as error:  # each kind of endpoint raises its own errors
        shown = text.removesuffix(f":backlog={BACKLOG}")
        reason = _NOTHING_HANDED_OVER if text.startswith("systemd:") and isinstance(error, LookupError) else error
        allowed = f"it must be a Twisted endpoint that works here: {reason}"
        raise invalid_setting("listen", shown, "the settings", allowed) from None
    return endpoint


def _context(endpoint: SSL4ServerEndpoint) -> Any:
    """The context made of the key and the certificate; raises where they are none, or do not belong together."""
    return endpoint._sslContextFactory.getContext()


@implementer(IOpenSSLContextFactory)
@attrs.define(eq=False)
class Certificate:
    """What Twisted asks for the context of each connection: that of the certificate as it was read last."""

    _reactor: Any
    _text: str
    _current: Any

    def getContext(self) -> Any:
        """For a connection that begins (``IOpenSSLContextFactory``)."""
        return self._current

    def reload(self) -> None:
        """Read key and certificate anew, for connections from now on; when they are not good, the former ones stay."""
        try:
            endpoint: Any = serverFromString(self._reactor, self._text)
            self._current = _context(endpoint)
        except Exception as error:  # of OpenSSL, of the file system, of Twisted
            _log.error(
                "The certificate of {endpoint} could not be read again, so the former one stays: {reason}",
                endpoint=self._text.removesuffix(f":backlog={BACKLOG}"), reason=explain(error),
            )  # fmt: skip
            return
        _log.info("Read the certificate of {endpoint} again.", endpoint=self._text.removesuffix(f":backlog={BACKLOG}"))


def reload_certificates(endpoints: Sequence[IStreamServerEndpoint]) -> None:
    """Read the certificates of ``endpoints`` anew."""
    for certificate in map(certificate_of, endpoints):
        if certificate is not None:
            certificate.reload()


def certificate_of(endpoint: IStreamServerEndpoint) -> Certificate | None:
    """The certificate of an endpoint that was made here; None where it has none."""
    certificate = getattr(endpoint, "_sslContextFactory", None)
    return certificate if isinstance(certificate, Certificate) else None


def open_access_log(settings: Settings, standard_output: TextIO) -> AccessLog | None:
    """The log of requests, where one is wanted.  Raises ``TwistpiError``."""
    if settings.access_log is None:
        return None
    try:
        return AccessLog(settings.access_log, settings.log_format, standard_output)
    except OSError as error:
        told = f"it must be a file that can be written: {error.strerror}"
        raise invalid_setting("access-log", settings.access_log, "the settings", told) from None


def accept_waiting(port: Any) -> None:
    """Accept who waits at ``port`` already: when it is closed, the system would reset them."""
    if hasattr(port, "doRead") and getattr(port, "connected", False):
        port.numberAccepts = BACKLOG
        port.doRead()


def _scheme(port: IListeningPort) -> str:
    return "https" if isinstance(getattr(port, "factory", None), TLSMemoryBIOFactory) else "http"


def reachable_at(port: IListeningPort) -> str | None:
    """Where this machine reaches a port; None when it does not."""
    place = address_of(port.getHost())
    return place if place is None or place.startswith("unix:") else f"{_scheme(port)}://{place}/"


def describe(port: IListeningPort) -> str:
    """Where a port listens, as people write it."""
    address: Any = port.getHost()
    if hasattr(address, "host"):
        scheme = _scheme(port)
        host = f"[{address.host}]" if ":" in address.host else address.host
        return f"{scheme}://{host}:{address.port}/"
    name = getattr(address, "name", None)
    return f"unix:{os.fsdecode(name)}" if name else str(address)

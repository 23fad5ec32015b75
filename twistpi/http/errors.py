"""The one error of the HTTP client, and the words for what Twisted and OpenSSL raise."""

from __future__ import annotations

from enum import Enum

import attrs
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.error import TimeoutError as ConnectTimeout

_DISTRUST = "certificate verify failed"


class Cause(Enum):
    """At which point a request failed."""

    CONNECT = "connect"
    """There was no connection: refused, no such name, certificate not accepted, proxy refused."""
    FORBIDDEN = "forbidden"
    """The address lies in a forbidden network."""
    TIMEOUT = "timeout"
    """The head of the response did not come in time."""
    CLOSED = "closed"
    """The connection was closed before any byte of a response."""
    BROKEN = "broken"
    """The connection was lost in the middle of the response."""
    SILENT = "silent"
    """No byte of the body was received for too long."""
    TOO_LARGE = "too large"
    """The body is longer than the limit."""
    MALFORMED = "malformed"
    """The response is not HTTP, or can be understood in two ways; or its content coding is not what was asked for."""
    UNUSABLE = "unusable"
    """The response is complete, but not what was asked for."""
    REDIRECT = "redirect"
    """Too many redirects, or one that leads nowhere."""


_UNREACHABLE = frozenset({Cause.CONNECT, Cause.TIMEOUT, Cause.SILENT})


@attrs.define(auto_exc=True, str=False)
class RequestFailed(Exception):
    """A request got no usable response."""

    reason: str
    """For people: the end of a sentence, without addresses and credentials."""
    cause: Cause = Cause.BROKEN
    retry_after: float | None = None
    """For how many seconds the server wants to be left alone; None when it did not say."""

    @property
    def unreachable(self) -> bool:
        """Whether there was no response at all, as opposed to one that cannot be used."""
        return self.cause in _UNREACHABLE

    def __str__(self) -> str:
        return self.reason


def request_failed(error: BaseException) -> RequestFailed | CancelledError:
    """Return ``error``, as an agent raised it, as a ``RequestFailed``; or the ``CancelledError`` in it."""
    error = _innermost(error)
    if isinstance(error, RequestFailed | CancelledError):
        return error
    is_unconnected = isinstance(error, ConnectError | ConnectTimeout | DNSLookupError) or distrusts(error)
    return RequestFailed(explain(error), Cause.CONNECT if is_unconnected else Cause.BROKEN)


def too_large(limit: int) -> RequestFailed:
    """Return the error for a body of more than ``limit`` bytes."""
    return RequestFailed(f"its answer is longer than {limit:,} bytes", Cause.TOO_LARGE)


def explain(error: BaseException) -> str:
    """Return why a request failed, in words that name no address."""
    cause = _innermost(error)
    reason = _tls_reason(cause)
    if distrusts(cause):
        return f"its certificate is not accepted ({reason or 'it is for another host'})"
    return reason or str(cause).strip().rstrip(".") or type(cause).__name__


def distrusts(error: BaseException) -> bool:
    """Return whether the server's certificate was refused."""
    cause = _innermost(error)
    return _tls_reason(cause) == _DISTRUST or type(cause).__name__ == "VerificationError"


def _innermost(error: BaseException) -> BaseException:
    """Return what Twisted's client wrapped, once or several times."""
    reasons = getattr(error, "reasons", None)
    return _innermost(reasons[0].value) if reasons else error


def _tls_reason(error: BaseException) -> str:
    """Return OpenSSL's reason, whose errors hold a list of (library, function, reason); empty for any other error."""
    details = error.args[0] if error.args else None
    if isinstance(details, list) and details and isinstance(details[-1], tuple) and details[-1]:
        return str(details[-1][-1])
    return ""

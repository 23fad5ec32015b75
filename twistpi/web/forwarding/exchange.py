"""One request and its answer over one connection to another server, both as they come.

Twisted's own client hands out an answer only when all of the request was sent.  Here an answer may come first, a refusal of an
upload for example, and ``100 Continue`` is heard.  The connection is used once.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

import attrs
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer
from twisted.internet.main import CONNECTION_DONE
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.python.failure import Failure
from twisted.web.http import _ChunkedTransferDecoder, _MalformedChunkedDataError
from zope.interface import implementer

Lines = tuple[tuple[bytes, bytes], ...]
"""The headers of an answer, as they came."""

LONGEST_HEAD: Final = 256 * 1024
"""Bytes of status line and headers."""
_LONGEST_NUMBER: Final = 20
"""Digits from which on a length is none; Python itself refuses to read thousands of them."""
_BODILESS: Final = frozenset({204, 304})
_END: Final = b"\r\n\r\n"
_DONE = Failure(CONNECTION_DONE)  # type: ignore[no-untyped-call]


@attrs.frozen
class AnswerHead:
    """Status line and headers of an answer."""

    status: int
    reason: str
    lines: Lines
    length: int | None
    """Bytes of the body; None when it will end by itself."""

    def header(self, name: str) -> str | None:
        """The first value of a header; None when it is not there."""
        wanted = name.lower().encode("ascii")
        return next((value.decode("latin-1") for found, value in self.lines if found.lower() == wanted), None)


class Listener(Protocol):
    """Who is told what happens in an exchange."""

    def connected(self) -> None:
        """The head of the request is on its way; its body may follow."""

    def go_on(self) -> None:
        """The server waits for the body: ``100 Continue``."""

    def answered(self, head: AnswerHead) -> None:
        """The head of the answer came."""

    def received(self, data: bytes) -> None:
        """Some of the answer's body came."""

    def ended(self) -> None:
        """All of the answer came; nothing is told after this."""

    def broken(self, reason: str) -> None:
        """The answer will not come, or not to its end; nothing is told after this."""

    def full(self) -> None:
        """The server takes no more of the body for now."""

    def drained(self) -> None:
        """It does again."""


class _Malformed(Exception):
    """What came is no HTTP answer; says what is wrong."""


@implementer(IPushProducer)
class Exchange(TwistedProtocol):
    """The connection of one exchange."""

    transport: Any

    def __init__(self, head: bytes, listener: Listener, *, bodiless: bool) -> None:
        """``head`` is that of the request, with the empty line; ``bodiless`` says that it is ``HEAD``."""
        self._head = head
        self._listener = listener
        self._bodiless = bodiless
        self._came = b""
        self._answer: AnswerHead | None = None
        self._missing: int | None = None
        """Bytes of the body that are still to come, where that is known."""
        self._decoder: Any = None
        self._over = False
        self.moved = 0
        """Another number whenever something was sent or came."""

    # The request ---------------------------------------------------------------------------------------------------

    def connectionMade(self) -> None:
        """Send the head."""
        for option in ("setTcpNoDelay", "setTcpKeepAlive"):
            getattr(self.transport, option, lambda on: None)(True)
        self.transport.registerProducer(self, True)
        self.transport.write(self._head)
        self._listener.connected()

    def send(self, data: bytes) -> None:
        """Send some of the body, as it goes over the wire."""
        if not self._over:
            self.moved += 1
            self.transport.write(data)

    def pauseProducing(self) -> None:
        """The transport holds enough."""
        self._listener.full()

    def resumeProducing(self) -> None:
        """The transport takes more."""
        self.moved += 1
        if not self._over:
            self._listener.drained()

    def stopProducing(self) -> None:
        """The connection is gone; ``connectionLost`` tells."""

    # The answer ----------------------------------------------------------------------------------------------------

    def pause(self) -> None:
        """Read no more of the answer for now."""
        if not self._over:
            self.transport.pauseProducing()

    def resume(self) -> None:
        """Read on."""
        self.moved += 1
        if not self._over:
            self.transport.resumeProducing()

    def stop(self) -> None:
        """Hang up: nobody wants the answer any more.  The listener is told nothing."""
        if not self._over:
            self._over = True
            self.transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        """Some of the answer came."""
        if self._over:
            return
        self.moved += 1
        try:
            if self._answer is None:
                self._read_heads(data)
            else:
                self._read_body(data)
        except (_Malformed, _MalformedChunkedDataError) as error:
            self._break(f"it answers with what is no HTTP: {error}")

    def connectionLost(self, reason: Failure = _DONE) -> None:
        """The connection ended, which ends the body, too, when nothing else tells its end."""
        if self._over:
            return
        endless = self._answer is not None and self._decoder is None and self._missing is None
        if endless and reason.check(ConnectionDone):  # type: ignore[no-untyped-call]
            self._end()
        else:
            self._break("the connection was closed")

    def _read_heads(self, data: bytes) -> None:
        self._came += data
        while self._answer is None and not self._over:
            top, end, rest = self._came.partition(_END)
            if not end:
                if len(top) > LONGEST_HEAD:
                    raise _Malformed("its head is too long")
                return
            self._came = rest
            head = _read_head(top)
            if head.status == 100:
                self._listener.go_on()
            elif head.status >= 200:
                self._begin(head)
        rest, self._came = self._came, b""
        if rest and not self._over:
            self._read_body(rest)

    def _begin(self, head: AnswerHead) -> None:
        codings = [value for name, value in head.lines if name.lower() == b"transfer-encoding"]
        if codings:
            # Whoever hears both of a length and of chunks may take the one or the other for the end (RFC 9112, 6.3).
            if [coding.lower() for coding in codings] != [b"chunked"]:
                raise _Malformed(f"the coding {b', '.join(codings)!r}")
            head = attrs.evolve(head, length=None, lines=_without_length(head.lines))
        if self._bodiless or head.status in _BODILESS:
            self._missing = 0
        elif codings:
            self._decoder = _ChunkedTransferDecoder(self._listener.received, self._chunks_end)
        else:
            self._missing = head.length
        self._answer = head
        self._listener.answered(head)
        if self._missing == 0:
            self._end()

    def _read_body(self, data: bytes) -> None:
        if self._decoder is not None:
            self._decoder.dataReceived(data)
            return
        if self._missing is not None:
            data = data[: self._missing]
            self._missing -= len(data)
        self._listener.received(data)
        if self._missing == 0:
            self._end()

    def _chunks_end(self, _rest: bytes) -> None:
        self._end()

    def _end(self) -> None:
        if not self._over:
            self._over = True
            self.transport.abortConnection()
            self._listener.ended()

    def _break(self, reason: str) -> None:
        if not self._over:
            self._over = True
            self.transport.abortConnection()
            self._listener.broken(reason)


def _without_length(lines: Lines) -> Lines:
    return tuple(line for line in lines if line[0].lower() != b"content-length")


def _holds_a_break(text: bytes) -> bool:
    """Whether there is a character in it that ends a line for some readers and for others not."""
    return any(one in text for one in (b"\r", b"\n", b"\0"))


def _read_head(top: bytes) -> AnswerHead:
    status_line, *lines = top.split(b"\r\n")
    version, _, rest = status_line.partition(b" ")
    status, _, reason = rest.partition(b" ")
    if not version.startswith(b"HTTP/1.") or not (status.isdigit() and len(status) == 3) or _holds_a_break(reason):
        raise _Malformed(f"it begins with {status_line[:40]!r}")
    found: list[tuple[bytes, bytes]] = []
    lengths: set[bytes] = set()
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not name or name != name.strip() or _holds_a_break(line):
            raise _Malformed(f"the header line {line[:40]!r}")
        found.append((name, value.strip(b" \t")))
        if name.lower() == b"content-length":
            lengths.add(found[-1][1])
    if len(lengths) > 1 or not all(length.isdigit() and len(length) < _LONGEST_NUMBER for length in lengths):
        raise _Malformed("its length is ambiguous")
    return AnswerHead(int(status), reason.decode("latin-1"), tuple(found), int(lengths.pop()) if lengths else None)

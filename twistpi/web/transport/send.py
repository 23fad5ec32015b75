"""Sends a body to a client at the client's own pace.

On a plain socket the kernel copies straight from the file (``os.sendfile``): for the time of the body, the sender takes the place
of the HTTP channel as the transport's producer. Everything else (TLS, chunked coding, transports of tests) gets its bytes through
``write``. Either way a slow reader is waited for, and a sender whose body has no more bytes yet sleeps until it has.
"""

from __future__ import annotations

import fcntl
import sys
import termios
from collections.abc import Callable
from typing import Final, TypeGuard

from twisted.internet import tcp
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IConsumer, IDelayedCall, IPullProducer, IPushProducer
from twisted.python.failure import Failure
from twisted.web.server import Request
from zope.interface import implementer

from twistpi.web.transport.bodies import Body
from twistpi.web.transport.channel import LEAST_RATE, Channel, channel_of

_TURN: Final = 2 * 1024 * 1024
"""Bytes one sender moves before the reactor looks after the others."""
_CHUNK: Final = 64 * 1024


def is_plain(transport: object) -> TypeGuard[tcp.Connection]:
    """Return whether ``transport`` is a socket without TLS, so that bytes can be given to the kernel directly."""
    return isinstance(transport, tcp.Connection) and not getattr(transport, "TLS", False)


class SocketOutput:
    """A plain transport's socket."""

    def __init__(self, transport: tcp.Connection, *, is_clear: bool) -> None:
        """``is_clear`` says that nothing written before still waits in the transport."""
        self._transport = transport
        self._channel = transport.producer
        self._is_clear = is_clear

    def attach(self, sender: Sender) -> None:
        """Make ``sender`` the transport's producer, and begin."""
        self._transport.unregisterProducer()
        self._transport.registerProducer(sender, False)

    def detach(self, sender: Sender) -> None:
        """Give the transport back to the HTTP channel."""
        transport = self._transport
        if transport.producer is sender and transport.connected:
            transport.unregisterProducer()
            transport.registerProducer(self._channel, True)
            if isinstance(self._channel, Channel):
                self._channel.resumeProducing()  # it may have been told to wait, and all was sent since

    def fill(self, sender: Sender, body: Body) -> bool:
        """Send what is ready; return whether the transport will call ``sender`` again. Raise ``OSError``."""
        left = _TURN if self._is_clear else 0
        self._is_clear = True  # when the transport calls again
        try:
            while left > 0 and body.ready:
                left -= body.send(self._transport.fileno())
            if left > 0 and not body.ready:
                return False
        except BlockingIOError:
            pass
        self._transport.startWriting()
        return True


class ConsumerOutput:
    """A consumer that takes bytes through ``write``: a request, or a channel."""

    def __init__(self, consumer: IConsumer, write: Callable[[bytes], object]) -> None:
        self._consumer = consumer
        self._write = write

    def attach(self, sender: Sender) -> None:
        """Make ``sender`` the consumer's producer, and begin."""
        self._consumer.registerProducer(sender, True)
        sender.resumeProducing()

    def detach(self, sender: Sender) -> None:
        """Leave the consumer."""
        self._consumer.unregisterProducer()

    def fill(self, sender: Sender, body: Body) -> bool:
        """Write what is ready; return whether the consumer has enough for now. Raise ``OSError``."""
        while body.ready and not sender.is_held:
            self._write(body.read(_CHUNK))
        return sender.is_held


@implementer(IPullProducer, IPushProducer)
class Sender:
    """Sends one body, and cuts off a client that takes less than ``LEAST_RATE`` for as long as an idle connection is kept.

    Twisted stops its own timeout while a request is answered, and the file would stay open for ever.
    """

    def __init__(self, channel: Channel, body: Body, output: SocketOutput | ConsumerOutput) -> None:
        self.is_held = False
        """Whether nothing more may be written for now."""
        self.done: Deferred[None] = Deferred(lambda _: self.stop())
        """Fires when the whole body was handed over; fails with what kept it from that."""
        self._channel, self._body, self._output = channel, body, output
        self._waiting: Deferred[None] | None = None
        self._ended = False
        self._seen: tuple[int, int] | None = None
        """How far the body was handed over, and how many of these bytes the client had not acknowledged."""
        self._check: IDelayedCall | None = None

    def start(self) -> None:
        """Begin."""
        self._output.attach(self)
        if not self._ended:
            self._check_later()

    def stop(self) -> None:
        """Send no more: the client is gone. ``done`` does not fire."""
        if self._end():
            self._body.close()

    # For Twisted -----------------------------------------------------------------------------------------------------

    def pauseProducing(self) -> None:
        """The consumer has enough for now."""
        self.is_held = True

    def resumeProducing(self) -> None:
        """The transport or consumer takes more."""
        self.is_held = self._ended
        if not self._ended and self._waiting is None:
            self._move()

    def stopProducing(self) -> None:
        """The connection is gone."""
        self.stop()

    # The life of the body --------------------------------------------------------------------------------------------

    def _move(self) -> None:
        try:
            is_full = self._output.fill(self, self._body)
        except OSError:
            self._finish(Failure())
            return
        if self._ended or is_full:
            return
        if self._body.over:
            self._finish(None)
        else:
            self._waiting = waiting = Deferred.fromCoroutine(self._body.more())
            waiting.addCallbacks(self._woken, self._failed)

    def _woken(self, _: None) -> None:
        self._waiting = None
        if not (self._ended or self.is_held):
            self._move()

    def _failed(self, failure: Failure) -> None:
        self._waiting = None
        if not (self._ended and failure.check(CancelledError)):
            self._finish(failure)

    def _finish(self, result: Failure | None) -> None:
        if self._end():
            self._output.detach(self)
            self._body.close()
            self.done.callback(None) if result is None else self.done.errback(result)

    def _end(self) -> bool:
        if self._ended:
            return False
        self._ended = self.is_held = True
        if self._waiting is not None:
            self._waiting.cancel()
        if self._check is not None and self._check.active():
            self._check.cancel()
        return True

    # Clients that stop reading ---------------------------------------------------------------------------------------

    def _check_later(self) -> None:
        self._seen = self._progress()
        self._check = self._channel.callLater(self._channel.idle_timeout, self._check_progress)

    def _progress(self) -> tuple[int, int] | None:
        """Return ``_seen`` of this moment; None while the body itself is waited for."""
        return None if self._waiting is not None else (self._body.offset, _not_arrived(self._channel.transport))

    def _check_progress(self) -> None:
        seen, now = self._seen, self._progress()
        if seen is not None and now is not None:
            advanced = now[0] - seen[0]
            # Bytes are handed over in bursts and may lie here for long, so bytes that arrived there count, too.
            if max(advanced, advanced + seen[1] - now[1]) < LEAST_RATE * self._channel.idle_timeout:
                self._channel.cut()
                return
        self._check_later()


def _not_arrived(transport: object) -> int:
    """Return how many bytes in the system's buffer the client has not acknowledged; 0 if that is unknown."""
    if not isinstance(transport, tcp.Connection):
        return 0
    try:
        answer = fcntl.ioctl(transport.fileno(), termios.TIOCOUTQ, bytes(4))
    except OSError:
        return 0
    return int.from_bytes(answer, sys.byteorder)


async def send_body(request: Request, body: Body, *, length: int | None) -> None:
    """Send ``body`` as the answer's to ``request``, whose headers are set; ``length`` is None for a chunked body.

    A failure in the middle aborts the connection: an answer that ends early must never look whole (law 12). Returns when
    everything was handed over; klein cancels the wait when the client leaves.
    """
    await _send(request, body, plain=length is not None)
    request.sentLength = length or request.sentLength


async def send_stream(request: Request, body: Body) -> None:
    """Send ``body``, which may never end, as the last one of its connection.

    On a plain socket it is not chunked: it ends with the connection, so its content must tell whether it is complete.
    """
    channel = channel_of(request)
    channel.endless = True
    channel.persistent = False
    if is_plain(channel.transport):
        request.clientproto = b"HTTP/1.0"  # no chunks
    request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
    await _send(request, body, plain=True)


async def _send(request: Request, body: Body, *, plain: bool) -> None:
    channel = channel_of(request)
    transport: object = channel.transport
    request.write(b"")
    if plain and is_plain(transport):
        sender = Sender(channel, body, SocketOutput(transport, is_clear=False))
    else:
        sender = Sender(channel, body, ConsumerOutput(request, request.write))
    sender.start()
    try:
        await sender.done
    except CancelledError:
        raise
    except Exception:
        channel.cut()
        await Deferred()  # until klein hears that the connection is gone, and cancels

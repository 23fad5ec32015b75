"""Sends a body to a client at the client's own pace.

On a plain socket the kernel copies straight from the file (``os.sendfile``): for the time of the body, the sender takes the place
of the HTTP channel as the transport's producer. Everything else (TLS, chunked coding, transports of tests) gets its bytes through
``write``. Either way a slow reader is waited for, and a sender whose body has no more bytes yet sleeps until it has.
"""

from __future__ import annotations

import fcntl
import socket
import sys
import termios
from collections.abc import Callable
from typing import Any, Final

from twisted.internet import tcp
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IConsumer, IDelayedCall, IPullProducer, IPushProducer
from twisted.python.failure import Failure
from twisted.web.server import Request
from zope.interface import implementer

from twistpi.web.transport.bodies import Body

LEAST_RATE: Final = 500
"""Bytes a second that a client has to send or take; slower than a modem of the eighties."""
_TURN: Final = 2 * 1024 * 1024
"""Bytes one sender moves before the reactor looks after the others."""
_CHUNK: Final = 64 * 1024
_MORE: Final[int] = getattr(socket, "MSG_MORE", 0)


def is_plain(transport: object) -> bool:
    """Return whether ``transport`` is a socket without TLS, so that bytes can be given to the kernel directly."""
    return isinstance(transport, tcp.Connection) and not getattr(transport, "TLS", False)


def is_idle(transport: Any) -> bool:
    """Return whether a plain transport has nothing left to write, so that bytes given to its socket stay in order.

    Twisted keeps unsent data in two places, one of them private; there is no public way to ask.
    """
    return not transport.dataBuffer and not transport._tempDataBuffer


def write_now(transport: Any, data: bytes, *, more: bool = False) -> None:
    """Write to a plain transport without waiting for the reactor's next turn if possible.

    With ``more``, a body follows in the same turn, and the kernel may keep the head for it: a head sent alone wakes the reader
    for a few hundred bytes, and all that follows arrives in worse pieces, which can cost half of the speed.
    """
    if not is_idle(transport) or transport.disconnecting:
        transport.write(data)
        return
    sent = _send_before_more(transport, data) if more else transport.writeSomeData(data)
    if not isinstance(sent, int):
        transport.write(data)  # the connection is gone; the reactor finds out in its own way
    elif sent < len(data):
        transport.write(data[sent:])


def _send_before_more(transport: Any, data: bytes) -> int:
    """Return how many bytes of ``data`` the kernel took; none if the connection is gone, as the body will find out."""
    try:
        return int(transport.socket.send(data, _MORE))
    except OSError:
        return 0


class Sender:
    """Base of both ways of sending: the life of a body."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self._waiting: Deferred[None] | None = None
        self._ended = False
        self.done: Deferred[None] = Deferred(lambda _: self.stop())
        """Fires when the whole body was handed over; fails with what kept it from that."""

    @property
    def progress(self) -> int | None:
        """How far the client let the body come; None while the body itself is waited for."""
        return self._body.offset if self._waiting is None else None

    def stop(self) -> None:
        """Send no more: the client is gone. ``done`` does not fire."""
        if self._end():
            self._body.close()

    def _end(self) -> bool:
        if self._ended:
            return False
        self._ended = True
        if self._waiting is not None:
            self._waiting.cancel()
        return True

    def _finish(self, result: Failure | None) -> None:
        if self._end():
            self._release()
            self._body.close()
            self.done.callback(None) if result is None else self.done.errback(result)

    def _wait(self) -> None:
        """Sleep until the body has more."""
        if self._waiting is None:
            self._waiting = waiting = Deferred.fromCoroutine(self._body.more())
            waiting.addCallbacks(self._woken, self._failed)

    def _woken(self, _: None) -> None:
        self._waiting = None
        if not self._ended:
            self._move()

    def _failed(self, failure: Failure) -> None:
        self._waiting = None
        if not (self._ended and failure.check(CancelledError)):
            self._finish(failure)

    def _move(self) -> None:
        raise NotImplementedError

    def _release(self) -> None:
        """Give the connection back to its former producer."""
        raise NotImplementedError


@implementer(IPullProducer)
class SocketSender(Sender):
    """Sends a body through a plain transport's socket."""

    def __init__(self, body: Body, transport: Any) -> None:
        super().__init__(body)
        self._transport = transport
        self._channel = transport.producer

    def start(self) -> None:
        """Become the transport's producer; what was written before goes out first."""
        self._transport.unregisterProducer()
        self._transport.registerProducer(self, False)

    def resumeProducing(self) -> None:
        """The socket takes more."""
        if not self._ended and self._waiting is None:
            self._move()

    def stopProducing(self) -> None:
        """The connection is gone."""
        self.stop()

    def _move(self) -> None:
        transport = self._transport
        if not is_idle(transport):
            transport.startWriting()
            return
        try:
            self._send(transport.fileno())
        except BlockingIOError:
            transport.startWriting()
        except OSError:
            self._finish(Failure())

    def _send(self, socket_number: int) -> None:
        body, left = self._body, _TURN
        while left > 0 and body.ready:
            left -= body.send(socket_number)
        if body.over:
            self._finish(None)
        elif body.ready:
            self._transport.startWriting()
        else:
            self._wait()

    def _release(self) -> None:
        """Give the transport back to the HTTP channel."""
        transport = self._transport
        if transport.producer is self and transport.connected:
            transport.unregisterProducer()
            transport.registerProducer(self._channel, True)


@implementer(IPushProducer)
class WritingSender(Sender):
    """Sends a body by writing to a consumer: a request, or a channel's transport."""

    def __init__(self, body: Body, consumer: IConsumer, write: Callable[[bytes], object]) -> None:
        super().__init__(body)
        self._consumer = consumer
        self._write = write
        self._paused = False

    def start(self) -> None:
        """Begin."""
        self._consumer.registerProducer(self, True)
        self._move()

    def pauseProducing(self) -> None:
        """The consumer has enough for now."""
        self._paused = True

    def resumeProducing(self) -> None:
        """The consumer takes more."""
        self._paused = False
        if not self._ended and self._waiting is None:
            self._move()

    def stopProducing(self) -> None:
        """The connection is gone."""
        self.stop()

    def _move(self) -> None:
        body = self._body
        try:
            while not self._paused and not self._ended and body.ready:
                self._write(body.read(_CHUNK))
        except OSError:
            self._finish(Failure())
            return
        if self._ended or self._paused:
            return
        if body.over:
            self._finish(None)
        else:
            self._wait()

    def _release(self) -> None:
        self._consumer.unregisterProducer()


class Watch:
    """Cuts off a client that takes less than ``LEAST_RATE`` for as long as an idle connection is kept.

    Twisted stops its own timeout while a request is answered, and the file would stay open for ever.
    """

    def __init__(self, channel: Any, sender: Sender, cut: Callable[[], object]) -> None:
        self._channel = channel
        self._sender = sender
        self._cut = cut
        self._seen: tuple[int, int] | None = None
        """How far the body was handed over, and how many of these bytes the client had not acknowledged."""
        self._call: IDelayedCall
        self._look_later()

    def stop(self) -> None:
        """The body is over."""
        if self._call.active():
            self._call.cancel()

    def _look_later(self) -> None:
        self._seen = self._progress()
        self._call = self._channel.callLater(self._channel.site.timeOut, self._look)

    def _progress(self) -> tuple[int, int] | None:
        handed_over = self._sender.progress
        return None if handed_over is None else (handed_over, _not_arrived(self._channel.transport))

    def _look(self) -> None:
        seen, now = self._seen, self._progress()
        least = LEAST_RATE * self._channel.site.timeOut
        if seen is not None and now is not None:
            advanced = now[0] - seen[0]
            # Bytes are handed over in bursts and may lie here for long, so bytes that arrived there count, too.
            if max(advanced, advanced + seen[1] - now[1]) < least:
                self._cut()
                return
        self._look_later()


def _not_arrived(transport: Any) -> int:
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
    plain = length is not None and is_plain(request.channel.transport)
    await _send(request, body, _start(request, body, plain=plain), length)


async def _send(request: Request, body: Body, sender: SocketSender | WritingSender, length: int | None) -> None:
    watch = Watch(request.channel, sender, lambda: abort(request))
    try:
        await sender.done
    except CancelledError:
        raise
    except Exception:
        abort(request)
        await Deferred()  # until klein hears that the connection is gone, and cancels
    finally:
        watch.stop()
    request.sentLength = length or request.sentLength


async def send_stream(request: Request, body: Body) -> None:
    """Send ``body``, which may never end, as the last one of its connection.

    On a plain socket it is not chunked: it ends with the connection, so its content must tell whether it is complete.
    """
    plain = is_plain(request.channel.transport)
    request.endless = True  # type: ignore[attr-defined]
    if plain:
        request.clientproto = b"HTTP/1.0"  # no chunks
    request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
    request.channel.persistent = False
    await _send(request, body, _start(request, body, plain=plain), None)


def _start(request: Request, body: Body, *, plain: bool) -> SocketSender | WritingSender:
    transport = request.channel.transport
    request.write(b"")
    sender = SocketSender(body, transport) if plain else WritingSender(body, request, request.write)
    sender.start()
    return sender


def abort(request: Request) -> None:
    """Cut the connection of ``request``."""
    transport: Any = request.channel.transport
    if transport is not None:
        getattr(transport, "abortConnection", transport.loseConnection)()

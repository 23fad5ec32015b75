"""HTTP/2, which clients may choose over TLS: many requests on one connection, each of them a stream.

Twisted's connection does the framing.  What is different here:

* A request is handed on when all its headers are there, so that what becomes of its body can be told from them; it can be
  answered before its body has come; and when it has been, the client is told to send no more.
* A stream's answer is written only as fast as its client takes it: Twisted asks a producer to stop when the client's window is
  full, which a client may make as large as it likes, and sends on, in a busy loop, what does not fit into the window.
* Streams of which nothing is known any more, but of which frames still arrive, do not end the connection; requests that are taken
  back in the same breath are never begun.
* A connection counts as silent when no stream is being answered and nothing comes, and a body has to come at a least rate.
"""

from __future__ import annotations

import contextlib
from collections import deque
from typing import Any, Final

import h2.errors
import h2.events
import h2.exceptions
import priority  # type: ignore[import-untyped]
from twisted.internet.defer import Deferred
from twisted.internet.main import CONNECTION_DONE
from twisted.protocols.policies import TimeoutMixin
from twisted.python.failure import Failure
from twisted.web._http2 import _END_STREAM_SENTINEL, H2Connection

from twistpi.web.transport.http2_stream import Http2Stream
from twistpi.web.transport.patient import LEAST_RATE, LOOK_EVERY

_MOST_QUEUED: Final = 256 * 1024
"""Bytes of an answer that wait to be sent, before whoever makes them has to."""
_FRAMES: Final = 16
"""Frames that are sent before the reactor looks after the others."""
_READ_ANSWER: Final = 1.0
"""Seconds that a client has to read an early answer before it is told to send no more of its body; what it sends until then is
dropped.  curl forgets the answer when it hears of both at once."""
_DONE = Failure(CONNECTION_DONE)  # type: ignore[no-untyped-call]
_FORGOTTEN = (KeyError, h2.exceptions.ProtocolError)
"""What is raised where a stream, or the connection, is no more."""


class Http2Connection(H2Connection):
    """A connection whose client chose HTTP/2."""

    streams: dict[int, Http2Stream]
    site: Any
    factory: Any
    transport: Any
    callLater: Any  # noqa: N815

    def __init__(self, site: Any) -> None:
        super().__init__(site.reactor)  # type: ignore[no-untyped-call]
        self.site = self.factory = site
        self.requestFactory = site.requestFactory
        self.callLater = site.reactor.callLater
        self.timeOut = site.timeOut
        self._finishing = False
        self._held_back: set[int] = set()
        self._watch: Any = None

    def finish_up(self) -> None:
        """Close when nothing is to be answered any more.

        To say so before (GOAWAY) would have clients that use the h2 library give up what is on its way to them.
        """
        self._finishing = True
        self._close_when_done()

    def hold_back(self, stream: Http2Stream) -> None:
        """Have ``stream`` make no more of its answer while much of it waits."""
        if self._queued(stream.streamID) >= _MOST_QUEUED and stream.producer is not None:
            self._held_back.add(stream.streamID)
            stream.flowControlBlocked()  # type: ignore[no-untyped-call]

    def openStreamWindow(self, streamID: int, increment: int) -> None:
        """The client may send so many bytes more."""
        try:
            super().openStreamWindow(streamID, increment)  # type: ignore[no-untyped-call]
        except _FORGOTTEN:
            self._tryToWriteControlData()  # type: ignore[no-untyped-call]

    # What comes ----------------------------------------------------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        """Frames came."""
        super().dataReceived(data)  # type: ignore[no-untyped-call]
        self._wake()

    def resetTimeout(self) -> None:
        """Something came.  On a connection without streams that is no reason to wait longer: pings are cheap."""
        if self.streams:
            super().resetTimeout()  # type: ignore[no-untyped-call]

    def timeoutConnection(self) -> None:
        """Nothing came for long: what is answered or watched meanwhile is no reason to close."""
        if any(not stream.is_over for stream in self.streams.values()):
            self.setTimeout(self.site.timeOut)  # type: ignore[no-untyped-call]
            return
        self._close()

    def forceAbortClient(self) -> None:
        """Cut the connection."""
        self._abortingCall = None
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = _DONE, _cancelTimeouts: bool = True) -> None:
        """The client is gone."""
        if self._watch is not None and self._watch.active():
            self._watch.cancel()
        super().connectionLost(reason, _cancelTimeouts)  # type: ignore[no-untyped-call]

    def is_taken_back(self, identifier: int) -> bool:
        """Whether nobody waits for an answer on a stream any more.

        Frames that come together are all looked at before the first is told of: a reset may lie among the later ones.
        """
        stream = self.conn.streams.get(identifier)
        return not self._stillProducing or stream is None or stream.closed

    def _requestReceived(self, event: h2.events.RequestReceived) -> None:
        identifier: Any = event.stream_id
        if not self._stillProducing:
            return
        names = {name for name, _value in event.headers or ()}
        if b":path" not in names or b":method" not in names:
            with contextlib.suppress(*_FORGOTTEN):
                self.conn.reset_stream(identifier, h2.errors.ErrorCodes.REFUSED_STREAM)
            return
        self._streamCleanupCallbacks[identifier] = Deferred()
        self._outboundStreamQueues[identifier] = deque()
        with contextlib.suppress(priority.DuplicateStreamError):  # its priority came before
            self.priority.insert_stream(identifier)
        self.priority.block(identifier)
        stream = Http2Stream(identifier, self, event.headers, self.requestFactory, self.site, self.factory)  # type: ignore[no-untyped-call]
        self.streams[identifier] = stream
        TimeoutMixin.resetTimeout(self)  # type: ignore[no-untyped-call]
        if self._watch is None:
            self._watch = self.callLater(LOOK_EVERY, self._look)

    def _handleWindowUpdate(self, event: h2.events.WindowUpdated) -> None:
        """The client takes more, of one stream or of all; making it, a stream may come to its end."""
        changed = [event.stream_id] if event.stream_id else list(self.streams)
        for identifier in changed:
            stream = self.streams.get(identifier or 0)
            if stream is not None and not self.is_taken_back(stream.streamID):
                stream.windowUpdated()  # type: ignore[no-untyped-call]

    def _requestDataReceived(self, event: h2.events.DataReceived) -> None:
        if event.stream_id in self.streams:
            super()._requestDataReceived(event)  # type: ignore[no-untyped-call]
        elif event.flow_controlled_length:
            self.openStreamWindow(event.stream_id or 0, event.flow_controlled_length)

    def _requestEnded(self, event: h2.events.StreamEnded) -> None:
        if event.stream_id in self.streams and not self.is_taken_back(event.stream_id):
            super()._requestEnded(event)  # type: ignore[no-untyped-call]

    def _requestAborted(self, event: h2.events.StreamReset) -> None:
        if event.stream_id in self.streams:
            super()._requestAborted(event)  # type: ignore[no-untyped-call]

    def _look(self) -> None:
        """Cut the streams whose bodies come too slowly."""
        self._watch = self.callLater(LOOK_EVERY, self._look) if self.streams else None
        for stream in list(self.streams.values()):
            came, stream.came = stream.came, 0
            if not (stream.ended or stream.handed_on or stream.held_up) and came < LEAST_RATE * LOOK_EVERY:
                stream.abortConnection()

    # What goes -----------------------------------------------------------------------------------------------------

    def _sendPrioritisedData(self, *_arguments: object) -> None:
        for _ in range(_FRAMES):
            if not self._stillProducing:
                return
            if self._consumerBlocked is not None:
                self._consumerBlocked.addCallback(self._sendPrioritisedData)
                return
            try:
                identifier = next(self.priority)
            except priority.DeadlockError:
                self._sendingDeferred = Deferred()
                self._sendingDeferred.addCallback(self._sendPrioritisedData)
                return
            if self.is_taken_back(identifier):
                self.priority.block(identifier)  # until that is told of
            else:
                self._send_frame(identifier)
        self._reactor.callLater(0, self._sendPrioritisedData)

    def _send_frame(self, identifier: int) -> None:
        queue = self._outboundStreamQueues[identifier]
        if queue and queue[0] is _END_STREAM_SENTINEL:
            self.conn.end_stream(identifier)
            self.transport.write(self.conn.data_to_send())
            self._requestDone(identifier)
            return
        size = min(self.conn.max_outbound_frame_size, max(0, self.conn.local_flow_control_window(identifier)))
        if queue and size:
            data = queue.popleft()
            if len(data) > size:
                queue.appendleft(data[size:])
                data = data[:size]
            self.conn.send_data(identifier, data)
            self.transport.write(self.conn.data_to_send())
        if not queue or (queue[0] is not _END_STREAM_SENTINEL and self.conn.local_flow_control_window(identifier) <= 0):
            self.priority.block(identifier)
        stream = self.streams[identifier]
        if identifier in self._held_back and self._queued(identifier) < _MOST_QUEUED // 2:
            self._held_back.discard(identifier)
            stream.windowUpdated()  # type: ignore[no-untyped-call]

    def _requestDone(self, streamID: int) -> None:
        stream = self.streams[streamID]
        self._held_back.discard(streamID)
        super()._requestDone(streamID)  # type: ignore[no-untyped-call]
        if stream.handed_on and not stream.ended:
            self.callLater(_READ_ANSWER, self._send_no_more, streamID)
        if not self.streams:
            if self._stillProducing:
                TimeoutMixin.resetTimeout(self)  # type: ignore[no-untyped-call]
            self._close_when_done()

    def _send_no_more(self, identifier: int) -> None:
        """Tell the client that nobody wants the rest of a body whose request was answered."""
        if self._stillProducing:
            with contextlib.suppress(*_FORGOTTEN):
                self.conn.reset_stream(identifier, h2.errors.ErrorCodes.NO_ERROR)
            self._tryToWriteControlData()  # type: ignore[no-untyped-call]

    def _close_when_done(self) -> None:
        if self._finishing and not self.streams and self._stillProducing and self._abortingCall is None:
            self._close()

    def _close(self) -> None:
        """Say farewell; cut the connection when the client does not take it."""
        self._abortingCall = self.callLater(self.abortTimeout, self.forceAbortClient)
        self.conn.close_connection()
        self.transport.write(self.conn.data_to_send())
        self.transport.loseConnection()

    def _queued(self, identifier: int) -> int:
        queue = self._outboundStreamQueues.get(identifier, ())
        return sum(len(piece) for piece in queue if piece is not _END_STREAM_SENTINEL)

    def _wake(self) -> None:
        """Windows may have become larger: send on."""
        if not self._stillProducing:
            return
        for identifier, queue in self._outboundStreamQueues.items():
            if queue and (queue[0] is _END_STREAM_SENTINEL or self.conn.local_flow_control_window(identifier) > 0):
                self.priority.unblock(identifier)
        waiting, self._sendingDeferred = self._sendingDeferred, None
        if waiting is not None:
            waiting.callback(None)

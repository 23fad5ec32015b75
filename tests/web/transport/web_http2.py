"""A client that speaks HTTP/2 with a site without a network."""

from __future__ import annotations

from typing import Any

import attrs
import h2.config
import h2.connection
import h2.events
import h2.settings
from twisted.internet.testing import StringTransport

from tests.web.web_world import World


class SecureTransport(StringTransport):
    """What a channel sees when client and server agreed on HTTP/2 over TLS."""

    negotiatedProtocol = b"h2"  # noqa: N815

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]


@attrs.define(eq=False)
class Got:
    """What came on one stream."""

    headers: dict[str, str] = attrs.field(factory=dict)
    body: bytes = b""
    ended: bool = False
    reset: int | None = None
    """The error code, when the server cut it."""

    @property
    def status(self) -> int:
        return int(self.headers[":status"])


class Http2Wire:
    """One connection to a site."""

    def __init__(self, world: World, *, window: int = 1 << 20) -> None:
        """The client takes ``window`` bytes of each answer before it has to be read on."""
        world.site.reactor = world.clock
        self.world = world
        channel = world.site.buildProtocol(None)  # type: ignore[no-untyped-call]
        assert channel is not None
        self.channel: Any = channel
        self.transport: Any = SecureTransport()
        self.channel.makeConnection(self.transport)
        self.conn = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.conn.initiate_connection()
        self.conn.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})
        self.conn.increment_flow_control_window((1 << 31) - 1 - 65535)
        self.got: dict[int, Got] = {}
        self.left = False
        """Whether the server said that it takes no more requests."""
        self.reads = True
        """Whether what comes is acknowledged, so that more may come."""
        self.exchange()

    def exchange(self, turns: int = 400) -> None:
        """Hand bytes to and fro until nobody says anything any more."""
        for _ in range(turns):
            sent = self.conn.data_to_send()
            if sent:
                self.channel.dataReceived(sent)
            self.world.clock.advance(0)
            answer = bytes(self.transport.value())
            self.transport.clear()
            if answer:
                self._take(answer)
            elif not sent:
                return

    def ask(self, path: str, method: str = "GET", *, body: bytes | None = None, more: bool = False, **headers: str) -> Got:
        """Send a request, with the first part of its body when there is ``more``, and see what comes back at once."""
        got = self.announce(path, method, end=body is None, **headers)
        if body is not None:
            self.send(self.number(got), body, end=not more)
        self.exchange()
        return got

    def announce(self, path: str, method: str = "GET", *, end: bool = True, **headers: str) -> Got:
        """Have the head of a request ready to be sent."""
        stream = self.conn.get_next_available_stream_id()
        self.got[stream] = Got()
        fields = [(":method", method), (":scheme", "https"), (":authority", "localhost:3141"), (":path", path)]
        fields += [(name.replace("_", "-"), value) for name, value in headers.items()]
        self.conn.send_headers(stream, fields, end_stream=end)
        return self.got[stream]

    def send(self, stream: int, body: bytes, *, end: bool = False) -> None:
        """Send a part of a body, as far as the server lets it come."""
        while body:
            self.exchange(3)
            room = min(self.conn.local_flow_control_window(stream), self.conn.max_outbound_frame_size, len(body))
            if not room or self.got[stream].reset is not None:
                return
            self.conn.send_data(stream, body[:room])
            body = body[room:]
        if end and self.got[stream].reset is None:
            self.conn.end_stream(stream)
        self.exchange()

    def reset(self, got: Got) -> None:
        """Have no interest in an answer any more."""
        self.conn.reset_stream(self.number(got))
        self.exchange()

    def number(self, got: Got) -> int:
        return next(stream for stream, one in self.got.items() if one is got)

    def read_on(self) -> None:
        """Take what was left lying, and everything from now on."""
        self.reads = True
        for stream, got in self.got.items():
            if not got.ended and got.reset is None and got.body:
                self.conn.acknowledge_received_data(len(got.body), stream)
        self.exchange()

    def _take(self, data: bytes) -> None:
        for event in self.conn.receive_data(data):
            match event:
                case h2.events.ResponseReceived():
                    self.got[event.stream_id].headers = {str(name): str(value) for name, value in event.headers}
                case h2.events.DataReceived():
                    self.got[event.stream_id].body += event.data
                    if self.reads:
                        self.conn.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                case h2.events.StreamEnded():
                    self.got[event.stream_id].ended = True
                case h2.events.StreamReset():
                    self.got[event.stream_id].reset = int(event.error_code)
                case h2.events.ConnectionTerminated():
                    self.left = True
                case _:
                    pass

"""The connection of a request, as far as the request's body steers it."""

from __future__ import annotations

from typing import Any

from twisted.web.server import Request


class ChannelFlow:
    """The connection of a request, a ``LingeringChannel`` or a stream of HTTP/2 (``http2_stream``); see ``form_body.Flow``."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._channel: Any = request.channel

    def pause(self) -> None:
        """See ``Flow``."""
        self._channel.pause_reading()

    def resume(self) -> None:
        """See ``Flow``.  The time in which nothing was read is not held against the client."""
        self._channel.resume_reading()

    def hold(self) -> None:
        """Read nothing more until ``release``, however long that takes; not to be called again before."""
        self._channel.pause_reading()

    def release(self) -> None:
        """Read on."""
        self._channel.resume_reading()

    def answer_now(self) -> None:
        """See ``Flow``.  Not at once: who asks may be in the midst of taking the body's bytes."""
        self._channel.answer_soon(self._request)

    def go_on(self) -> None:
        """Tell the asker to send the body (``100 Continue``)."""
        self._channel._send100Continue()

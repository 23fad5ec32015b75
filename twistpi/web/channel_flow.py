"""The connection of a request, as far as the request's body steers it."""

from __future__ import annotations

from typing import Any

from twisted.web.server import Request


class ChannelFlow:
    """The connection of a request, a ``LingeringChannel``; see ``form_body.Flow``."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._channel: Any = request.channel

    def pause(self) -> None:
        """See ``Flow``."""
        self._channel._networkProducer.pauseProducing()

    def resume(self) -> None:
        """See ``Flow``.  The time in which nothing was read is not held against the client."""
        self._channel.resetTimeout()
        if not self._channel._waitingForTransport:
            self._channel._networkProducer.resumeProducing()

    def hold(self) -> None:
        """Read nothing more until ``release``, however long that takes; not to be called again before."""
        self._channel.setTimeout(None)
        self._channel._networkProducer.pauseProducing()

    def release(self) -> None:
        """Read on."""
        self._channel.setTimeout(self._channel.timeOut)
        if not self._channel._waitingForTransport:
            self._channel._networkProducer.resumeProducing()

    def answer_now(self) -> None:
        """See ``Flow``.  Not at once: who asks may be in the midst of taking the body's bytes."""
        self._channel.callLater(0, self._channel.answer_now, self._request)

    def go_on(self) -> None:
        """Tell the asker to send the body (``100 Continue``)."""
        self._channel._send100Continue()

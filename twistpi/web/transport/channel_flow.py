"""The connection of a request, as far as the request's body steers it."""

from __future__ import annotations

from typing import Any, Final

from twisted.web.server import Request

NOT_WORTH_HURRY: Final = 1024 * 1024
"""When no more bytes of a body than this are still to come, an early answer waits for them, and the connection can go on
afterwards.
"""


class ChannelFlow:
    """The connection of a request, a ``LingeringChannel``; see ``form_body.Flow``."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._channel: Any = request.channel

    def pause(self) -> None:
        """See ``Flow``."""
        self._channel.pause_reading()

    def resume(self) -> None:
        """See ``Flow``.  The time in which nothing was read is not held against the client."""
        self._channel.resume_reading()

    def answer_now(self) -> None:
        """See ``Flow``.  Not at once: who asks may be in the midst of taking the body's bytes."""
        self._channel.answer_soon(self._request)

    def go_on(self) -> None:
        """Tell the asker to send the body (``100 Continue``)."""
        self._channel._send100Continue()

"""Reading what one has written, at whichever node of a cluster answers next.

Every response says in ``X-Devpi-Serial`` how far its node was.  A client that sends the number back, as ``X-Devpi-Serial`` or
``X-Twistpi-Serial``, is answered by a node that is as far.  Browsers get it in a cookie with the answer to each change.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import attrs
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.web.server import Request
from werkzeug.http import dump_cookie, parse_cookie

from twistpi.model.errors import AskFirst, TwistpiError
from twistpi.web.replies import SET_COOKIE, DefaultHeaders, Reply
from twistpi.web.request import header

COOKIE: Final = "twistpi_serial"
_HEADERS: Final = ("x-twistpi-serial", "x-devpi-serial")
_LONGEST: Final = 18
"""Digits of a serial."""
_PATIENCE: Final = 5.0
"""Seconds that a request waits for what it should see."""
_REMEMBERED: Final = 60
"""Seconds for which a browser sends the serial of its last change."""
_READING: Final = (b"GET", b"HEAD", b"OPTIONS")


async def leave_to_first(_serial: int) -> None:
    """Raise ``AskFirst`` if this worker has not got as far as the request needs: the first process waits, and answers."""
    raise AskFirst


@attrs.frozen
class SerialReader:
    """Has requests wait until this node is as far as their clients know another one to be."""

    _reach: Callable[[int], Awaitable[object]] | None
    """None where no other node writes."""
    _headers: DefaultHeaders
    _clock: IReactorTime

    async def wait_for(self, request: Request) -> None:
        """Return when the node is as far as ``request`` asks, or as the log goes; raise ``TwistpiError`` if that takes long.

        Raise also what ``reach`` raises.
        """
        reach = self._reach
        if reach is None or (serial := serial_of(request)) <= self._headers.serial:
            return

        async def wait() -> None:
            await reach(serial)

        try:
            await Deferred.fromCoroutine(wait()).addTimeout(_PATIENCE, self._clock)
        except TimeoutError:
            known = self._headers.serial
            message = f"This server is at serial {known}, and what was asked for needs serial {serial}. Try again in a moment."
            raise TwistpiError(message, 503).later(1) from None

    def note(self, request: Request, reply: Reply) -> Reply:
        """Return ``reply`` with a cookie that says how far this node is, if ``request`` may have changed something."""
        if self._reach is None or request.method in _READING:
            return reply
        cookie = dump_cookie(COOKIE, str(self._headers.serial), max_age=_REMEMBERED, path="/", httponly=True, samesite="Lax")
        return attrs.evolve(reply, headers=(*reply.headers, (SET_COOKIE, cookie.encode("ascii"))))


def serial_of(request: Request) -> int:
    """Return the serial that ``request`` is to see at least; 0 when it says nothing that can be understood."""
    cookies = parse_cookie(header(request, "cookie") or "")
    given = [text for name in _HEADERS if (text := header(request, name))] or [cookies.get(COOKIE, "")]
    return max(int(text) if text.isascii() and text.isdigit() and len(text) <= _LONGEST else 0 for text in given)

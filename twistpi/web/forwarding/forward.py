"""Hands whole requests on to the server that answers them, and their answers back: a replica to its primary, a worker to the
first process.

Both ways as it comes, at the pace of whoever is slower, with no more in memory than a few hundred KiB.  A request with a body is
taken over when its headers are here (``begin``): its body goes on while it comes, and the answer comes back even when it is there
before the body's end.  A GET is handed on when a door finds that it cannot answer (``ask_first``).

What can fail: when nothing of the answer is there yet, the asker is told in so many words; when something is, the connection is
cut, so that no answer looks whole that is not.  Nothing is ever sent twice, but for what was refused unread, and for what only
reads when a connection that was kept for it turns out to be closed.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import attrs
from twisted.logger import Logger
from twisted.web.server import Request

from twistpi.web.addresses import Addressing, bare_path, outside_prefix, principal_of
from twistpi.web.forwarding.answer_head import AnswerHead
from twistpi.web.forwarding.heads import Line, passed_on_line, request_head, token_lines
from twistpi.web.forwarding.interfaces import Way
from twistpi.web.forwarding.links import Links
from twistpi.web.forwarding.one_request import Forwarding
from twistpi.web.forwarding.passed_on import NODE

_SERIAL: Final = re.compile("[0-9]{1,18}", re.ASCII)

log = Logger()


@attrs.define(eq=False)
class Forward:
    """What is known of the server that answers, and which requests are for it."""

    way: Way
    _services: Addressing
    _clock: Any
    _is_ours: Callable[[bytes, bytes], bool]
    """Whether a request, by its method and its path without query and prefix, is answered here."""
    patience: float = attrs.field(default=300.0, kw_only=True)
    """Seconds in which nothing moves before the other server counts as lost."""
    reach: Callable[[int], Awaitable[bool]] | None = attrs.field(default=None, kw_only=True)
    """Waits until a serial is in the own view; False when that takes too long.  None where the view is the other's own."""
    serial: Callable[[], int] = attrs.field(default=lambda: 0, kw_only=True)
    """The last serial that is here."""
    tokens_pass: bool = attrs.field(default=False, kw_only=True)
    """Whether it is for the other server to look at the tokens of servers who pass requests on."""
    mark: tuple[Line, ...] = attrs.field(default=(), kw_only=True)
    """Headers that say who passed an answer on."""
    passed: int = attrs.field(default=0, init=False)
    """How many requests were handed on."""
    links: Links = attrs.field(init=False)
    """The connections to it."""

    @links.default
    def _links(self) -> Links:
        return Links(self.way.connect, self._clock, self.way.most_idle)

    def takes(self, request: Request, method: bytes, raw: bytes) -> bool:
        """Whether a request is handed on as soon as its headers are here; ``raw`` are path and query as they came."""
        return not self._is_ours(method, self._bare(request, raw).partition(b"?")[0])

    def begin(self, request: Request, method: bytes, raw: bytes, length: int | None) -> Forwarding:
        """Hand ``request`` on, whose headers are here, and whose body of ``length`` bytes (None: in chunks) will be written to
        the result.  ``raw`` are path and query.
        """
        forwarding = Forwarding(self, request, method, raw, length, has_body=length != 0)
        forwarding.start()
        return forwarding

    async def ask_first(self, request: Request) -> None:
        """Answer ``request``, which is all here and has no body that counts, as the other server does."""
        forwarding = Forwarding(self, request, request.method, request.uri, 0, has_body=False)
        forwarding.start()
        try:
            await forwarding.relay(request)
        finally:
            forwarding.close()

    def head_of(self, request: Request, method: bytes, raw: bytes, length: int | None, *, has_body: bool) -> bytes:
        """The head to be sent."""
        target = self.way.target(raw, self._bare(request, raw))
        extra: Sequence[Line]
        if self.tokens_pass and request.requestHeaders.hasHeader(NODE):
            extra = token_lines(request.requestHeaders)
        else:
            passed_on = passed_on_line(principal_of(request, self._services))
            extra = (*self.way.signature(method, target, passed_on[1]), passed_on)
        return request_head(
            method, target, request.requestHeaders, host=self.way.host, length=length, body=has_body,
            last=not self.way.most_idle, extra=extra,
        )  # fmt: skip

    def _bare(self, request: Request, raw: bytes) -> bytes:
        return bare_path(raw, outside_prefix(request, self._services))

    async def caught_up(self, head: AnswerHead, method: bytes) -> tuple[Line, ...]:
        """Wait until what was changed can be read here, too; headers that say so when it cannot."""
        told = head.header("x-devpi-serial") or ""
        if self.reach is None or method in (b"GET", b"HEAD") or head.status >= 400 or not _SERIAL.fullmatch(told):
            return ()
        if await self.reach(int(told)):
            return ()
        here = self.serial()
        log.warn("An answer at serial {told} was passed on while serial {here} is here.", told=told, here=here)
        return ((b"X-Twistpi-Behind", b"serial %d is here, the answer is of %s" % (here, told.encode("ascii"))),)

    def call_later(self, seconds: float, function: Callable[[], object]) -> Any:
        """See ``IReactorTime``."""
        return self._clock.callLater(seconds, function)

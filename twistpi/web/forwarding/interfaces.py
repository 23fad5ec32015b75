"""What the two sides of this room ask of each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolFactory
from twisted.web.server import Request

from twistpi.web.forwarding.answer_head import AnswerHead
from twistpi.web.forwarding.heads import Line
from twistpi.web.forwarding.links import Links


class Way(Protocol):
    """The way to the server that answers."""

    @property
    def name(self) -> str:
        """What people call it, for messages."""

    @property
    def host(self) -> bytes:
        """The value of ``Host``."""

    @property
    def most_idle(self) -> int:
        """How many connections are kept while nobody asks; with 0, each carries one request."""

    def target(self, raw: bytes, bare: bytes) -> bytes:
        """How path and query, as they came, are asked of it; ``bare`` are those without the prefix of the outside URL."""

    def connect(self, factory: IProtocolFactory) -> Deferred[Any]:
        """A connection to it; fails with what makes that impossible."""

    def signature(self, method: bytes, target: bytes, told: bytes) -> Sequence[Line]:
        """The headers that have this one request believed, and what is ``told`` of its asker; none where the connection is proof
        enough.
        """

    def clock_is(self, seconds: float) -> None:
        """It refused a signature because of its age, and its clock says ``seconds``: sign by that from now on."""


class Forwarder(Protocol):
    """What is known of the other server (``forward.Forward``)."""

    passed: int
    """How many requests were handed on."""

    @property
    def way(self) -> Way:
        """The way to it."""

    @property
    def links(self) -> Links:
        """The connections to it."""

    @property
    def patience(self) -> float:
        """Seconds in which nothing moves before it counts as lost."""

    @property
    def tokens_pass(self) -> bool:
        """Whether it is for the other server, and whoever passed the request on, to make out whether they believe each other."""

    @property
    def mark(self) -> tuple[Line, ...]:
        """Headers that say who passed an answer on."""

    def head_of(self, request: Request, method: bytes, raw: bytes, length: int | None, *, has_body: bool) -> bytes:
        """The head to be sent."""

    async def caught_up(self, head: AnswerHead, method: bytes) -> tuple[Line, ...]:
        """Wait until what was changed can be read here, too; headers that say so when it cannot."""

    def call_later(self, seconds: float, function: Callable[[], object]) -> Any:
        """See ``IReactorTime``."""

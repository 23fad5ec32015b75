"""The server that this one follows, as a place to ask: signed requests, answers that are read as they come.

Every request carries a token that is good for this request, at this time, once (``auth/node_tokens.py``).  Clocks need not agree:
a primary that finds a token too old or too new says what time it has, and is asked again by its own clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol
from urllib.parse import urlsplit

import attrs
import orjson
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IProtocol
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone, ResponseNeverReceived
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IAgent, IBodyProducer

from twistpi.http.errors import Cause, RequestFailed
from twistpi.model.following_errors import PrimaryUnreachable, StrangePrimary
from twistpi.model.reasons import explain
from twistpi.replication.bodies import BodyBroken, BodyReader, BytesBody, abort

PATIENCE = 30.0
"""Seconds to the head of an answer, and between two pieces of a body that is read as a whole."""
LONGEST_JSON = 64 * 1024 * 1024
"""Bytes of the longest JSON that a primary may answer."""
TIME_HEADER = "X-Twistpi-Time"
"""The primary's clock, in Unix seconds, in every answer to another server."""
_SCHEME = "Twistpi-Node"
_PEER = "/+peer"
_CLOSED = "closed"
_SIGN_AGAIN = frozenset({"expired", "replayed", _CLOSED})
"""Why a token was of no use where another one may be."""
_DRAINED_UP_TO = 64 * 1024
"""Bytes of a body that is rather read than its connection closed."""


class Signer(Protocol):
    """Makes the tokens (``auth.node_tokens.NodeTokens``)."""

    def make(self, node: str, method: str, target: str, at: float, nonce: str, told: str) -> str:
        """A token of ``node`` for one request, with ``told`` beside it."""


@attrs.frozen
class PrimaryAddress:
    """Where a primary answers."""

    base: str
    """What stands before the path of a request: ``http://primary.example:4040/prefix``, without a slash at the end."""
    socket: str | None = None
    """The path of the unix socket through which it is reached; None for the network."""

    @classmethod
    def parse(cls, url: str) -> PrimaryAddress:
        """The address ``http://host:port/prefix``, ``https://…`` or ``unix:/run/twistpi.sock``; ``ValueError`` for others."""
        if url.startswith("unix:/"):
            return cls("http://localhost", url.removeprefix("unix:"))
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment or parts.port == 0:
            raise ValueError(url)
        return cls(url.rstrip("/"))


@attrs.define(eq=False)
class PrimaryAnswer:
    """An answer whose body is yet to come: call ``json``, ``read``, ``deliver`` or ``discard``, once."""

    status: int
    headers: Headers
    length: int | None
    """Bytes of the body; None when it will end by itself."""
    url: str
    _response: Any
    """What has ``deliverBody``."""
    _clock: Any
    _silence: float

    def header(self, name: str) -> str | None:
        """The first value of a header, None when it is not there."""
        values = self.headers.getRawHeaders(name)
        return values[0] if values else None

    async def json(self) -> Any:
        """The body as JSON; raises ``PrimaryUnreachable`` when it breaks off, ``StrangePrimary`` when it is no JSON."""
        content = await self.read(LONGEST_JSON)
        try:
            return orjson.loads(content)
        except orjson.JSONDecodeError:
            raise StrangePrimary(self.url, f"status {self.status} with a body that is no JSON") from None

    async def read(self, limit: int) -> bytes:
        """The whole body in memory; raises as ``json`` does, ``StrangePrimary`` when it has more than ``limit`` bytes."""
        pieces: list[bytes] = []
        size = 0

        def received(piece: bytes) -> None:
            nonlocal size
            size += len(piece)
            pieces.append(piece)
            if size > limit:
                pieces.clear()
                reader.give_up("too long")

        reader = BodyReader(self._clock, self._silence, received)
        self.deliver(reader)
        try:
            await reader.ended
        except BodyBroken as broken:
            if size > limit:
                raise StrangePrimary(self.url, f"it answers with more than {limit:,} bytes") from None
            raise PrimaryUnreachable(self.url, str(broken)) from None
        return b"".join(pieces)

    def deliver(self, protocol: IProtocol) -> None:
        """Send the body to ``protocol``, as it comes; ``replication.bodies.BodyReader`` is one that notices silence."""
        self._response.deliverBody(protocol)

    def discard(self) -> None:
        """Be done with the body: read it to its end when it is short, so that the connection can serve again, else hang up."""
        reader = BodyReader(self._clock, 1.0, lambda _piece: None)
        reader.ended.addErrback(lambda _: None)
        self.deliver(reader)
        if self.length is None or self.length > _DRAINED_UP_TO:
            abort(reader.transport)


@attrs.define(eq=False)
class Primary:
    """The server that this one follows."""

    url: str
    """``http://host:port/prefix``, ``https://…`` or ``unix:/path``, as the settings say it."""
    node_id: str
    """Who asks: 32 hexadecimal digits."""
    _agent: IAgent
    """Reaches the primary, whether that is on the network or behind a unix socket."""
    _clock: Any
    """An ``IReactorTime`` whose seconds are Unix time."""
    _signer: Signer
    _entropy: Callable[[int], bytes]
    outside_url: str | None = None
    """Where people reach this server, which the primary tells its administrators."""
    patience: float = PATIENCE
    offset: float = attrs.field(default=0.0, init=False)
    """Seconds by which the primary's clock is ahead of ours, as far as it had to tell; 0 while tokens are taken as they are."""
    _heard: bool = attrs.field(default=False, init=False)
    """Whether a token was taken before, so that a body which cannot be sent twice may be risked."""
    _base: str = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._base = PrimaryAddress.parse(self.url).base

    async def ask(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: IBodyProducer | bytes | None = None,
        patience: float | None = None,
    ) -> PrimaryAnswer:
        """The answer to one signed request, whatever its status, once its head is there.

        ``path`` begins with ``/``, holds the query, and is sent as it is; the prefix of the primary's address is put before it
        and is not signed.  A token that the primary's clock refuses is made anew once; so is a request without a body, or with
        one in memory, whose connection turned out to be closed.  A body from a producer is sent at most once: before the first
        one the primary is asked for its clock.  ``patience`` is in seconds, to the head of the answer.  Raises
        ``PrimaryUnreachable``.  When the Deferred that awaits this is cancelled, the request is dropped.
        """
        repeatable = body is None or isinstance(body, bytes)
        if not repeatable and not self._heard:
            (await self._ask_again("GET", _PEER, {}, None, patience)).discard()
        if repeatable:
            return await self._ask_again(method, path, headers or {}, body, patience)
        answer, _ = await self._heed(await self._signed(method, path, headers or {}, body, patience))
        return answer

    def token(self, method: str, target: str, told: str = "") -> str:
        """A token that proves who asks, and tells ``told`` beside it, for one request, by the primary's clock as far as known."""
        at = self._clock.seconds() + self.offset
        return self._signer.make(self.node_id, method, target, at, self._entropy(16).hex(), told)

    def clock_is(self, seconds: float) -> None:
        """The primary found a token too old or too new, and its clock says ``seconds``."""
        self.offset = seconds - self._clock.seconds()

    async def _ask_again(
        self, method: str, path: str, headers: Mapping[str, str], body: IBodyProducer | bytes | None, patience: float | None
    ) -> PrimaryAnswer:
        """The answer to a request that may be made a second time."""
        try:
            answer, refusal = await self._heed(await self._signed(method, path, headers, body, patience))
        except PrimaryUnreachable as error:
            closed = isinstance(error.__cause__, RequestFailed) and error.__cause__.cause is Cause.CLOSED
            if not closed and not isinstance(error.__cause__, ResponseNeverReceived):
                raise
            refusal = _CLOSED  # a kept connection that had been closed at the other end
        if refusal in _SIGN_AGAIN:
            answer, _ = await self._heed(await self._signed(method, path, headers, body, patience))
        return answer

    async def _heed(self, answer: PrimaryAnswer) -> tuple[PrimaryAnswer, str]:
        """Learn what an answer says of clocks; the answer, still to be read, and why the token was refused, if it was."""
        if answer.status != 403:
            self._heard = True
            return answer, ""
        content = await answer.read(LONGEST_JSON)
        reason, time = _reason(content), _number(answer.header(TIME_HEADER))
        if reason == "expired" and time is not None:
            self.clock_is(time)
        return attrs.evolve(answer, response=_InMemory(content), length=len(content)), reason

    async def _signed(
        self, method: str, path: str, headers: Mapping[str, str], body: IBodyProducer | bytes | None, patience: float | None
    ) -> PrimaryAnswer:
        token = self.token(method, path)
        fields = Headers({name: [value] for name, value in headers.items()})
        fields.setRawHeaders("Authorization", [f"{_SCHEME} {token}"])
        fields.setRawHeaders("X-Devpi-Replica-Uuid", [self.node_id])
        if self.outside_url:
            fields.setRawHeaders("X-Devpi-Replica-Outside-Url", [self.outside_url])
        producer = BytesBody(body) if isinstance(body, bytes) else body
        seconds = self.patience if patience is None else patience
        return await self._once(method.encode("ascii"), path.encode("ascii"), fields, producer, seconds)

    async def _once(
        self, method: bytes, target: bytes, headers: Headers, body: IBodyProducer | None, patience: float | None
    ) -> PrimaryAnswer:
        asking = self._agent.request(method, self._base.encode("ascii") + target, headers, body)
        late = False

        def give_up() -> None:
            nonlocal late
            late = True
            asking.cancel()

        timer = None if patience is None else self._clock.callLater(patience, give_up)
        try:
            response = await asking
        except Exception as error:  # refused connections, broken TLS, lost connections: Twisted raises a large family
            if late:
                raise PrimaryUnreachable(self.url, f"no answer within {patience:g} s") from None
            if _was_cancelled(error):
                raise CancelledError from error
            raise PrimaryUnreachable(self.url, explain(error)) from error
        finally:
            if timer is not None and timer.active():
                timer.cancel()
        length = None if response.length is UNKNOWN_LENGTH else int(response.length)
        silence = self.patience if patience is None else patience
        return PrimaryAnswer(response.code, response.headers, length, self.url, response, self._clock, silence)


@attrs.frozen
class _InMemory:
    """A response whose body was read already, as far as ``PrimaryAnswer`` uses one."""

    _content: bytes

    def deliverBody(self, protocol: IProtocol) -> None:
        """All of it at once."""
        protocol.makeConnection(_Nowhere())  # type: ignore[arg-type]
        if self._content:
            protocol.dataReceived(self._content)
        protocol.connectionLost(Failure(ResponseDone()))  # type: ignore[no-untyped-call]


class _Nowhere:
    """The transport of a body that is in memory."""

    def pauseProducing(self) -> None:
        """Nothing more comes anyway."""

    def resumeProducing(self) -> None:
        """Nothing more comes anyway."""

    def loseConnection(self) -> None:
        """There is none."""


def _reason(content: bytes) -> str:
    try:
        fields = orjson.loads(content)
    except orjson.JSONDecodeError:
        return ""
    return str(fields.get("reason", "")) if isinstance(fields, dict) else ""


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _was_cancelled(error: BaseException) -> bool:
    """Whether we ourselves ended the request: Twisted wraps that into what it was busy with."""
    reasons = getattr(error, "reasons", None) or ()
    return isinstance(error, CancelledError) or any(_was_cancelled(reason.value) for reason in reasons)

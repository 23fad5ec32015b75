"""Another server of the same log, as a place to ask: signed requests, answers that are read as they come.

Every request carries a token that is good for this request, at this time, once (``auth/tokens.py``).  Clocks need not agree:
a primary that finds a token too old or too new says what time it has, and is asked again by its own clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Protocol
from urllib.parse import urlsplit

import attrs
import orjson
from twisted.internet.interfaces import IProtocol
from twisted.web.http_headers import Headers

from twistpi.http.client import HTTPClient, Response
from twistpi.http.errors import Cause, RequestFailed
from twistpi.model.peers import FENCE_PATH, PEER_PATH, TIME_HEADER, FenceNote, Peer, read_peer
from twistpi.model.records import Json
from twistpi.model.server_errors import NotFenced, PrimaryUnreachable, StrangePrimary

PATIENCE = 30.0
"""Seconds to the head of an answer, and between two pieces of a body that is read as a whole."""
LONGEST_JSON = 64 * 1024 * 1024
"""Bytes of the longest JSON that a primary may answer."""
BY_BUNDLES = "http://by-bundles.invalid"
"""The primary of a replica that never reaches it: a name that nobody can have (RFC 6761), and that is never looked up."""
NOT_ASKED = "what is new comes here by twistpi bundle apply, and changes are made on the primary itself"
"""Why that one is not reached."""
_SCHEME = "Twistpi-Node"
_CLOSED = "closed"
_SIGN_AGAIN = frozenset({"expired", "replayed", _CLOSED})
"""Why a token was of no use where another one may be."""


class Signer(Protocol):
    """Makes the tokens (``auth.tokens.NodeTokens``)."""

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


@attrs.frozen(eq=False)
class PrimaryAnswer:
    """A response whose body is yet to come: call one of ``json``, ``read``, ``write_to``, ``deliver`` and ``discard``, once."""

    url: str
    """The primary's address, for errors."""
    _response: Response
    _silence: float
    """Seconds between two pieces of a body."""

    @property
    def status(self) -> int:
        """Of HTTP."""
        return self._response.status

    @property
    def length(self) -> int | None:
        """Bytes of the body; None when it will end by itself."""
        return self._response.length

    @property
    def headers(self) -> Headers:
        """All headers."""
        return self._response.headers

    def header(self, name: str) -> str | None:
        """Return the first value of a header, None without it."""
        return self._response.header(name)

    async def json(self) -> Json:
        """Return the body as JSON; raise ``PrimaryUnreachable`` when it breaks off, ``StrangePrimary`` when it is no JSON."""
        content = await self.read(LONGEST_JSON)
        try:
            value: Json = orjson.loads(content)
        except orjson.JSONDecodeError:
            raise StrangePrimary(self.url, f"status {self.status} with a body that is no JSON") from None
        return value

    async def read(self, limit: int) -> bytes:
        """Return the whole body; raise as ``json`` does, ``StrangePrimary`` when it has more than ``limit`` bytes."""
        try:
            return await self._response.read(limit, self._silence)
        except RequestFailed as failed:
            if failed.cause is Cause.TOO_LARGE:
                raise StrangePrimary(self.url, f"it answers with more than {limit:,} bytes") from None
            raise PrimaryUnreachable(self.url, failed.reason) from failed

    async def write_to(
        self, write: Callable[[list[bytes]], object], written: Callable[[], object] = lambda: None, silence: float | None = None
    ) -> None:
        """Write the body in another thread, see ``Response.write_to``; raise ``PrimaryUnreachable`` when it breaks off."""
        try:
            await self._response.write_to(write, written, self._silence if silence is None else silence)
        except RequestFailed as failed:
            raise PrimaryUnreachable(self.url, failed.reason) from failed

    def deliver(self, protocol: IProtocol) -> None:
        """Send the body to ``protocol`` as it comes; ``http.body.BodyReader`` is one that notices silence."""
        self._response.deliver(protocol)

    def discard(self) -> None:
        """Drop the body."""
        self._response.discard()


@attrs.define(eq=False)
class Primary:
    """The server that this one follows."""

    url: str
    """``http://host:port/prefix``, ``https://…`` or ``unix:/path``, as the settings say it."""
    node_id: str
    """This server: 32 hexadecimal digits."""
    _client: HTTPClient
    """Reaches the primary, whether that is on the network or behind a unix socket; the seconds of its clock are Unix time."""
    _signer: Signer
    _entropy: Callable[[int], bytes]
    outside_url: str | None = None
    """Where people reach this server, which the primary tells its administrators."""
    patience: float = PATIENCE
    offset: float = attrs.field(default=0.0, init=False)
    """Seconds by which the primary's clock is ahead of ours, as far as it had to tell; 0 while tokens are taken as they are."""
    _base: str = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._base = PrimaryAddress.parse(self.url).base

    async def ask(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        patience: float | None = None,
    ) -> PrimaryAnswer:
        """The answer to one signed request, whatever its status, once its head is there.

        ``path`` begins with ``/``, holds the query, and is sent as it is; the prefix of the primary's address is put before it
        and is not signed.  A token that the primary's clock refuses is made anew once; so is a request whose connection turned
        out to be closed.  ``patience`` is in seconds, to the head of the answer.  Raises ``PrimaryUnreachable``.  When the
        Deferred that awaits this is cancelled, the request is dropped.
        """
        try:
            answer, refusal = await self._ask_once(method, path, headers or {}, body, patience)
        except PrimaryUnreachable as error:
            if not isinstance(error.__cause__, RequestFailed) or error.__cause__.cause is not Cause.CLOSED:
                raise
            refusal = _CLOSED  # before anything came back
        if refusal in _SIGN_AGAIN:
            answer, _ = await self._ask_once(method, path, headers or {}, body, patience)
        return answer

    async def peer(self, patience: float) -> Peer:
        """Return what the server says of itself.

        Raise ``PrimaryUnreachable``, after ``patience`` seconds at the latest, and ``StrangePrimary``.
        """
        return await self._read_peer(await self.ask("GET", PEER_PATH, patience=patience))

    async def notify(self, note: FenceNote, patience: float) -> Peer:
        """Tell the server that this one was promoted, or is about to be.  Return what that one is from then on.

        Raise ``NotFenced`` when it does not step back, ``PrimaryUnreachable`` after ``patience`` seconds, and ``StrangePrimary``.
        """
        headers = {"Content-Type": "application/json"}
        answer = await self.ask("POST", FENCE_PATH, headers=headers, body=orjson.dumps(note.to_json()), patience=patience)
        if answer.status == NotFenced.status:
            fields = await answer.json()
            raise NotFenced(str(fields.get("reason", "")) if isinstance(fields, dict) else "")
        return await self._read_peer(answer)

    async def _read_peer(self, answer: PrimaryAnswer) -> Peer:
        fields = await answer.json()
        if answer.status != 200:
            message = fields.get("message", "") if isinstance(fields, dict) else ""
            raise StrangePrimary(self.url, f"status {answer.status}: {message}")
        try:
            return read_peer(fields)
        except ValueError as error:
            raise StrangePrimary(self.url, str(error)) from None

    def token(self, method: str, target: str, told: str = "") -> str:
        """A token for one request: it identifies this server, and carries ``told`` and the primary's time, as far as known."""
        at = self._client.clock.seconds() + self.offset
        return self._signer.make(self.node_id, method, target, at, self._entropy(16).hex(), told)

    def clock_is(self, seconds: float) -> None:
        """The primary found a token too old or too new, and its clock says ``seconds``."""
        self.offset = seconds - self._client.clock.seconds()

    async def _ask_once(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None, patience: float | None
    ) -> tuple[PrimaryAnswer, str]:
        """Return the answer, still to be read, and why the token was refused, if it was; learn what it says of clocks."""
        fields = {
            **headers,
            "Authorization": f"{_SCHEME} {self.token(method, path)}",
            "X-Devpi-Replica-Uuid": self.node_id,
            **({"X-Devpi-Replica-Outside-Url": self.outside_url} if self.outside_url else {}),
        }
        seconds = self.patience if patience is None else patience
        if self.url == BY_BUNDLES:
            raise PrimaryUnreachable(self.url, NOT_ASKED)
        try:
            response = await self._client.request(
                method, self._base + path, headers=fields, body=body, timeout=seconds, follow=False
            )
        except RequestFailed as failed:
            raise PrimaryUnreachable(self.url, failed.reason) from failed
        answer = PrimaryAnswer(self.url, response, seconds)
        if answer.status != 403:
            return answer, ""
        content = await answer.read(LONGEST_JSON)
        reason, time = _reason(content), _number(answer.header(TIME_HEADER))
        if reason == "expired" and time is not None:
            self.clock_is(time)
        return answer, reason


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

"""The HTTP client: treq over one agent, with redirects, credentials, time limits and counters."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Final, cast

import attrs
from hyperlink import EncodedURL
from treq.client import HTTPClient as Treq
from treq.cookies import IndexableCookieJar
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol, IReactorTime
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from twistpi import __version__
from twistpi.http.agent import Agent
from twistpi.http.answer_times import AnswerTimes
from twistpi.http.body import BodyReader, BytesBody, decompress, read_body
from twistpi.http.body_writer import BodyWriter
from twistpi.http.codings import ACCEPTED
from twistpi.http.errors import Cause, RequestFailed, request_failed, too_large
from twistpi.http.folders import Folders
from twistpi.http.messages import Line, headers_of, lines_of
from twistpi.http.offload import Offload
from twistpi.http.urls import Credentials, origin_of, quoted, resolve, split_credentials
from twistpi.http.wire_response import WireResponse
from twistpi.model.urls import is_folder_address

USER_AGENT: Final = f"twistpi/{__version__}"
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS: Final = 10
_OF_ONE_ORIGIN: Final = frozenset({b"authorization", b"cookie", b"x-devpi-auth"})
"""Headers, in lower case, that are not sent to another origin than the first."""
_DRAINED_UP_TO: Final = 64 * 1024
"""Bytes of an unwanted body that are read rather than its connection closed."""
_DECOMPRESSED_AT_ONCE: Final = 16 * 1024
"""Bytes of a compressed body that are decompressed in the reactor's thread."""

HeaderValues = Mapping[str, str | Sequence[str]]
_Send = Callable[[str, list[Line]], Awaitable["Response"]]


@attrs.define(eq=False)
class Response:
    """A response whose body is yet to come: use one of ``read`` (again, too), ``write_to``, ``deliver`` and ``discard``."""

    status: int
    url: str
    """Where the response came from, after redirects and without credentials."""
    length: int | None
    """Bytes of the body as it is sent; None when the response does not say."""
    phrase: str
    lines: list[Line]
    """The headers as they were received."""
    _client: HTTPClient
    _body: IResponse
    _is_compressed: bool = False
    """Whether a content coding was asked for, which ``read`` undoes."""
    _content: bytes | None = attrs.field(default=None, init=False)
    """What was read."""

    def header(self, name: str) -> str | None:
        """Return the first value of a header, None without it."""
        wanted = name.lower().encode("ascii")
        for found, value in self.lines:
            if found.lower() == wanted:
                return _text(value)
        return None

    @property
    def headers(self) -> Headers:
        """The headers in Twisted's form."""
        return headers_of(self.lines)

    async def read(self, limit: int, silence: float | None = None) -> bytes:
        """Return the whole body, decompressed where compression was asked for; at most ``limit`` bytes of it.

        ``silence`` is the longest time without a byte in seconds, that of the client when None.  Raise ``RequestFailed``.
        """
        if self._content is None:
            seconds = self._client.silence if silence is None else silence
            body = self._take()
            if body is None:
                body = await read_body(self._body.deliverBody, self._client.clock, seconds, limit)
            elif len(body) > limit:
                raise too_large(limit)
            coding = (self.header("Content-Encoding") or "") if self._is_compressed else ""
            if not coding or len(body) < _DECOMPRESSED_AT_ONCE:
                self._content = decompress(body, coding, limit)
            else:
                self._content = await self._client.offload(decompress, body, coding, limit)
        return self._content

    async def beginning(self, limit: int) -> bytes:
        """Return at most the first ``limit`` bytes of the body as they are sent, or those before it broke off."""
        return await read_body(self._body.deliverBody, self._client.clock, self._client.silence, limit, beginning=True)

    async def write_to(
        self, write: Callable[[list[bytes]], object], written: Callable[[], object] = lambda: None, silence: float | None = None
    ) -> None:
        """Let ``write`` write the body, of which it gets pieces in another thread; see ``BodyWriter``.

        ``written`` is called in the reactor after each batch.  Raise ``RequestFailed``, or what ``write`` raised.
        """
        client = self._client
        seconds = client.silence if silence is None else silence
        writer = BodyWriter(client.clock, seconds, client.offload, client.call_in_reactor, write, written)
        await writer.take(self._body.deliverBody)

    def deliver(self, protocol: IProtocol) -> None:
        """Send the body to ``protocol`` as it comes, without a limit of any kind; ``BodyReader`` is such a protocol."""
        self._body.deliverBody(protocol)

    def discard(self) -> None:
        """Drop the body: a short one is read, so that the connection can be used again, else the connection is closed."""
        if self._content is not None or self._take() is not None:
            return
        reader = BodyReader(self._client.clock, 1.0, lambda _: None)
        reader.ended.addErrback(lambda _: None)
        self._body.deliverBody(reader)
        if self.length is None or self.length > _DRAINED_UP_TO:
            reader.give_up(RequestFailed("nobody wants it"))

    def _take(self) -> bytes | None:
        """Return the whole body when it was received together with the head; else None."""
        return self._body.take_content() if isinstance(self._body, WireResponse) else None


@attrs.define(eq=False)
class HTTPClient:
    """Sends requests; shared by all that talk to one kind of server.  It keeps no cookies."""

    _agent: IAgent
    clock: IReactorTime
    offload: Offload
    call_in_reactor: Callable[[Callable[[], object]], object]
    """``IReactorFromThreads.callFromThread``."""
    timeout: float | None = attrs.field(default=30.0, kw_only=True)
    """Seconds from the request to the head of its response, redirects included."""
    silence: float = attrs.field(default=30.0, kw_only=True)
    """The longest time in the middle of a body without a byte, in seconds."""
    via: str = attrs.field(default="twistpi", kw_only=True)
    """The name of this server in ``Via``, which every request has: none counts as one of a user on the machine."""
    folders: Folders | None = attrs.field(default=None, kw_only=True)
    """What answers for ``file:`` addresses, to which no redirect leads; None where they are refused."""
    requests: int = attrs.field(default=0, init=False)
    """Requests sent, redirects included."""
    failures: int = attrs.field(default=0, init=False)
    """Requests without a usable response, and responses with a status of 500 or more."""
    times: AnswerTimes = attrs.field(factory=AnswerTimes, init=False)

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: HeaderValues | None = None,
        body: bytes | IBodyProducer | None = None,
        credentials: Credentials | None = None,
        timeout: float | None = None,
        follow: bool = True,
        compressed: bool = False,
    ) -> Response:
        """Send a request; return the response once its head is there, whatever its status.

        A GET or HEAD follows up to 10 redirects unless ``follow`` is false.  The user and password in ``url``, or else
        ``credentials``, are sent to their own origin only, where ``headers`` has no ``Authorization``.  The body comes as the
        server has it (``Accept-Encoding: identity``), unless it may be ``compressed``: then ``Response.read`` decompresses it.
        ``timeout`` replaces that of the client.
        Raise ``RequestFailed``; when this is cancelled, the request is aborted.
        """
        seconds = self.timeout if timeout is None else timeout
        data = BytesBody(body) if isinstance(body, bytes) else body
        lines = _lines(headers, compressed, self.via)
        once = partial(self._once, method, data, compressed, seconds, self.clock.seconds())
        try:
            if self.folders is not None and is_folder_address(url):
                return await once(url, lines)
            return await self._follow(once, url, lines, credentials, follow and method in ("GET", "HEAD"))
        except RequestFailed:
            self.failures += 1
            raise

    async def get(self, url: str, *, headers: HeaderValues | None = None, credentials: Credentials | None = None) -> Response:
        """Send a GET request; see ``request``."""
        return await self.request("GET", url, headers=headers, credentials=credentials)

    async def _follow(
        self, once: _Send, url: str, lines: list[Line], credentials: Credentials | None, is_followed: bool
    ) -> Response:
        try:
            url, own = split_credentials(url)
        except ValueError as error:
            raise RequestFailed(str(error), Cause.REDIRECT) from error
        granted = own or credentials
        for _ in range(_MOST_REDIRECTS):
            secrets: list[Line] = []
            if granted is not None and granted.origin == origin_of(url) and b"authorization" not in _names(lines):
                secrets = [(b"Authorization", granted.authorization.encode("latin-1"))]
            response = await once(url, lines + secrets)
            if response.status not in _REDIRECTS or not is_followed:
                return response
            response.discard()
            try:
                target = resolve(url, response.header("Location") or "")
            except ValueError as error:
                raise RequestFailed(f"it redirects to where nobody can follow ({error})", Cause.REDIRECT) from error
            if origin_of(target) != origin_of(url):
                lines = [line for line in lines if line[0].lower() not in _OF_ONE_ORIGIN]
            url = target
        raise RequestFailed("it redirects in circles", Cause.REDIRECT)

    async def _once(
        self,
        method: str,
        body: IBodyProducer | None,
        compressed: bool,
        seconds: float | None,
        started: float,
        url: str,
        lines: list[Line],
    ) -> Response:
        """Send one request, whose response may begin until ``seconds`` after ``started``."""
        agent = self._agent if self.folders is None or not is_folder_address(url) else self.folders
        exact, began = _ExactAgent(agent, quoted(url).encode("ascii"), lines), self.clock.seconds()
        self.requests += 1
        sending = Treq(exact, _NO_COOKIES).request(
            method, _ANY_URL, data=body, allow_redirects=False, unbuffered=True, cookies=_NO_COOKIES
        )
        timer = None
        if seconds is not None and not sending.called:
            timer = self.clock.callLater(max(0.0, started + seconds - self.clock.seconds()), sending.cancel)
        try:
            await sending
        except Exception as error:  # an agent may raise a large family: parse errors, broken TLS, lost connections
            if timer is not None and not timer.active():
                # Giving up surfaces as whatever the request was busy with; the reason is the time.
                raise RequestFailed(f"no answer within {seconds:g} s", Cause.TIMEOUT) from error
            raise request_failed(error) from error
        finally:
            if timer is not None and timer.active():
                timer.cancel()
        response = exact.response
        assert response is not None
        self.failures += response.code >= 500
        if agent is self._agent:
            self.times.add(origin_of(url), max(0.0, self.clock.seconds() - began))
        length = None if response.length is UNKNOWN_LENGTH else int(response.length)
        lines = response.lines if isinstance(response, WireResponse) else lines_of(response.headers)
        return Response(response.code, url, length, _text(response.phrase), lines, self, response, compressed)


@implementer(IAgent)
@attrs.define(eq=False)
class _ExactAgent:
    """The agent of one request of treq's: sends exactly our address and headers, and keeps the response as it was received.

    treq by itself would normalise addresses, which changes signed queries and fails for IPv6; ask for gzip, which spoils the
    ranges and digests of files; and decompress in the reactor.
    """

    _agent: IAgent
    _uri: bytes
    _lines: list[Line]
    response: IResponse | None = None

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: IBodyProducer | None = None
    ) -> Deferred[IResponse]:
        """Issue a request; see ``IAgent``."""
        if isinstance(self._agent, Agent):
            return self._agent.send(method, self._uri, self._lines, bodyProducer).addCallback(self._keep)
        return self._agent.request(method, self._uri, headers_of(self._lines), bodyProducer).addCallback(self._keep)

    def _keep(self, response: IResponse) -> IResponse:
        self.response = response
        return cast(IResponse, _SEALED)


class _AnyURL(EncodedURL):
    """The address that treq sees; ``_ExactAgent`` has the real one."""

    def __init__(self) -> None:
        """Have no parts."""

    def to_uri(self) -> _AnyURL:
        """Return itself, which is in ASCII already."""
        return self

    def to_text(self, with_password: bool = False) -> str:
        """Return the address of no server."""
        return "http://upstream.example/"


class _NoCookies(IndexableCookieJar):
    """Keeps none and sends none."""

    def add_cookie_header(self, request: object) -> None:
        """Send none."""

    def extract_cookies(self, response: object, request: object) -> None:
        """Keep none."""


_NO_COOKIES: Final = _NoCookies()
_ANY_URL: Final = _AnyURL()
_SEALED: Final = SimpleNamespace(headers=Headers())
"""What treq sees of a response: nothing that it would decode."""


_OURS: Final = {
    compressed: (
        (b"user-agent", (b"User-Agent", USER_AGENT.encode("ascii"))),
        (b"accept-encoding", (b"Accept-Encoding", ACCEPTED.encode("ascii") if compressed else b"identity")),
    )
    for compressed in (False, True)
}
"""The headers of a request where they are not given, by whether it is to be compressed, each with its name in lower case."""


def _lines(headers: HeaderValues | None, compressed: bool, via: str) -> list[Line]:
    """Return the headers of a request, with ours where they are not given."""
    given = [
        (name.encode("ascii"), one.encode("latin-1", "replace"))
        for name, value in (headers or {}).items()
        for one in ((value,) if isinstance(value, str) else value)
    ]
    names = _names(given)
    return [(b"Via", f"1.1 {via}".encode("ascii")), *(line for name, line in _OURS[compressed] if name not in names), *given]


def _names(lines: list[Line]) -> set[bytes]:
    return {name.lower() for name, _ in lines}


def _text(value: bytes | str) -> str:
    if isinstance(value, str):
        return value
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")

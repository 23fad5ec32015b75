"""Asking an upstream: one request with redirects, time limits and credentials that never leave their origin."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeVar
from urllib.parse import quote

import attrs
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.interfaces import IProtocol
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IAgent, IResponse

from twistpi import __version__
from twistpi.mirror.addresses import Credentials, Origin, origin_of, resolve, split_credentials
from twistpi.mirror.body import BodyReader, Collector, abort
from twistpi.mirror.connect import ProxyRefused
from twistpi.mirror.encoding import decompress
from twistpi.mirror.trouble import Trouble
from twistpi.model.monitoring import Measure
from twistpi.model.reasons import distrusts, explain

_T = TypeVar("_T")
Offload = Callable[..., "Deferred[Any]"]
"""Runs a blocking function with its arguments in another thread, as ``deferToThread`` does."""

ACCEPT_PAGE: Final = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.2, text/html; q=0.01"
LARGE: Final = 64 * 1024
"""Bytes from which on decompressing and parsing leave the reactor's thread."""

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS: Final = 10
_SAFE_IN_URLS: Final = "%/:=&?~#+!$,;'@()*[]|"
_PAGES_AT_ONCE: Final = 64


@attrs.frozen
class Answer:
    """An upstream's complete answer to a request for a page."""

    status: int
    url: str
    """Where the answer came from after redirects, without credentials."""
    body: bytes
    """Decompressed; empty unless the status is 200."""
    content_type: str = ""
    etag: str | None = None
    last_modified: str | None = None
    last_serial: int | None = None
    """``X-PyPI-Last-Serial``, where the upstream has serials."""


@attrs.frozen
class UpstreamResponse:
    """An answer whose body is yet to come: call ``deliver`` or ``discard``."""

    status: int
    url: str
    length: int | None
    """Bytes of the body, None when it will end by itself."""
    _response: IResponse

    def header(self, name: str) -> str | None:
        """The first value of a header, None when it is not there."""
        values = self._response.headers.getRawHeaders(name)
        return values[0] if values else None

    def deliver(self, reader: IProtocol) -> None:
        """Send the body to ``reader``."""
        self._response.deliverBody(reader)  # type: ignore[no-untyped-call]

    def discard(self, clock: Any) -> None:
        """Be done with the body: read it to its end when it is short, so that the connection can serve again, else hang up."""
        reader = BodyReader(clock, silence=1)
        reader.ended.addErrback(lambda _: None)
        self._response.deliverBody(reader)  # type: ignore[no-untyped-call]
        if self.length is None or self.length > LARGE:
            abort(reader.transport)


@attrs.define
class Upstream:
    """A client for upstreams, shared by all that is fetched."""

    _agent: IAgent
    clock: Any
    """An ``IReactorTime`` whose seconds are Unix time."""
    _offload: Offload
    request_timeout: float = 5.0
    """Seconds to the first byte of an answer, and between bytes."""
    page_limit: int = 64 * 1024 * 1024
    """Bytes of the largest page, decompressed."""
    _pages: dict[Origin, DeferredSemaphore] = attrs.field(
        init=False, factory=lambda: defaultdict(lambda: DeferredSemaphore(_PAGES_AT_ONCE))
    )
    _asked: int = attrs.field(init=False, default=0)
    _failed: int = attrs.field(init=False, default=0)

    def measures(self) -> Iterator[Measure]:
        """See ``Measured``."""
        yield Measure("twistpi_upstream_requests", "counter", "Requests sent upstream, redirects included", self._asked)
        help = "Those that were not answered, or with a status of 500 and more"
        yield Measure("twistpi_upstream_failures", "counter", help, self._failed)

    async def ask(
        self,
        url: str,
        headers: Mapping[str, str],
        credentials: Credentials | None = None,
        *,
        patience: float | None = None,
    ) -> UpstreamResponse:
        """GET ``url``, following redirects; returns when the headers of the answer are there.

        ``credentials`` are sent to their own origin only.  ``patience`` is in seconds, ``request_timeout`` when None.  Raises
        ``Trouble``.
        """
        seconds = self.request_timeout if patience is None else patience
        asking = Deferred.fromCoroutine(self._follow(url, headers, credentials))
        timer = self.clock.callLater(seconds, asking.cancel)
        try:
            return await asking
        except Trouble as trouble:
            self._failed += 1
            if timer.active():
                raise
            # Giving up surfaces as whatever the request was busy with; the reason is the time.
            raise Trouble(f"no answer within {seconds:g} s", unreachable=True) from trouble
        finally:
            if timer.active():
                timer.cancel()

    async def _follow(self, url: str, headers: Mapping[str, str], credentials: Credentials | None) -> UpstreamResponse:
        for _ in range(_MOST_REDIRECTS):
            response = await self._once(url, headers, credentials)
            if response.status not in _REDIRECTS:
                return response
            response.discard(self.clock)
            try:
                url = resolve(url, response.header("Location") or "")
            except ValueError as error:
                raise Trouble(f"it redirects to where nobody can follow ({error})") from error
        raise Trouble("it redirects in circles")

    async def _once(self, url: str, headers: Mapping[str, str], credentials: Credentials | None) -> UpstreamResponse:
        try:
            clean, own = split_credentials(url)
            granted = own or credentials
            fields = Headers({name: [value] for name, value in headers.items()})
            fields.setRawHeaders("User-Agent", [f"twistpi/{__version__}"])
            if granted is not None and granted.origin == origin_of(clean):
                fields.setRawHeaders("Authorization", [granted.authorization])
            target = quote(clean, safe=_SAFE_IN_URLS)
            self._asked += 1
            response = await self._agent.request(b"GET", target.encode("ascii"), fields, None)
        except (ConnectError, ConnectTimeout, DNSLookupError, ProxyRefused) as error:
            raise Trouble(explain(error), unreachable=True) from error
        except Exception as error:  # parse errors, broken TLS, lost connections: Twisted raises a large family
            raise Trouble(explain(error), unreachable=distrusts(error)) from error
        self._failed += response.code >= 500
        length = None if response.length is UNKNOWN_LENGTH else int(response.length)
        return UpstreamResponse(response.code, clean, length, response)

    async def page(
        self,
        url: str,
        credentials: Credentials | None,
        *,
        etag: str | None = None,
        last_modified: str | None = None,
        patience: float | None = None,
        answering: Callable[[], None] = lambda: None,
    ) -> Answer:
        """The project page at ``url``, conditionally when a validator is given; ``answering`` is called when it begins to come.

        Raises ``Trouble``.
        """
        headers = {"Accept": ACCEPT_PAGE, "Accept-Encoding": "gzip", **conditions(etag, last_modified)}
        turn = self._pages[origin_of(url)]
        await turn.acquire()
        try:
            response = await self.ask(url, headers, credentials, patience=patience)
            answering()
            body = await self._page_body(response)
        finally:
            turn.release()
        serial = response.header("X-PyPI-Last-Serial") or ""
        return Answer(
            response.status,
            response.url,
            body,
            response.header("Content-Type") or "",
            response.header("ETag"),
            response.header("Last-Modified"),
            int(serial) if serial.isascii() and serial.isdigit() and len(serial) < 19 else None,
        )

    async def _page_body(self, response: UpstreamResponse) -> bytes:
        if response.status != 200:
            response.discard(self.clock)
            return b""
        collector = Collector(self.clock, self.request_timeout, self.page_limit)
        response.deliver(collector)
        body = await collector.body()
        encoding = (response.header("Content-Encoding") or "").strip().lower()
        if len(body) < LARGE // 4:
            return decompress(body, encoding, self.page_limit)
        decompressed: bytes = await self._offload(decompress, body, encoding, self.page_limit)
        return decompressed


def conditions(etag: str | None, last_modified: str | None) -> dict[str, str]:
    """The headers that ask for an answer only if it is another than the one with these validators."""
    given = {"If-None-Match": etag, "If-Modified-Since": last_modified}
    return {name: value for name, value in given.items() if value is not None}

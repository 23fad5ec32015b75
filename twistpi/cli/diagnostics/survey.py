"""Queries to a server, the answers to them, and a survey that sends each query once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import closing, suppress
from http.client import HTTPException
from typing import Final
from urllib.parse import SplitResult, urljoin, urlsplit

import attrs

from twistpi.http.blocking import BlockingClient, BlockingResponse, request_failed
from twistpi.http.client import USER_AGENT
from twistpi.http.errors import RequestFailed
from twistpi.http.urls import Credentials, origin_of
from twistpi.model.records import NOTHING, Json

_SOON: Final = 5.0
"""Seconds in which a server answers that need not wait for a body."""
_BEGINNING: Final = 128 << 10
"""Bytes of an announced body that are sent: more than proxies collect before they ask the server."""


def _pairs(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(headers.items())


@attrs.frozen
class Query:
    """A request, or a template for one: ``{names}`` in URL and headers stand for facts that a survey knows."""

    url: str
    """Absolute, without credentials."""
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = attrs.field(default=NOTHING, converter=_pairs)
    """Empty ones are not sent; ``Authorization``, also an empty one, replaces the credentials."""
    most: int = 1 << 10
    """Bytes of the answer's body to read; the rest of a longer one is not fetched."""
    announced: int = 0
    """``Content-Length`` of a body of which only the beginning is sent; 0: there is no body."""

    def filled(self, facts: Mapping[str, str]) -> Query:
        """Return the request with ``facts`` filled in; raise ``KeyError`` for one that is missing."""
        headers = {name: value.format_map(facts) for name, value in self.headers}
        return Query(self.url.format_map(facts), self.method, headers, self.most, self.announced)


@attrs.frozen
class Exchange(BlockingResponse):
    """A query and its answer, with the status 0 when none came."""

    query: Query = attrs.field(kw_only=True)
    failure: str = attrs.field(default="", kw_only=True)
    """Why no answer came."""

    def __getitem__(self, name: str) -> str:
        """Return a header: several are joined by commas, a missing one is empty."""
        return ", ".join(value for key, value in self.headers if key.lower() == name.lower())

    @property
    def url(self) -> str:
        """The requested URL."""
        return self.query.url

    @property
    def asked(self) -> str:
        """Method, URL and headers of the request, for a sentence."""
        headers = ", ".join(f"{name}: {value}" for name, value in self.query.headers if value and name != "Authorization")
        return f"{self.query.method} {self.url}{' with ' if headers else ''}{headers}"

    @property
    def outcome(self) -> str:
        """The status with its reason, or why there is no answer, for a sentence."""
        return f"{self.status} {self.reason}".strip() if self.status else f"no answer ({self.failure})"

    @property
    def content_type(self) -> str:
        """The media type without parameters, in lower case."""
        return self["Content-Type"].partition(";")[0].strip().lower()

    @property
    def location(self) -> str:
        """The absolute URL of the ``Location`` header; the request's own without one."""
        return join(self.url, self["Location"])

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8", "replace")


class CannotTell(Exception):
    """A verdict is not possible, for the reason that is the message."""


@attrs.define(eq=False)
class Survey:
    """Asks queries when a rule first needs the answer, and keeps the answers."""

    ask: Callable[[Query], Exchange]
    reasons: Mapping[str, str]
    """Why a fact is not known, by its name."""
    facts: dict[str, str] = attrs.field(factory=dict, kw_only=True)
    got: dict[Query, Exchange] = attrs.field(factory=dict, kw_only=True)
    """The answers so far, by template."""

    def __getitem__(self, query: Query) -> Exchange:
        """Return the answer to a query; raise ``CannotTell`` when a fact for it is not known."""
        return self.got[query] if query in self.got else self.put(query)

    def put(self, query: Query, **facts: str) -> Exchange:
        """Ask a query, again if need be."""
        self.facts.update(facts)
        try:
            filled = query.filled(self.facts)
        except KeyError as missing:
            raise CannotTell(self.reasons[missing.args[0]]) from None
        self.got[query] = exchange = self.ask(filled)
        return exchange

    def of(self, queries: Iterable[Query]) -> list[Exchange]:
        """Return the answers to those queries whose facts are known."""
        found = []
        for query in queries:
            with suppress(CannotTell):
                found.append(self[query])
        return found


@attrs.frozen
class Fetcher:
    """Sends queries from this machine; redirects are not followed.  Blocking."""

    client: BlockingClient
    credentials: Credentials | None = None
    """Sent to their origin only."""
    tell: Callable[[], object] = lambda: None
    """Called before each request."""

    def ask(self, query: Query) -> Exchange:
        """Return what came of a request."""
        self.tell()
        headers = {"User-Agent": USER_AGENT, **dict(query.headers)}
        try:
            if self.credentials is not None and origin_of(query.url) == self.credentials.origin:
                headers = {"Authorization": self.credentials.authorization, **headers}
            sent = {name: value for name, value in headers.items() if value}
            if query.announced:
                got = self._announce(query, sent)
            else:
                got = self.client.request(query.method, query.url, headers=sent, limit=query.most)
        except RequestFailed as failed:
            return Exchange(0, "", (), query=query, failure=failed.reason)
        except (OSError, HTTPException, ValueError) as error:
            return Exchange(0, "", (), query=query, failure=request_failed(error).reason)
        return Exchange(got.status, got.reason, got.headers, got.body, got.is_whole, got.kept_open, query=query)

    def _announce(self, query: Query, headers: Mapping[str, str]) -> BlockingResponse:
        """Send the head of a request with a large body, and if no answer comes soon, the body's beginning.

        Some proxies ask the server only when they have that much; those that wait for the whole body stay silent.
        """
        with closing(self.client.connect(query.url, min(self.client.timeout, _SOON))) as connection:
            connection.putrequest(query.method, urlsplit(query.url).path or "/", skip_accept_encoding=True)
            for name, value in {"Content-Length": str(query.announced), **headers}.items():
                connection.putheader(name, value)
            connection.endheaders()
            try:
                answer = connection.getresponse()
            except TimeoutError:
                connection.send(bytes(min(query.announced - 1, _BEGINNING)))
                answer = connection.getresponse()
            return BlockingResponse(answer.status, answer.reason, tuple(answer.getheaders()), is_whole=False, kept_open=False)


def as_object(value: Json) -> Mapping[str, Json]:
    """Return a JSON object; an empty one for everything else."""
    return value if isinstance(value, dict) else {}


def split(url: str) -> SplitResult:
    """Return the parts of a URL; all are empty when it is malformed."""
    try:
        return urlsplit(url)
    except ValueError:
        return SplitResult("", "", "", "", "")


def join(base: str, url: str) -> str:
    """Resolve ``url`` against ``base``; empty when it is malformed."""
    try:
        return urljoin(base, url)
    except ValueError:
        return ""

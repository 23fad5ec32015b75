"""The upstream of a mirror: how its index configures it, for how long its answers hold, and requests for parts of its files."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Final, Protocol

import attrs

from twistpi.http.client import HTTPClient, Response
from twistpi.http.conditional import parse_content_range
from twistpi.http.errors import Cause, RequestFailed
from twistpi.http.urls import Credentials, Origin, origin_of, split_credentials
from twistpi.model.errors import UpstreamFailed
from twistpi.model.monitoring import Measure
from twistpi.model.records import Freshness, Index
from twistpi.model.urls import is_folder_address, public_address

_FLAT: Final = "#flat"


class StaleConfig(Exception):
    """The index was deleted, made anew or given another upstream while its upstream was asked, so the answer is not for it."""


@attrs.frozen
class UpstreamConfig:
    """An index's upstream as it is configured now; it may be another one tomorrow."""

    index: str
    source: str
    """``mirror_url`` without user and password, with ``#flat`` for a flat page.  It may still have a token in its path, so only
    ``shown`` is shown.
    """
    origin: Origin
    credentials: Credentials | None
    expiry: float
    """Seconds for which an answer holds."""
    ignores_serial: bool = False
    """Whether pages whose serial went backwards are accepted."""
    unknown_status: int | None = None
    """The status, besides 404 and 410, for a project that it does not have; None when that is to be found out."""
    mirror_url: str = attrs.field(default="", repr=False)
    """As it stands in the configuration, with credentials."""

    def is_current(self, index: Index | None) -> bool:
        """Return whether ``index``, None for a deleted one, mirrors this upstream, and as the same user."""
        return (
            index is not None
            and index.is_mirror
            and index.config.get("mirror_url") == self.mirror_url
            and _is_flat(index) == self.is_flat
        )

    @property
    def is_flat(self) -> bool:
        """Whether the upstream is one page with the files of all projects, rather than a simple index."""
        return self.source.endswith(_FLAT)

    @property
    def is_folder(self) -> bool:
        """Whether the upstream is a folder on the disk of the primary, which is always flat."""
        return is_folder_address(self.source)

    def require_current(self, index: Index | None) -> None:
        """Raise ``StaleConfig`` unless ``is_current``."""
        if not self.is_current(index):
            raise StaleConfig

    @property
    def shown(self) -> str:
        """Its scheme, host and port."""
        return public_address(self.source)

    def page_url(self, project: str) -> str:
        """Return the address of the page of ``project``, a normalised name, which needs no quoting."""
        return self.names_url if self.is_flat else f"{self.names_url}{project}/"

    @property
    def names_url(self) -> str:
        """The address of the list of all projects, or of the flat page."""
        return self.source.removesuffix(_FLAT) if self.is_flat else f"{self.source.rstrip('/')}/"


def upstream_config(index: Index, subject: str, cache_expiry: float = 0.0) -> UpstreamConfig:
    """Return the upstream of ``index``; raise ``UpstreamFailed`` (about ``subject``) when it has none, or no usable address.

    ``cache_expiry`` is the expiry in seconds of an index that states none.
    """
    url = index.config.get("mirror_url")
    if not url or not isinstance(url, str):
        advice = f"set one with devpi index {index.name} mirror_url=https://upstream.example/simple/"
        raise UpstreamFailed(index.name, subject, f"the index has no mirror_url; {advice}")
    try:
        source, origin, credentials = _parse(url)
    except ValueError as error:
        raise UpstreamFailed(index.name, subject, f"its mirror_url is not usable: {error}") from error
    if _is_flat(index):
        source += _FLAT
    own = index.config.get("mirror_cache_expiry")
    expiry = cache_expiry
    if isinstance(own, int | float) and not isinstance(own, bool) and own >= 0:
        expiry = float(own)
    ignores_serial = bool(index.config.get("mirror_ignore_serial_header"))
    unknown_status = index.config.get("mirror_unknown_status")
    return UpstreamConfig(index.name, source, origin, credentials, expiry, ignores_serial, unknown_status, url)


def _is_flat(index: Index) -> bool:
    return index.config.get("mirror_url_kind") == "flat" or is_folder_address(index.config.get("mirror_url"))


def is_fresh(freshness: Freshness | None, source: str, expiry: float, now: float) -> bool:
    """Return whether a page was confirmed by the upstream ``source`` within ``expiry`` seconds before ``now``, a Unix time.

    A clock that was set back makes pages stale, not fresh for ever.
    """
    return freshness is not None and freshness.source == source and 0 <= now - freshness.checked_at < expiry


def validators(freshness: Freshness | None, known: bool, source: str) -> tuple[str | None, str | None]:
    """Return the ETag and Last-Modified for a conditional request.

    They are None when the page that they describe is not ``known`` here, or another upstream sent it.
    """
    if freshness is None or not known or freshness.missing or freshness.source != source:
        return None, None
    return freshness.etag, freshness.last_modified


@lru_cache(maxsize=256)
def _parse(url: str) -> tuple[str, Origin, Credentials | None]:
    if is_folder_address(url):
        return f"{url.rstrip('/')}/", ("file", "", 0), None
    clean, credentials = split_credentials(url)
    return clean, origin_of(clean), credentials


ACCEPT_PAGE: Final = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.2, text/html; q=0.01"
_LONGEST_RETRY: Final = 3600.0
_LARGEST_RANGE: Final = 64 * 1024 * 1024
"""Bytes of the largest part of a file that is asked for."""
OFFLINE: Final = "this server works offline"
STOPPING: Final = "this server stops"


Get = Callable[[Mapping[str, str]], Awaitable[Response]]
"""Sends a GET request with these headers for a file, wherever it is."""


class NotOffered(Exception):
    """What is wanted of a file cannot be had this way; the message says why."""


class ResponseHead(Protocol):
    """Status and headers of a response."""

    @property
    def status(self) -> int:
        """Of HTTP."""

    def header(self, name: str) -> str | None:
        """Return the first value of a header, None without it."""


def unusable_status(response: ResponseHead, now: float) -> RequestFailed:
    """Return the error for a response whose status is of no use; ``now`` is in Unix seconds."""
    return RequestFailed(f"it answered {response.status}", Cause.UNUSABLE, retry_after(response, now))


def retry_after(response: ResponseHead, now: float) -> float | None:
    """Return for how many seconds the server wants to be left alone, an hour at most; None when it does not say."""
    value = (response.header("Retry-After") or "").strip()
    if response.status not in (429, 503) or not value:
        return None
    try:
        seconds = float(value[:10]) if value.isdecimal() else parsedate_to_datetime(value).timestamp() - now
    except (ValueError, OverflowError):
        return None
    return min(max(0.0, seconds), _LONGEST_RETRY)


def has_known_end(response: ResponseHead) -> bool:
    """Return whether a body that breaks off is noticed: by its length, its chunks, or its compression."""
    return any(response.header(name) is not None for name in ("Content-Length", "Transfer-Encoding", "Content-Encoding"))


async def fetch_range(get: Get, start: int, length: int) -> bytes:
    """Return ``length`` bytes of a file, from ``start``; raise ``NotOffered`` or ``RequestFailed``."""
    return (await _fetch_range(get, start, length))[0]


async def fetch_size(get: Get) -> int:
    """Return the size of a file in bytes; raise ``NotOffered`` or ``RequestFailed``."""
    total = (await _fetch_range(get, 0, 1))[1]
    if total is None:
        raise NotOffered("it does not tell the file's size")
    return total


async def _fetch_range(get: Get, start: int, length: int) -> tuple[bytes, int | None]:
    if length > _LARGEST_RANGE:
        raise NotOffered(f"a range of {length:,} bytes would be needed")
    response = await get({"Range": f"bytes={start}-{start + length - 1}"})
    found = parse_content_range(response.header("Content-Range")) if response.status == 206 else None
    if found is None or (found.first, found.last) != (start, start + length - 1):
        response.discard()
        raise NotOffered(f"it answered {response.status} to a request for a range")
    body = await response.read(length)
    if len(body) != length:
        raise RequestFailed("the range it sent has another length than it says", Cause.UNUSABLE)
    return body, found.total


def upstream_measures(client: HTTPClient) -> Iterator[Measure]:
    """Yield the counters of requests to upstreams; see ``Measured``."""
    yield Measure("twistpi_upstream_requests", "counter", "Requests sent upstream, redirects included", client.requests)
    help = "Those that were not answered, or with a status of 500 and more"
    yield Measure("twistpi_upstream_failures", "counter", help, client.failures)
    yield Measure("twistpi_upstream_answers", "counter", "Answers of upstreams, whatever their status", client.times.answers)
    help = "Seconds from requests sent upstream to the heads of their answers, all together"
    yield Measure("twistpi_upstream_seconds", "counter", help, client.times.seconds)

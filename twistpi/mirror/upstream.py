"""Requests to upstreams: pages, and parts of files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import attrs

from twistpi.http.client import HTTPClient, Response
from twistpi.http.errors import Cause, RequestFailed
from twistpi.http.ranges import parse_content_range
from twistpi.http.urls import Credentials
from twistpi.model.monitoring import Measure

ACCEPT_PAGE: Final = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.2, text/html; q=0.01"
LARGEST_PAGE: Final = 64 * 1024 * 1024
"""Bytes of the largest project page, decompressed."""
_LARGEST_RANGE: Final = 64 * 1024 * 1024
"""Bytes of the largest part of a file that is asked for."""
OFFLINE: Final = "this server works offline"
STOPPING: Final = "this server stops"


class RangesRefused(Exception):
    """The upstream does not send parts of this file; the message says what it did instead."""


@attrs.frozen
class PageResponse:
    """An upstream's complete response to a request for a project page."""

    status: int
    url: str
    """Where the response came from after redirects, without credentials."""
    body: bytes
    """Decompressed; empty unless the status is 200."""
    content_type: str = ""
    etag: str | None = None
    last_modified: str | None = None
    last_serial: int | None = None
    """``X-PyPI-Last-Serial``, where the upstream has serials."""


async def fetch_page(
    client: HTTPClient,
    url: str,
    credentials: Credentials | None,
    *,
    etag: str | None,
    last_modified: str | None,
    timeout: float,
    responding: Callable[[], None],
) -> PageResponse:
    """Return the project page at ``url``, requested conditionally when a validator is given.

    ``timeout`` is in seconds, to the head of the response; ``responding`` is called when that is there.  Raise
    ``RequestFailed``.
    """
    headers = {"Accept": ACCEPT_PAGE, **conditions(etag, last_modified)}
    response = await client.request("GET", url, headers=headers, credentials=credentials, timeout=timeout, compressed=True)
    responding()
    if response.status == 200:
        body = await response.read(LARGEST_PAGE)
    else:
        response.discard()
        body = b""
    serial = response.header("X-PyPI-Last-Serial") or ""
    return PageResponse(
        response.status,
        response.url,
        body,
        response.header("Content-Type") or "",
        response.header("ETag"),
        response.header("Last-Modified"),
        int(serial) if serial.isascii() and serial.isdigit() and len(serial) < 19 else None,
    )


def conditions(etag: str | None, last_modified: str | None) -> dict[str, str]:
    """Return the headers of a conditional request with these validators."""
    given = {"If-None-Match": etag, "If-Modified-Since": last_modified}
    return {name: value for name, value in given.items() if value is not None}


def unusable_status(response: Response | PageResponse) -> RequestFailed:
    """Return the error for a status that is of no use."""
    return RequestFailed(f"it answered {response.status}", Cause.UNUSABLE)


async def fetch_range(client: HTTPClient, url: str, credentials: Credentials | None, start: int, length: int) -> bytes:
    """Return ``length`` bytes of the file at ``url``, from ``start``; raise ``RangesRefused`` or ``RequestFailed``."""
    return (await _fetch_range(client, url, credentials, start, length))[0]


async def fetch_size(client: HTTPClient, url: str, credentials: Credentials | None) -> int:
    """Return the size of the file at ``url`` in bytes; raise ``RangesRefused`` or ``RequestFailed``."""
    total = (await _fetch_range(client, url, credentials, 0, 1))[1]
    if total is None:
        raise RangesRefused("it does not tell the file's size")
    return total


async def _fetch_range(
    client: HTTPClient, url: str, credentials: Credentials | None, start: int, length: int
) -> tuple[bytes, int | None]:
    if length > _LARGEST_RANGE:
        raise RangesRefused(f"a range of {length:,} bytes would be needed")
    headers = {"Range": f"bytes={start}-{start + length - 1}"}
    response = await client.get(url, headers=headers, credentials=credentials)
    found = parse_content_range(response.header("Content-Range")) if response.status == 206 else None
    if found is None or (found.first, found.last) != (start, start + length - 1):
        response.discard()
        raise RangesRefused(f"it answered {response.status} to a request for a range")
    body = await response.read(length)
    if len(body) != length:
        raise RequestFailed("the range it sent has another length than it says", Cause.UNUSABLE)
    return body, found.total


def upstream_measures(client: HTTPClient) -> Iterator[Measure]:
    """Yield the counters of requests to upstreams; see ``Measured``."""
    yield Measure("twistpi_upstream_requests", "counter", "Requests sent upstream, redirects included", client.requests)
    help = "Those that were not answered, or with a status of 500 and more"
    yield Measure("twistpi_upstream_failures", "counter", help, client.failures)

"""Requests to upstreams: pages, and parts of files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from twistpi.http.client import HTTPClient
from twistpi.http.errors import Cause, RequestFailed
from twistpi.http.ranges import parse_content_range
from twistpi.http.urls import Credentials
from twistpi.model.monitoring import Measure

ACCEPT_PAGE: Final = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.2, text/html; q=0.01"
_LARGEST_RANGE: Final = 64 * 1024 * 1024
"""Bytes of the largest part of a file that is asked for."""
OFFLINE: Final = "this server works offline"
STOPPING: Final = "this server stops"


class RangesRefused(Exception):
    """The upstream does not send parts of this file; the message says what it did instead."""


def unusable_status(status: int) -> RequestFailed:
    """Return the error for a status that is of no use."""
    return RequestFailed(f"it answered {status}", Cause.UNUSABLE)


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

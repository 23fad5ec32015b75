"""A few bytes out of the middle of an upstream's file."""

from __future__ import annotations

from typing import Final

from twistpi.mirror.addresses import Credentials
from twistpi.mirror.body import Collector
from twistpi.mirror.content_range import parse_content_range
from twistpi.mirror.trouble import Trouble
from twistpi.mirror.upstream import Upstream

_LARGEST: Final = 64 * 1024 * 1024
"""Bytes of the largest range anybody may wish for."""


class RangesRefused(Exception):
    """The upstream does not give out parts of this file; its text says what it did instead."""


async def fetch_range(upstream: Upstream, url: str, credentials: Credentials | None, start: int, length: int) -> bytes:
    """``length`` bytes of the file at ``url``, from ``start``; raises ``RangesRefused`` or ``Trouble``."""
    return (await _fetch(upstream, url, credentials, start, length))[0]


async def fetch_size(upstream: Upstream, url: str, credentials: Credentials | None) -> int:
    """The size of the file at ``url`` in bytes; raises ``RangesRefused`` or ``Trouble``."""
    total = (await _fetch(upstream, url, credentials, 0, 1))[1]
    if total is None:
        raise RangesRefused("it does not tell the file's size")
    return total


async def _fetch(
    upstream: Upstream, url: str, credentials: Credentials | None, start: int, length: int
) -> tuple[bytes, int | None]:
    if length > _LARGEST:
        raise RangesRefused(f"a range of {length:,} bytes would be needed")
    headers = {"Accept-Encoding": "identity", "Range": f"bytes={start}-{start + length - 1}"}
    response = await upstream.ask(url, headers, credentials)
    found = parse_content_range(response.header("Content-Range")) if response.status == 206 else None
    if found is None or (found.first, found.last) != (start, start + length - 1):
        response.discard(upstream.clock)
        raise RangesRefused(f"it answered {response.status} to a request for a range")
    collector = Collector(upstream.clock, upstream.request_timeout, length)
    response.deliver(collector)
    body = await collector.body()
    if len(body) != length:
        raise Trouble("the range it sent has another length than it says")
    return body, found.total

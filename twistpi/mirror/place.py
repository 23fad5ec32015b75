"""What a mirror index says of its upstream: where, as whom, and for how long an answer holds.  Pure."""

from __future__ import annotations

from functools import lru_cache

import attrs

from twistpi.mirror.addresses import Credentials, Origin, origin_of, split_credentials
from twistpi.model.errors import UpstreamFailed
from twistpi.model.records import Index


@attrs.frozen
class Place:
    """An index's upstream as it is configured now; it may be another one tomorrow."""

    index: str
    source: str
    """``mirror_url`` without credentials."""
    origin: Origin
    credentials: Credentials | None
    expiry: float
    """Seconds for which an answer holds."""
    ignores_serial: bool = False
    """Whether pages whose serial went backwards are accepted."""


def place_of(index: Index, subject: str, cache_expiry: float) -> Place:
    """The upstream of ``index``; raises ``UpstreamFailed`` (about ``subject``) when its ``mirror_url`` is none."""
    url = index.config.get("mirror_url")
    try:
        source, origin, credentials = _parse(url if isinstance(url, str) else "")
    except ValueError as error:
        raise UpstreamFailed(index.name, subject, f"its mirror_url is not usable: {error}") from error
    return Place(
        index.name,
        source,
        origin,
        credentials,
        expiry=_expiry(index, cache_expiry),
        ignores_serial=bool(index.config.get("mirror_ignore_serial_header")),
    )


@lru_cache(maxsize=256)
def _parse(url: str) -> tuple[str, Origin, Credentials | None]:
    clean, credentials = split_credentials(url)
    return clean, origin_of(clean), credentials


def _expiry(index: Index, cache_expiry: float) -> float:
    own = index.config.get("mirror_cache_expiry")
    return float(own) if isinstance(own, int | float) and not isinstance(own, bool) and own >= 0 else cache_expiry

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
    url: str = attrs.field(default="", repr=False)
    """``mirror_url`` as it stands in the configuration: with another one, what was asked for under this one means nothing."""


def place_of(index: Index, subject: str, cache_expiry: float) -> Place:
    """The upstream of ``index``; raises ``UpstreamFailed`` (about ``subject``) when it has none, or none that is an address."""
    url = index.config.get("mirror_url")
    if not url or not isinstance(url, str):
        advice = f"set one with devpi index {index.name} mirror_url=https://upstream.example/simple/"
        raise UpstreamFailed(index.name, subject, f"the index has no mirror_url; {advice}")
    try:
        source, origin, credentials = _parse(url)
    except ValueError as error:
        raise UpstreamFailed(index.name, subject, f"its mirror_url is not usable: {error}") from error
    return Place(
        index.name,
        source,
        origin,
        credentials,
        expiry=_expiry(index, cache_expiry),
        ignores_serial=bool(index.config.get("mirror_ignore_serial_header")),
        url=url,
    )


def is_aimed_at(index: Index | None, place: Place) -> bool:
    """Whether ``index``, None for one that is gone, mirrors the upstream of ``place``, and as the same user."""
    return index is not None and index.is_mirror and index.config.get("mirror_url") == place.url


@lru_cache(maxsize=256)
def _parse(url: str) -> tuple[str, Origin, Credentials | None]:
    clean, credentials = split_credentials(url)
    return clean, origin_of(clean), credentials


def _expiry(index: Index, cache_expiry: float) -> float:
    own = index.config.get("mirror_cache_expiry")
    return float(own) if isinstance(own, int | float) and not isinstance(own, bool) and own >= 0 else cache_expiry

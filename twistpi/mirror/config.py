"""What a mirror index says of its upstream, and for how long what the upstream said holds.  Pure."""

from __future__ import annotations

from functools import lru_cache

import attrs

from twistpi.http.urls import Credentials, Origin, origin_of, split_credentials
from twistpi.model.errors import UpstreamFailed
from twistpi.model.records import Freshness, Index


class StaleConfig(Exception):
    """The index was deleted, made anew or given another upstream while its upstream was asked, so the answer is not for it."""


@attrs.frozen
class UpstreamConfig:
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
    mirror_url: str = attrs.field(default="", repr=False)
    """As it stands in the configuration, with credentials."""

    def is_current(self, index: Index | None) -> bool:
        """Return whether ``index``, None for a deleted one, mirrors this upstream, and as the same user."""
        return index is not None and index.is_mirror and index.config.get("mirror_url") == self.mirror_url

    def require_current(self, index: Index | None) -> None:
        """Raise ``StaleConfig`` unless ``is_current``."""
        if not self.is_current(index):
            raise StaleConfig

    def page_url(self, project: str) -> str:
        """Return the address of the page of ``project``, a normalised name, which needs no quoting."""
        return f"{self.source.rstrip('/')}/{project}/"


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
    own = index.config.get("mirror_cache_expiry")
    expiry = cache_expiry
    if isinstance(own, int | float) and not isinstance(own, bool) and own >= 0:
        expiry = float(own)
    ignores_serial = bool(index.config.get("mirror_ignore_serial_header"))
    return UpstreamConfig(index.name, source, origin, credentials, expiry, ignores_serial, url)


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
    clean, credentials = split_credentials(url)
    return clean, origin_of(clean), credentials

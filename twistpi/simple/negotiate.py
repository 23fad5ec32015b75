"""Content negotiation: which representation of a page to send.

Source: "Simple repository API", Content-Types and Version + Format Selection; RFC 9110, 12.5.  Where the specification leaves the
choice to the server, it is JSON when the client names it and prefers nothing to it, otherwise HTML under the most specific type
that the client names.
"""

from __future__ import annotations

import enum
import functools
import re
from collections.abc import Iterator, Mapping
from typing import Final


class Representation(enum.Enum):
    """A format of a simple page; the value is its media type without parameters."""

    JSON_V1 = "application/vnd.pypi.simple.v1+json"
    HTML_V1 = "application/vnd.pypi.simple.v1+html"
    TEXT_HTML = "text/html"

    @property
    def content_type(self) -> str:
        """The value for the ``Content-Type`` header."""
        return "text/html; charset=utf-8" if self is Representation.TEXT_HTML else self.value

    @property
    def is_json(self) -> bool:
        """Whether it is JSON; otherwise it is HTML."""
        return self is Representation.JSON_V1


_NAMED: Final[Mapping[str, Representation]] = {
    **{representation.value: representation for representation in Representation},
    "application/vnd.pypi.simple.latest+json": Representation.JSON_V1,
    "application/vnd.pypi.simple.latest+html": Representation.HTML_V1,
}
_QUALITY: Final = re.compile(r"(?:0(?:\.\d{0,3})?|1(?:\.0{0,3})?)\Z", re.ASCII)


def choose(
    accept: str | None, format_parameter: str | None = None, *, fallback: Representation | None = None
) -> Representation | None:
    """Return the representation for this ``Accept`` header and this ``?format=`` parameter (None when missing).

    The parameter overrides the header, and must be exactly one media type that is served here.  A header that accepts none gets
    ``fallback``, another parameter None.
    """
    if format_parameter is not None:
        # A '+' in a query string reaches us as a space when the client did not write %2B.
        return _NAMED.get(format_parameter.strip().replace(" ", "+").lower())
    return _chosen(accept or "") or fallback


def accepts_gzip(accept_encoding: str | None) -> bool:
    """Return whether a client with this ``Accept-Encoding`` header accepts gzip and does not prefer plain bytes."""
    qualities = dict(_preferences(accept_encoding or ""))
    gzip = qualities.get("gzip", qualities.get("x-gzip", qualities.get("*", 0.0)))
    return gzip > 0 and gzip >= qualities.get("identity", 0.0)


@functools.lru_cache(maxsize=128)
def _chosen(accept: str) -> Representation | None:
    """Return the best representation for ``accept``, None when it accepts none."""
    ranges: dict[str, float] = {}
    named: dict[Representation, float] = {}
    if not accept.strip():
        return Representation.TEXT_HTML  # no header means */*
    for media_range, quality in _preferences(accept):
        representation = _NAMED.get(media_range)
        if representation is None:
            ranges[media_range] = max(quality, ranges.get(media_range, 0.0))
        else:
            named[representation] = max(quality, named.get(representation, 0.0))

    def quality_of(representation: Representation) -> float:
        if representation in named:
            return named[representation]
        kind = representation.value.partition("/")[0]
        return ranges.get(f"{kind}/*", ranges.get("*/*", 0.0))

    def rank(html: Representation) -> tuple[float, bool, bool]:
        """Order by quality, then named before unnamed, then specific before general; unnamed, ``text/html`` is first."""
        is_named = html in named
        return quality_of(html), is_named, (html is Representation.HTML_V1) is is_named

    html = max((Representation.TEXT_HTML, Representation.HTML_V1), key=rank)
    json, best_html = quality_of(Representation.JSON_V1), quality_of(html)
    if json > 0 and (best_html == 0 or (Representation.JSON_V1 in named and json >= best_html)):
        return Representation.JSON_V1
    return html if best_html > 0 else None


def _preferences(header: str) -> Iterator[tuple[str, float]]:
    """Yield the elements of a list header with their qualities; elements with an invalid quality are left out."""
    for element in header.split(","):
        name, *parameters = (part.strip().lower() for part in element.split(";"))
        quality = 1.0
        for parameter in parameters:
            key, _equals, value = (part.strip() for part in parameter.partition("="))
            if key == "q":
                quality = float(value) if _QUALITY.match(value) else -1.0
        if name and quality >= 0:
            yield name, quality

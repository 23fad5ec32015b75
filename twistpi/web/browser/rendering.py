"""Pages made of templates, with the headers that keep what comes from packages from running."""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Final
from urllib.parse import quote

import attrs
import jinja2

from twistpi.model.text import counted, in_words
from twistpi.rules.file_policy import NEVER, utc
from twistpi.web.browser.assets import Assets
from twistpi.web.browser.frame import Frame
from twistpi.web.replies import HTML, PRIVATE, Headers, Reply, length_of

POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "style-src 'self'",
        "script-src 'self'",
        "img-src 'self' https: data:",
        "connect-src 'self'",
        "frame-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'self'",
        "base-uri 'none'",
    )
)
"""``Content-Security-Policy`` of every page: nothing inline runs, and only pictures of descriptions come from elsewhere."""
PAGE_POLICY: Final = (b"Content-Security-Policy", POLICY.encode("ascii"))
"""The same as a header, by which pages are known."""
_HEADERS: Final[Headers] = (
    (b"Content-Type", HTML),
    PRIVATE,
    (b"Vary", b"Accept, Accept-Encoding, Cookie, Authorization, X-Devpi-Auth"),
    PAGE_POLICY,
    (b"X-Content-Type-Options", b"nosniff"),
    (b"Referrer-Policy", b"same-origin"),
)
_SMALLEST_CODED: Final = 1024
"""Bytes; smaller pages are sent as they are."""


@attrs.define(eq=False)
class Renderer:
    """Makes pages of templates.  In any thread."""

    assets: Assets
    theme: str | None = None
    """A folder whose ``templates`` come before those of this package, which it may extend as ``twistpi/NAME``."""
    _environment: jinja2.Environment = attrs.field(init=False)

    @_environment.default
    def _make_environment(self) -> jinja2.Environment:
        own = jinja2.FileSystemLoader(str(files("twistpi").joinpath("web", "browser", "templates")))
        themed = [] if self.theme is None else [jinja2.FileSystemLoader(Path(self.theme, "templates"))]
        environment = jinja2.Environment(
            loader=jinja2.ChoiceLoader([*themed, own, jinja2.PrefixLoader({"twistpi": own})]),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        environment.filters.update(segment=segment, path=quote, size=in_words, day=day, counted=counted, utc=utc)
        environment.globals.update(asset=self.assets.path_of, never=NEVER)
        return environment

    def page(self, frame: Frame, template: str, *, status: int = 200, headers: Headers = (), **values: object) -> Reply:
        """Return the page of ``template`` for ``frame``; ``values`` are the names it uses beside ``frame``."""
        body = self.fragment(template, {"frame": frame, **values}).encode("utf-8", "replace")
        coded: Headers = ()
        if frame.gzip and len(body) >= _SMALLEST_CODED:
            body, coded = gzip.compress(body, 1, mtime=0), ((b"Content-Encoding", b"gzip"),)
        return Reply(status, (*_HEADERS, length_of(body), *coded, *headers, *frame.cookies), body)

    def fragment(self, template: str, values: Mapping[str, object]) -> str:
        """Return what ``template`` makes of ``values``."""
        return self._environment.get_template(template).render(values)


def segment(text: str) -> str:
    """Return ``text`` as one segment of a path, or as a value in a query."""
    return quote(text, safe="")


def day(moment: str | datetime | None) -> str:
    """Return the day of ``moment``, a time in UTC (``2026-11-22T17:24:48Z``), as people read it: ``22 Nov 2026``."""
    if moment is None or moment == "":
        return ""
    try:
        at = moment if isinstance(moment, datetime) else datetime.fromisoformat(moment)
    except ValueError:
        return str(moment)
    return f"{at.day} {at:%b %Y}"

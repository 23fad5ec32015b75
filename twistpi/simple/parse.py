"""An upstream's project page, in JSON or HTML -> links with absolute URLs.

What comes from an upstream is never trusted: addresses that are not http or https, file names that could leave a folder and
values of the wrong kind are dropped one by one, and only a page that is none at all is refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from twistpi.model.errors import BadUpstreamPage
from twistpi.model.records import Link, ProjectPage
from twistpi.simple.addresses import without_credentials
from twistpi.simple.parse_html import parse_html
from twistpi.simple.parse_json import parse_json

_HTML_TYPES: Final = frozenset({"text/html", "application/vnd.pypi.simple.v1+html", "application/xhtml+xml"})
_SIDECAR: Final = ".metadata"


def parse_project_page(body: bytes, content_type: str, url: str, project: str) -> ProjectPage:
    """The page of ``project`` (normalised) that ``url`` answered with; raises ``BadUpstreamPage``.

    ``url`` is the address after redirects, against which relative links resolve; credentials in it are not passed on to links.
    ``content_type`` is the header's value, empty when there was none.
    """
    url = without_credentials(url)
    if is_json(body, content_type, url):
        header, versions, links = parse_json(body, url)
        return ProjectPage(project, _unique(links), versions, header)
    header, links = parse_html(body, content_type, url, project)
    return ProjectPage(project, _unique(links), (), header)


def is_json(body: bytes, content_type: str, url: str) -> bool:
    """Whether a page is JSON; False when it is HTML, ``BadUpstreamPage`` when it is neither.

    Static file servers often name no type or a wrong one, so the first character may decide.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    start = body[:1024].removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if not start:
        raise BadUpstreamPage(url, "it is empty")
    if media_type.endswith(("+json", "/json")) or start == b"{":
        return True
    if media_type in _HTML_TYPES or start == b"<":
        return False
    raise BadUpstreamPage(url, f"its content type {media_type[:100]!r} is neither JSON nor HTML")


def _unique(links: Iterable[Link]) -> tuple[Link, ...]:
    """One link per file name: the first, unless only a later one has a digest."""
    by_name: dict[str, Link] = {}
    for link in links:
        # "x.whl.metadata" is the address of the core metadata of "x.whl" and must not mean anything else.
        if link.filename.endswith(_SIDECAR):
            continue
        first = by_name.setdefault(link.filename, link)
        if link.hashes and not first.hashes:
            by_name[link.filename] = link
    return tuple(by_name.values())

"""Which HTML pages are index pages: sign-in and maintenance pages come with status 200, too, and pages may break off."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote, urlsplit

from twistpi.model.errors import BadUpstreamPage, InvalidName
from twistpi.model.names import normalize_project

SEARCHED: Final = 64 * 1024
"""Characters at the beginning of a page that tell what it is."""
_END_SEARCHED: Final = 1024
_INDEX_TYPE: Final = "application/vnd.pypi.simple."
_VERSION: Final = re.compile(r"<meta\s[^<>]{0,200}pypi:(?:repository-version|project-status)", re.IGNORECASE)
_HEADING: Final = re.compile(r"<(?:title|h[1-3])(?:\s[^<>]{0,200})?>([^<]{0,300})<", re.IGNORECASE)
_INDEX_HEADING: Final = re.compile(
    r"\b(?:(?:links|files|packages) (?:for|of)|index of|simple (?:index|list|repository|api)|package index"
    r"|(?:directory|folder) listing)\b",
    re.IGNORECASE,
)
_FILE_LINK: Final = re.compile(r"\.(?:whl|zip|tgz|tar\.[a-z0-9]{1,3}|egg|exe|msi|rpm|deb)[\"'#?\s>]", re.IGNORECASE)
_FORM: Final = re.compile(r"<(?:form|input|button|iframe)[\s>/]", re.IGNORECASE)
_FRAME: Final = re.compile(
    r"<!--[^<>]{0,200}-->|<!doctype[^<>]{0,200}>|<a\s+href=[\"']?\.\./?[\"']?[^<>]{0,200}>[^<]{0,100}</a>"
    r"|</?(?:html|head|body|meta|title|base|br|hr|p|pre|ul|ol|div|table|tbody)(?:[\s/][^<>]{0,500})?>",
    re.IGNORECASE,
)
"""What a page without content consists of; a link to the folder above is no content."""
_LARGEST_EMPTY: Final = 4096
"""Characters."""


class NoIndexPage(BadUpstreamPage):
    """The upstream's page at {url} cannot be used: {reason}.

    It is HTML without a link that counts, and does not say that it is an index page.
    """


def require_index_page(text: str, content_type: str, url: str, project: str | None = None) -> None:
    """Raise ``NoIndexPage`` unless an HTML page without a link that counts says that it is an index page, or is empty.

    It says so by its type, its ``<meta name="pypi:repository-version">``, its title or a heading, or by links to files of other
    projects.  ``text`` is its beginning; ``project`` is the project that it is for, None for the list of all.
    """
    start = text[:SEARCHED]
    if content_type.strip().lower().startswith(_INDEX_TYPE) or _VERSION.search(start):
        return
    if any(_is_index_heading(heading, url, project) for heading in _HEADING.findall(start)):
        return
    if project is not None and _FILE_LINK.search(text):
        return
    if len(text) <= _LARGEST_EMPTY and not _FRAME.sub("", text).strip("\ufeff \t\r\n"):
        return
    raise NoIndexPage(url, "it is a web page without links that does not say that it is an index page")


def has_form(text: str) -> bool:
    """Return whether a page, whose beginning is ``text``, is one for people: a sign-in page has a few links, too."""
    return _FORM.search(text[:SEARCHED]) is not None


def require_end(start: str, end: str, url: str) -> None:
    """Raise ``BadUpstreamPage`` for an HTML page that breaks off; for pages whose length nobody said.

    ``start`` and ``end`` are its beginning and its last 1,024 characters or more.  A page without ``<html>`` and ``<body>`` has
    only to end behind a tag.
    """
    last = end[-_END_SEARCHED:].lower()
    if "<html" in start[:SEARCHED].lower() or "<body" in start[:SEARCHED].lower():
        is_whole = "</html" in last or "</body" in last
    else:
        is_whole = last.rfind(">") > last.rfind("<")
    if not is_whole:
        raise BadUpstreamPage(url, "it breaks off")


def _is_index_heading(heading: str, url: str, project: str | None) -> bool:
    words = " ".join(heading.split())
    if _INDEX_HEADING.search(words):
        return True
    path = unquote(urlsplit(url).path).strip("/")
    if path and words.strip("/ ") in (path, path.rpartition("/")[2]):
        return True
    try:
        return project is not None and normalize_project(words) == project
    except InvalidName:
        return False

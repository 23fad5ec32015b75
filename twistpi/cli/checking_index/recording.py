"""What an index was asked, and what came of it."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

import attrs
from selectolax.lexbor import LexborHTMLParser

from twistpi.cli.exchanges import Exchange

JSON = "application/vnd.pypi.simple.v1+json"
HTML = "application/vnd.pypi.simple.v1+html"
LATEST = "application/vnd.pypi.simple.latest+json"
TEXT = "text/html"

INSTALLERS: Mapping[str, str] = {
    "pip": f"{JSON}, {HTML}; q=0.1, {TEXT}; q=0.01",
    "uv": f"{JSON}, {HTML};q=0.2, {TEXT};q=0.01",
    "poetry": f"{JSON}, */*;q=0.1",
}
"""What installers of today accept of a page."""


class Ask(enum.Enum):
    """Every question there is, by what it is about."""

    LIST = "the list of projects, its beginning"
    LIST_HEAD = "HEAD of the list"
    LIST_SLASHLESS = "the list without its last slash"
    PAGE = "the page in JSON"
    PAGE_HTML = "the page in text/html"
    PAGE_HEAD = "HEAD of the page"
    PAGE_SLASHLESS = "the page without its last slash"
    SPELLED = "the page under another spelling"
    INVALID = "a name that cannot be"
    INVALID_CONTROL = "a name with a control character"
    UNKNOWN = "a project that does not exist"
    AS_HTML = "the page as v1+html"
    AS_ANYTHING = "the page as */*"
    AS_ANY_TEXT = "the page as text/*"
    AS_NOTHING = "the page without Accept"
    AS_PIP = "the page as pip"
    AS_UV = "the page as uv"
    AS_POETRY = "the page as poetry"
    AS_RATHER_HTML = "the page, HTML preferred"
    AS_LATEST = "the page as latest+json"
    AS_UNSUPPORTED = "the page as something that does not exist"
    LIST_UNSUPPORTED = "the list as something that does not exist"
    FORMAT = "the page with ?format="
    POST = "POST to the page"
    MATCHING = "the page, if its ETag has changed"
    MATCHING_WEAKLY = "the same, with W/"
    MATCHING_LIST = "the same, with a list of ETags"
    GZIPPED = "the page, gzip accepted"
    FILE_HEAD = "HEAD of a file"
    FILE_ENCODED = "the file, percent-encoded"
    FILE_GZIPPED = "the file, gzip accepted"
    FILE_SIGNATURE = "the file's .asc"
    FIRST_BYTES = "the first ten bytes"
    MIDDLE_BYTES = "all but the first bytes"
    LAST_BYTES = "the last ten bytes"
    MORE_BYTES = "more last bytes than there are"
    NO_BYTES = "bytes beyond the end"
    SEVERAL_RANGES = "two ranges"
    MALFORMED_RANGE = "a range that is none"
    IF_RANGE = "a range of the same file"
    IF_OTHER_RANGE = "a range of another file"
    METADATA = "the metadata beside a wheel"
    METADATA_HEAD = "HEAD of that"
    AS_NOBODY = "the page without a login"
    AS_SOMEBODY_ELSE = "the page with a wrong password"


@attrs.frozen
class Anchor:
    """A link of an HTML page."""

    text: str
    attributes: Mapping[str, str | None]

    @property
    def href(self) -> str:
        """Where it leads."""
        return self.attributes.get("href") or ""


@attrs.frozen
class Recording:
    """An interview."""

    base: str
    """The address of the index, with a slash at the end."""
    project: str = ""
    """The project that was looked at, normalised; empty when none was found."""
    exchanges: Mapping[Ask, Exchange] = attrs.field(factory=dict)
    file: Mapping[str, Any] = attrs.field(factory=dict)
    """The file that was looked at, as the page in JSON has it, or as much as the HTML says."""
    described: Mapping[str, Any] = attrs.field(factory=dict)
    """The file whose metadata was looked at, likewise."""
    password: str = attrs.field(default="", repr=False)
    """What must not be seen anywhere."""

    def get(self, *asks: Ask) -> list[Exchange]:
        """What came of these questions, as far as they were asked."""
        return [self.exchanges[ask] for ask in asks if ask in self.exchanges]

    @property
    def page_url(self) -> str:
        """The address of the project's page."""
        return f"{self.base}{self.project}/"

    @property
    def is_protected(self) -> bool:
        """Whether who does not log in gets nothing."""
        return any(exchange.status in (401, 403) for exchange in self.get(Ask.AS_NOBODY))

    @property
    def page(self) -> Mapping[str, Any]:
        """The page in JSON; empty when there is none."""
        return next((exchange.json for exchange in self.get(Ask.PAGE) if exchange.status == 200), {})

    @property
    def html(self) -> str:
        """The page in HTML; empty when there is none."""
        found = (exchange for exchange in self.get(Ask.PAGE_HTML) if exchange.status == 200)
        return next((exchange.body.decode("utf-8", "replace") for exchange in found), "")

    @property
    def files(self) -> Sequence[Mapping[str, Any]]:
        """The files of the page in JSON that are objects."""
        files = self.page.get("files")
        return [file for file in files if isinstance(file, dict)] if isinstance(files, list) else []

    @property
    def anchors(self) -> Sequence[Anchor]:
        """The links of the page in HTML."""
        return anchors_of(self.html)

    def address_of(self, file: Mapping[str, Any]) -> str:
        """The absolute address of a file, without a fragment."""
        return join(self.page_url, str(file.get("url", ""))).partition("#")[0]


def split(url: str) -> SplitResult:
    """The parts of an address; all are empty when it is none."""
    try:
        return urlsplit(url)
    except ValueError:
        return SplitResult("", "", "", "", "")


def join(base: str, url: str) -> str:
    """The absolute address that ``url`` is, seen from ``base``; empty when it is none."""
    try:
        return urljoin(base, url)
    except ValueError:
        return ""


def anchors_of(html: str) -> list[Anchor]:
    """The links of an HTML page."""
    if not html:
        return []
    return [Anchor(node.text().strip(), dict(node.attributes)) for node in LexborHTMLParser(html).css("a[href]")]


def meta_of(html: str) -> dict[str, str]:
    """Name and content of the ``<meta>`` of an HTML page."""
    nodes = LexborHTMLParser(html).css("meta[name]") if html else []
    return {node.attributes.get("name") or "": node.attributes.get("content") or "" for node in nodes}


def names_in(listing: str) -> Iterator[str]:
    """Projects in the beginning of a list, JSON or HTML; it may break off anywhere."""
    for found in re.finditer(r'"name"\s*:\s*"([^"]+)"', listing):
        yield found[1]
    for found in re.finditer(r"<a [^>]+>([^<]+)</a>", listing):
        yield found[1].strip()

"""What check-index asks an index: some fifty small requests, most of which want headers or a few bytes only."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

import attrs
import click
from selectolax.lexbor import LexborHTMLParser

from twistpi.cli.diagnostics.survey import Exchange, Query, Survey, as_object, join
from twistpi.model.errors import InvalidName
from twistpi.model.names import normalize_project
from twistpi.model.records import NOTHING, Json

JSON = "application/vnd.pypi.simple.v1+json"
HTML = "application/vnd.pypi.simple.v1+html"
TEXT = "text/html"
NO_PAGE = "There is no project whose page could be looked at; --project names one."
NO_FILE = "The page has no file that could be looked at; --project names another project."
NO_METADATA = "No file of this page has its metadata beside it."
_REASONS: Final = {
    **dict.fromkeys(("page", "etag", "opaque_tag"), NO_PAGE),
    **dict.fromkeys(("file", "file_encoded"), NO_FILE),
    "described": NO_METADATA,
    "file_etag": "The file has no ETag to ask with.",
    "spelled": "The name has only one spelling.",
}
KNOWN_PROJECTS = ("six", "packaging", "requests", "pip")
"""Projects that nearly every index has which has more than private ones, with small pages."""
_TRIES, _HOPS = 8, 5
LARGE: Final = 32 << 20
"""Bytes of a page."""


def at_page(accept: str, method: str = "HEAD", others: Mapping[str, str] = NOTHING, most: int = 1 << 10) -> Query:
    """Return a query for the project's page."""
    return Query("{page}/", method, {"Accept": accept, **others}, most)


def at_list(path: str, method: str = "HEAD", accept: str = TEXT) -> Query:
    """Return a query for what is below the list of projects, or for the list itself."""
    return Query(f"{{base}}/{path}", method, {"Accept": accept})


def of_file(headers: Mapping[str, str] = NOTHING, method: str = "GET") -> Query:
    """Return a query for the file."""
    return Query("{file}", method, headers)


LIST = Query("{base}/", "GET", {"Accept": f"{JSON}, {TEXT};q=0.1"}, 1 << 16)
PAGE, PAGE_HTML = at_page(JSON, "GET", most=LARGE), at_page(TEXT, "GET", most=LARGE)
NOBODY = at_page(JSON, others={"Authorization": ""})
FILE_HEAD = of_file(method="HEAD")
METADATA = Query("{described}.metadata", most=LARGE)


def minor_of(version: object) -> int:
    """Return the y of version 1.y; -1 for another one."""
    found = re.fullmatch(r"1\.(\d+)", str(version))
    return int(found[1]) if found else -1


@attrs.frozen
class Anchor:
    """A link of an HTML page."""

    text: str
    href: str
    attributes: Mapping[str, str | None]


@attrs.define(eq=False)
class IndexSurvey(Survey):
    """The answers of an index, and what its pages say."""

    base: str
    """The URL of the index, with a slash at the end."""
    project: str = ""
    """The normalised name of the project that is looked at; empty when none was found."""
    password: str | None = attrs.field(default=None, repr=False)
    """The secret of the login that ``ask`` sends, which no answer may show."""

    page: Mapping[str, Json] = NOTHING
    """The page in JSON; empty when there is none."""
    files: Sequence[Mapping[str, Json]] = ()
    """The files of that page which are objects."""
    html: str = ""
    """The page in HTML; empty when there is none."""
    anchors: Sequence[Anchor] = ()
    """The links of that page."""
    meta_tags: Mapping[str, str] = NOTHING
    """Name and content of its ``<meta>`` tags."""
    file: Mapping[str, Json] = NOTHING
    """The file that is looked at, as in JSON, with metadata beside it if possible; empty without one."""

    @property
    def page_url(self) -> str:
        """The URL of the project's page."""
        return f"{self.base}{self.project}/"

    @property
    def is_protected(self) -> bool:
        """Whether the page needs a login."""
        return any(exchange.status in (401, 403) for exchange in self.of([NOBODY]))

    @property
    def meta(self) -> Mapping[str, Json]:
        """The object ``meta`` of the page in JSON; empty when there is none."""
        return as_object(self.page.get("meta"))

    @property
    def minor(self) -> int:
        """The y of the API version 1.y of the page in JSON; -1 for another one."""
        return minor_of(self.meta.get("api-version"))

    @property
    def length(self) -> int | None:
        """The bytes of the file, as HEAD or the page says; None when neither does."""
        for one in self.of([FILE_HEAD]):
            if one.status == 200 and one["Content-Length"].isdigit():
                return int(one["Content-Length"])
        size = self.file.get("size")
        return size if isinstance(size, int) else None

    def url_of(self, file: Mapping[str, Json]) -> str:
        """Return the absolute URL of a file, without a fragment."""
        return join(self.page_url, str(file.get("url", ""))).partition("#")[0]


def survey_index(ask: Callable[[Query], Exchange], url: str, project: str = "", password: str | None = None) -> IndexSurvey:
    """Find the index at ``url``, a project that it has, or ``project``, and a file; ``password`` is None without a login."""
    survey = IndexSurvey(ask, _REASONS, url, password=password)
    survey.facts["base"] = base = _find(survey, url)
    survey.base, survey.project = f"{base}/", _choose_project(survey, project)
    page = survey.got[PAGE]
    if survey[LIST].status >= 400 and page.status != 200:
        advice = "is it what installers are given as index-url? If it has no list of projects, --project names one"
        if survey[LIST].status in (401, 403):
            advice = "it needs a login, which --user gives" if password is None else "does it take this login?"
        raise _unreachable(survey[LIST].url, f"it is answered {survey[LIST].outcome}; {advice}")
    if not survey.project:
        del survey.got[PAGE], survey.facts["page"]
        return survey
    _read_pages(survey, page, survey[PAGE_HTML])
    other = survey.project.replace("-", "__") if "-" in survey.project else survey.project.upper()
    file = survey.url_of(survey.file)
    facts = {
        "etag": page["ETag"],
        "opaque_tag": page["ETag"].removeprefix("W/"),
        "spelled": f"{base}/{other}" if other != survey.project else "",
        "file": file if survey.file else "",
        "file_encoded": _encode_otherwise(file) if survey.file else "",
        "described": file if stated_metadata(survey.file) else "",
    }
    survey.facts.update((name, value) for name, value in facts.items() if value)
    for one in survey.of([FILE_HEAD]):
        survey.facts.update({"file_etag": one["ETag"]} if one["ETag"] else {})
    return survey


def _read_pages(survey: IndexSurvey, page: Exchange, html: Exchange) -> None:
    """Note what the pages in JSON and HTML say, and choose a small file, if possible with metadata beside it."""
    survey.page, survey.html = page.json if page.status == 200 else {}, html.text if html.status == 200 else ""
    files, tree = survey.page.get("files"), LexborHTMLParser(survey.html)
    survey.files = [file for file in files if isinstance(file, dict)] if isinstance(files, list) else []
    links = [(node.text().strip(), node.attributes) for node in tree.css("a[href]")]
    survey.anchors = [Anchor(text, values.get("href") or "", values) for text, values in links]
    metas = [node.attributes for node in tree.css("meta[name]")]
    survey.meta_tags = {values.get("name") or "": values.get("content") or "" for values in metas}
    known = list(survey.files) or [_file_of(anchor) for anchor in survey.anchors]
    reachable = [file for file in known if survey.url_of(file).startswith(("http://", "https://"))]
    survey.file = min(reachable, key=lambda file: (not stated_metadata(file), _size(file)), default=NOTHING)


def _find(survey: Survey, url: str) -> str:
    """Return the index's URL without a slash at its end, after redirects from ``url``."""
    base = url.rstrip("/")
    for _ in range(_HOPS):
        exchange = survey.put(LIST, base=base)
        if not exchange.status:
            raise _unreachable(exchange.url, exchange.failure)
        if exchange.status not in (301, 302, 303, 307, 308) or not exchange["Location"]:
            return base
        base = exchange.location.partition("?")[0].rstrip("/")
    raise _unreachable(url, "it redirects for ever")


def _unreachable(url: str, reason: str) -> click.ClickException:
    return click.ClickException(f"{url} cannot be checked: {reason}.")


def _choose_project(survey: Survey, project: str) -> str:
    """Ask for the page of ``project``, or of some candidates; return the name of the first that has one."""
    listing, listed = survey[LIST], dict[str, None]()
    for name in names_in(listing.text):
        with contextlib.suppress(InvalidName):
            listed[normalize_project(name)] = None
    candidates = [*listed, *KNOWN_PROJECTS] if listing.is_whole else [*KNOWN_PROJECTS, *listed]
    for name in [normalize_project(project)] if project else candidates[:_TRIES]:
        if survey.put(PAGE, page=f"{survey.facts['base']}/{name}").status not in (404, 410):
            return name
    return ""


def names_in(listing: str) -> Iterator[str]:
    """Yield the projects in the beginning of a list, JSON or HTML, which may break off anywhere."""
    for found in re.finditer(r'"name"\s*:\s*"([^"]+)"|<a [^>]+>([^<]+)</a>', listing):
        yield found[1] or found[2].strip()


def _file_of(anchor: Anchor) -> Mapping[str, Json]:
    """Return what a link says about its file, as the JSON page would say it."""
    stated = anchor.attributes.get("data-core-metadata") or anchor.attributes.get("data-dist-info-metadata") or ""
    name, equals, value = stated.partition("=")
    metadata: dict[str, Json] = {"core-metadata": {name: value} if equals else True} if stated else {}
    return {"filename": anchor.text, "url": anchor.href, **metadata}


def stated_metadata(file: Mapping[str, Json]) -> Json:
    """Return what the page says about a file's metadata; false or None where that is not offered."""
    return file.get("core-metadata") or file.get("dist-info-metadata")


def _size(file: Mapping[str, Json]) -> int:
    size = file.get("size")
    return size if isinstance(size, int) else 1 << 50


def _encode_otherwise(url: str) -> str:
    """Return the same URL with the first letter of the file's name and plus signs percent-encoded."""
    folder, _, filename = url.rpartition("/")
    if not filename or not filename[0].isalnum() or not filename.isascii():
        return url
    return f"{folder}/%{ord(filename[0]):02X}{filename[1:].replace('+', '%2B')}"

"""Ask an index: some fifty small requests, most of which want headers or a few bytes only."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

import attrs
import click
from selectolax.lexbor import LexborHTMLParser

from twistpi.cli.diagnostics.survey import Exchange, Query, Question, Record, Survey, Tell, as_object, join
from twistpi.model.errors import InvalidName
from twistpi.model.names import normalize_project
from twistpi.model.records import NOTHING, Json

JSON = "application/vnd.pypi.simple.v1+json"
HTML = "application/vnd.pypi.simple.v1+html"
LATEST = "application/vnd.pypi.simple.latest+json"
TEXT = "text/html"
NO_PAGE = "There is no project whose page could be looked at; --project names one."
NO_FILE = "The page has no file that could be looked at; --project names another project."
NO_METADATA = "No file of this page has its metadata beside it."
NO_ETAG = "The file has no ETag to ask with."
KNOWN_PROJECTS = ("six", "packaging", "requests", "pip")
"""Projects that nearly every index has which has more than private ones, with small pages."""

GET, HEAD = "GET", "HEAD"
_TRIES, _HOPS = 8, 5
LARGE = 32 << 20
_FAR = 1 << 50
_UNSUPPORTED = "application/x-no-such-thing"
_WRONG_LOGIN = "Basic bm9ib2R5Ondyb25nIHBhc3N3b3Jk"
_BASE, _PAGE, _FILE, _METADATA = "{base}/", "{page}/", "{file}", "{described}.metadata"


class Ask(Query):
    """Every query of ``check-index``: URL, method, ``Accept``, other headers, bytes to read."""

    LIST = _BASE, GET, f"{JSON}, {TEXT};q=0.1", NOTHING, 1 << 16
    LIST_HEAD = _BASE, HEAD, TEXT
    LIST_SLASHLESS = "{base}?via=check-index", HEAD, TEXT
    LIST_UNSUPPORTED = _BASE, HEAD, _UNSUPPORTED
    INVALID = "{base}/-a/", HEAD, TEXT
    INVALID_CONTROL = "{base}/a%0Ab/", HEAD, TEXT
    UNKNOWN = "{base}/twistpi-check-index-looks-for-nothing/", GET, TEXT
    PAGE = _PAGE, GET, JSON, NOTHING, LARGE
    PAGE_HTML = _PAGE, GET, TEXT, NOTHING, LARGE
    PAGE_HEAD = _PAGE, HEAD, JSON
    PAGE_SLASHLESS = "{page}?via=check-index", HEAD, TEXT
    SPELLED = "{spelled}/", HEAD, TEXT
    AS_HTML = _PAGE, HEAD, HTML
    AS_ANYTHING = _PAGE, HEAD, "*/*"
    AS_ANY_TEXT = _PAGE, HEAD, "text/*"
    AS_NOTHING = _PAGE, HEAD
    AS_PIP = _PAGE, HEAD, f"{JSON}, {HTML}; q=0.1, {TEXT}; q=0.01"
    AS_UV = _PAGE, HEAD, f"{JSON}, {HTML};q=0.2, {TEXT};q=0.01"
    AS_POETRY = _PAGE, HEAD, f"{JSON}, */*;q=0.1"
    AS_RATHER_HTML = _PAGE, HEAD, f"{JSON};q=0.1, {TEXT}"
    AS_LATEST = _PAGE, HEAD, LATEST
    AS_UNSUPPORTED = _PAGE, HEAD, _UNSUPPORTED
    FORMAT = "{page}/?format=application%2Fvnd.pypi.simple.v1%2Bjson", HEAD, TEXT
    POST = _PAGE, "POST", TEXT
    MATCHING = _PAGE, GET, JSON, {"If-None-Match": "{etag}"}
    MATCHING_WEAKLY = _PAGE, GET, JSON, {"If-None-Match": "W/{opaque_tag}"}
    MATCHING_LIST = _PAGE, GET, JSON, {"If-None-Match": '"something", {opaque_tag}'}
    GZIPPED = _PAGE, HEAD, JSON, {"Accept-Encoding": "gzip"}
    AS_NOBODY = _PAGE, HEAD, JSON, {"Authorization": "{nobody}"}
    AS_SOMEBODY_ELSE = _PAGE, HEAD, JSON, {"Authorization": "{somebody_else}"}
    FILE_HEAD = _FILE, HEAD
    FILE_ENCODED = "{file_encoded}", HEAD
    FILE_GZIPPED = _FILE, HEAD, None, {"Accept-Encoding": "gzip, deflate"}
    FILE_SIGNATURE = "{file}.asc", HEAD
    FIRST_BYTES = _FILE, GET, None, {"Range": "bytes=0-9"}
    MIDDLE_BYTES = _FILE, GET, None, {"Range": "bytes=10-"}
    LAST_BYTES = _FILE, GET, None, {"Range": "bytes=-10"}
    MORE_BYTES = _FILE, GET, None, {"Range": f"bytes=-{_FAR}"}
    NO_BYTES = _FILE, GET, None, {"Range": f"bytes={_FAR}-"}
    SEVERAL_RANGES = _FILE, GET, None, {"Range": "bytes=0-1,5-6"}
    MALFORMED_RANGE = _FILE, GET, None, {"Range": "bytes=9-1"}
    IF_RANGE = _FILE, GET, None, {"Range": "bytes=0-9", "If-Range": "{file_etag}"}
    IF_OTHER_RANGE = _FILE, GET, None, {"Range": "bytes=0-9", "If-Range": "{other_etag}"}
    METADATA = _METADATA, GET, None, NOTHING, LARGE
    METADATA_HEAD = _METADATA, HEAD

    @property
    def missing(self) -> str:
        """The sentence to say when this could not be asked."""
        reasons = {"other_etag": NO_ETAG, "file_etag": NO_ETAG, "described": NO_METADATA, "page": NO_PAGE}
        return next((reason for fact, reason in reasons.items() if fact in self.facts), NO_FILE)


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


@attrs.frozen
class IndexRecord(Record):
    """What an index answered."""

    base: str
    """The URL of the index, with a slash at the end."""
    project: str = ""
    """The normalised name of the project that was looked at; empty when none was found."""
    password: str = attrs.field(default="", repr=False)
    """The secret of the login, which no answer may show."""
    page: Mapping[str, Json] = NOTHING
    """The page in JSON; empty when there is none."""
    files: Sequence[Mapping[str, Json]] = ()
    """The files of that page which are objects."""
    html: str = ""
    """The page in HTML; empty when there is none."""
    anchors: Sequence[Anchor] = ()
    meta_tags: Mapping[str, str] = NOTHING
    """Name and content of the ``<meta>`` tags of the HTML page."""
    file: Mapping[str, Json] = NOTHING
    """The file that was looked at, as the JSON page has it, or as much as the HTML page says."""
    described: Mapping[str, Json] = NOTHING
    """The file whose metadata was looked at, likewise."""

    @property
    def page_url(self) -> str:
        """The URL of the project's page."""
        return f"{self.base}{self.project}/"

    @property
    def is_protected(self) -> bool:
        """Whether the page needs a login."""
        return any(exchange.status in (401, 403) for exchange in self.of((Ask.AS_NOBODY,)))

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
        for one in self.of((Ask.FILE_HEAD,)):
            if one.status == 200 and one["Content-Length"].isdigit():
                return int(one["Content-Length"])
        size = self.file.get("size")
        return size if isinstance(size, int) else None

    def url_of(self, file: Mapping[str, Json]) -> str:
        """Return the absolute URL of a file, without a fragment."""
        return join(self.page_url, str(file.get("url", ""))).partition("#")[0]


def survey_index(
    ask: Callable[[Question], Exchange], tell: Tell, url: str, project: str = "", password: str | None = None
) -> IndexRecord:
    """Ask the index at ``url`` about ``project``, or about one that it has.

    ``password`` is that of the login which ``ask`` sends; None without a login. Raises ``ClickException``.
    """
    survey = Survey(Ask, ask, tell)
    base = _find(survey, url)
    survey.learn(base=base)
    name = _choose_project(survey, project)
    _require_an_index(survey, has_login=password is not None)
    if not name:
        del survey.got[Ask.PAGE]
        return IndexRecord(survey.got, f"{base}/", password=password or "")
    etag = survey.got[Ask.PAGE]["ETag"]
    other = name.replace("-", "__") if "-" in name else name.upper()
    survey.learn(
        page=f"{base}/{name}",
        spelled=f"{base}/{other}" if other != name else None,
        etag=etag or None,
        opaque_tag=etag.removeprefix("W/") or None,
        nobody="" if password is not None else None,
        somebody_else=_WRONG_LOGIN if password is not None else None,
    )
    survey.got.setdefault(Ask.AS_NOBODY, survey.got[Ask.PAGE])
    record = _read_pages(IndexRecord(survey.got, f"{base}/", name, password or ""))
    file, described = _choose_files(record)
    if file:
        address = record.url_of(file)
        survey.learn(file=address, file_encoded=_encode_otherwise(address))
        if etag := survey.got[Ask.FILE_HEAD]["ETag"]:
            survey.learn(file_etag=etag, other_etag='"another-file"')
    if described:
        survey.learn(described=record.url_of(described))
    tell("questions", len(Ask), len(Ask))
    return attrs.evolve(record, file=file, described=described)


def _find(survey: Survey, url: str) -> str:
    """Return the index's URL without a slash at its end, after redirects from ``url``."""
    base = url.rstrip("/")
    for _ in range(_HOPS):
        exchange = survey.put(Ask.LIST, base=base)
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
    listing = survey.got[Ask.LIST]
    listed = _normalized(names_in(listing.text))
    candidates = [*listed, *KNOWN_PROJECTS] if listing.is_whole else [*KNOWN_PROJECTS, *listed]
    for name in [normalize_project(project)] if project else candidates[:_TRIES]:
        if survey.put(Ask.PAGE, page=f"{survey.facts['base']}/{name}").status not in (404, 410):
            return name
    return ""


def _require_an_index(survey: Survey, has_login: bool) -> None:
    """Raise ``ClickException`` where there is neither a list nor a page: there is nothing to judge."""
    listing = survey.got[Ask.LIST]
    if listing.status < 400 or survey.got[Ask.PAGE].status == 200:
        return
    advice = "is it what installers are given as index-url? If it has no list of projects, --project names one"
    if listing.status in (401, 403):
        advice = "does it take this login?" if has_login else "it needs a login, which --user gives"
    raise _unreachable(listing.url, f"it is answered {listing.told}; {advice}")


def names_in(listing: str) -> Iterator[str]:
    """Yield the projects in the beginning of a list, JSON or HTML, which may break off anywhere."""
    for found in re.finditer(r'"name"\s*:\s*"([^"]+)"|<a [^>]+>([^<]+)</a>', listing):
        yield found[1] or found[2].strip()


def _normalized(names: Iterator[str]) -> Sequence[str]:
    """Return the normalised names, each once."""
    seen: dict[str, None] = {}
    for name in names:
        with contextlib.suppress(InvalidName):
            seen[normalize_project(name)] = None
    return list(seen)


def _read_pages(record: IndexRecord) -> IndexRecord:
    """Return the record with what the pages in JSON and HTML say."""
    page = next((one.json for one in record.of((Ask.PAGE,)) if one.status == 200), {})
    files = page.get("files")
    html = next((one.text for one in record.of((Ask.PAGE_HTML,)) if one.status == 200), "")
    tree = LexborHTMLParser(html)
    links = [(node.text().strip(), node.attributes) for node in tree.css("a[href]")]
    metas = [node.attributes for node in tree.css("meta[name]")]
    return attrs.evolve(
        record,
        page=page,
        files=[file for file in files if isinstance(file, dict)] if isinstance(files, list) else [],
        html=html,
        anchors=[Anchor(text, values.get("href") or "", values) for text, values in links],
        meta_tags={values.get("name") or "": values.get("content") or "" for values in metas},
    )


def _choose_files(record: IndexRecord) -> tuple[Mapping[str, Json], Mapping[str, Json]]:
    """Return a small file, and one whose metadata is offered; empty where there is none."""
    files = list(record.files) or [_file_of(anchor) for anchor in record.anchors]
    by_size = sorted((file for file in files if record.url_of(file).startswith(("http://", "https://"))), key=_size)
    described = [file for file in by_size if file.get("core-metadata") or file.get("dist-info-metadata")]
    return (described or by_size or [{}])[0], (described or [{}])[0]


def _file_of(anchor: Anchor) -> Mapping[str, Json]:
    """Return what a link says about its file, as the JSON page would say it."""
    address, _, fragment = anchor.href.partition("#")
    algorithm, _, digest = fragment.partition("=")
    stated = anchor.attributes.get("data-core-metadata") or anchor.attributes.get("data-dist-info-metadata") or ""
    name, equals, value = stated.partition("=")
    metadata: dict[str, Json] = {"core-metadata": {name: value} if equals else True} if stated else {}
    return {"filename": anchor.text, "url": address, "hashes": {algorithm: digest} if digest else {}, **metadata}


def _size(file: Mapping[str, Json]) -> int:
    size = file.get("size")
    return size if isinstance(size, int) else _FAR


def _encode_otherwise(url: str) -> str:
    """Return the same URL with the first letter of the file's name and plus signs percent-encoded."""
    folder, _, filename = url.rpartition("/")
    if not filename or not filename[0].isalnum() or not filename.isascii():
        return url
    return f"{folder}/%{ord(filename[0]):02X}{filename[1:].replace('+', '%2B')}"

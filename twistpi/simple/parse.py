"""Parsing of an upstream's project page, in JSON (PEP 691, 700, 714, 740, 792; API 1.0 to 1.4) or HTML.

An upstream is not trusted.  URLs that are not http or https, file names that could leave a folder and values of the wrong type
are dropped one by one; only a page that is none at all is refused.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final
from urllib.parse import unquote

import orjson
from selectolax.lexbor import LexborHTMLParser, LexborNode

from twistpi.model.errors import BadUpstreamPage, InvalidName
from twistpi.model.names import check_filename, is_wheel, project_of_filename
from twistpi.model.records import Json, Link, PageHeader, ProjectPage
from twistpi.model.urls import without_credentials
from twistpi.simple import fields as field
from twistpi.simple.index_pages import require_end, require_index_page
from twistpi.simple.urls import absolute, filename_of

_HTML_TYPES: Final = frozenset({"text/html", "application/vnd.pypi.simple.v1+html", "application/xhtml+xml"})
_METADATA_SUFFIX: Final = ".metadata"
_DROPPED_OF_A_FILE: Final = frozenset({"dist-info-metadata", "data-dist-info-metadata", "gpg-sig"})
"""Expressed in another way here, or about bytes that are not mirrored."""
_KNOWN_OF_A_FILE: Final = _DROPPED_OF_A_FILE | {
    "filename",
    "url",
    "hashes",
    "size",
    "requires-python",
    "upload-time",
    "yanked",
    "core-metadata",
    "provenance",
}
_DROPPED_OF_A_PAGE: Final = frozenset({"tracks", "alternate-locations", "namespaces"})
"""Rejected (PEP 708), or a statement about one repository only (PEP 752)."""
_KNOWN_OF_A_PAGE: Final = _DROPPED_OF_A_PAGE | {"meta", "name", "files", "versions", "project-status"}
_LONGEST_VERSION: Final = 200
_PLAIN_FILENAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,199}\Z")
"""Nearly every name; ``check_filename`` accepts them all, but takes longer."""


def parse_project_page(
    body: bytes, content_type: str, url: str, project: str, is_whole: bool = True, is_flat: bool = False
) -> ProjectPage:
    """Parse the page of ``project`` (normalised) that ``url`` answered with; raise ``BadUpstreamPage``.

    Relative links resolve against ``url``, the one after redirects; credentials in it are not passed on to links.
    ``content_type`` is the header's value, empty when there was none; ``is_whole`` is false when ``body`` may have broken off.
    Of a flat page, which lists the files of many projects, only the links count.
    """
    url = without_credentials(url)
    if is_json(body, content_type, url):
        header, versions, found = _parse_json(body, url)
        if is_flat:
            return ProjectPage(project, _unique(link for link in found if _belongs(link.filename, project)))
        return ProjectPage(project, _unique(found), versions, header)
    text = body.removeprefix(b"\xef\xbb\xbf").decode(charset_of(content_type), errors="replace")
    if not is_whole:
        require_end(text, text, url)
    header, found = _parse_html(text, url, project)
    links = _unique(found)
    if not links:
        require_index_page(text, content_type, url, project)
    return ProjectPage(project, links, (), PageHeader() if is_flat else header)


def is_json(body: bytes, content_type: str, url: str) -> bool:
    """Return whether a page is JSON, or else HTML; raise ``BadUpstreamPage`` when it is neither.

    Static file servers often send no type or a wrong one, so the first character may decide.
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
    """Keep one link per file name: the first, unless only a later one has a digest."""
    by_name: dict[str, Link] = {}
    for link in links:
        # "x.whl.metadata" is the URL of the core metadata of "x.whl" and must not be another file.
        if link.filename.endswith(_METADATA_SUFFIX):
            continue
        first = by_name.setdefault(link.filename, link)
        if link.hashes and not first.hashes:
            by_name[link.filename] = link
    return tuple(by_name.values())


# JSON --------------------------------------------------------------------------------------------------------------


def _parse_json(body: bytes, url: str) -> tuple[PageHeader, tuple[str, ...], Iterator[Link]]:
    try:
        page = orjson.loads(body.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        raise BadUpstreamPage(url, f"it is not JSON ({error})") from error
    if not isinstance(page, dict):
        raise BadUpstreamPage(url, "it is JSON, but not an object")
    meta = page.get("meta")
    meta = meta if isinstance(meta, dict) else {}
    field.check_api_version(meta.get("api-version"), url)
    files = page.get("files")
    if not isinstance(files, list):
        raise BadUpstreamPage(url, "it has no list of files")
    # The specification's example has it in "meta", its prose at the top level.
    status = page.get("project-status", meta.get("project-status"))
    status = status if isinstance(status, dict) else {"status": status}
    header = PageHeader(
        status=field.clean_status(status.get("status")),
        status_reason=field.clean_reason(status.get("reason")),
        last_serial=field.clean_serial(meta.get("_last-serial")),
        extra=field.clean_extra(page, _KNOWN_OF_A_PAGE),
    )
    return header, _versions(page.get("versions")), _links(files, url)


def _versions(value: Json) -> tuple[str, ...]:
    if not isinstance(value, list):
        return ()
    return tuple(dict.fromkeys(one for one in value if isinstance(one, str) and 0 < len(one) <= _LONGEST_VERSION))


def _links(files: list[Json], base: str) -> Iterator[Link]:
    """Yield the links of ``files`` and empty it meanwhile, which keeps memory low."""
    files.reverse()
    while files:
        entry = files.pop()
        if isinstance(entry, dict) and (link := _link(entry, base)):
            yield link


def _link(entry: dict[str, Json], base: str) -> Link | None:
    filename, reference = entry.get("filename"), entry.get("url")
    if not isinstance(filename, str) or not isinstance(reference, str):
        return None
    if not _PLAIN_FILENAME.match(filename):
        try:
            check_filename(filename)
        except InvalidName:
            return None
    url = absolute(base, reference)
    if url is None:
        return None
    get = entry.get
    if (metadata := get("core-metadata")) is None and "core-metadata" not in entry:
        # The names that it had before (PEP 714).
        metadata = get("data-dist-info-metadata", get("dist-info-metadata"))
    return Link(
        filename,
        url,
        field.clean_hashes(get("hashes")) or field.hash_of_fragment(reference),
        field.clean_size(get("size")),
        field.clean_requires_python(get("requires-python")),
        field.clean_upload_time(get("upload-time")),
        field.clean_yanked(get("yanked")),
        field.clean_core_metadata(metadata),
        field.clean_provenance(get("provenance"), base),
        field.clean_extra(entry, _KNOWN_OF_A_FILE),
    )


# HTML (PEP 503, 592, 658, 714, 740, 792) -----------------------------------------------------------------------------


_CHARSET: Final = re.compile(r"charset\s*=\s*[\"']?([\w.:-]+)", re.IGNORECASE)
_CHARSETS: Final = frozenset({"utf-8", "us-ascii", "iso-8859-1", "latin-1", "windows-1252", "utf-16", "utf-16le", "utf-16be"})
"""Charsets of web pages; Python knows many more, some of them no text."""
_DISTRIBUTION: Final = re.compile(r"\.(?:whl|zip|tgz|tar(?:\.(?:gz|bz2|xz|z))?|egg|exe|msi|rpm|deb|dmg)\Z", re.IGNORECASE)
_SERIAL: Final = re.compile(r"<!--SERIAL (\d{1,15})-->\s*\Z")
_TAG: Final = re.compile(r"<(?!(?:a|br)[\s/>])[a-z]", re.IGNORECASE)
_OTHER_TAG: Final = re.compile(r"</?(?!(?:a|base|meta|title|script|style)[\s/>])[a-z][^>]*>", re.IGNORECASE)
_MANY_TAGS: Final = 100


def _parse_html(text: str, url: str, project: str) -> tuple[PageHeader, Iterator[Link]]:
    """Parse the header and links of an HTML page at ``url``; raise ``BadUpstreamPage`` for an API version above 1."""
    tree = LexborHTMLParser(_without_nesting(text))
    metas = _metas(tree)
    field.check_api_version(metas.get("pypi:repository-version"), url)
    serial = _SERIAL.search(text[-200:])
    header = PageHeader(
        status=field.clean_status(metas.get("pypi:project-status")),
        status_reason=field.clean_reason(metas.get("pypi:project-status-reason")),
        last_serial=field.clean_serial(int(serial[1])) if serial else None,
    )
    node = tree.css_first("base[href]")
    reference = node.attributes["href"] if node is not None else None
    base = (absolute(url, reference) if reference else None) or url
    return header, filter(None, (_html_link(node, base, project) for node in tree.css("a[href]")))


def charset_of(content_type: str) -> str:
    """Return the charset of an HTML page; unknown ones are taken for UTF-8."""
    charset = _CHARSET.search(content_type)
    name = charset[1].lower() if charset else ""
    return name if name in _CHARSETS else "utf-8"


def _without_nesting(text: str) -> str:
    """Return ``text`` without tags that mean nothing here, when there are many of them.

    Building the tree of deeply nested elements takes time that grows with the square of their number; a hostile page could
    stop the server with it.  A title, head and list of links stays far below the limit.
    """
    tags = _TAG.finditer(text)
    if next((True for number, _tag in enumerate(tags) if number >= _MANY_TAGS), False):
        # Nothing behind the last '>' is a tag; cutting it off keeps the search linear.
        return _OTHER_TAG.sub(" ", text[: text.rfind(">") + 1])
    return text


def _metas(tree: LexborHTMLParser) -> Mapping[str, str | None]:
    """Return the page's ``<meta name=… content=…>``; of several with one name the first."""
    metas: dict[str, str | None] = {}
    for node in tree.css("meta[name]"):
        attributes = node.attributes
        metas.setdefault((attributes["name"] or "").strip().lower(), attributes.get("content"))
    return metas


def _html_link(node: LexborNode, base: str, project: str) -> Link | None:
    attributes = node.attributes
    reference = attributes["href"]
    url = absolute(base, reference) if reference else None
    if reference is None or url is None:
        return None
    filename = filename_of(url)
    is_named = node.text().strip() == filename
    try:
        check_filename(filename)
    except InvalidName:
        return None
    # Folder listings link to other things, too; a file that is no distribution counts if its link shows its name.
    if not (is_named or _DISTRIBUTION.search(filename)) or not _belongs(filename, project):
        return None
    size = (attributes.get("data-size") or "").strip()
    return Link(
        filename,
        url,
        field.hash_of_fragment(reference),
        field.clean_size(int(size)) if size and len(size) <= 16 and size.isascii() and size.isdigit() else None,
        field.clean_requires_python(attributes.get("data-requires-python")),
        field.clean_upload_time(attributes.get("data-upload-time")),
        "data-yanked" in attributes and (field.clean_yanked(attributes["data-yanked"]) or True),
        _core_metadata(attributes),
        field.clean_provenance(attributes.get("data-provenance"), base),
    )


def _belongs(filename: str, project: str) -> bool:
    """Return whether a file can be one of ``project``; flat pages list the files of other projects, too."""
    if is_wheel(filename):
        return _beginning(project, "[_.]+", "-").match(filename) is not None
    start = _beginning(project, "[-_.]+", "[-_.]+").match(filename)
    if start is None:
        return False
    # "foo-1.0.zip" is foo's in any case; "foo-bar-1.0.zip" is foo-bar's, but "foo-latest.zip" is foo's again.
    rest = filename[start.end() :]
    return rest[:2].lstrip("vV")[:1].isdigit() or project_of_filename(filename) in (None, project)


@functools.lru_cache(maxsize=64)
def _beginning(project: str, separator: str, end: str) -> re.Pattern[str]:
    """Match the beginning of a file name of ``project``, in any spelling of the name."""
    return re.compile(separator.join(map(re.escape, project.split("-"))) + end, re.IGNORECASE)


def _core_metadata(attributes: Mapping[str, str | None]) -> bool | Mapping[str, str] | None:
    for name in ("data-core-metadata", "data-dist-info-metadata"):
        if name in attributes:
            value = unquote(attributes[name] or "").strip()
            algorithm, _equals, digest = value.partition("=")
            return field.clean_hash(algorithm, digest) or value.lower() != "false"
    return None

"""Parsing of an upstream's project page: negotiation of the format, and JSON (PEP 691, 700, 714, 740, 792; API 1.0 to 1.4).

An upstream is not trusted.  URLs that are not http or https, file names that could leave a folder and values of the wrong type
are dropped one by one; only a page that is none at all is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import orjson

from twistpi.model.errors import BadUpstreamPage, InvalidName
from twistpi.model.names import check_filename
from twistpi.model.records import Json, Link, PageHeader, ProjectPage
from twistpi.simple import fields as field
from twistpi.simple.parse_html import parse_html
from twistpi.simple.urls import absolute, without_credentials

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


def parse_project_page(body: bytes, content_type: str, url: str, project: str) -> ProjectPage:
    """Parse the page of ``project`` (normalised) that ``url`` answered with; raise ``BadUpstreamPage``.

    Relative links resolve against ``url``, the one after redirects; credentials in it are not passed on to links.
    ``content_type`` is the header's value, empty when there was none.
    """
    url = without_credentials(url)
    if is_json(body, content_type, url):
        header, versions, links = _parse_json(body, url)
        return ProjectPage(project, _unique(links), versions, header)
    header, links = parse_html(body, content_type, url, project)
    return ProjectPage(project, _unique(links), (), header)


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


def _links(files: list[Any], base: str) -> Iterator[Link]:
    """Yield the links of ``files`` and empty it meanwhile, which keeps memory low."""
    files.reverse()
    while files:
        entry = files.pop()
        if isinstance(entry, dict) and (link := _link(entry, base)):
            yield link


def _link(entry: dict[str, Any], base: str) -> Link | None:
    filename, reference = entry.get("filename"), entry.get("url")
    if not isinstance(filename, str) or not isinstance(reference, str):
        return None
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
        field.clean_provenance(get("provenance")),
        field.clean_extra(entry, _KNOWN_OF_A_FILE),
    )

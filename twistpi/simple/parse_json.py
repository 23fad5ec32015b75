"""A project page in JSON (PEP 691, 700, 714, 740, 792; API 1.0 to 1.4) -> header, versions and links."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

from twistpi.model.errors import BadUpstreamPage, InvalidFilename
from twistpi.model.names import check_filename
from twistpi.model.records import Json, Link, PageHeader
from twistpi.simple import fields as field
from twistpi.simple.addresses import absolute

_DROPPED_OF_A_FILE: Final = frozenset({"dist-info-metadata", "data-dist-info-metadata", "gpg-sig"})
"""Said in another way here, or about bytes that are not mirrored."""
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


def read_json(body: bytes, url: str) -> dict[str, Any]:
    """The object a JSON page is, once its API version is one we understand; raises ``BadUpstreamPage``."""
    try:
        page = orjson.loads(body.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        raise BadUpstreamPage(url, f"it is not JSON ({error})") from error
    if not isinstance(page, dict):
        raise BadUpstreamPage(url, "it is JSON, but not an object")
    meta = page.get("meta")
    check_api_version(meta.get("api-version") if isinstance(meta, dict) else None, url)
    return page


def check_api_version(version: Json, url: str) -> None:
    """Refuse, as clients must, a page of an API with a major version above 1; a page without version is 1.0."""
    if version is None:
        return
    major = str(version)[:20].strip().partition(".")[0]
    if not major.isdecimal():
        raise BadUpstreamPage(url, f"its API version {str(version)[:20]!r} is none")
    if int(major) > 1:
        raise BadUpstreamPage(url, f"its API version {str(version)[:20]} is newer than 1")


def parse_json(body: bytes, url: str) -> tuple[PageHeader, tuple[str, ...], Iterator[Link]]:
    """The header, versions and links of a JSON page at ``url``; raises ``BadUpstreamPage``."""
    page = read_json(body, url)
    files = page.get("files")
    if not isinstance(files, list):
        raise BadUpstreamPage(url, "it has no list of files")
    return _header(page), _versions(page.get("versions")), _links(files, url)


def _header(page: Mapping[str, Any]) -> PageHeader:
    meta = page.get("meta")
    meta = meta if isinstance(meta, dict) else {}
    # The specification's example has it in "meta", its prose at the top level.
    status = page.get("project-status", meta.get("project-status"))
    status = status if isinstance(status, dict) else {"status": status}
    return PageHeader(
        status=field.clean_status(status.get("status")),
        status_reason=field.clean_reason(status.get("reason")),
        last_serial=field.clean_serial(meta.get("_last-serial")),
        extra=field.clean_extra(page, _KNOWN_OF_A_PAGE),
    )


def _versions(value: Json) -> tuple[str, ...]:
    if not isinstance(value, list):
        return ()
    return tuple(dict.fromkeys(one for one in value if isinstance(one, str) and 0 < len(one) <= _LONGEST_VERSION))


def _links(files: list[Any], base: str) -> Iterator[Link]:
    """Consumes ``files``, so that of thousands each is given back as soon as it is a link."""
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
    except InvalidFilename:
        return None
    url = absolute(base, reference)
    if url is None:
        return None
    get = entry.get
    return Link(
        filename,
        url,
        field.clean_hashes(get("hashes")) or field.hash_of_fragment(reference),
        field.clean_size(get("size")),
        field.clean_requires_python(get("requires-python")),
        field.clean_upload_time(get("upload-time")),
        field.clean_yanked(get("yanked")),
        field.clean_core_metadata(entry["core-metadata"] if "core-metadata" in entry else _old_core_metadata(entry)),
        field.clean_provenance(get("provenance")),
        field.clean_extra(entry, _KNOWN_OF_A_FILE),
    )


def _old_core_metadata(entry: Mapping[str, Any]) -> Json:
    """What an entry says under the names that ``core-metadata`` had before (PEP 714)."""
    return entry.get("data-dist-info-metadata", entry.get("dist-info-metadata"))

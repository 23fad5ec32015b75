"""Examiners of check-index: the page in HTML and in JSON, and the list of projects (R18 to R36, R98)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from html import unescape
from typing import Any
from urllib.parse import unquote

from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import InvalidVersion, Version

from twistpi.cli.diagnostics.findings import OK, UNKNOWN, WRONG, Said
from twistpi.cli.diagnostics.index_survey import JSON, NO_METADATA, Ask, IndexRecord
from twistpi.cli.diagnostics.survey import as_object, split

_HIGHEST_MINOR = 4
_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")
_STATES = ("active", "archived", "quarantined", "deprecated")
_PAGE_KEYS = {"meta", "name", "files", "versions", "project-status"}
_FILE_KEYS = {
    *("filename", "url", "hashes", "requires-python", "core-metadata", "dist-info-metadata"),
    *("gpg-sig", "yanked", "size", "upload-time", "provenance"),
}


def examine_html(index: IndexRecord) -> Iterator[Said]:
    """Look at the page in HTML, and compare it with the page in JSON."""
    if not index.html:
        for number in range(18, 26):
            yield f"R{number}", UNKNOWN, "There is no page in text/html."
        return
    yield from _markup(index)
    files, anchors = {str(file.get("filename")): file for file in index.files}, index.anchors
    pairs = [(anchor, files[anchor.text]) for anchor in anchors if anchor.text in files]
    if not anchors:
        yield "R20", UNKNOWN, "The page has no links."
    stated = re.findall(r"""data-requires-python=(["'])(.*?)\1""", index.html)
    if not stated and not any(file.get("requires-python") for file in index.files):
        yield "R21", UNKNOWN, "No file of this page says which Python it needs."
    for _, text in stated:
        if "<" in text or ">" in text:
            yield "R21", WRONG, f'data-requires-python="{text}" is not escaped.'
    for anchor, file in pairs:
        known = as_object(file.get("hashes")).get("sha256")
        if known and not re.fullmatch(r"sha256=[0-9a-f]{64}", split(anchor.href).fragment):
            yield "R20", WRONG, f"The link of {anchor.text} has no #sha256= in lower case, though the digest is known."
        if (file.get("requires-python") or None) != (anchor.attributes.get("data-requires-python") or None):
            yield "R21", WRONG, f"data-requires-python of {anchor.text} is not the requires-python of the page in JSON."
        if bool(file.get("yanked")) != ("data-yanked" in anchor.attributes):
            yield "R22", WRONG, f"{anchor.text} is yanked in one form of the page, HTML or JSON, but not in the other."
    if not files:
        yield "R22", UNKNOWN, "There is no page in JSON to compare it with."
    elif not any(file.get("yanked") for file in index.files):
        yield "R22", OK, "Nothing is yanked, and nothing says so."
    for anchor in anchors:
        if anchor.attributes.get("data-core-metadata") != anchor.attributes.get("data-dist-info-metadata"):
            told = f"data-core-metadata and data-dist-info-metadata of {anchor.text} differ"
            yield "R23", WRONG, f"{told}; old and new pip read one each."
    if not any("data-core-metadata" in anchor.attributes for anchor in anchors):
        yield "R23", UNKNOWN, NO_METADATA


def _markup(index: IndexRecord) -> Iterator[Said]:
    """Look at the form of the HTML page and its meta tags."""
    if not index.html.lstrip().lower().startswith("<!doctype html"):
        yield "R18", WRONG, "The page does not begin with <!DOCTYPE html>."
    texts, names = [anchor.text for anchor in index.anchors], {str(file.get("filename")) for file in index.files}
    if len(texts) != len(set(texts)):
        yield "R18", WRONG, "A file has more than one link."
    if names and names != set(texts):
        yield "R18", WRONG, f"{min(names ^ set(texts))} is in one form of the page, HTML or JSON, but not in the other."
    for anchor in index.anchors:
        last = unquote(split(anchor.href).path.rpartition("/")[2])
        if anchor.text != last:
            told = f"The text of a link is {anchor.text!r}, but its address ends in {last!r}"
            yield "R18", WRONG, f"{told}; both are to be the file's name."
    yield "R18", OK, f"It is HTML5, and its links ({len(texts)}) have the names of their files."
    version, status = index.meta_tags.get("pypi:repository-version"), index.meta_tags.get("pypi:project-status")
    if version is None:
        yield "R19", WRONG, 'There is no <meta name="pypi:repository-version">.'
    elif not 0 <= _minor(version) <= _HIGHEST_MINOR:
        yield "R19", WRONG, f"pypi:repository-version is {version}; in HTML there is none above 1.{_HIGHEST_MINOR}."
    yield "R19", OK, f"pypi:repository-version is {version}."
    if status in _STATES:
        yield "R24", OK, f"The status is {status}."
    elif status is not None:
        yield "R24", WRONG, f"There is no status {status!r}: {', '.join(_STATES)}."
    if [unescape(text).strip() for text in re.findall(r"<a [^>]+>([^<]+)</a>", index.html)] != texts:
        told = "The pattern that simple programs look for links with misreads some"
        yield "R25", WRONG, f"{told}; is a > in an attribute not escaped?"


def _minor(version: object) -> int:
    """Return the y of version 1.y; -1 for another one."""
    found = re.fullmatch(r"1\.(\d+)", str(version))
    return int(found[1]) if found else -1


def examine_json(index: IndexRecord) -> Iterator[Said]:
    """Look at the page in JSON."""
    page, files, meta = index.page, index.files, as_object(index.page.get("meta"))
    if not page:
        for number in (26, 27, 28, 29, 30, 31, 33, 34, 35, 98):
            yield f"R{number}", UNKNOWN, "There is no page in JSON."
        return
    minor, name, status = _minor(meta.get("api-version")), page.get("name"), page.get("project-status")
    if minor < 0:
        yield "R26", WRONG, 'meta.api-version is not there, or no text like "1.1".'
        yield "R98", UNKNOWN, "api-version says nothing."
    elif minor > _HIGHEST_MINOR:
        yield "R98", WRONG, f"api-version is 1.{minor}, which is not a standard yet."
    yield "R98", OK, f"api-version is 1.{minor}."
    if not isinstance(name, str) or name != canonicalize_name(name):
        yield "R26", WRONG, f"name is {name!r}, which is not a normalised name."
    if not isinstance(page.get("files"), list) or len(files) != len(page["files"]):
        yield "R26", WRONG, "files is not a list of objects."
    if minor >= 1 and not isinstance(page.get("versions"), list):
        yield "R26", WRONG, "versions is missing, which api-version 1.1 and later demand."
    yield "R26", OK, f"The page has meta, name, files ({len(files)}) and what else its version demands."
    yield from _versions(index)
    for file in files:
        yield from _file(file, minor)
    for subject, key in {"R29": "upload-time", "R30": "yanked", "R33": "provenance"}.items():
        if not any(key in file for file in files):
            yield subject, UNKNOWN, f"No file of this page has {key}."
    if "project-status" in meta:
        yield "R34", WRONG, "project-status stands in meta; it belongs at the top of the page."
    elif status is not None:
        told = as_object(status).get("status")
        if not isinstance(told, str):
            yield "R34", WRONG, f"project-status is {status!r}, not an object with a status."
        yield "R34", OK, f"project-status is {told}."
    yield from _unknown_keys("the page", page, _PAGE_KEYS)
    yield from _unknown_keys("meta", meta, {"api-version"})


def _file(file: Mapping[str, Any], minor: int) -> Iterator[Said]:
    """Look at a file of the JSON page, whose API version is 1.``minor``."""
    name, size = file.get("filename"), file.get("size")
    if not isinstance(name, str) or not isinstance(file.get("url"), str):
        yield "R27", WRONG, "A file has no filename or no url."
    elif not isinstance(file.get("hashes"), dict):
        yield "R27", WRONG, f"hashes of {name} is not an object; where no digest is known it is an empty one."
    elif minor >= 1 and (not isinstance(size, int) or isinstance(size, bool)):
        yield "R27", WRONG, f"size of {name} is missing or no number, which api-version 1.1 and later demand."
    time, yanked = file.get("upload-time", ""), file.get("yanked", False)
    if "upload-time" in file and not (isinstance(time, str) and _UTC.fullmatch(time)):
        yield "R29", WRONG, f"upload-time of {name} is {time!r}, not like 2026-11-22T17:00:00.123456Z."
    if not (isinstance(yanked, bool) or (isinstance(yanked, str) and yanked)):
        yield "R30", WRONG, f"yanked of {name} is {yanked!r}, neither a boolean nor a reason."
    if "dist-info-metadata" in file:
        yield "R31", WRONG, f"{name} has dist-info-metadata, which makes pip 22.3 to 23.0 fail."
    if not isinstance(file.get("core-metadata", False), bool | dict):
        yield "R31", WRONG, f"core-metadata of {name} is {file['core-metadata']!r}, neither a boolean nor an object of digests."
    provenance = file.get("provenance")
    address = split(provenance if isinstance(provenance, str) else "")
    if provenance is not None and not (address.scheme == "https" and address.netloc):
        yield "R33", WRONG, f"provenance of {name} is {provenance!r}, neither null nor an absolute https address."
    yield from _unknown_keys(name, file, _FILE_KEYS)


def _unknown_keys(where: object, fields: Mapping[str, Any], known: set[str]) -> Iterator[Said]:
    for key in fields:
        if key not in known and not key.startswith("_"):
            told = f"{where} has the key {key!r}, which is in no standard"
            yield "R35", WRONG, f"{told}; keys of one's own begin with an underscore."


def _versions(index: IndexRecord) -> Iterator[Said]:
    """Compare the versions of the JSON page with those in the names of its files."""
    versions = index.page.get("versions")
    if not isinstance(versions, list):
        yield "R28", UNKNOWN, "The page lists no versions."
        return
    if len(versions) != len(set(map(str, versions))):
        yield "R28", WRONG, "versions has one twice."
    known = {_version(str(version)) for version in versions}
    for filename in (str(file.get("filename")) for file in index.files):
        version = _version_of(filename)
        if version is not None and version not in known:
            yield "R28", WRONG, f"versions lacks the {version} of {filename}."
    yield "R28", OK, f"versions has all of them ({len(versions)}), each once."


def _version(text: str) -> Version | None:
    try:
        return Version(text)
    except InvalidVersion:
        return None


def _version_of(filename: str) -> Version | None:
    try:
        return (parse_wheel_filename(filename) if filename.endswith(".whl") else parse_sdist_filename(filename))[1]
    except (InvalidWheelFilename, InvalidSdistFilename, InvalidVersion):
        return None


def examine_list(index: IndexRecord) -> Iterator[Said]:
    """Look at the list of projects in JSON, or at its beginning."""
    for one in index.of(Ask.LIST):
        projects = one.json.get("projects")
        if one.content_type != JSON:
            yield "R36", UNKNOWN, "There is no list in JSON."
        elif not one.is_whole and not re.search(r'"projects"\s*:\s*\[', one.text):
            yield "R36", UNKNOWN, "The list is too long to read."
        elif one.is_whole and isinstance(projects, list) and all(isinstance(as_object(x).get("name"), str) for x in projects):
            yield "R36", OK, f"The list in JSON has projects ({len(projects)}), each with a name."
        elif one.is_whole:
            yield "R36", WRONG, "The list in JSON has no projects, each with a name."

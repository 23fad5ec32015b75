"""The rules of check-index for the page in HTML and in JSON, and for the list of projects (R18 to R36, R98)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from html import unescape
from typing import TypeVar
from urllib.parse import unquote

from packaging.utils import canonicalize_name, parse_sdist_filename, parse_wheel_filename
from packaging.version import Version

from twistpi.cli.diagnostics.findings import UNKNOWN, WRONG, Check, Rules, Said, when
from twistpi.cli.diagnostics.index_survey import JSON, LIST, NO_METADATA, Anchor, IndexSurvey, minor_of
from twistpi.cli.diagnostics.survey import as_object, split
from twistpi.model.records import Json

T = TypeVar("T")
_HIGHEST_MINOR = 4
_UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")
_VERSION, _STATUS = "pypi:repository-version", "pypi:project-status"
_STATES = ("active", "archived", "quarantined", "deprecated")
_LINK = re.compile(r"<a [^>]+>([^<]+)</a>")
_UNESCAPED = re.compile(r"""data-requires-python=(["'])((?!\1).)*[<>]""")
_PAGE_KEYS = {"meta", "name", "files", "versions", "project-status"}
_FILE_KEYS = {
    *("filename", "url", "hashes", "requires-python", "core-metadata", "dist-info-metadata"),
    *("gpg-sig", "yanked", "size", "upload-time", "provenance"),
}


def _field(
    key: str, is_right: Callable[[Json], object], form: str, *, since: int | None = None, is_common: bool = False
) -> Check[IndexSurvey]:
    """Return a check of a field of all files of the page in JSON, which must be there from API version 1.``since`` on.

    Another field that no file has leaves the verdict open, unless it is a common one.
    """

    def check(index: IndexSurvey) -> Said:
        is_required = since is not None and max(index.minor, 0) >= since
        if since is None and not is_common and not any(key in file for file in index.files):
            yield UNKNOWN, f"No file of this page has {key}."
        for file in index.files:
            if (is_required or key in file) and not is_right(file.get(key)):
                yield WRONG, f"{key} of {file.get('filename')} is {file.get(key)!r}, not {form}."

    return check


def _link(condition: Callable[[Anchor, Mapping[str, Json]], object], sentence: str) -> Check[IndexSurvey]:
    """Return a check of links, each with its file's object in JSON; an empty one where there is none."""

    def check(index: IndexSurvey) -> Said:
        files = {str(file.get("filename")): file for file in index.files}
        return ((WRONG, sentence.format(one)) for one in index.anchors if condition(one, files.get(one.text, {})))

    return check


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _has_no_digest(one: Anchor, file: Mapping[str, Json]) -> bool:
    known = as_object(file.get("hashes")).get("sha256")
    return bool(known) and not re.fullmatch(r"sha256=[0-9a-f]{64}", split(one.href).fragment)


def _requires_another(one: Anchor, file: Mapping[str, Json]) -> bool:
    return bool(file) and (file.get("requires-python") or None) != (one.attributes.get("data-requires-python") or None)


def _describes_otherwise(one: Anchor, _: object) -> bool:
    return one.attributes.get("data-core-metadata") != one.attributes.get("data-dist-info-metadata")


def _links(index: IndexSurvey) -> Said:
    texts, names = [anchor.text for anchor in index.anchors], {str(file.get("filename")) for file in index.files}
    if not index.html.lstrip().lower().startswith("<!doctype html"):
        yield WRONG, "The page does not begin with <!DOCTYPE html>."
    if len(texts) != len(set(texts)):
        yield WRONG, "A file has more than one link."
    if names and names != set(texts):
        yield WRONG, f"{min(names ^ set(texts))} is in one form of the page, HTML or JSON, but not in the other."
    for one in index.anchors:
        if one.text != unquote(split(one.href).path.rpartition("/")[2]):
            yield WRONG, f"The text of a link is {one.text!r}, but its address {one.href}; both are to have the file's name."


def _pattern(index: IndexSurvey) -> Said:
    if [unescape(text).strip() for text in _LINK.findall(index.html)] != [one.text for one in index.anchors]:
        yield WRONG, "The regular expression that simple programs use misses some links; is a > in an attribute not escaped?"


def _versions(index: IndexSurvey) -> Said:
    versions = index.page.get("versions")
    if not isinstance(versions, list):
        yield UNKNOWN, "The page lists no versions."
        return
    if len(versions) != len(set(map(str, versions))):
        yield WRONG, "A version is in versions twice."
    known = {_parsed(Version, str(version)) for version in versions}
    for name in (str(file.get("filename")) for file in index.files):
        parsed = _parsed(parse_wheel_filename if name.endswith(".whl") else parse_sdist_filename, name)
        if parsed is not None and parsed[1] not in known:
            yield WRONG, f"versions lacks the {parsed[1]} of {name}."


def _parsed(parse: Callable[[str], T], text: str) -> T | None:
    """Return what ``parse`` makes of a text; None when it is malformed."""
    try:
        return parse(text)
    except ValueError:
        return None


def _status(index: IndexSurvey) -> object:
    return as_object(index.page.get("project-status") or {"status": "active"}).get("status")


def _unknown_keys(index: IndexSurvey) -> Said:
    files = [(file.get("filename"), file, _FILE_KEYS) for file in index.files]
    for where, fields, known in [("the page", index.page, _PAGE_KEYS), ("meta", index.meta, {"api-version"}), *files]:
        for key in fields:
            if key not in known and not key.startswith("_"):
                yield WRONG, f"{where} has the key {key!r}, which is in no standard; other keys must begin with an underscore."


def _list(index: IndexSurvey) -> Said:
    one, projects = index[LIST], index[LIST].json.get("projects")
    if one.content_type != JSON:
        yield UNKNOWN, "There is no list in JSON."
    elif not one.is_whole and not re.search(r'"projects"\s*:\s*\[', one.text):
        yield UNKNOWN, "The list is too long to read."
    elif one.is_whole and not (isinstance(projects, list) and all(_is_text(as_object(x).get("name")) for x in projects)):
        yield WRONG, "The list in JSON has no projects, each with a name."


_HTML_RULES: Rules[IndexSurvey] = {
    "R18": [_links, "The page is HTML5, and the texts of its links are the names of the files."],
    "R19": [
        when(lambda it: _VERSION not in it.meta_tags, f'There is no <meta name="{_VERSION}">.'),
        when(
            lambda it: not 0 <= minor_of(it.meta_tags[_VERSION]) <= _HIGHEST_MINOR,
            f"{_VERSION} is none of 1.0 to 1.{_HIGHEST_MINOR}.",
        ),
        f"{_VERSION} is {{0.meta_tags[{_VERSION}]}}.",
    ],
    "R20": [
        when(lambda it: not it.anchors, "The page has no links.", UNKNOWN),
        _link(_has_no_digest, "The link of {0.text} has no #sha256= in lower case, though the digest is known."),
        "Links have the SHA-256 of their files, if it is known.",
    ],
    "R21": [
        when(lambda it: _UNESCAPED.search(it.html), "A data-requires-python is not escaped."),
        _link(_requires_another, "data-requires-python of {0.text} is not the requires-python of the page in JSON."),
        when(lambda it: "data-requires-python" not in it.html, "No file of this page says which Python it needs.", UNKNOWN),
        "data-requires-python is escaped, and equal to requires-python in JSON.",
    ],
    "R22": [
        when(lambda it: not it.files, "There is no page in JSON to compare it with.", UNKNOWN),
        _link(
            lambda one, file: file and bool(file.get("yanked")) != ("data-yanked" in one.attributes),
            "{0.text} is yanked in one form of the page only.",
        ),
        "Files are yanked in both forms of the page, HTML and JSON, or in none.",
    ],
    "R23": [
        _link(_describes_otherwise, "data-core-metadata and data-dist-info-metadata of {0.text} differ; pips read one each."),
        when(lambda it: not any("data-core-metadata" in one.attributes for one in it.anchors), NO_METADATA, UNKNOWN),
        "data-core-metadata and data-dist-info-metadata are equal.",
    ],
    "R24": [
        when(lambda it: it.meta_tags.get(_STATUS, "active") not in _STATES, f"There is no status {{0.meta_tags[{_STATUS}]!r}}."),
        "The status is a known one, or absent, which means active.",
    ],
    "R25": [_pattern, "The regular expression that simple programs use finds all links."],
}
_JSON_RULES: Rules[IndexSurvey] = {
    "R26": [
        when(lambda it: it.minor < 0, 'meta.api-version is not there, or no text like "1.1".'),
        when(lambda it: (name := it.page.get("name")) != canonicalize_name(str(name)), "name is missing or not normalised."),
        when(lambda it: it.page.get("files") != it.files, "files is not a list of objects."),
        when(
            lambda it: it.minor >= 1 and not isinstance(it.page.get("versions"), list),
            "versions is missing, as of API version 1.1.",
        ),
        "The page has meta, name, files and what else its version requires.",
    ],
    "R27": [
        _field("filename", _is_text, "text", since=0),
        _field("url", _is_text, "text", since=0),
        _field("hashes", lambda it: isinstance(it, dict), "an object, empty where no digest is known", since=0),
        _field("size", lambda it: type(it) is int, "the number that api-version 1.1 and later require", since=1),
        "Every file has filename, url, hashes and what else the version requires.",
    ],
    "R28": [_versions, "versions has the version of every file, each once."],
    "R29": [
        _field("upload-time", lambda it: _UTC.fullmatch(str(it)), "like 2026-11-22T17:00:00.123456Z"),
        "upload-time is UTC with at most six digits of a second.",
    ],
    "R30": [
        _field("yanked", lambda it: isinstance(it, bool | str) and it != "", "a boolean or a reason"),
        "yanked is a boolean or a reason.",
    ],
    "R31": [
        _field("dist-info-metadata", lambda _: False, "absent: it makes pip 22.3 to 23.0 fail", is_common=True),
        _field("core-metadata", lambda it: isinstance(it, bool | dict), "a boolean or an object of digests", is_common=True),
        "core-metadata is a boolean or an object, and there is no dist-info-metadata beside it.",
    ],
    "R33": [
        _field("provenance", lambda it: it is None or re.match("https://[^/]", str(it)), "null or an absolute https address"),
        "provenance is null or an absolute https address.",
    ],
    "R34": [
        when(lambda it: "project-status" in it.meta, "project-status stands in meta; it belongs at the top of the page."),
        when(lambda it: not _is_text(_status(it)), "project-status is {0.page[project-status]!r}, not an object with a status."),
        "project-status is an object with a status, or absent, which means active.",
    ],
    "R35": [_unknown_keys, "Every key is in a standard, or begins with an underscore."],
    "R98": [
        when(lambda it: it.minor < 0, "The page has no valid api-version.", UNKNOWN),
        when(lambda it: it.minor > _HIGHEST_MINOR, "api-version is {0.meta[api-version]}, which is not a standard yet."),
        "api-version is {0.meta[api-version]}.",
    ],
}
_has_html: Check[IndexSurvey] = when(lambda index: not index.html, "There is no page in text/html.", UNKNOWN)
_has_json: Check[IndexSurvey] = when(lambda index: not index.page, "There is no page in JSON.", UNKNOWN)
PAGE_RULES: Rules[IndexSurvey] = {
    **{subject: [_has_html, *checks] for subject, checks in _HTML_RULES.items()},
    **{subject: [_has_json, *checks] for subject, checks in _JSON_RULES.items()},
    "R36": [_list, "The list in JSON has projects with names, as far as it was read."],
}

"""Core metadata: ``METADATA`` of a wheel, ``PKG-INFO`` of an sdist or an egg.

It is read as the installers' mail parser reads it, so that name and version are the same here and there, but in one pass, and
only known fields are kept.  Sources: "Core metadata specifications" 1.0 to 2.6, and RFC 5322 as far as these use it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NoReturn

import attrs

from twistpi.archives.source import DEFAULT_LIMITS, Limits, is_utf8, shown
from twistpi.model.errors import InvalidDistribution, InvalidName
from twistpi.model.names import is_of_project, is_of_version, normalize_project
from twistpi.model.records import Json
from twistpi.model.releases import LIST_FIELDS, TEXT_FIELDS

_END_OF_VALUE = re.compile(rb"(?:\r\n|\r(?!\n)|\n)(?![ \t])")
_BREAK_IN_VALUE = re.compile(rb"[\r\n]")
_BLANK = re.compile(rb"\r\n|\r|\n")
_HEADER = re.compile(rb"([!-9;-~]*):")
_BREAK = re.compile(r"\r\n|\r|\n")
_INDENT = re.compile(r" {7}\|| {8}|\t| +")
_KEYS: Final = {header.lower().encode(): key for key, header in {**TEXT_FIELDS, **LIST_FIELDS}.items()}
_METADATA_VERSION = re.compile(r"[12]\.\d{1,3}\Z", re.ASCII)
_VERSION = re.compile(r"[^\x00-\x20<>%#\"/\\\x7f-\xa0]{1,200}\Z")
_LONGEST_NAME: Final = 200
"""Characters of a project's name."""
_ONCE: Final = ("metadata_version", "name", "version")
"""Keys of the fields that must occur exactly once; of others that are repeated against the rules the first counts."""


@attrs.frozen
class CoreMetadata:
    """The core metadata of a distribution."""

    name: str
    """As it is spelled there, not normalised; likewise ``version``."""
    version: str
    fields: Mapping[str, Json]
    """Every known field that is not empty, by the keys of ``model/releases.py``: a text, or a list where it may be repeated."""


def parse_core_metadata(raw: bytes, filename: str, limits: Limits = DEFAULT_LIMITS, *, is_strict: bool = True) -> CoreMetadata:
    """Parse ``raw``, the metadata out of ``filename``; raise ``InvalidDistribution`` when it names no project and version.

    Later versions 2.x are accepted, unknown fields are left out, and old metadata (1.x) need not be UTF-8.  Unless ``is_strict``,
    any encoding and any metadata version are accepted, or none, and the first of fields that may not be repeated counts.
    """
    if len(raw) > limits.largest_metadata:
        _refuse(filename, "its metadata is too large")
    if b"\0" in raw:
        _refuse(filename, "its metadata contains a NUL")
    found, body = _split(raw, filename, limits)
    for key in _ONCE if is_strict else ():
        if len(found.get(key, ())) > 1:
            _refuse(filename, f"its metadata has more than one {TEXT_FIELDS[key]}")
        if any(_BREAK_IN_VALUE.search(value) for value in found.get(key, ())):
            _refuse(filename, f"its metadata has a {TEXT_FIELDS[key]} that is folded over several lines")
    # The tools of versions 1.x wrote whatever encoding the author's files had.
    is_old = not is_strict or any(value.strip().startswith(b"1.") for value in found.get("metadata_version", ()))
    try:
        fields = _fields(found, body, "latin-1" if is_old and not is_utf8(raw) else "utf-8")
    except UnicodeDecodeError:
        _refuse(filename, "its metadata is not UTF-8")
    for key in _ONCE if is_strict else ("name", "version"):
        if key not in fields:
            _refuse(filename, f"its metadata has no {TEXT_FIELDS[key]}")
    if is_strict and not _METADATA_VERSION.match(fields["metadata_version"]):
        _refuse(filename, f"its metadata has the unknown Metadata-Version {shown(fields['metadata_version'])}")
    _check_identity(filename, fields)
    return CoreMetadata(fields["name"], fields["version"], fields)


def _split(raw: bytes, filename: str, limits: Limits) -> tuple[dict[str, list[bytes]], bytes]:
    """Return key -> the values of its headers, still folded, and the body."""
    found: dict[str, list[bytes]] = {}
    position = count = 0
    while header := _HEADER.match(raw, position):
        start, count = header.end(), count + 1
        line_end = _END_OF_VALUE.search(raw, start, limits.largest_headers + 1)
        end, position = line_end.span() if line_end else (len(raw), len(raw))
        if count > limits.most_fields or position > limits.largest_headers:
            _refuse(filename, "its metadata has too many or too large fields")
        key = _KEYS.get(header[1].lower())
        if key is not None:
            found.setdefault(key, []).append(raw[start:end])
    # Headers end with an empty line; what is neither a header nor empty begins the body as well.
    blank = _BLANK.match(raw, position)
    return found, raw[blank.end() if blank else position :]


def _fields(found: Mapping[str, list[bytes]], body: bytes, encoding: str) -> dict[str, Json]:
    """Decode the fields that are not empty; raise ``UnicodeDecodeError``."""
    fields: dict[str, Json] = {}
    for key, values in found.items():
        texts = [text for text in (_unfold(value.decode(encoding)) for value in values) if text not in ("", "UNKNOWN")]
        if texts:
            fields[key] = texts if key in LIST_FIELDS else texts[0]
    description = body.decode(encoding)
    if description.strip():
        fields["description"] = description
    return fields


def _unfold(value: str) -> str:
    """Return ``value`` without the indentation of its continuation lines, mostly eight columns."""
    first, *rest = _BREAK.split(value)
    return "\n".join([first, *(_INDENT.sub("", line, count=1) for line in rest)]).strip()


def _check_identity(filename: str, fields: Mapping[str, Json]) -> None:
    try:
        normalize_project(fields["name"])
    except InvalidName:
        _refuse(filename, f"its metadata is of {shown(fields['name'])}, which is not a project name")
    if len(fields["name"]) > _LONGEST_NAME:
        _refuse(filename, "its metadata has a name that is too long")
    if not _VERSION.match(fields["version"]):
        _refuse(filename, f"its metadata has the version {shown(fields['version'])}, which is not valid")


def check_core_metadata(body: bytes, filename: str, limits: Limits = DEFAULT_LIMITS) -> None:
    """Raise ``InvalidDistribution`` unless ``body`` is the metadata of the distribution ``filename``.

    This is for files of other servers, so only name and version are checked.
    """
    if len(body) > limits.largest_metadata:
        _refuse(filename, "its metadata is too large")
    headers = re.split(rb"\r?\n\r?\n", body, maxsplit=1)[0].decode("utf-8", errors="replace")
    values: list[str] = []
    for field in ("Metadata-Version", "Name", "Version"):
        found = re.search(rf"^{field}[ \t]*:[ \t]*([^\r\n]*)", headers, re.IGNORECASE | re.MULTILINE)
        values.append(found[1].strip() if found else "")
        if not values[-1]:
            _refuse(filename, f"its metadata has no {field}")
    check_is_of(filename, *values[1:])


def check_is_of(filename: str, name: str, version: str) -> None:
    """Raise ``InvalidDistribution`` unless ``filename`` is that of a distribution of this project and version."""
    try:
        project = normalize_project(name)
    except InvalidName:
        _refuse(filename, f"its metadata is of {shown(name)}, which is not a project name")
    if not is_of_project(filename, project) or not is_of_version(filename, project, version):
        _refuse(filename, f"its metadata is of {shown(name)} {shown(version)}")


def _refuse(filename: str, reason: str) -> NoReturn:
    raise InvalidDistribution(filename, reason)

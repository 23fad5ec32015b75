"""Core metadata as values: ``METADATA`` of a wheel, ``PKG-INFO`` of an sdist or an egg.

Read as the installers' mail parser reads it, so that nobody sees another name or version here than there, but in one pass: every
header is looked at once, and only fields that are known are kept.  Sources: "Core metadata specifications" 1.0 to 2.5, and
RFC 5322 as far as these use it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NoReturn

import attrs

from twistpi.archives.limits import DEFAULT_LIMITS, Limits
from twistpi.archives.source import shown
from twistpi.model.core_fields import LIST_FIELDS, TEXT_FIELDS
from twistpi.model.errors import InvalidProjectName
from twistpi.model.names import normalize_project
from twistpi.model.records import Json
from twistpi.model.upload_errors import InvalidDistribution

_END_OF_VALUE = re.compile(rb"(?:\r\n|\r(?!\n)|\n)(?![ \t])")
_BLANK = re.compile(rb"\r\n|\r|\n")
_HEADER = re.compile(rb"([!-9;-~]*):")
_BREAK = re.compile(r"\r\n|\r|\n")
_INDENT = re.compile(r" {7}\|| {8}|\t| +")
_KEYS: Final[Mapping[bytes, str]] = {
    header.lower().encode(): key for key, header in {**TEXT_FIELDS, **LIST_FIELDS}.items()
}  # fmt: skip
_METADATA_VERSION = re.compile(r"[12]\.\d{1,3}\Z", re.ASCII)
_VERSION = re.compile(r"[^\x00-\x20<>%#\"/\\\x7f-\xa0]{1,200}\Z")
_LONGEST_NAME: Final = 200
"""Characters of a project's name."""
_ONCE: Final = ("metadata_version", "name", "version")
"""Keys of the fields that must stand exactly once; of others that are repeated against the rules the first counts."""


@attrs.frozen
class CoreMetadata:
    """What a distribution says of itself."""

    name: str
    """As it is spelled there."""
    version: str
    """As it is spelled there."""
    fields: Mapping[str, Json]
    """Every known field that is given and not empty, ``name`` and ``version`` as well, by the keys of ``model/core_fields.py``.

    Text, or a list of texts for the fields that may be repeated.
    """


def parse_core_metadata(raw: bytes, filename: str, limits: Limits = DEFAULT_LIMITS) -> CoreMetadata:
    """What ``raw``, the metadata out of ``filename``, says; ``InvalidDistribution`` for what names no project and version.

    Tolerated are later versions 2.x, unknown fields, which are left out, and old metadata (1.x) that is not UTF-8.
    """
    if len(raw) > limits.largest_metadata:
        _refuse(filename, "its metadata is too large")
    if b"\0" in raw:
        _refuse(filename, "its metadata contains a NUL")
    found, body = _split(raw, filename, limits)
    for key in _ONCE:
        if len(found.get(key, ())) > 1:
            _refuse(filename, f"its metadata has more than one {TEXT_FIELDS[key]}")
    encoding = "latin-1" if not _is_utf8(raw) and _is_old(found) else "utf-8"
    try:
        fields = _fields(found, body, encoding)
    except UnicodeDecodeError:
        _refuse(filename, "its metadata is not UTF-8")
    for key in _ONCE:
        if key not in fields:
            _refuse(filename, f"its metadata has no {TEXT_FIELDS[key]}")
    _check_identity(filename, fields)
    return CoreMetadata(fields["name"], fields["version"], fields)


def _split(raw: bytes, filename: str, limits: Limits) -> tuple[dict[str, list[bytes]], bytes]:
    """Key -> the values of its headers, folded as they are, and the body."""
    found: dict[str, list[bytes]] = {}
    position = count = 0
    while True:
        header = _HEADER.match(raw, position)
        if header is None:
            break
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


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_old(found: Mapping[str, list[bytes]]) -> bool:
    """Whether the metadata is of a version whose tools wrote whatever encoding the author's files had."""
    return any(value.strip().startswith(b"1.") for value in found.get("metadata_version", ()))


def _fields(found: Mapping[str, list[bytes]], body: bytes, encoding: str) -> dict[str, Json]:
    """The fields that are given; raises ``UnicodeDecodeError``."""
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
    """``value`` without the indentation that its continuing lines have, which is eight columns wide mostly."""
    first, *rest = _BREAK.split(value)
    return "\n".join([first, *(_INDENT.sub("", line, count=1) for line in rest)]).strip()


def _check_identity(filename: str, fields: Mapping[str, Json]) -> None:
    if not _METADATA_VERSION.match(fields["metadata_version"]):
        _refuse(filename, f"its metadata has the unknown Metadata-Version {shown(fields['metadata_version'])}")
    try:
        normalize_project(fields["name"])
    except InvalidProjectName:
        _refuse(filename, f"its metadata is of {shown(fields['name'])}, which is no project name")
    if len(fields["name"]) > _LONGEST_NAME:
        _refuse(filename, "its metadata has a name that is too long")
    if not _VERSION.match(fields["version"]):
        _refuse(filename, f"its metadata is of the version {shown(fields['version'])}, which is none")


def _refuse(filename: str, reason: str) -> NoReturn:
    raise InvalidDistribution(filename, reason)

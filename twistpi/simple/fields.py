"""Validation of the fields of an upstream's page.  An invalid value is dropped, never the whole page.

Sources: "Simple repository API", PEP 592, 658, 691, 700, 714, 740.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final
from urllib.parse import unquote

import orjson

from twistpi.model.errors import BadUpstreamPage
from twistpi.model.records import NOTHING, Json
from twistpi.model.urls import without_credentials
from twistpi.simple.urls import absolute

DIGEST_LENGTHS: Final[Mapping[str, int]] = {"md5": 32, "sha1": 40, "sha224": 56, "sha256": 64, "sha384": 96, "sha512": 128}
"""Hexadecimal digits of the digests that an HTML page may name."""

_SHA256: Final = re.compile(r"[0-9a-f]{64}\Z", re.ASCII)
_DIGITS: Final = re.compile(r"(?:[0-9a-f]{2}){16,64}\Z", re.ASCII)
_ALGORITHM: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}\Z", re.ASCII)
_UPLOAD_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?Z\Z", re.ASCII)
_OTHER_TIME: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(\.\d{1,6})?\d{0,12}\s?([Zz]|[+-]\d\d(?::?\d\d)?)\Z", re.ASCII
)
"""Other spellings: with an offset, with more digits, with spaces."""
_BETWEEN_WORDS: Final = re.compile(r"[&;#]")
_SPECIFIER: Final = re.compile(r"[^\x00-\x1f\x7f]{0,1000}\Z")
_MOST_DIGESTS: Final = 16
_LARGEST_SIZE: Final = 2**53
"""Bytes; larger integers are not exact for every JSON reader."""
_LONGEST_REASON: Final = 4_000
_LONGEST_EXTRA: Final = 64 * 1024
"""Bytes of JSON."""
_DEEPEST_EXTRA: Final = 16
_STATUSES: Final = frozenset({"active", "archived", "quarantined", "deprecated"})


def check_api_version(version: Json, url: str) -> None:
    """Raise ``BadUpstreamPage`` for a major version above 1, as clients must; a page without version is 1.0."""
    if version is None:
        return
    major = str(version)[:20].strip().partition(".")[0]
    if not major.isdecimal():
        raise BadUpstreamPage(url, f"its API version {str(version)[:20]!r} is not a version")
    if int(major) > 1:
        raise BadUpstreamPage(url, f"its API version {str(version)[:20]} is newer than 1")


def clean_hashes(value: Json) -> Mapping[str, str]:
    """Return the valid digests of a ``hashes`` object, in lower case."""
    if not isinstance(value, dict):
        return NOTHING
    if len(value) == 1 and isinstance(sha256 := value.get("sha256"), str) and _SHA256.match(sha256):
        return value
    clean: dict[str, str] = {}
    for name, digest in list(value.items())[:_MOST_DIGESTS]:
        if isinstance(digest, str):
            clean.update(clean_hash(name, digest))
    return clean or NOTHING


def clean_hash(algorithm: str, digest: str) -> Mapping[str, str]:
    """Return one digest as a mapping, the empty mapping when it is invalid."""
    algorithm, digest = algorithm.strip().lower(), digest.strip().lower()
    if not _ALGORITHM.match(algorithm) or not _DIGITS.match(digest):
        return NOTHING
    return {algorithm: digest} if len(digest) == DIGEST_LENGTHS.get(algorithm, len(digest)) else NOTHING


def hash_of_fragment(reference: str) -> Mapping[str, str]:
    """Return the digest in the fragment of a link, ``#sha256=…`` or another algorithm, perhaps among words joined with ``&``.

    Some servers percent-encode the equals sign.
    """
    fragment = reference.partition("#")[2]
    for word in _BETWEEN_WORDS.split(unquote(fragment) if "%" in fragment else fragment):
        algorithm, equals, digest = word.partition("=")
        if equals and algorithm.strip().lower() in DIGEST_LENGTHS and (clean := clean_hash(algorithm, digest)):
            return clean
    return NOTHING


def clean_size(value: Json) -> int | None:
    """Return a size in bytes: a whole number that every JSON reader can represent."""
    return value if type(value) is int and 0 <= value <= _LARGEST_SIZE else None


def clean_requires_python(value: Json) -> str | None:
    """Return a version specifier.  Whether it is valid is for installers to say."""
    return value if isinstance(value, str) and _SPECIFIER.match(value) else None


def clean_upload_time(value: Json) -> str | None:
    """Return a valid time in the form ``yyyy-mm-ddThh:mm:ss.ffffffZ``; one with an offset is converted to UTC."""
    if not isinstance(value, str):
        return None
    try:
        if _UPLOAD_TIME.match(value):
            datetime.fromisoformat(value[:19])
            return value
        parts = _OTHER_TIME.match(value.strip())
        if parts is None:
            return None
        day, time, fraction, offset = parts.groups(default="")
        moment = datetime.fromisoformat(f"{day}T{time}{offset.upper()}").astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return f"{moment.replace(tzinfo=None).isoformat()}{fraction}Z"


def clean_yanked(value: Json) -> bool | str:
    """Return whether a file is yanked, or the reason.

    Any other true value counts as True: a mirror must not show a yanked file as a plain one (PEP 592).
    """
    if isinstance(value, str):
        return value[:_LONGEST_REASON] if value else False
    return bool(value)


def clean_core_metadata(value: Json) -> bool | Mapping[str, str] | None:
    """Return the digests of the metadata file, True for a file without digests, False for no file, None when unknown."""
    if isinstance(value, bool):
        return value
    if isinstance(value, dict):
        return clean_hashes(value) or True
    return None


def clean_provenance(value: Json, base: str) -> str | None:
    """Return the absolute URL of a provenance object (PEP 740): of https, or of http on a page that came by http itself.

    One with a query is dropped: pages show it, and what it carries may be a signature.
    """
    if value is None:
        return None
    url = absolute("", value) if isinstance(value, str) else None
    if url is None or "?" in url or (url.startswith("http:") and not base.startswith("http:")):
        return None
    return without_credentials(url)


def clean_status(value: Json) -> str | None:
    """Return a known project status marker (PEP 792)."""
    status = value.strip().lower() if isinstance(value, str) else None
    return status if status in _STATUSES else None


def clean_reason(value: Json) -> str | None:
    """Return a reason, cut when it is too long; None when there is none."""
    return value[:_LONGEST_REASON] if isinstance(value, str) and value else None


def clean_serial(value: Json) -> int | None:
    """Return an upstream's serial: a whole number above zero."""
    return value if type(value) is int and 0 < value <= _LARGEST_SIZE else None


def clean_extra(fields: Mapping[str, Json], known: frozenset[str]) -> Mapping[str, Json]:
    """Return the ``fields`` to pass on: neither ``known`` nor private (``_…``), and not too large."""
    if fields.keys() <= known:
        return NOTHING
    others = {name: value for name, value in fields.items() if name not in known and not name.startswith("_")}
    return {
        name: value
        for name, value in others.items()
        if not _is_deep(value, _DEEPEST_EXTRA) and len(orjson.dumps({name: value})) <= _LONGEST_EXTRA
    } or NOTHING


def _is_deep(value: Json, levels: int) -> bool:
    """Return whether ``value`` nests deeper than ``levels``; such a value could not be serialised again."""
    items = value.values() if isinstance(value, dict) else value
    return isinstance(value, dict | list) and (levels == 0 or any(_is_deep(item, levels - 1) for item in items))

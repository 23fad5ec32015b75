"""The fields of an upstream's file entry, each either sane or dropped.

An upstream may be careless or hostile: one bad value costs that value, never the page.  Sources: "Simple repository API",
PEP 592, 658, 691, 700, 714, 740.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Final
from urllib.parse import urlsplit

import orjson

from twistpi.model.records import NOTHING, Json
from twistpi.simple.addresses import absolute

DIGEST_LENGTHS: Final[Mapping[str, int]] = {"md5": 32, "sha1": 40, "sha224": 56, "sha256": 64, "sha384": 96, "sha512": 128}
"""Hexadecimal digits of the digests that an HTML page may name."""

_SHA256: Final = re.compile(r"[0-9a-f]{64}\Z", re.ASCII)
_DIGITS: Final = re.compile(r"(?:[0-9a-f]{2}){16,64}\Z", re.ASCII)
_ALGORITHM: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}\Z", re.ASCII)
_UPLOAD_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?Z\Z", re.ASCII)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_MOST_DIGESTS: Final = 16
_LARGEST_SIZE: Final = 2**53
"""Bytes; larger integers are not exact for every JSON reader."""
_LONGEST_SPECIFIER: Final = 1_000
_LONGEST_REASON: Final = 4_000
_LONGEST_EXTRA: Final = 64 * 1024
"""Bytes of JSON."""
_DEEPEST_EXTRA: Final = 16
_STATUSES: Final = frozenset({"active", "archived", "quarantined", "deprecated"})


def clean_hashes(value: Json) -> Mapping[str, str]:
    """The digests of a ``hashes`` object that can be digests, in lower case."""
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
    """One digest as a mapping, or the empty mapping when it is none."""
    algorithm, digest = algorithm.lower(), digest.lower()
    if not _ALGORITHM.match(algorithm) or not _DIGITS.match(digest):
        return NOTHING
    return {algorithm: digest} if len(digest) == DIGEST_LENGTHS.get(algorithm, len(digest)) else NOTHING


def hash_of_fragment(reference: str) -> Mapping[str, str]:
    """The digest in the fragment of a link, ``#sha256=…`` or with another algorithm among ``&``-joined words."""
    for word in reference.partition("#")[2].split("&"):
        algorithm, equals, digest = word.partition("=")
        if equals and algorithm.lower() in DIGEST_LENGTHS and (clean := clean_hash(algorithm, digest)):
            return clean
    return NOTHING


def clean_size(value: Json) -> int | None:
    """A size in bytes: a whole number that any reader can hold."""
    return value if type(value) is int and 0 <= value <= _LARGEST_SIZE else None


def clean_requires_python(value: Json) -> str | None:
    """A version specifier as it came; whether it means anything is for installers to say."""
    if not isinstance(value, str) or len(value) > _LONGEST_SPECIFIER or _CONTROL.search(value):
        return None
    return value


def clean_upload_time(value: Json) -> str | None:
    """A time of the form ``yyyy-mm-ddThh:mm:ss.ffffffZ`` that is one."""
    if not isinstance(value, str) or not _UPLOAD_TIME.match(value):
        return None
    try:
        datetime.fromisoformat(value[:19])
    except ValueError:
        return None
    return value


def clean_yanked(value: Json) -> bool | str:
    """Whether, and why, a file is yanked.

    A mark that cannot be read is kept as True: a mirror must never show a yanked file as a plain one (PEP 592).
    """
    if isinstance(value, str):
        return value[:_LONGEST_REASON] if value else False
    return bool(value)


def clean_core_metadata(value: Json) -> bool | Mapping[str, str] | None:
    """Digests of the metadata file, True when it exists without any, False for none, None when unsaid."""
    if isinstance(value, bool):
        return value
    if isinstance(value, dict):
        return clean_hashes(value) or True
    return None


def clean_provenance(value: Json) -> str | None:
    """An absolute https URL of a provenance object."""
    if not isinstance(value, str):
        return None
    url = absolute("", value)
    return url if url is not None and urlsplit(url).scheme == "https" else None


def clean_status(value: Json) -> str | None:
    """A project status marker that exists (PEP 792)."""
    if not isinstance(value, str):
        return None
    status = value.strip().lower()
    return status if status in _STATUSES else None


def clean_reason(value: Json) -> str | None:
    """A sentence for people, cut where it stops to be one; None when there is none."""
    return value[:_LONGEST_REASON] if isinstance(value, str) and value else None


def clean_serial(value: Json) -> int | None:
    """An upstream's serial: a whole number above zero."""
    return value if type(value) is int and 0 < value <= _LARGEST_SIZE else None


def clean_extra(fields: Mapping[str, Json], known: frozenset[str]) -> Mapping[str, Json]:
    """What of ``fields`` is not ``known`` and not private (``_…``), where it is small enough to be passed on."""
    if fields.keys() <= known:
        return NOTHING
    names = [name for name in fields if name not in known and not name.startswith("_")]
    return {name: fields[name] for name in names if _is_small(name, fields[name])} or NOTHING


def _is_small(name: str, value: Json) -> bool:
    return not _is_deep(value, _DEEPEST_EXTRA) and len(orjson.dumps({name: value})) <= _LONGEST_EXTRA


def _is_deep(value: Json, levels: int) -> bool:
    """Whether ``value`` nests deeper than ``levels``: what cannot be written again must not be kept."""
    if isinstance(value, dict):
        return levels == 0 or any(_is_deep(item, levels - 1) for item in value.values())
    if isinstance(value, list):
        return levels == 0 or any(_is_deep(item, levels - 1) for item in value)
    return False

"""The settings of an index: a table for private indexes (``stage``) and one for mirrors, with the accepted values of each key.

Clients send text (``volatile=False``, ``bases=root/pypi,alice/dev``) or JSON; both are normalised to the same values.  Messages
are those of the devpi protocol.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import attrs

from twistpi.model.errors import BadRequest, InvalidName
from twistpi.model.records import ANY_USER, ANYBODY, Json
from twistpi.model.text import parse_bytes
from twistpi.model.urls import path_of
from twistpi.rules import policy_keys
from twistpi.rules.eviction import Pin
from twistpi.rules.json_bodies import is_storable, shown
from twistpi.rules.trusted_publishers import trusted_publishers
from twistpi.rules.upload_checks import UPLOAD_CHECKS

Exists = Callable[[str], bool]
"""Whether there is an index ``user/name``."""

_LONGEST_EXPIRY: Final = 2**31 - 1
"""Seconds."""
_MOST_ITEMS: Final = 1000
"""Of a list: each base takes time in every request."""
_LONGEST_MESSAGE: Final = 2000
"""Characters."""
_MOST_BYTES: Final = 2**63
_LONGEST_AGE: Final = 36500
"""Days."""
_INTEGER: Final = re.compile(r"\s*[+-]?[0-9]{1,20}\s*\Z")
_BETWEEN_WORDS: Final = re.compile(r"[^a-zA-Z0-9]+")
_WITHOUT_VALUE: Final = object()


@attrs.frozen
class Key:
    """A setting of an index."""

    name: str
    normalise: Callable[[str, Json], Json]
    """Returns the value to store for the key's name and the value that was sent; raises ``BadRequest``."""
    default: Json = _WITHOUT_VALUE
    is_list: bool = False
    unset_means: tuple[str, ...] = ()
    """The value of a list that is not set, when an item is added or removed."""

    @property
    def has_default(self) -> bool:
        """Whether every index has it, so that it cannot be removed."""
        return self.default is not _WITHOUT_VALUE


def _boolean(_key: str, value: Json) -> bool:
    if isinstance(value, bool):
        return value
    known = {"true": True, "yes": True, "false": False, "no": False}
    if isinstance(value, str) and value.strip().lower() in known:
        return known[value.strip().lower()]
    raise BadRequest(f"Unknown boolean value {shown(value)}.")


def _texts(key: str, value: Json) -> list[str]:
    """Accept a list of texts, or a comma-separated text."""
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise BadRequest(f"Unknown list value {shown(value)}.")
    if len(items) > _MOST_ITEMS:
        raise BadRequest(f"'{key}' option holds more than {_MOST_ITEMS} values")
    return [item.strip() for item in items if item.strip()]


def _bases(key: str, value: Json) -> list[str]:
    bases = [(base, base.strip("/").split("/")) for base in _texts(key, value)]
    wrong = [f"invalid base index spec: {shown(base)}" for base, parts in bases if len(parts) != 2 or not all(parts)]
    if wrong:
        raise BadRequest(", ".join(wrong))
    return ["/".join(parts) for _, parts in bases]


def _principals(key: str, value: Json) -> list[str]:
    special = {ANYBODY, ANY_USER}
    return [name.upper() if name.upper() in special else name for name in _texts(key, value)]


def _projects(key: str, value: Json) -> list[str]:
    return [name if name == "*" else _BETWEEN_WORDS.sub("-", name).lower() for name in _texts(key, value)]


def _reserved(key: str, value: Json) -> list[str]:
    """Accept names of projects, and beginnings of such names with a ``*`` behind them."""
    names = _texts(key, value)
    wrong = [name for name in names if "*" in name[:-1] or (name != "*" and not _BETWEEN_WORDS.sub("", name))]
    if wrong:
        raise BadRequest(f"'{key}' option holds {shown(wrong[0])}, which is neither a name nor the beginning of names: prefix*")
    return [_BETWEEN_WORDS.sub("-", name.removesuffix("*")).lower() + "*" * name.endswith("*") for name in names]


def _inheritance(key: str, value: Json) -> str:
    if not isinstance(value, str) or value.lower() not in ("intersection", "union"):
        raise BadRequest(f"Unknown value {shown(value)} for {key}, must be 'intersection' or 'union'.")
    return value.lower()


def _upload_checks(key: str, value: Json) -> str:
    if not isinstance(value, str) or value.lower() not in UPLOAD_CHECKS:
        raise BadRequest(f"Unknown value {shown(value)} for {key}, must be one of {', '.join(UPLOAD_CHECKS)}.")
    return value.lower()


def _seconds(key: str, value: Json) -> int:
    return _whole_number(key, value, _LONGEST_EXPIRY)


def _days(key: str, value: Json) -> int:
    return _whole_number(key, value, _LONGEST_AGE)


def _whole_number(key: str, value: Json, largest: int) -> int:
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if not is_number and not (isinstance(value, str) and _INTEGER.match(value)):
        raise BadRequest(f"'{key}' option must be an integer")
    if not 0 <= int(value) <= largest:
        raise BadRequest(f"'{key}' option must be an integer between 0 and {largest}")
    return int(value)


def _bytes(key: str, value: Json) -> int:
    """Accept a number of bytes, as a text also with K, M, G or T behind it."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST_BYTES:
        return value
    with suppress(ValueError):
        if isinstance(value, str) and (number := parse_bytes(value)) < _MOST_BYTES:
            return number
    raise BadRequest(f"'{key}' option must be a number of bytes, such as 500G; K, M, G and T may follow the number")


def _pins(key: str, value: Json) -> list[str]:
    """Accept names of projects, each alone or as ``project==version``."""
    pins = []
    for text in _texts(key, value):
        try:
            pins.append(str(Pin.parse(text)))
        except (ValueError, InvalidName) as error:
            raise BadRequest(f"'{key}' option holds {shown(text)}, which is neither a project nor project==version") from error
    return pins


def _url_kind(key: str, value: Json) -> str:
    if value not in ("simple", "flat"):
        raise BadRequest(f"Unknown value {shown(value)} for {key}, must be 'simple' or 'flat'.")
    return str(value)


def _unknown_status(key: str, value: Json) -> int:
    status = value.strip() if isinstance(value, str) else str(value)
    if status not in ("401", "403", "404"):
        raise BadRequest(f"'{key}' option must be 401, 403 or 404")
    return int(status)


def _url(key: str, value: Json) -> str:
    """Accept an http or https address; when user and password are empty they are removed, so that former ones can be."""
    if not isinstance(value, str) or not _is_url(value.strip()):
        raise BadRequest(f"'{key}' option must be a URL.")
    url = value.strip()
    parts = urlsplit(url)
    userinfo, at, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=host)) if at and userinfo in ("", ":") else url


def _upstream(key: str, value: Json) -> str:
    """Accept an http or https address, or that of a folder on the server's disk (``file:///srv/wheels``)."""
    if not isinstance(value, str) or not value.strip().startswith("file:"):
        return _url(key, value)
    try:
        path_of(value.strip())
    except ValueError as error:
        raise BadRequest(f"'{key}' option must be a URL: {error}.") from error
    return value.strip()


def _is_url(text: str) -> bool:
    if not text.startswith(("http://", "https://")) or not text.isprintable() or " " in text:
        return False
    try:
        parts = urlsplit(text)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _url_format(key: str, value: Json) -> str:
    """Accept an address with ``{name}`` in it, or nothing."""
    if value == "":
        return ""
    return _url(key, value)


def _text(key: str, value: Json) -> str:
    if not isinstance(value, str):
        raise BadRequest(f"'{key}' option must be a string")
    return value


def _anything(key: str, value: Json) -> Json:
    if not is_storable(value):
        raise BadRequest(f"'{key}' option is nested too deeply or holds numbers that are too large")
    return value


_POLICY: Final = (
    Key("min_release_age", policy_keys.age),
    Key("min_release_age_exempt", policy_keys.requirements, is_list=True),
    Key("allow", policy_keys.requirements, is_list=True),
    Key("deny", policy_keys.requirements, is_list=True),
    Key("quarantined", policy_keys.quarantined, is_list=True),
    Key("allow_platforms", policy_keys.tags, is_list=True),
    Key("allow_python_tags", policy_keys.tags, is_list=True),
    Key("deny_sdists", _boolean),
    Key("deny_prereleases", _boolean),
    Key("max_file_size", _bytes),
    Key("advisories", policy_keys.advisories),
    Key("policy_mode", policy_keys.mode),
)
"""What of mirrors is offered; ``rules.file_policy`` reads it."""
_FOR_ALL: Final = (
    Key("acl_read", _principals, is_list=True, unset_means=(ANYBODY,)),
    Key("title", _text),
    Key("description", _text),
    Key("custom_data", _anything),
    *_POLICY,
)
STAGE_KEYS: Final = (
    Key("volatile", _boolean, default=True),
    Key("bases", _bases, default=(), is_list=True),
    Key("acl_upload", _principals, default=(), is_list=True),
    Key("acl_toxresult_upload", _principals, default=(ANYBODY,), is_list=True),
    Key("mirror_whitelist", _projects, default=(), is_list=True),
    Key("mirror_whitelist_inheritance", _inheritance, default="intersection"),
    Key("reserved", _reserved, is_list=True),
    Key("reuse_filenames", _boolean),
    Key("upload_checks", _upload_checks),
    Key("trusted_publishers", trusted_publishers, is_list=True),
    *_FOR_ALL,
)
"""The settings of a private index; the default of ``acl_upload`` is its owner."""
MIRROR_KEYS: Final = (
    Key("volatile", _boolean, default=True),
    Key("mirror_url", _upstream),
    Key("mirror_url_kind", _url_kind),
    Key("mirror_cache_expiry", _seconds),
    Key("mirror_use_external_urls", _boolean),
    Key("mirror_no_project_list", _boolean),
    Key("mirror_ignore_serial_header", _boolean),
    Key("mirror_unknown_status", _unknown_status),
    Key("mirror_provides_core_metadata", _boolean),
    Key("mirror_web_url_fmt", _url_format),
    Key("cache_max_bytes", _bytes),
    Key("cache_max_age", _days),
    Key("cache_min_age", _days),
    Key("pins", _pins, is_list=True),
    *_FOR_ALL,
)
"""The settings of a mirror."""

KEYS: Final[Mapping[str, Mapping[str, Key]]] = {
    "stage": {key.name: key for key in STAGE_KEYS},
    "mirror": {key.name: key for key in MIRROR_KEYS},
}
"""Type of index -> name of key -> key."""
IGNORED: Final[Mapping[str, frozenset[str]]] = {
    "stage": frozenset({"pypi_whitelist"}),
    "mirror": frozenset({"bases", "acl_upload", "mirror_whitelist", "pypi_whitelist"}),
}
"""Type of index -> obsolete keys that are ignored."""


def defaults(kind: str, owner: str) -> dict[str, Json]:
    """Return the default settings of a new index of the type ``kind`` that belongs to ``owner``."""
    config: dict[str, Json] = {"type": kind}
    for key in KEYS[kind].values():
        if key.has_default:
            config[key.name] = list(key.default) if key.is_list else key.default
    if kind == "stage":
        config["acl_upload"] = [owner]
    return config


def normalised(kind: str, given: Mapping[str, Json], exists: Exists) -> dict[str, Json]:
    """Return ``given`` as an index of the type ``kind`` stores it, without ignored keys."""
    config: dict[str, Json] = {}
    wrong: list[str] = []
    # In the order of the table, so that both forms of a body get the same message.
    for name, key in KEYS[kind].items():
        if name in given:
            try:
                config[name] = key.normalise(name, given[name])
            except BadRequest as refusal:
                wrong.append(str(refusal))
    wrong.extend(f"base index {shown(base)} does not exist" for base in config.get("bases", ()) if not exists(base))
    unexpected = [
        f"{shown(name, quoted=False)}={shown(value, quoted=False)}"
        for name, value in given.items()
        if name not in KEYS[kind] and name not in IGNORED[kind]
    ]
    if unexpected:
        wrong.append(unexpected_keys(unexpected))
    if wrong:
        message = ", ".join(wrong)
        raise BadRequest(message if len(message) <= _LONGEST_MESSAGE else f"{message[:_LONGEST_MESSAGE]}…")
    return config


def unexpected_keys(items: Sequence[str]) -> str:
    """Return the message about ``items``, each a ``key=value`` whose key does not exist."""
    return f"indexconfig got unexpected keyword arguments: {shown(', '.join(items), quoted=False)}"

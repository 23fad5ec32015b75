"""Indexes: the changes when one is created, modified or deleted, and the settings that are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from twistpi.model.changes import Change, IndexCreated, IndexDeleted, IndexModified
from twistpi.model.errors import BadRequest, TwistpiError
from twistpi.model.records import Index, Json
from twistpi.model.urls import is_within, path_of, public_address
from twistpi.rules.accounts import check_name
from twistpi.rules.devpi7 import translate_items, translate_settings
from twistpi.rules.index_config import IGNORED, KEYS, Exists, Key, defaults, normalised, unexpected_keys
from twistpi.rules.json_bodies import check_lengths, differing, shown

_TYPE: Final = "type"
_URL: Final = "mirror_url"
_ENVELOPE: Final = "indexconfig"
_NO_SETTINGS: Final = frozenset({"projects"})
"""Keys that ``GET`` shows beside the settings, and that clients send back."""


def read_object(body: Json) -> dict[str, Json]:
    """Return the settings in ``body``: an object of them, or a whole answer of ``GET``."""
    settings = body
    if isinstance(body, dict) and body.get("type") == _ENVELOPE and "result" in body:
        settings = body["result"]
    if not isinstance(settings, dict):
        raise BadRequest('Bad request: an index is described by a JSON object, like {"bases": ["root/pypi"], "volatile": true}')
    return {key: value for key, value in settings.items() if key not in _NO_SETTINGS}


def apply_items(kind: str, config: Mapping[str, Json], items: Sequence[Json]) -> dict[str, Json]:
    """Return ``config`` of an index of the type ``kind`` after ``items``, from left to right, with the values as sent."""
    result = dict(config)
    for item in items:
        if not isinstance(item, str):
            raise BadRequest(
                f"Bad request: a modification is a text like 'volatile=False' or 'bases+=root/pypi', not {shown(item)}"
            )
        name, _, value = item.partition("=")
        if name.endswith(("+", "-")):
            name, operator = name[:-1], name[-1]
            if name not in IGNORED[kind]:
                _add_or_remove(kind, result, name, operator, value)
        else:
            result[name] = value
    return result


def _add_or_remove(kind: str, config: dict[str, Json], name: str, operator: str, value: str) -> None:
    key = KEYS[kind].get(name)
    if operator == "-" and not value:
        if name == "type" or (key is not None and key.has_default):
            raise BadRequest("Default values can't be removed.")
        config.pop(name, None)
        return
    if key is None and name != "type":
        raise BadRequest(unexpected_keys([f"{shown(name, quoted=False)}{operator}={shown(value, quoted=False)}"]))
    if key is None or not key.is_list:
        raise BadRequest(f"The '{name}' setting is not a list; set it with {name}=")
    held = _held(key, config)
    if operator == "+":
        config[name] = held if _is_held(key, held, value) else [*held, value]
        return
    if value not in held:
        raise BadRequest(f"The '{name}' setting doesn't have value {shown(value)}")
    held.remove(value)
    config[name] = held


def _held(key: Key, config: Mapping[str, Json]) -> list[str]:
    """Return the list ``key``: as stored, as a former item has set it, or its default."""
    if key.name not in config:
        return list(key.default if key.has_default else key.unset_means)
    value = config[key.name]
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else list(value)


def _is_held(key: Key, held: Sequence[str], value: str) -> bool:
    """Whether ``value`` is in the list already, as it was sent or normalised."""
    try:
        return value in held or set(key.normalise(key.name, [value])) <= set(key.normalise(key.name, list(held)))
    except BadRequest:
        return False


def decide_index_created(existing: Index | None, name: str, body: Json, exists: Exists) -> tuple[IndexCreated, ...]:
    """Return the change that creates the index ``name`` (``user/index``) with the settings in ``body`` and all defaults."""
    if existing is not None:
        raise TwistpiError(f"index {name!r} exists", 409)
    given = translate_settings(read_object(body), {})
    owner, _, own_name = name.partition("/")
    check_name("indexname", own_name)
    kind = given.pop(_TYPE, "stage")
    if not isinstance(kind, str) or kind not in KEYS:
        raise BadRequest(f"unknown index type {shown(kind)}")
    config = {**defaults(kind, owner), **normalised(kind, given, exists)}
    check_lengths(config)
    return (IndexCreated(name, config),)


def decide_index_modified(index: Index, body: Json, exists: Exists, *, error_on_noop: bool = False) -> tuple[IndexModified, ...]:
    """Return the change of ``index`` that ``body`` asks for, none when nothing differs.

    Of an object of new values only these are checked; of a list of ``key=value``, ``key+=value`` and ``key-=value`` all resulting
    settings are.  A ``mirror_url`` that is sent back without its credentials keeps them; an empty user
    (``https://@upstream.example/``) removes them.
    """
    kind = "mirror" if index.is_mirror else "stage"
    former = index.config
    if isinstance(body, list):
        asked = apply_items(kind, former, translate_items(body, former))
        checked = {key: value for key, value in asked.items() if not _is_foreign(kind, key, former, value)}
    else:
        checked = translate_settings(read_object(body), former)
        asked = {**former, **checked}
    if checked.pop(_TYPE, kind) != kind:
        raise BadRequest("the 'type' of an index can't be changed")
    _keep_credentials(checked, former)
    settings = normalised(kind, checked, exists)
    if error_on_noop and _is_noop(asked, former):
        raise BadRequest("The requested modifications resulted in no changes")
    changed = differing(settings, former)
    check_lengths(changed)
    removed = tuple(key for key in former if key not in asked)
    return (IndexModified(index.name, changed, removed),) if changed or removed else ()


def require_local_folder(url: str, folders: Sequence[str]) -> None:
    """Raise ``TwistpiError`` unless the folder at ``url`` (``file:``) is one of ``folders``, or below one of them."""
    if not is_within(path_of(url), folders):
        named = f"those below {', '.join(folders)}" if folders else "none"
        raise TwistpiError(
            f"mirror_url names a folder that this server may not read. The setting local-folders allows {named}.", 403
        )


def decide_index_deleted(index: Index) -> tuple[Change, ...]:
    """Return the change that deletes ``index``."""
    if not index.config.get("volatile", True):
        raise TwistpiError(f"index {index.name} non-volatile, cannot delete", 403)
    return (IndexDeleted(index.name),)


def index_facts(index: Index, *, with_credentials: bool) -> dict[str, Json]:
    """Return the settings of ``index`` to show; of ``mirror_url`` only scheme, host and port unless ``with_credentials``."""
    facts = dict(index.config)
    if not with_credentials and _URL in facts:
        facts[_URL] = public_address(str(facts[_URL]))
    return facts


def _is_noop(asked: Mapping[str, Json], former: Mapping[str, Json]) -> bool:
    """Whether ``asked``, before it is normalised, equals the former settings."""
    return set(asked) == set(former) and all(asked[key] == former[key] for key in former)


def _is_foreign(kind: str, key: str, former: Mapping[str, Json], value: Json) -> bool:
    """Whether ``key`` is unknown but was set before and is not modified: then it is not refused."""
    return key not in KEYS[kind] and key != _TYPE and key in former and value == former[key]


def _keep_credentials(asked: dict[str, Json], former: Mapping[str, Json]) -> None:
    url = asked.get(_URL)
    if isinstance(url, str) and _URL in former and url.strip() == _plain_url(former[_URL]):
        asked[_URL] = former[_URL]


def _plain_url(url: Json) -> str:
    try:
        parts = urlsplit(str(url))
    except ValueError:
        return ""
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))

"""Indexes: what creating, modifying and deleting one changes, and how one is shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from twistpi.model.account_errors import IndexExists, IndexKept, InvalidIndexConfig, InvalidNewIndexName
from twistpi.model.changes import Change, IndexCreated, IndexDeleted, IndexModified
from twistpi.model.records import Index, Json
from twistpi.rules.accounts import is_name_allowed, is_name_too_long
from twistpi.rules.bodies import is_same, shown
from twistpi.rules.index_config import KEYS, Exists, defaults, normalised
from twistpi.rules.index_patch import apply_items, read_object

_TYPE: Final = "type"
_URL: Final = "mirror_url"
_TYPE_STAYS: Final = "the 'type' of an index can't be changed"


def check_index_name(name: str) -> str:
    """``name`` itself when a new index may be called so behind its user's name and the slash.

    Raises ``InvalidNewIndexName``, or ``InvalidIndexConfig`` when it is too long.
    """
    if is_name_too_long(name):
        raise InvalidIndexConfig("the indexname is too long")
    if not is_name_allowed(name):
        raise InvalidNewIndexName(name)
    return name


def decide_index_created(existing: Index | None, name: str, body: Json, exists: Exists) -> tuple[Change, ...]:
    """The change that makes the index ``name`` (``user/index``) as ``body`` describes it, with all defaults spelled out.

    ``exists`` says whether there is an index of a name.  Raises ``IndexExists``, ``BadRequest``, ``InvalidNewIndexName`` and
    ``InvalidIndexConfig``.
    """
    if existing is not None:
        raise IndexExists(name)
    given = read_object(body)
    owner, _, own_name = name.partition("/")
    check_index_name(own_name)
    kind = given.pop(_TYPE, "stage")
    if not isinstance(kind, str) or kind not in KEYS:
        raise InvalidIndexConfig(f"unknown index type {shown(kind)}")
    return (IndexCreated(name, {**defaults(kind, owner), **normalised(kind, given, exists)}),)


def decide_index_modified(index: Index, body: Json, exists: Exists, *, error_on_noop: bool = False) -> tuple[Change, ...]:
    """The change that ``body`` asks of ``index``, none when nothing differs.

    An object of new values is checked by itself; with a list of ``key=value``, ``key+=value`` and ``key-=value`` all settings
    that result are.  A ``mirror_url`` that comes back as it is shown to strangers keeps its user and password; an empty user
    (``https://@upstream.example/``) takes them away.  Raises ``BadRequest`` and ``InvalidIndexConfig``, also when nothing
    differs and ``error_on_noop``.
    """
    kind = "mirror" if index.is_mirror else "stage"
    former = index.config
    if isinstance(body, list):
        asked = apply_items(kind, former, body)
        checked = {key: value for key, value in asked.items() if not _is_foreign(kind, key, former, value)}
    else:
        checked = read_object(body)
        asked = {**former, **checked}
    if checked.pop(_TYPE, kind) != kind:
        raise InvalidIndexConfig(_TYPE_STAYS)
    _keep_credentials(checked, former)
    settings = normalised(kind, checked, exists)
    if error_on_noop and _is_noop(asked, former):
        raise InvalidIndexConfig("The requested modifications resulted in no changes")
    changed = {key: value for key, value in settings.items() if key not in former or not is_same(former[key], value)}
    removed = tuple(key for key in former if key not in asked)
    return (IndexModified(index.name, changed, removed),) if changed or removed else ()


def decide_index_deleted(index: Index) -> tuple[Change, ...]:
    """The change that removes ``index``; raises ``IndexKept`` unless it is volatile."""
    if not index.config.get("volatile", True):
        raise IndexKept(index.name)
    return (IndexDeleted(index.name),)


def index_facts(index: Index, *, with_credentials: bool) -> dict[str, Json]:
    """The settings of ``index`` as they are shown; user and password within ``mirror_url`` only ``with_credentials``."""
    facts = dict(index.config)
    if not with_credentials and _URL in facts:
        facts[_URL] = _public_url(facts[_URL])
    return facts


def _is_noop(asked: Mapping[str, Json], former: Mapping[str, Json]) -> bool:
    """Whether what was ``asked`` for, before anything is normalised, is how it was."""
    return set(asked) == set(former) and all(asked[key] == former[key] for key in former)


def _is_foreign(kind: str, key: str, former: Mapping[str, Json], value: Json) -> bool:
    """Whether ``key`` has no meaning here but was set before, and is still the same: nobody is to blame for it now."""
    return key not in KEYS[kind] and key != _TYPE and key in former and value == former[key]


def _keep_credentials(asked: dict[str, Json], former: Mapping[str, Json]) -> None:
    url = asked.get(_URL)
    if isinstance(url, str) and _URL in former and url.strip() == _public_url(former[_URL]):
        asked[_URL] = former[_URL]


def _public_url(url: Json) -> str:
    try:
        parts = urlsplit(str(url))
    except ValueError:
        return ""
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))

"""The two forms of a body that modifies an index: an object of new values, or a list of ``key=value``, ``key+=value`` and
``key-=value``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from twistpi.model.account_errors import BadRequest, InvalidIndexConfig
from twistpi.model.records import Json
from twistpi.rules.bodies import shown
from twistpi.rules.index_config import IGNORED, KEYS, Key, Unfit, unexpected_keys

_ENVELOPE: Final = "indexconfig"
_NO_SETTINGS: Final = frozenset({"projects"})
"""What ``GET`` shows beside the settings; clients send it back."""


def read_object(body: Json) -> dict[str, Json]:
    """The settings in ``body``: an object of them, or the whole answer that showed them; raises ``BadRequest``."""
    settings = body
    if isinstance(body, dict) and body.get("type") == _ENVELOPE and "result" in body:
        settings = body["result"]
    if not isinstance(settings, dict):
        raise BadRequest('an index is described by a JSON object, like {"bases": ["root/pypi"], "volatile": true}')
    return {key: value for key, value in settings.items() if key not in _NO_SETTINGS}


def apply_items(kind: str, config: Mapping[str, Json], items: Sequence[Json]) -> dict[str, Json]:
    """``config`` of an index of the type ``kind`` after ``items``, from left to right; the values are as they were sent.

    Raises ``BadRequest`` for an item that is no text, ``InvalidIndexConfig`` for one that cannot be applied.
    """
    result = dict(config)
    for item in items:
        if not isinstance(item, str):
            raise BadRequest(f"a modification is a text like 'volatile=False' or 'bases+=root/pypi', not {shown(item)}")
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
            raise InvalidIndexConfig("Default values can't be removed.")
        config.pop(name, None)
        return
    if key is None and name != "type":
        raise InvalidIndexConfig(unexpected_keys([f"{shown(name, quoted=False)}{operator}={shown(value, quoted=False)}"]))
    if key is None or not key.is_list:
        raise InvalidIndexConfig(f"The '{name}' setting is not a list; set it with {name}=")
    held = _held(key, config)
    if operator == "+":
        config[name] = held if _is_held(key, held, value) else [*held, value]
        return
    if value not in held:
        raise InvalidIndexConfig(f"The '{name}' setting doesn't have value {shown(value)}")
    held.remove(value)
    config[name] = held


def _held(key: Key, config: Mapping[str, Json]) -> list[str]:
    """What the list ``key`` holds, be it as it is kept, as an item before has set it, or not set at all."""
    if key.name not in config:
        return list(key.default if key.has_default else key.unset_means)
    value = config[key.name]
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else list(value)


def _is_held(key: Key, held: Sequence[str], value: str) -> bool:
    """Whether nothing is added by ``value``: not to what was sent, nor to what would be kept of it."""
    try:
        return value in held or set(key.normalise(key.name, [value])) <= set(key.normalise(key.name, list(held)))
    except Unfit:
        return False

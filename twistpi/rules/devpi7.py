"""The words of devpi-server 7 for what an index and a project say in those of 6: accepted beside them, and answered on request.

6 has one list of projects that mirrors may add to, 7 has rules; both can say the same.  All else here is another name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from twistpi.model.errors import BadRequest
from twistpi.model.records import Json
from twistpi.rules.json_bodies import shown

_TYPES: Final = {"local": "stage", "remote": "mirror"}
_KEYS: Final = {
    "remote_url": "mirror_url",
    "remote_refresh_delay": "mirror_cache_expiry",
    "remote_web_url_fmt": "mirror_web_url_fmt",
    "remote_use_external_urls": "mirror_use_external_urls",
    "remote_no_project_list": "mirror_no_project_list",
}
_SHOWN_KEYS: Final = {
    **{old: new for new, old in _KEYS.items()},
    "mirror_ignore_serial_header": "",
    "mirror_provides_core_metadata": "",
}
"""Our key -> that of 7, empty for what 7 does not have."""
_RULES, _TRUST = "project_inheritance_rules", "trust_inheritance_rules_from"
_ALLOW, _BLOCK = "allow all", "block type:remote if local_exists"
_NOT_REMOTE, _NONE = "type:not remote", "none"
_WHITELIST, _COMBINED = "mirror_whitelist", "mirror_whitelist_inheritance"
_EVERY_PROJECT: Final = "*"


def speaks_devpi7(body: Json) -> bool:
    """Whether ``body``, settings or a list of modifications, uses a word of 7."""
    if isinstance(body, dict):
        result = body.get("result")
        given = result if isinstance(result, dict) else body
        return given.get("type") in tuple(_TYPES) or any(key in _KEYS or key in (_RULES, _TRUST) for key in given)
    names = [item.partition("=")[0].rstrip("+-") for item in body if isinstance(item, str)] if isinstance(body, list) else []
    return any(name in _KEYS or name in (_RULES, _TRUST) for name in names)


def translate_settings(given: Mapping[str, Json], former: Mapping[str, Json]) -> dict[str, Json]:
    """Return the settings ``given`` in our words; ``former`` are those of the index.  Raise ``BadRequest``."""
    settings: dict[str, Json] = {_KEYS.get(key, key): value for key, value in given.items() if key not in (_RULES, _TRUST)}
    kind = settings.get("type")
    if isinstance(kind, str) and kind in _TYPES:
        settings["type"] = _TYPES[kind]
    if _RULES in given:
        settings[_WHITELIST] = _whitelist(given[_RULES], settings.get(_WHITELIST, former.get(_WHITELIST, ())))
    if _TRUST in given:
        settings[_COMBINED] = _combined(given[_TRUST])
    return settings


def translate_items(items: Sequence[Json], former: Mapping[str, Json]) -> list[Json]:
    """Return modifications (``key=value``, ``key+=value``, ``key-=value``) in our words."""
    return [_translate_item(item, former) if isinstance(item, str) else item for item in items]


def _translate_item(item: str, former: Mapping[str, Json]) -> str:
    name, equals, value = item.partition("=")
    plain, operator = (name[:-1], name[-1]) if name.endswith(("+", "-")) else (name, "")
    if plain == _RULES and not operator:
        return f"{_WHITELIST}={','.join(_whitelist(value, former.get(_WHITELIST, ())))}"
    if plain == _TRUST and (not operator or (operator == "-" and not value)):
        return f"{_COMBINED}={_combined(value)}"
    if plain == "type" and not operator:
        return f"type={_TYPES.get(value, value)}"
    return f"{_KEYS.get(plain, plain)}{operator}{equals}{value}"


def _whitelist(rules: Json, former: Json) -> list[str]:
    held = former.split(",") if isinstance(former, str) else list(former)
    names = [name for name in held if name and name != _EVERY_PROJECT]
    match rules:
        case [rule] | str(rule) if rule == _ALLOW:
            return [_EVERY_PROJECT, *names]
        case [rule] | str(rule) if rule == _BLOCK:
            return names
    raise BadRequest(f"Unknown value {shown(rules)} for {_RULES}, must be ['{_ALLOW}'] or ['{_BLOCK}'].")


def _combined(trusted: Json) -> str:
    if trusted is None or (isinstance(trusted, str) and trusted.lower() in ("", _NONE)):
        return "intersection"
    if isinstance(trusted, str) and trusted.lower() == _NOT_REMOTE:
        return "union"
    raise BadRequest(f"Unknown value {shown(trusted)} for {_TRUST}, must be '{_NONE}', '{_NOT_REMOTE}' or left unset.")


def settings_of_devpi7(settings: Mapping[str, Json]) -> dict[str, Json]:
    """Return ``settings`` of an index, in our words, in those of 7."""
    told: dict[str, Json] = {}
    for key, value in settings.items():
        if key == _WHITELIST:
            told[_RULES] = [_ALLOW if _EVERY_PROJECT in value else _BLOCK]
        elif key == _COMBINED:
            told.update({_TRUST: _NOT_REMOTE} if value == "union" else {})
        elif name := _SHOWN_KEYS.get(key, key):
            told[name] = value
    told["type"] = "remote" if settings.get("type") == "mirror" else "local"
    return told

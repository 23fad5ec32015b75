"""The words of devpi-server 7 for what an index and a project say in those of 6: accepted beside them, and answered on request.

6 has one list of projects that mirrors may add to, 7 has rules; both can say the same.  All else here is another name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import unquote

from twistpi.model.changes import Change, IndexModified
from twistpi.model.errors import BadRequest
from twistpi.model.names import normalize_project
from twistpi.model.records import Index, Json
from twistpi.rules.inheritance import Ruling, bases_of
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
    translated: dict[str, Json] = {}
    for key, value in settings.items():
        if key == _WHITELIST:
            translated[_RULES] = [_ALLOW if _EVERY_PROJECT in value else _BLOCK]
        elif key == _COMBINED:
            translated.update({_TRUST: _NOT_REMOTE} if value == "union" else {})
        elif name := _SHOWN_KEYS.get(key, key):
            translated[name] = value
    translated["type"] = "remote" if settings.get("type") == "mirror" else "local"
    return translated


# Projects ------------------------------------------------------------------------------------------------------------


_PROJECT_RULES: Final = "inheritance_rules"


def project_settings(index: Index, project: str, name: str) -> dict[str, Json]:
    """Return the settings of ``project`` (normalised), which is written as ``name``."""
    is_allowed = project in index.config.get(_WHITELIST, ())
    return {"name": name, **({_PROJECT_RULES: [_ALLOW]} if is_allowed else {})}


def decide_project_modified(index: Index, project: str, body: Json) -> tuple[Change, ...]:
    """Return the change that makes ``project`` (normalised) one that mirrors may add to, or no such one; raise ``BadRequest``."""
    if index.is_mirror:
        raise BadRequest(f"{index.name} is a mirror, whose projects have no settings")
    allowed: bool | None = None
    for name, value in _project_items(body):
        if name == "name" and isinstance(value, str):
            if normalize_project(value) != project:
                raise BadRequest("the 'name' of a project can't be changed")
        elif name == f"{_PROJECT_RULES}-" and not value:
            allowed = False
        elif name != _PROJECT_RULES:
            raise BadRequest(f"projectconfig got unexpected keyword arguments: {shown(name, quoted=False)}")
        elif value not in (_ALLOW, [_ALLOW]):
            raise BadRequest(f"Unknown value {shown(value)} for {_PROJECT_RULES}, must be ['{_ALLOW}'] or left unset.")
        else:
            allowed = True
    former = list(index.config.get(_WHITELIST, ()))
    if allowed is None or allowed == (project in former):
        return ()
    whitelist = [*former, project] if allowed else [name for name in former if name != project]
    return (IndexModified(index.name, {_WHITELIST: whitelist}),)


def _project_items(body: Json) -> list[tuple[str, Json]]:
    if isinstance(body, dict):
        return list(body.items())
    if isinstance(body, list) and all(isinstance(item, str) for item in body):
        return [(name, value) for name, _equals, value in (item.partition("=") for item in body)]
    raise BadRequest(f'Bad request: a project is described by a JSON object, like {{"{_PROJECT_RULES}": ["{_ALLOW}"]}}')


def inheritance_info(
    project: str, indexes: Sequence[Index], ruling: Ruling, has_project: Callable[[str], bool]
) -> dict[str, Json]:
    """Return how each of ``indexes``, nearest first, contributes to ``project`` (normalised)."""
    steps: list[Json] = []
    names = [index.name for index in indexes]
    for index in indexes:
        facts = {"action": "traversed", "name": index.name}
        if index.is_mirror and not ruling.allowed:
            by = next((name for name in (ruling.reserved, ruling.private) if name in names), names[0])
            facts["action"] = "blocked"
            facts["reason"] = f"package '{project}' located in {by} blocks releases from index {index.name}"
        elif index.is_mirror and ruling.whitelisted in names:
            facts["action"] = "allowed"
            facts["reason"] = (
                f"package '{project}' rule '{_ALLOW}' from {ruling.whitelisted} allows merging releases from index {index.name}"
            )
        elif index.is_mirror:
            facts["action"] = "untrusted"
        known = "notset" if facts["action"] == "blocked" else str(has_project(index.name)).lower()
        steps.append({**facts, "has_project": known})
    mirrors = [index.name for index in indexes if index.is_mirror]
    of_mirrors = str(any(map(has_project, mirrors))).lower() if ruling.allowed or not mirrors else "unknown"
    return {
        "has_project_from_remote": of_mirrors,
        "index_bases": {index.name: [base for base in bases_of(index) if base in names] for index in indexes},
        "traversal_infos": steps,
    }


def version_of_devpi7(data: Mapping[str, Json], outside: str) -> dict[str, Json]:
    """Return the ``data`` of a release, whose links begin with ``outside``, in the form of 7."""
    translated = dict(data)
    if "+links" in data:
        translated["+links"] = [_link(link, outside) for link in data["+links"]]
    if "+shadowing" in data:
        translated["+shadowing"] = [version_of_devpi7(one, outside) for one in data["+shadowing"]]
    return translated


def file_of_devpi7(facts: Mapping[str, Json], size: int | None) -> dict[str, Json]:
    """Return the ``facts`` of a file of ``size`` bytes, None for an unknown size, in the form of 7."""
    told = {key: value for key, value in facts.items() if key != "hash_spec"}
    if "last_modified" in told:
        told["last_modified"] = f"{parsedate_to_datetime(told['last_modified']):%Y-%m-%dT%H:%M:%SZ}"
    return told if size is None else {**told, "size": size}


def _link(link: Mapping[str, Json], outside: str) -> dict[str, Json]:
    """Return a link with paths below the index, times in ISO 8601, and without ``hash_spec``."""
    translated = {key: value for key, value in link.items() if key != "hash_spec"}
    for address, path in (("href", "relpath"), ("for_href", "for_relpath")):
        if address in link:
            translated[path] = unquote(link[address].removeprefix(outside)).split("/", 3)[3]
    if "log" in link:
        translated["log"] = [
            {**line, "when": "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z".format(*line["when"])} for line in link["log"]
        ]
    return translated

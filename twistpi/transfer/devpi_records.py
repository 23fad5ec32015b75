"""Users, indexes, releases and files as devpi-server 6 and 7 write them in JSON.  Pure.

A wrong value raises ``BadRequest``; the words of 7 are translated as requests with them are (``rules/devpi7.py``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from twistpi.auth.passwords import is_argon2_hash
from twistpi.model.errors import BadRequest
from twistpi.model.names import normalize_project
from twistpi.model.records import Json
from twistpi.model.releases import LIST_FIELDS, TEXT_FIELDS, LogLine
from twistpi.rules.accounts import check_name
from twistpi.rules.devpi7 import translate_settings
from twistpi.rules.index_config import IGNORED, KEYS, defaults, normalised
from twistpi.rules.json_bodies import is_storable, shown
from twistpi.rules.upload_checks import check_identity
from twistpi.transfer.records import IndexRecord, ReleaseRecord, Remark, UserRecord

_USER_TEXTS: Final = ("email", "title", "description")
_USER_KEYS: Final = frozenset({*_USER_TEXTS, "custom_data", "username", "pwhash", "pwsalt", "created", "modified", "indexes"})
_NEWER: Final = frozenset({"uploadtrigger_jenkins", "projects"})
"""Keys of an index that say nothing any more."""
_ISO: Final = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.\d+)?Z\Z", re.ASCII)
_RULE_ALLOW: Final = "allow all"


def read_user(name: str, value: Json, remarks: list[Remark]) -> UserRecord:
    """Return the user ``name``; what is left out is added to ``remarks``."""
    check_name("username", name)
    given = _object(value, f"user {name}")
    config: dict[str, Json] = {}
    for key in (*_USER_TEXTS, "custom_data"):
        if not given.get(key):
            continue
        if (key in _USER_TEXTS and not isinstance(given[key], str)) or not is_storable(given[key]):
            raise BadRequest(f"its {key} is {shown(given[key])}")
        config[key] = given[key]
    unknown = [key for key in given if key not in _USER_KEYS]
    if unknown:
        remarks.append(Remark(f"user {name}", f"unknown keys are left out: {', '.join(map(str, unknown))}"))
    kept = given.get("pwhash")
    password_hash = kept if isinstance(kept, str) and is_argon2_hash(kept) else None
    if kept and password_hash is None:
        text = f"the password hash is of an unknown kind, so nobody can log in until twistpi passwd {name} sets a password"
        remarks.append(Remark(f"user {name}", text))
    created, modified = (read_time(given[key]) if given.get(key) else None for key in ("created", "modified"))
    return UserRecord(name, config, password_hash, created, modified)


def read_index(name: str, value: Json, allowed: Sequence[str], remarks: list[Remark]) -> IndexRecord:
    """Return the index ``name`` with its settings; ``allowed`` are projects whose own rule lets mirrors add to them."""
    owner, slash, own_name = name.partition("/")
    if not slash:
        raise BadRequest("its name is not user/index")
    check_name("username", owner)
    check_name("indexname", own_name)
    given = _object(value, "indexconfig")
    given = {key: one for key, one in given.items() if one is not None}
    settings = translate_settings(given, {})
    kind = settings.pop("type", "stage")
    if not isinstance(kind, str) or kind not in KEYS:
        raise BadRequest(f"its type is {shown(kind)}, which twistpi does not have")
    if kind == "stage" and allowed:
        listed = settings.get("mirror_whitelist", [])
        listed = listed.split(",") if isinstance(listed, str) else list(listed)
        settings["mirror_whitelist"] = [*listed, *(project for project in allowed if project not in listed)]
    if "pypi_whitelist" in settings and "mirror_whitelist" not in settings and kind == "stage":
        settings["mirror_whitelist"] = settings["pypi_whitelist"]
    config = defaults(kind, owner)
    for key, one in settings.items():
        if key in IGNORED[kind] or key in _NEWER:
            continue
        try:
            config.update(normalised(kind, {key: one}, lambda _base: True))
        except BadRequest as refusal:
            remarks.append(Remark(f"index {name}", f"the setting {key} is left out: {refusal}"))
    return IndexRecord(name, config)


def own_rule_allows(config: Json) -> bool:
    """Whether the settings of a project in an export of 7 let mirrors add to it."""
    rules = config.get("inheritance_rules") if isinstance(config, dict) else None
    return rules in (_RULE_ALLOW, [_RULE_ALLOW])


def read_release(index: str, project: str, version: str, value: Json) -> ReleaseRecord:
    """Return a release of ``project``, in any spelling."""
    given = _object(value, "its metadata")
    metadata = {key: _field(key, one) for key, one in given.items() if one and not key.startswith("+") and key != ":action"}
    name = metadata.setdefault("name", project)
    metadata["version"] = version
    if not isinstance(name, str) or normalize_project(name) != normalize_project(project):
        raise BadRequest(f"its metadata is of {shown(name)}, not of {project}")
    check_identity(name, version)
    return ReleaseRecord(index, normalize_project(project), version, metadata)


def _field(key: str, value: Json) -> Json:
    """Return the value of a field of core metadata as it is stored; others may have any."""
    if key in LIST_FIELDS:
        value = [value] if isinstance(value, str) else value
        is_right = isinstance(value, list) and all(isinstance(one, str) for one in value)
    else:
        is_right = isinstance(value, str) or (key not in TEXT_FIELDS and is_storable(value))
    if not is_right:
        raise BadRequest(f"its {key} is {shown(value)}")
    return value


def read_yanked(value: Json) -> bool | str:
    """Return whether a file is yanked, or why."""
    if not isinstance(value, bool | str):
        raise BadRequest(f"its yanked is {shown(value)}")
    return value


def read_log(value: Json, index: str) -> tuple[LogLine, ...]:
    """Return the log of a file of ``index``."""
    if not isinstance(value, list):
        raise BadRequest("its log is no list")
    return tuple(_log_line(_object(line, "a line of its log"), index) for line in value)


def _log_line(line: Mapping[str, Json], index: str) -> LogLine:
    what, who, count = line.get("what"), line.get("who"), line.get("count")
    dst, src = line.get("dst") or index, line.get("src")
    texts = all(one is None or isinstance(one, str) for one in (who, dst, src))
    if not isinstance(what, str) or not texts or not isinstance(count, int | None):
        raise BadRequest(f"a line of its log is {shown(dict(line))}")
    return LogLine(what, who, read_time(line.get("when")), dst, src, count)


def read_time(value: Json) -> str:
    """Return a time as ``2026-11-29T02:59:32Z``; it was written so, as a list of numbers, or as in HTTP."""
    try:
        if isinstance(value, str):
            return _iso(*map(int, match.groups())) if (match := _ISO.match(value)) else _iso(*_http_time(value))
        year, month, day, hour, minute, second = value
        return _iso(year, month, day, hour, minute, second)
    except (ValueError, TypeError, OverflowError):
        raise BadRequest(f"{shown(value)} is no time") from None


def _iso(year: int, month: int, day: int, hour: int, minute: int, second: int) -> str:
    return f"{datetime(year, month, day, hour, minute, second, tzinfo=UTC).isoformat().removesuffix('+00:00')}Z"


def _http_time(text: str) -> tuple[int, int, int, int, int, int]:
    parsed = parsedate_to_datetime(text)
    moment = parsed.astimezone(UTC) if parsed.tzinfo else parsed
    return moment.year, moment.month, moment.day, moment.hour, moment.minute, moment.second


def read_hashes(mapping: Mapping[str, Json]) -> dict[str, str]:
    """Return the digests in the ``entrymapping`` of a file, by algorithm, in lower case."""
    given = dict(_object(mapping.get("hashes") or {}, "hashes"))
    specification = mapping.get("hash_spec")
    if isinstance(specification, str) and "=" in specification:
        algorithm, _, digest = specification.partition("=")
        given.setdefault(algorithm, digest)
    if mapping.get("md5"):
        given.setdefault("md5", mapping["md5"])
    if not all(isinstance(digest, str) for digest in given.values()):
        raise BadRequest(f"its digests are {shown(given)}")
    return {str(algorithm).lower(): digest.lower() for algorithm, digest in given.items()}


def _object(value: Json, what: str) -> Mapping[str, Json]:
    if not isinstance(value, dict):
        raise BadRequest(f"{what} is no JSON object")
    return value

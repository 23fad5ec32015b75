"""Where the values of settings come from: the command line, the environment, and a TOML file.

A value on the command line wins over the environment, that over the file, and that over the default.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from twistpi.model.errors import invalid_setting
from twistpi.model.monitoring import ConfiguredSetting
from twistpi.model.text import without_secrets
from twistpi.server.settings import CONFIG, GROUPS, TABLE, VARIABLE, Setting, Settings

_NOT_SHOWN = "(not shown)"
_NO_TABLE = "; settings must be at the top of the file, outside any table"


def _parse(setting: Setting, text: str, source: str) -> object:
    try:
        return setting.kind.parse(text)
    except ValueError:
        shown = _NOT_SHOWN if setting.kind.secret else text
        raise invalid_setting(setting.name, shown, source, setting.kind.allowed) from None


def _parse_all(setting: Setting, texts: Sequence[str], source: str) -> object:
    if setting.repeatable:
        return tuple(value for text in texts if (value := _parse(setting, text, source)) is not None)
    return _parse(setting, texts[-1], source)


def _did_you_mean(word: str, words: Iterable[str], *, before: str = "") -> str:
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    return f" (did you mean {before}{close[0]}?)" if close else ""


def _file_text(value: object, setting: Setting, source: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    shown = _NOT_SHOWN if setting.kind.secret else str(value)
    raise invalid_setting(setting.name, shown, source, "it must be text, a number or true or false")


def _from_file(path: str) -> dict[str, object]:
    """Return the settings in the TOML file at ``path``, by field."""
    source = f"the file {path}"
    names = {setting.name: setting for setting in TABLE}
    try:
        with open(path, "rb") as file:
            content = tomllib.load(file)
    except (OSError, ValueError) as error:
        raise invalid_setting(CONFIG.name, path, source, f"it must be a TOML file that can be read: {error}") from None
    found: dict[str, object] = {}
    for name, value in content.items():
        setting = names.get(name)
        if setting is None:
            hint = _NO_TABLE if isinstance(value, dict) else _did_you_mean(name.replace("_", "-"), list(names))
            raise invalid_setting(name, str(value), source, f"there is no such setting{hint}")
        values = value if setting.repeatable and isinstance(value, list) else [value]
        found[setting.field] = _parse_all(setting, [_file_text(item, setting, source) for item in values], source)
    return found


def load_settings(command_line: Mapping[str, Sequence[str]], environment: Mapping[str, str]) -> Settings:
    """Return the settings from ``command_line`` (name to values, in order), ``environment`` and the file that either names.

    Raise ``TwistpiError``, which names the setting, its value, where that comes from and what is allowed.
    """
    given: dict[str, tuple[Sequence[str], str]] = {}
    for setting in (CONFIG, *TABLE):
        if setting.variable in environment:
            text = environment[setting.variable]
            given[setting.name] = (text.split() if setting.repeatable else [text], f"the environment variable {setting.variable}")
        if setting.name in command_line:
            given[setting.name] = (command_line[setting.name], f"the command line, --{setting.name}")
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    if CONFIG.name in given:
        path = str(_parse_all(CONFIG, *given.pop(CONFIG.name)))
        values = _from_file(path)
        sources = dict.fromkeys((name.replace("_", "-") for name in values), f"the file {path}")
    for setting in TABLE:
        if setting.name in given:
            values[setting.field] = _parse_all(setting, *given[setting.name])
            sources[setting.name] = given[setting.name][1]
    settings = Settings(**values, sources=sources)
    if settings.root_passwd is not None and settings.root_passwd_hash is not None:
        raise invalid_setting("root-passwd-hash", _NOT_SHOWN, "the settings", "it must not be given together with root-passwd")
    return settings if settings.changelog is None or settings.cache_dir is None else _of_node(settings, settings.cache_dir)


def _of_node(settings: Settings, cache_dir: str) -> Settings:
    """Return the settings of a node of a cluster, whose server directory is its cache; raise ``TwistpiError``."""
    for name, value in (("serverdir", settings.serverdir), ("primary-url", settings.primary_url)):
        if name in settings.sources:
            reason = "it must not be given together with changelog: a node of a cluster has a cache-dir, and follows nobody"
            raise invalid_setting(name, str(value), settings.sources[name], reason)
    return attrs.evolve(settings, serverdir=cache_dir)


def words_of(settings: Settings, names: Iterable[str]) -> dict[str, list[str]]:
    """Return those of the settings ``names`` that are not at their default, as ``load_settings`` reads them."""
    rows = {setting.name: setting for setting in TABLE}
    found: dict[str, list[str]] = {}
    for name in names:
        value = getattr(settings, rows[name].field)
        if value != rows[name].default:
            values = value if rows[name].repeatable else [value]
            found[name] = [str(one).lower() if rows[name].is_flag else str(one) for one in values]
    return found


def configured_settings(settings: Settings) -> list[ConfiguredSetting]:
    """Return every setting with its value and where that comes from, without secrets."""
    rows = {setting.name: setting for setting in TABLE}
    return [
        ConfiguredSetting(group, name, _shown(rows[name], settings), settings.sources.get(name, "default"))
        for group, names in GROUPS.items()
        for name in names
        if name in rows
    ]


def _shown(setting: Setting, settings: Settings) -> str:
    value = getattr(settings, setting.field)
    if value == setting.default:
        return setting.shown_default
    if setting.kind.secret:
        return _NOT_SHOWN
    if setting.is_flag:
        return str(value).lower()
    values = value if setting.repeatable else [value]
    return without_secrets(", ".join(map(str, values)))


def unknown_variables(environment: Mapping[str, str]) -> list[str]:
    """Return a sentence for each ``TWISTPI_*`` variable that is no setting, most likely a typing error.

    They are not refused, because container orchestration creates variables with such names.
    """
    known = {setting.variable.removeprefix(VARIABLE) for setting in (CONFIG, *TABLE)}
    given = {name.removeprefix(VARIABLE) for name in environment if name.startswith(VARIABLE)}
    return [
        f"the environment variable {VARIABLE}{name} is no setting{_did_you_mean(name, known, before=VARIABLE)}"
        for name in sorted(given - known)
    ]

"""The accepted values of those settings of an index that make its policy; see ``rules.file_policy``."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, TypeVar

from twistpi.model.errors import BadRequest
from twistpi.model.records import Json
from twistpi.rules.advisories import REPORT, SETTINGS
from twistpi.rules.file_policy import quarantine_text
from twistpi.rules.json_bodies import shown
from twistpi.rules.requirements import Requirement, split_requirements

_MOST: Final = 100_000
"""Requirements in a list."""
_AGE: Final = re.compile(r"\s*(\d{1,9})\s*([smhdw]?)\s*\Z")
_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_LONGEST_AGE: Final = 10 * 365 * 86400
_SPECIFIER: Final = re.compile(r"\s*[=<>!~]==?\s*v?\d")
"""What begins a reason only where blanks tear a requirement apart."""
_TAG: Final = re.compile(r"[A-Za-z0-9_.]{1,100}\Z")
_T = TypeVar("_T")


def age(key: str, value: Json) -> int:
    """Accept a number of seconds, or a text such as ``7d``, ``36h`` or ``90m``; the result is in seconds."""
    found = _AGE.match(str(value)) if isinstance(value, str | int) and not isinstance(value, bool) else None
    seconds = int(found[1]) * _UNITS[found[2]] if found else -1
    if not 0 <= seconds <= _LONGEST_AGE:
        raise BadRequest(f"'{key}' option must be an age such as 7d, 36h or 90m, of ten years at most")
    return seconds


def age_text(seconds: int) -> str:
    """Return a text that ``age`` reads as ``seconds``: ``7d``, ``36h``."""
    unit = next((unit for unit in "dhm" if seconds and seconds % _UNITS[unit] == 0), "s")
    return f"{seconds // _UNITS[unit]}{unit}"


def requirements(key: str, value: Json) -> list[str]:
    """Accept projects with version specifiers, in a list, or in a text between commas or line ends."""
    return [str(requirement) for requirement in _each(key, value, Requirement.parse)]


def quarantined(key: str, value: Json) -> list[str]:
    """Accept requirements, each with a reason behind a blank, in a list, or on the lines of a text."""

    def parse(text: str) -> str:
        requirement, _, reason = text.strip().partition(" ")
        if _SPECIFIER.match(reason):  # all versions would be quarantined, with a strange reason
            raise ValueError(f"{text!r}: write the versions without blanks, as in hello==2.0")
        return quarantine_text(Requirement.parse(requirement), reason)

    return _each(key, value.splitlines() if isinstance(value, str) else value, parse)


def _each(key: str, value: Json, parse: Callable[[str], _T]) -> list[_T]:
    items = split_requirements(value) if isinstance(value, str) else value
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise BadRequest(f"'{key}' option must be a list, or a text with commas between its items")
    if len(items) > _MOST:
        raise BadRequest(f"'{key}' option holds more than {_MOST} values")
    try:
        return [parse(item) for item in items if item.strip()]
    except ValueError as error:
        raise BadRequest(f"'{key}' option: {error}") from error


def tags(key: str, value: Json) -> list[str]:
    """Accept beginnings of tags in the names of wheels: ``manylinux``, ``macosx``, ``cp312``, ``py3``."""
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise BadRequest(f"'{key}' option must be a list, or a text with commas between its items")
    wrong = [item for item in items if item.strip() and not _TAG.match(item.strip())]
    if wrong:
        raise BadRequest(f"'{key}' option holds {shown(wrong[0])}, which is not the beginning of a tag in a wheel's name")
    return [item.strip().lower() for item in items if item.strip()]


def advisories(key: str, value: Json) -> str:
    """Accept ``block-malware``, ``report``, ``off``, or ``block-severity=`` with a severity."""
    text = "".join(value.lower().split()) if isinstance(value, str) else value
    if text not in SETTINGS:
        raise BadRequest(f"Unknown value {shown(value)} for {key}, must be one of {', '.join(SETTINGS)}.")
    return str(text)


def mode(key: str, value: Json) -> str:
    """Accept ``enforce`` or ``report``."""
    if value not in ("enforce", REPORT):
        raise BadRequest(f"Unknown value {shown(value)} for {key}, must be 'enforce' or 'report'.")
    return str(value)

"""JSON bodies of requests: which values can be stored, how two differ, and how a message shows one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

import orjson

from twistpi.model.errors import BadRequest
from twistpi.model.records import Json

LONGEST_TEXT: Final = 10_000
"""Characters of a title, a mail address or a description: pages show them, and forms hold them."""

_LONGEST_SHOWN: Final = 200
"""Characters of a value in a message."""
_LEVELS_AROUND: Final = 16
"""How deep a stored value may be nested within an entry or an answer."""


def shown(value: Json, *, quoted: bool = True) -> str:
    """Return ``value`` for a message, cut when it is long; text in quotes unless ``quoted`` is False."""
    try:
        text = value if isinstance(value, str) and not quoted else repr(value)
    except RecursionError:
        text = "something nested very deeply"
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def is_storable(value: Json) -> bool:
    """Whether ``value`` can be written as part of a JSON document: not when it is nested too deeply, or a number is too large."""
    for _ in range(_LEVELS_AROUND):
        value = [value]
    try:
        orjson.dumps(value)
    except (TypeError, RecursionError):
        return False
    return True


def check_lengths(settings: Mapping[str, Json], keys: Collection[str] = ("title", "description")) -> None:
    """Raise ``BadRequest`` for a text among ``settings`` that is too long.

    To be called with what differs from before: what is kept was accepted once, or imported.
    """
    for key in keys:
        value = settings.get(key)
        if isinstance(value, str) and len(value) > LONGEST_TEXT:
            raise BadRequest(f"the {key} has {len(value):,} characters; up to {LONGEST_TEXT:,} are allowed")


def unknown_keys(body: Mapping[str, Json], known: Collection[str]) -> str | None:
    """Return the keys of ``body`` that are not ``known``, for a message; None when there are none."""
    unknown = sorted(set(body) - set(known))
    return shown(", ".join(unknown), quoted=False) if unknown else None


def differing(given: Mapping[str, Json], former: Mapping[str, Json]) -> dict[str, Json]:
    """Return those items of ``given`` that are not the same in ``former``, as JSON: unlike for ``==``, true is not 1."""
    return {key: value for key, value in given.items() if key not in former or _json(former[key]) != _json(value)}


def _json(value: Json) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)

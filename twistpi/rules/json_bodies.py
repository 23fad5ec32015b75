"""What may be kept of a JSON body, and how a refusal shows a part of one."""

from __future__ import annotations

from typing import Final

import orjson

from twistpi.model.records import Json

_LONGEST_SHOWN: Final = 200
"""Characters of a value that a message repeats."""
_LEVELS_AROUND: Final = 16
"""How deep a kept value may come to lie within an entry or an answer."""


def shown(value: Json, *, quoted: bool = True) -> str:
    """``value`` as a message shows it, cut when it is long; text in quotes unless ``quoted`` is False."""
    try:
        text = value if isinstance(value, str) and not quoted else repr(value)
    except RecursionError:
        text = "something nested very deeply"
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def is_storable(value: Json) -> bool:
    """Whether ``value`` can be written as JSON wherever it is going to stand: not when its nesting is too deep, or a number in it
    too large.
    """
    for _ in range(_LEVELS_AROUND):
        value = [value]
    try:
        orjson.dumps(value)
    except (TypeError, RecursionError):
        return False
    return True


def is_same(one: Json, other: Json) -> bool:
    """Whether two storable values are the same JSON: unlike for ``==``, true is not 1."""
    return orjson.dumps(one, option=orjson.OPT_SORT_KEYS) == orjson.dumps(other, option=orjson.OPT_SORT_KEYS)

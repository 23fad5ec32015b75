"""Values from a JSON document of any size, one after the other.  Memory holds one value at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import BinaryIO, Final

import ijson  # type: ignore[import-untyped]
from ijson.common import JSONError  # type: ignore[import-untyped]

from twistpi.model.errors import BadRequest
from twistpi.model.records import Json

ITEM: Final = "[]"
"""What stands in a path for the elements of a list."""
Path = tuple[str, ...]
"""The keys that lead to a value."""


def stream_json(file: BinaryIO, is_wanted: Callable[[Path], bool]) -> Iterator[tuple[Path, Json]]:
    """Yield each value whose path ``is_wanted``, with its path; what is inside of it is not asked about.

    ``is_wanted`` is called once for each value outside, in order.  Raise ``BadRequest`` where it is no JSON.
    """
    path: list[str] = []
    events = iter(ijson.basic_parse(file, use_float=True))
    try:
        for event, value in events:
            if event == "map_key":
                path[-1] = value
            elif event in ("end_map", "end_array"):
                path.pop()
            elif is_wanted(tuple(path)):
                yield tuple(path), _build(event, value, events)
            elif event == "start_map":
                path.append("")
            elif event == "start_array":
                path.append(ITEM)
    except RecursionError:
        raise BadRequest("a value in it is nested too deeply") from None
    except (JSONError, UnicodeDecodeError) as error:
        raise BadRequest(f"it is no JSON: {' '.join(str(error).split())[:200]}") from error


def _build(event: str, value: Json, events: Iterator[tuple[str, Json]]) -> Json:
    """Return the value that begins with ``event``."""
    if event == "start_map":
        members: dict[str, Json] = {}
        for inner, key in events:
            if inner == "end_map":
                return members
            members[key] = _build(*next(events), events)
    if event == "start_array":
        items: list[Json] = []
        for inner, one in events:
            if inner == "end_array":
                return items
            items.append(_build(inner, one, events))
    return value

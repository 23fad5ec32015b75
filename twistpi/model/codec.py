"""An entry's content <-> JSON, compact and with sorted keys: what stands in a line of the changelog after serial and chain.

``{"at":"2026-11-22T17:00:00.123456Z","by":"root","changes":[{"kind":"IndexCreated",…}]}``; fields that have their default
are left out.  An unknown kind, field or type is refused, never skipped (law 4).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args, get_type_hints

import attrs
import cattrs
import orjson
from cattrs.fns import identity
from cattrs.gen import make_dict_unstructure_fn

from twistpi.model.changes import Change, Entry
from twistpi.model.errors import MalformedChange, UnknownChange
from twistpi.model.records import Json, Link, PageHeader
from twistpi.model.releases import LogLine

_PLAIN: tuple[object, ...] = (
    str,
    int,
    bool,
    int | None,
    str | None,
    bool | str,
    bool | Mapping[str, str] | None,
    Mapping[str, Json],
    Mapping[str, str],
)
"""Annotations whose values are JSON already; a cast here would only hide damage."""


def _make_converter() -> cattrs.Converter:
    """Writes: leaves out what has its default, and passes on what is JSON already."""
    converter = cattrs.Converter()
    converter.register_unstructure_hook_func(_PLAIN.__contains__, identity)
    for record in (Link, LogLine, PageHeader, *get_args(Change)):
        converter.register_unstructure_hook(record, make_dict_unstructure_fn(record, converter, _cattrs_omit_if_default=True))
    return converter


def _read_names(items: Any) -> tuple[str, ...]:
    if not isinstance(items, list):
        raise TypeError(f"{items!r} is no list")
    return tuple(items)


def _read_links(items: Any) -> tuple[Link, ...]:
    return tuple([Link(**fields) for fields in items])


def _read_log(items: Any) -> tuple[LogLine, ...]:
    return tuple([LogLine(**fields) for fields in items])


def _read_header(fields: Any) -> PageHeader | None:
    return None if fields is None else PageHeader(**fields)


_PARTS: tuple[tuple[object, Callable[[Any], object]], ...] = (
    (tuple[str, ...], _read_names),
    (tuple[Link, ...], _read_links),
    (tuple[LogLine, ...], _read_log),
    (PageHeader | None, _read_header),
)
"""Annotations whose values JSON says otherwise, and what reads them."""


def _make_reader(kind: Callable[..., Change]) -> Callable[[dict[str, Any]], Change]:
    """Reads: the class itself refuses fields that it lacks or that are missing; cattrs would be three times slower."""
    parts: list[tuple[str, Callable[[Any], object]]] = []
    for name, annotation in get_type_hints(kind).items():
        if annotation not in _PLAIN:
            parts.append((name, next(read for readable, read in _PARTS if readable == annotation)))

    def read(fields: dict[str, Any]) -> Change:
        for name, read_part in parts:
            if name in fields:
                fields[name] = read_part(fields[name])
        return kind(**fields)

    return read if parts else lambda fields: kind(**fields)


_CONVERTER = _make_converter()
_KINDS: Mapping[str, type] = {kind.__name__: kind for kind in get_args(Change)}
_READERS: Mapping[object, Callable[[dict[str, Any]], Change]] = {name: _make_reader(kind) for name, kind in _KINDS.items()}
_WRITERS: Mapping[type, Callable[[Change], dict[str, Any]]] = {
    kind: _CONVERTER.get_unstructure_hook(kind) for kind in _KINDS.values()
}


@attrs.frozen
class Content:
    """What a line says: an entry without its serial."""

    at: str
    by: str
    changes: tuple[Change, ...]

    def entry(self, serial: int) -> Entry:
        """The entry this is under ``serial``."""
        return Entry(serial, self.at, self.by, self.changes)


def encode_change(change: Change) -> dict[str, Any]:
    """``change`` as a JSON object with its ``kind``."""
    fields = _WRITERS[type(change)](change)
    fields["kind"] = type(change).__name__
    return fields


def decode_change(fields: Mapping[str, Any]) -> Change:
    """The change a JSON object says; raises ``UnknownChange`` or ``MalformedChange``."""
    return _take_change(dict(fields))


def _take_change(fields: dict[str, Any]) -> Change:
    """The change that ``fields`` say, which are used up."""
    kind = fields.pop("kind", None)
    reader = _READERS.get(kind) if isinstance(kind, str) else None
    if reader is None:
        raise UnknownChange(str(kind))
    try:
        return reader(fields)
    except Exception as error:  # whatever a value that is not what it should be may cause
        raise MalformedChange(str(kind), str(error) or type(error).__name__) from error


def encode_content(at: str, by: str, changes: Sequence[Change]) -> bytes:
    """The JSON of one line, without its line feed."""
    return orjson.dumps({"at": at, "by": by, "changes": changes}, default=encode_change, option=orjson.OPT_SORT_KEYS)


def decode_content(body: bytes) -> Content:
    """What the JSON of one line says; raises ``UnknownChange`` or ``MalformedChange``."""
    try:
        fields = orjson.loads(body)
        return Content(fields["at"], fields["by"], tuple([_take_change(change) for change in fields["changes"]]))
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise MalformedChange("?", f"{type(error).__name__}: {error}") from error

"""An entry's content as JSON, compact and with sorted keys: what follows serial and chain in a line of the changelog.

``{"at":"2026-11-22T17:00:00.123456Z","by":"root","changes":[{"kind":"IndexCreated",…}]}``; fields with their default
are left out.  An unknown kind, field or type is refused, never skipped (law 4).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import get_args, get_type_hints

import cattrs
import orjson
from cattrs.fns import identity
from cattrs.gen import make_dict_unstructure_fn

from twistpi.model.changes import Change, Entry
from twistpi.model.records import Json, Link, PageHeader
from twistpi.model.releases import LogLine
from twistpi.model.server_errors import MalformedChange

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
"""Annotations whose values are JSON already; converting them would only hide damage."""


def _make_converter() -> cattrs.Converter:
    """Make what writes: fields with their default are left out, and what is JSON already stays as it is."""
    converter = cattrs.Converter()
    converter.register_unstructure_hook_func(_PLAIN.__contains__, identity)
    converter.register_unstructure_hook_func(lambda annotation: annotation == tuple[str, ...], list)
    link_fields = make_dict_unstructure_fn(Link, converter, _cattrs_omit_if_default=True)
    # One comprehension: what cattrs makes for sequences takes as long again as the links themselves.
    converter.register_unstructure_hook_func(
        lambda annotation: annotation == tuple[Link, ...], lambda links: [link_fields(link) for link in links]
    )
    for record in (Link, LogLine, PageHeader, *get_args(Change)):
        converter.register_unstructure_hook(record, make_dict_unstructure_fn(record, converter, _cattrs_omit_if_default=True))
    return converter


def _read_names(items: Json) -> tuple[str, ...]:
    if not isinstance(items, list):
        raise TypeError(f"{items!r} is no list")
    return tuple(items)


_Readers = tuple[tuple[str, Callable[[Json], object]], ...]
"""The names of fields, each with what reads its value from JSON."""

_PARTS: tuple[tuple[object, Callable[[Json], object]], ...] = (
    (tuple[str, ...], _read_names),
    (tuple[Link, ...], lambda items: tuple([Link(**fields) for fields in items])),
    (tuple[LogLine, ...], lambda items: tuple([LogLine(**fields) for fields in items])),
    (PageHeader | None, lambda fields: None if fields is None else PageHeader(**fields)),
)
"""The other annotations, and what reads their values from JSON."""


def _readers_of(kind: type) -> _Readers:
    """Return what reads the parts of a change that are no plain JSON."""
    hints = get_type_hints(kind).items()
    return tuple(
        (name, next(read for readable, read in _PARTS if readable == annotation))
        for name, annotation in hints
        if annotation not in _PLAIN
    )


_CONVERTER = _make_converter()
_KINDS: Mapping[str, type] = {kind.__name__: kind for kind in get_args(Change)}
_READERS: Mapping[object, tuple[Callable[..., Change], _Readers]] = {
    name: (kind, _readers_of(kind)) for name, kind in _KINDS.items()
}
"""The class itself refuses unknown and missing fields; what cattrs makes for that would be three times slower."""
_WRITERS: Mapping[type, Callable[[Change], dict[str, Json]]] = {
    kind: _CONVERTER.get_unstructure_hook(kind) for kind in _KINDS.values()
}


def encode_change(change: Change) -> dict[str, Json]:
    """Return ``change`` as a JSON object with its ``kind``."""
    fields = _WRITERS[type(change)](change)
    fields["kind"] = type(change).__name__
    return fields


def decode_change(fields: dict[str, Json]) -> Change:
    """Return the change in a JSON object, which is modified."""
    if not isinstance(fields, dict):
        raise _malformed("?", f"{fields!r} is no object")
    name = fields.pop("kind", None)
    found = _READERS.get(name) if isinstance(name, str) else None
    if found is None:
        raise unknown_kind(str(name))
    kind, readers = found
    try:
        for part, read in readers:
            if part in fields:
                fields[part] = read(fields[part])
        return kind(**fields)
    except Exception as error:  # a wrong value may raise anything
        raise _malformed(str(name), str(error) or type(error).__name__) from error


def encode_content(at: str, by: str, changes: Sequence[Change]) -> bytes:
    """Return the JSON of one line, without its line feed."""
    return orjson.dumps({"at": at, "by": by, "changes": changes}, default=encode_change, option=orjson.OPT_SORT_KEYS)


def decode_content(body: bytes, serial: int = 0) -> Entry:
    """Return the entry in the JSON of one line."""
    at, by, changes = read_content(body)
    return Entry(serial, at, by, tuple([decode_change(change) for change in changes]))


def read_content(body: bytes) -> tuple[str, str, list[dict[str, Json]]]:
    """Return what the JSON of one line says: the time, the author and the changes, for ``decode_change``."""
    try:
        fields = orjson.loads(body)
        return fields["at"], fields["by"], [*fields["changes"]]
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise _malformed("?", f"{type(error).__name__}: {error}") from error


def unknown_kind(kind: str) -> MalformedChange:
    """Return the error for a change that only a newer version knows."""
    return MalformedChange(
        f"The changelog holds a change of the kind {kind!r}, which this version of twistpi does not know; upgrade twistpi."
    )


def _malformed(kind: str, reason: str) -> MalformedChange:
    return MalformedChange(f"A change of the kind {kind!r} in the changelog cannot be read: {reason}.")

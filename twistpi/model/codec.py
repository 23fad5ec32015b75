"""An entry's content <-> JSON, compact and with sorted keys: what stands in a line of the changelog after serial and chain.

``{"at":"2026-11-22T17:00:00.123456Z","by":"root","changes":[{"kind":"IndexCreated",…}]}``; fields that have their default
are left out.  An unknown kind, field or type is refused, never skipped (law 4).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args

import attrs
import cattrs
import orjson
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn

from twistpi.model.changes import Change, Entry
from twistpi.model.errors import MalformedChange, UnknownChange
from twistpi.model.records import Json, Link, PageHeader


def _verbatim(value: Any, _type: object = None) -> Any:
    """Values that are JSON already pass as they are."""
    return value


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


def _is_plain(annotation: object) -> bool:
    return annotation in _PLAIN


def _read_links(items: Any, _type: object) -> tuple[Link, ...]:
    """Links are the bulk of every log, and their fields are plain: so the class reads them itself, and refuses what it lacks."""
    return tuple([Link(**fields) for fields in items])


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter(detailed_validation=False)
    converter.register_structure_hook_func(_is_plain, _verbatim)
    converter.register_unstructure_hook_func(_is_plain, _verbatim)
    converter.register_structure_hook_func(lambda annotation: annotation == tuple[Link, ...], _read_links)
    for record in (Link, PageHeader, *get_args(Change)):
        converter.register_unstructure_hook(record, make_dict_unstructure_fn(record, converter, _cattrs_omit_if_default=True))
        converter.register_structure_hook(record, make_dict_structure_fn(record, converter, _cattrs_forbid_extra_keys=True))
    return converter


_CONVERTER = _make_converter()
_KINDS: Mapping[str, type] = {kind.__name__: kind for kind in get_args(Change)}
_READERS: Mapping[str, Callable[[Any, Any], Change]] = {
    name: _CONVERTER.get_structure_hook(kind) for name, kind in _KINDS.items()
}
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
    kind = fields.get("kind")
    reader = _READERS.get(kind) if isinstance(kind, str) else None
    if reader is None:
        raise UnknownChange(str(kind))
    try:
        return reader({name: value for name, value in fields.items() if name != "kind"}, None)
    except Exception as error:  # cattrs raises a family of types; each means the same to us
        raise MalformedChange(str(kind), str(error) or type(error).__name__) from error


def encode_content(at: str, by: str, changes: Sequence[Change]) -> bytes:
    """The JSON of one line, without its line feed."""
    return orjson.dumps(
        {"at": at, "by": by, "changes": [encode_change(change) for change in changes]}, option=orjson.OPT_SORT_KEYS
    )


def decode_content(body: bytes) -> Content:
    """What the JSON of one line says; raises ``UnknownChange`` or ``MalformedChange``."""
    try:
        fields = orjson.loads(body)
        return Content(fields["at"], fields["by"], tuple(decode_change(change) for change in fields["changes"]))
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise MalformedChange("?", f"{type(error).__name__}: {error}") from error

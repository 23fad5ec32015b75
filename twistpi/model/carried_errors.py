"""Errors that another server met: told as JSON (``web/replication/base.py``), and raised again here as what they were."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from twistpi.model.errors import (
    FileBlocked,
    FileLost,
    NoMetadata,
    TwistpiError,
    UnknownFile,
    UnknownIndex,
    UnknownProject,
    UpstreamFailed,
    UpstreamUnreachable,
    WrongBytes,
    field_names,
)
from twistpi.model.records import Json
from twistpi.model.storage_errors import StorageFull

_KINDS: Final[Mapping[str, type[TwistpiError]]] = {
    kind.__name__: kind
    for kind in (
        FileBlocked,
        FileLost,
        NoMetadata,
        StorageFull,
        UnknownFile,
        UnknownIndex,
        UnknownProject,
        UpstreamFailed,
        UpstreamUnreachable,
        WrongBytes,
    )
}
"""What questions about indexes may be answered with; all else stays the other server's business."""


def carried(told: Json) -> TwistpiError | None:
    """The error that ``told`` speaks of: ``error`` is the name of its class, ``fields`` are its fields.

    None for what is no such thing, and for kinds that are not carried.
    """
    if not isinstance(told, dict) or not isinstance(told.get("fields"), dict):
        return None
    kind = _KINDS.get(str(told.get("error")))
    fields = told["fields"]
    if kind is None or fields.keys() != field_names(kind):
        return None
    return kind(**fields) if all(isinstance(value, str) for value in fields.values()) else None

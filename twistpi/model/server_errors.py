"""Errors of disks, changelog and server directory, and between servers of one log; see ``model/errors.py``.

An error that one server sends to another travels as JSON (``web/replication/authentication.py``): its text as ``message``, its
class as ``error``, and its fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from twistpi.model.errors import (
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


@attrs.define(auto_exc=True, str=False)
class ServerdirRefused(TwistpiError):
    """The server directory {path} cannot be used: {reason}."""

    path: str
    reason: str
    in_use: bool = False
    """Whether another process has it, which may be a server that can be asked."""


@attrs.define(auto_exc=True, str=False)
class StorageFull(TwistpiError):
    """Nothing can be written to {path}: {reason}. Free some space; a running server needs no restart."""

    status = 507
    path: str
    reason: str


@attrs.define(auto_exc=True, str=False)
class WrittenNotShown(StorageFull):
    """The change is stored in the changelog as entry {serial}, but is not visible yet, since nothing can be written to {path}:
    {reason}. Free some space; then it appears by itself and need not be sent again.
    """

    serial: int


@attrs.define(auto_exc=True, str=False)
class SyncFailed(TwistpiError):
    """Syncing {path} to disk failed ({reason}); what was written may be lost, so the server stops. Check the disk, then
    restart.
    """

    path: str
    reason: str


@attrs.define(auto_exc=True, str=False)
class LogDamaged(TwistpiError):
    """The changelog is damaged at serial {serial}, segment {segment}, offset {offset}: {reason}. Restore that segment from
    a backup or a replica; nothing was changed.
    """

    serial: int
    segment: str
    offset: int
    reason: str


@attrs.define(auto_exc=True, str=False)
class UnknownPosition(TwistpiError):
    """The changelog has no line {serial} that ends at offset {offset} of segment {segment}: {reason}. Either lines were lost, or
    this position is one of another changelog.
    """

    serial: int
    segment: str
    offset: int
    reason: str


class MalformedChange(TwistpiError):
    """A change in the changelog cannot be read by this version."""


@attrs.define(auto_exc=True, str=False)
class LogConflict(TwistpiError):
    """The changelog ends at serial {actual}, not at {expected}; read on and decide again."""

    status = 409
    expected: int
    actual: int


@attrs.define(auto_exc=True, str=False)
class LogUnreachable(TwistpiError):
    """Nothing can be written, because the database at {database} cannot be used: {reason}. Reading goes on, and writing resumes
    by itself.
    """

    status = 503
    database: str
    reason: str


@attrs.define(auto_exc=True, str=False)
class WriterStopped(TwistpiError):
    """The server is stopping; nothing is written any more."""

    status = 503


@attrs.define(auto_exc=True, str=False)
class BlobConflict(TwistpiError):
    """A different file is kept at {path} already (it begins with the same digits); the new one is refused."""

    status = 409
    path: str


# Servers of one log ------------------------------------------------------------------------------------------------


@attrs.define(auto_exc=True, str=False)
class PrimaryUnreachable(TwistpiError):
    """The primary at {url} cannot be reached: {reason}. What is known here is served; try again later."""

    status = 503
    url: str
    reason: str


@attrs.define(auto_exc=True, str=False)
class StrangePrimary(TwistpiError):
    """The server at {url} does not answer as a primary does: {reason}."""

    status = 502
    url: str
    reason: str


class FollowingRefused(TwistpiError):
    """A replica cannot follow its primary until an administrator does something."""

    status = 503

    def __init__(self, message: str, state: str = "refused") -> None:
        super().__init__(message)
        self.state = state
        """In one or two words, for the status: ``refused``, ``other log``, ``diverged``, ``fenced`` or ``behind``."""


@attrs.define(auto_exc=True, str=False)
class NotFenced(TwistpiError):
    """No reason to step back: {reason}."""

    status = 409
    reason: str


@attrs.define(auto_exc=True, str=False)
class NodeRefused(TwistpiError):
    """Only servers with the same secret may ask for that, and the header Authorization does not prove to be one: {reason}.

    ``reason`` is ``missing``, ``malformed``, ``wrong secret``, ``expired``, ``other request`` or ``replayed``.  After ``expired``
    the other server takes the time in ``X-Twistpi-Time`` for that of this server, and asks once more.
    """

    status = 403
    reason: str


@attrs.define(auto_exc=True, str=False)
class FeedRefused(TwistpiError):
    """The changelog of this server cannot be followed from serial {asked}: {told}.

    ``reason`` says the same in a word: ``diverged`` (this log has another line there, or ends before), ``other log``, ``fenced``
    (the other server knows a later epoch), ``behind`` (this log begins only after that serial).
    """

    status = 409
    asked: int
    """The serial after which lines were wanted."""
    told: str
    """Why not, and what there is."""
    reason: str
    serial: int
    """The last one here."""
    epoch: int
    """This server's."""
    log_id: str
    """This log's."""


@attrs.define(auto_exc=True, str=False)
class FeedDamaged(TwistpiError):
    """What was received as serial {serial} of the changelog is not what the primary has: {reason}. Nothing of it was kept.

    It is asked for again; where that does not help, what lies between the two servers damages it.
    """

    status = 502
    serial: int
    reason: str


def promotion_refused(reason: str) -> TwistpiError:
    """Return the error for a server that cannot become the primary."""
    return TwistpiError(f"Promoting this server is not possible: {reason}.", 409)


@attrs.define(auto_exc=True, str=False)
class UnknownSerial(TwistpiError):
    """There is no serial {serial} in this changelog, which has those from {first} to {last}."""

    status = 404
    serial: int
    first: int
    """The first line that is here; one more than ``last`` while there is none."""
    last: int


_CARRIED: Final[Mapping[str, type[TwistpiError]]] = {
    kind.__name__: kind
    for kind in (
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
"""The errors with which questions about indexes may be answered; others stay the other server's business."""


def carried(report: object) -> TwistpiError | None:
    """Return the error that another server reports as ``told``, which is JSON (``web/replication/authentication.py``).

    ``error`` is the name of its class, ``fields`` are its fields, ``retry_after`` is there if it has one.  None for anything
    else, and for classes that are not carried.
    """
    if not isinstance(report, dict) or not isinstance(report.get("fields"), dict):
        return None
    if report.get("error") == "FileBlocked":  # older servers have a class for files in quarantine
        return TwistpiError(str(report.get("message")), 404)
    kind = _CARRIED.get(str(report.get("error")))
    fields = report["fields"]
    if kind is None or fields.keys() != field_names(kind) or not all(isinstance(value, str) for value in fields.values()):
        return None
    seconds = report.get("retry_after")
    return kind(**fields).later(seconds if type(seconds) is int else None)

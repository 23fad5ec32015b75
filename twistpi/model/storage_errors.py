"""What goes wrong with the disk, the changelog and the server directory; see ``model/errors.py``."""

from __future__ import annotations

import attrs

from twistpi.model.errors import TwistpiError


@attrs.define(auto_exc=True, str=False)
class StorageFull(TwistpiError):
    """Nothing can be written to {path}: {reason}. Free some space; reading goes on and writing resumes by itself."""

    status = 507
    path: str
    reason: str


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
    """The changelog has no line {serial} that ends at offset {offset} of segment {segment}: {reason}. Whoever remembers that
    place remembers another log, or lines were lost.
    """

    serial: int
    segment: str
    offset: int
    reason: str


@attrs.define(auto_exc=True, str=False)
class LogConflict(TwistpiError):
    """The changelog ends at serial {actual}, not at {expected}; read on and decide again."""

    status = 409
    expected: int
    actual: int


@attrs.define(auto_exc=True, str=False)
class WriterStopped(TwistpiError):
    """The server is stopping; nothing is written any more."""

    status = 503


@attrs.define(auto_exc=True, str=False)
class UnknownChange(TwistpiError):
    """The changelog holds a change of the kind {kind!r}, which this version of twistpi does not know; upgrade twistpi."""

    kind: str


@attrs.define(auto_exc=True, str=False)
class MalformedChange(TwistpiError):
    """A change of the kind {kind!r} in the changelog cannot be read: {reason}."""

    kind: str
    reason: str


@attrs.define(auto_exc=True, str=False)
class BlobConflict(TwistpiError):
    """A different file is kept at {path} already (it begins with the same digits); the new one is refused."""

    status = 409
    path: str


@attrs.define(auto_exc=True, str=False)
class ServerdirRefused(TwistpiError):
    """The server directory {path} cannot be used: {reason}."""

    path: str
    reason: str


@attrs.define(auto_exc=True, str=False)
class ServerdirInUse(ServerdirRefused):
    """The server directory {path} cannot be used: {reason}.

    Some other process has it, which may be a server that can be asked.
    """


@attrs.define(auto_exc=True, str=False)
class WrittenNotShown(StorageFull):
    """The change is recorded for good as entry {serial}, but cannot be shown yet, since nothing can be written to {path}:
    {reason}. Free some space; it shows by itself then, so there is no need to send it again.
    """

    serial: int


@attrs.define(auto_exc=True, str=False)
class ViewDamaged(TwistpiError):
    """The view {path} is damaged ({reason}); it was removed and the next start builds it anew from the changelog."""

    path: str
    reason: str

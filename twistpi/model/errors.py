"""Every refusal and failure twistpi speaks of.

The docstring of an error is the sentence its reader sees, with the error's fields filled in; ``status`` is the HTTP status it
becomes at the door (``web/errors.py``).  Errors are raised where they are known and nowhere turned into something else.
"""

from __future__ import annotations

from typing import ClassVar

import attrs


@attrs.define(auto_exc=True, str=False)
class TwistpiError(Exception):
    """Something went wrong inside twistpi; the log tells more."""

    status: ClassVar[int] = 500

    def __str__(self) -> str:
        """The first paragraph of the class's docstring with the fields of this error filled in."""
        template = " ".join((type(self).__doc__ or "").split("\n\n")[0].split())
        return template.format(**{field.name: getattr(self, field.name) for field in attrs.fields(type(self))})


# Bad input ---------------------------------------------------------------------------------------------------------


@attrs.define(auto_exc=True, str=False)
class InvalidProjectName(TwistpiError):
    """{name!r} is not a project name: use letters, digits, '-', '_' and '.', beginning and ending with a letter or
    digit.
    """

    status = 400
    name: str


@attrs.define(auto_exc=True, str=False)
class InvalidIndexName(TwistpiError):
    """{name!r} is not an index: write user/index, for example root/pypi."""

    status = 400
    name: str


@attrs.define(auto_exc=True, str=False)
class InvalidFilename(TwistpiError):
    """{filename!r} cannot be a distribution's file name: {reason}."""

    status = 400
    filename: str
    reason: str


@attrs.define(auto_exc=True, str=False)
class InvalidSetting(TwistpiError):
    """The setting {name} is {value!r} (from {source}); {allowed}."""

    status = 400
    name: str
    value: str
    source: str
    allowed: str


# Not here ----------------------------------------------------------------------------------------------------------


@attrs.define(auto_exc=True, str=False)
class UnknownUser(TwistpiError):
    """no user {user!r}"""

    status = 404
    user: str


@attrs.define(auto_exc=True, str=False)
class UnknownIndex(TwistpiError):
    """The stage {index} could not be found."""

    status = 404
    index: str


@attrs.define(auto_exc=True, str=False)
class UnknownProject(TwistpiError):
    """The project {project} does not exist on {index}."""

    status = 404
    index: str
    project: str


@attrs.define(auto_exc=True, str=False)
class NoProject(TwistpiError):
    """no project {project!r}

    The same as ``UnknownProject``, in the words of the devpi protocol's JSON.
    """

    status = 404
    project: str


@attrs.define(auto_exc=True, str=False)
class UnknownVersion(TwistpiError):
    """The version {version} of project {project} does not exist."""

    status = 404
    project: str
    version: str


@attrs.define(auto_exc=True, str=False)
class UnknownFile(TwistpiError):
    """The index {index} has no file {path}."""

    status = 404
    index: str
    path: str


@attrs.define(auto_exc=True, str=False)
class FileBlocked(TwistpiError):
    """The file {path} of {index} is not offered: its project {project} is quarantined."""

    status = 404
    index: str
    project: str
    path: str


@attrs.define(auto_exc=True, str=False)
class FileLost(TwistpiError):
    """The bytes of {path} of {index} are not on this server's disk any more; restore the folder +files from a backup."""

    status = 500
    index: str
    path: str


@attrs.define(auto_exc=True, str=False)
class NoMetadata(TwistpiError):
    """There is no core metadata for {path} of {index}: {reason}."""

    status = 404
    index: str
    path: str
    reason: str


@attrs.define(auto_exc=True, str=False)
class NotAcceptable(TwistpiError):
    """None of the types in {accept!r} can be served here; ask for text/html or application/vnd.pypi.simple.v1+json."""

    status = 406
    accept: str


# The upstream ------------------------------------------------------------------------------------------------------


@attrs.define(auto_exc=True, str=False)
class UpstreamFailed(TwistpiError):
    """The upstream of {index} failed for {subject}: {reason}.

    Nothing usable is kept here either; the asker should try again later.
    """

    status = 502
    index: str
    subject: str
    reason: str


@attrs.define(auto_exc=True, str=False)
class UpstreamUnreachable(TwistpiError):
    """The upstream of {index} cannot be reached for {subject}: {reason}.

    Also raised in offline mode for what is not kept here.
    """

    status = 503
    index: str
    subject: str
    reason: str


@attrs.define(auto_exc=True, str=False)
class BadUpstreamPage(TwistpiError):
    """The upstream's page at {url} cannot be used: {reason}."""

    status = 502
    url: str
    reason: str


@attrs.define(auto_exc=True, str=False)
class WrongBytes(TwistpiError):
    """The bytes of {filename} from {url} are wrong: {reason}; nothing of them was kept."""

    status = 502
    filename: str
    url: str
    reason: str


# The disk ----------------------------------------------------------------------------------------------------------


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
class CannotListen(TwistpiError):
    """Listening at {endpoint} is not possible: {reason}. Stop what listens there, or choose another place with --port, --host
    or --listen.
    """

    endpoint: str
    reason: str


@attrs.define(auto_exc=True, str=False)
class ViewDamaged(TwistpiError):
    """The view {path} is damaged ({reason}); it was removed and the next start builds it anew from the changelog."""

    path: str
    reason: str

"""The refusals and failures that twistpi reports; those of disks and between servers are in ``model/server_errors.py``.

There is one class for each thing that is caught, or becomes HTTP, differently; ``status`` is its HTTP status
(``web/errors.py``).  The sentence is written where an error is raised.  Of a class with fields it is the first paragraph of the
docstring.
"""

from __future__ import annotations

import math
from typing import Self

import attrs


class TwistpiError(Exception):
    """Something went wrong, or is refused; its text says what, and what to do."""

    status: int = 500
    retry_after: int | None = None
    """Seconds after which the request can be repeated, where that is known."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        if status is not None:
            self.status = status

    def later(self, seconds: float | None) -> Self:
        """Return the error; unless ``seconds`` is None as one that is over after them (503, ``Retry-After``)."""
        if seconds is not None:
            self.status, self.retry_after = 503, max(1, math.ceil(seconds))
        return self

    def __str__(self) -> str:
        """The sentence; of a class with fields, the first paragraph of its docstring with the fields filled in."""
        if not attrs.has(type(self)):
            return str(self.args[0])
        template = " ".join((type(self).__doc__ or "").split("\n\n")[0].split())
        return template.format(**fields_of(self))


def field_names(kind: type[TwistpiError]) -> frozenset[str]:
    """Return the names of the fields of a class of errors; none for one whose errors have their text only."""
    return frozenset(attrs.fields_dict(kind)) if attrs.has(kind) else frozenset()


def fields_of(error: TwistpiError) -> dict[str, object]:
    """Return the fields of an error by name."""
    return {name: getattr(error, name) for name in field_names(type(error))}


# Requests ----------------------------------------------------------------------------------------------------------


class BadRequest(TwistpiError):
    """The request is malformed, or asks for something that does not make sense."""

    status = 400


class InvalidName(BadRequest):
    """The name of an index, a project or a distribution file is not valid."""


class LoginFailed(TwistpiError):
    """User and password do not belong together, or cannot be checked for this address now."""

    status = 401

    def __init__(self, message: str, retry_after: int | None = None) -> None:
        super().__init__(message, None if retry_after is None else 429)
        self.retry_after = retry_after  # after too many wrong passwords


class LoginNeeded(TwistpiError):
    """The request needs a login.

    Carries a challenge (``WWW-Authenticate: Basic``), so that installers stop instead of looking elsewhere.
    """

    status = 401


def login_needed(verb: str, subject: str) -> LoginNeeded:
    """Return the error for somebody unknown who wants to do what ``verb`` says with ``subject``.

    The devpi client shows the usual phrase before the message, but of an upload's answer nothing else: the word is in its middle.
    """
    reason = "Unauthorized: no valid login came with the request"
    return LoginNeeded(f"Log in to {verb}: {subject} is not open to everybody ({reason}).")


@attrs.define(auto_exc=True, str=False)
class PermissionDenied(TwistpiError):
    """no permission to {what}"""

    status = 403
    what: str
    """``create index alice/x1``, ``modify user bob`` …"""


@attrs.define(auto_exc=True, str=False)
class InvalidDistribution(TwistpiError):
    """{filename!r} is not a valid distribution: {reason}"""

    status = 400
    filename: str
    reason: str


# Indexes, projects, files and upstreams ----------------------------------------------------------------------------


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
class UnknownFile(TwistpiError):
    """The index {index} has no file {path}."""

    status = 404
    index: str
    path: str


@attrs.define(auto_exc=True, str=False)
class FileLost(TwistpiError):
    """The bytes of {path} of {index} are not on this server's disk any more; twistpi check --repair has them from a backup."""

    index: str
    path: str


class FileNotHereYet(TwistpiError):
    """A file is not on this server, and may be when it is requested again."""

    status = 503


class AskFirst(Exception):
    """A worker cannot answer this request by itself: it forwards it to the first process."""


@attrs.define(auto_exc=True, str=False)
class FileRefused(TwistpiError):
    """{sentence}

    A file that the policy of an index does not offer.
    """

    status = 403
    sentence: str
    rule: str
    """The key of the index that says so."""
    index: str
    """The index that has the key."""
    reason: str
    remedy: str
    """What the reader, or who administers the index, can do."""
    since: str | None
    """UTC; None where it is not known."""
    until: str | None
    """UTC (RFC 3339), when the rule ends by itself; None for never."""


@attrs.define(auto_exc=True, str=False)
class NoMetadata(TwistpiError):
    """There is no core metadata for {path} of {index}: {reason}."""

    status = 404
    index: str
    path: str
    reason: str


@attrs.define(auto_exc=True, str=False)
class UpstreamFailed(TwistpiError):
    """The upstream of {index} failed for {subject}: {reason}."""

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


# Sentences that several places need: -------------------------------------------------------------------------------


def answer_lost(server: str, reason: str) -> TwistpiError:
    """Return the error for a request that ``server`` may have carried out before the connection broke."""
    text = f"No answer came from {server}: {reason}. It may have been carried out all the same; check before you repeat it."
    return TwistpiError(text, 503)


def file_exists(filename: str) -> TwistpiError:
    """Return the error for other bytes under the name of a file that may not be replaced."""
    return TwistpiError(f"{filename} already exists in non-volatile index", 409)


def file_gone(index: str, path: str) -> TwistpiError:
    """Return the error for a file that was removed."""
    return TwistpiError(f"file '{index}/{path}' existed, deleted in later serial", 410)


def invalid_filename(filename: str, reason: str) -> InvalidName:
    """Return the error for the name of a distribution."""
    return InvalidName(f"{filename!r} cannot be a distribution's file name: {reason}.")


def invalid_setting(name: str, value: str, source: str, allowed: str) -> TwistpiError:
    """Return the error for the ``value`` of a setting, which comes from ``source``."""
    return TwistpiError(f"The setting {name} is {value!r} (from {source}); {allowed}.")


def no_project(project: str) -> TwistpiError:
    """Return the error for a project that an index does not have."""
    return TwistpiError(f"no project {project!r}", 404)


def project_not_in_filename(filename: str, project: str) -> BadRequest:
    """Return the error for a file of another project."""
    return BadRequest(f"filename {filename!r} does not match project name {project!r}")


def unknown_user(user: str) -> TwistpiError:
    """Return the error for a user that does not exist."""
    return TwistpiError(f"no user {user!r}", 404)


def unknown_version(project: str, version: str) -> TwistpiError:
    """Return the error for a version that an index does not have."""
    return TwistpiError(f"The version {version} of project {project} does not exist.", 404)

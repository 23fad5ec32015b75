"""Every refusal and failure that twistpi reports.

There is one class for each thing that is caught, or becomes HTTP, differently; ``status`` is its HTTP status
(``web/errors.py``).  The sentence is written where an error is raised, or here where several places raise the same one.
"""

from __future__ import annotations

import attrs


class TwistpiError(Exception):
    """Something went wrong inside twistpi; its text says what, and what to do."""

    status: int = 500

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        if status is not None:
            self.status = status

    def __str__(self) -> str:
        """The sentence; of a class with fields, the first paragraph of its docstring with the fields filled in."""
        fields = fields_of(self)
        if not attrs.has(type(self)):
            return str(self.args[0])
        template = " ".join((type(self).__doc__ or "").split("\n\n")[0].split())
        return template.format(**fields)


def field_names(kind: type[TwistpiError]) -> frozenset[str]:
    """Return the names of the fields of a class of errors; none for one whose errors have their text only."""
    return frozenset(attrs.fields_dict(kind)) if attrs.has(kind) else frozenset()


def fields_of(error: TwistpiError) -> dict[str, object]:
    """Return the fields of an error by name."""
    return {name: getattr(error, name) for name in field_names(type(error))}


class BadRequest(TwistpiError):
    """What was sent cannot be taken as it is."""

    status = 400


class InvalidName(BadRequest):
    """No name of an index, a project or a distribution file."""


class ConfigurationError(TwistpiError):
    """A setting, a file or a directory that an administrator named cannot be used."""


class NotFound(TwistpiError):
    """There is no such thing here."""

    status = 404


class Forbidden(TwistpiError):
    """The state of what is asked for does not allow it, whoever asks."""

    status = 403


class Conflict(TwistpiError):
    """What is here already does not allow it."""

    status = 409


class TooLarge(TwistpiError):
    """The body of a request is larger than is taken."""

    status = 413


class LoginFailed(TwistpiError):
    """Name and password, or token, do not belong together."""

    status = 401


class LoginNeeded(TwistpiError):
    """Not without a login.

    Carries a challenge (``WWW-Authenticate: Basic``), so that installers stop instead of looking elsewhere.
    """

    status = 401


class Unavailable(TwistpiError):
    """Not now; the same request may succeed later."""

    status = 503


class FileNotFetched(Unavailable):
    """A file that is to be pushed is not on this server any more."""


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


@attrs.define(auto_exc=True, str=False)
class LoginOnlyHere(TwistpiError):
    """user {user!r} has a blank password and can log in from the server's own machine only; set one there:
    twistpi passwd {user}
    """

    status = 401
    user: str


@attrs.define(auto_exc=True, str=False)
class TooManyFailures(TwistpiError):
    """Too many wrong passwords for {user!r} came from your address; wait {seconds} seconds and try again."""

    status = 429
    user: str
    seconds: int


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


def answer_lost(server: str, reason: str) -> Unavailable:
    """No answer came from ``server``: ``reason``. Nothing is known to be changed; look before you do it again."""
    return Unavailable(f"No answer came from {server}: {reason}. Nothing is known to be changed; look before you do it again.")


def file_exists(filename: str) -> Conflict:
    """``filename`` already exists in non-volatile index"""
    return Conflict(f"{filename} already exists in non-volatile index")


def file_gone(index: str, path: str) -> TwistpiError:
    """File '``index``/``path``' existed, deleted in later serial"""
    return TwistpiError(f"file '{index}/{path}' existed, deleted in later serial", 410)


def invalid_filename(filename: str, reason: str) -> InvalidName:
    """``filename`` cannot be a distribution's file name: ``reason``."""
    return InvalidName(f"{filename!r} cannot be a distribution's file name: {reason}.")


def invalid_setting(name: str, value: str, source: str, allowed: str) -> ConfigurationError:
    """The setting ``name`` is ``value`` (from ``source``); ``allowed``."""
    return ConfigurationError(f"The setting {name} is {value!r} (from {source}); {allowed}.")


def no_project(project: str) -> NotFound:
    """No project ``project``"""
    return NotFound(f"no project {project!r}")


def project_not_in_filename(filename: str, project: str) -> BadRequest:
    """Filename ``filename`` does not match project name ``project``"""
    return BadRequest(f"filename {filename!r} does not match project name {project!r}")


def unknown_user(user: str) -> NotFound:
    """No user ``user``"""
    return NotFound(f"no user {user!r}")


def unknown_version(project: str, version: str) -> NotFound:
    """The version ``version`` of project ``project`` does not exist."""
    return NotFound(f"The version {version} of project {project} does not exist.")

"""The refusals that have to do with users, logins, indexes and permissions; see ``model/errors.py`` for how they read."""

from __future__ import annotations

import attrs

from twistpi.model.errors import TwistpiError

# Requests ----------------------------------------------------------------------------------------------------------


@attrs.define(auto_exc=True, str=False)
class BadRequest(TwistpiError):
    """Bad request: {reason}"""

    status = 400
    reason: str


@attrs.define(auto_exc=True, str=False)
class BodyTooLarge(TwistpiError):
    """The body is larger than the {limit} bytes that are taken here."""

    status = 413
    limit: int


# Logins ------------------------------------------------------------------------------------------------------------


@attrs.define(auto_exc=True, str=False)
class LoginFailed(TwistpiError):
    """user {user!r} could not be authenticated"""

    status = 401
    user: str


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
class TooBusy(TwistpiError):
    """Too many passwords wait to be looked at; try again in a few seconds, or use a token instead of a password."""

    status = 503


@attrs.define(auto_exc=True, str=False)
class SecretRefused(TwistpiError):
    """The secret file {path} cannot be used: {reason}."""

    path: str
    reason: str


@attrs.define(auto_exc=True, str=False)
class LoginNeeded(TwistpiError):
    """Log in to {what}: {subject} is not open to everybody, and no valid login came with the request.

    Carries a challenge (``WWW-Authenticate: Basic``), so that installers stop instead of looking elsewhere.
    """

    status = 401
    what: str
    subject: str


@attrs.define(auto_exc=True, str=False)
class LoginToPush(LoginNeeded):
    """Log in to push to another server: this one asks others for its users only."""


@attrs.define(auto_exc=True, str=False)
class Forbidden(TwistpiError):
    """no permission to {what}"""

    status = 403
    what: str
    """``create index alice/x1``, ``modify user bob`` …"""


# Users -------------------------------------------------------------------------------------------------------------


@attrs.define(auto_exc=True, str=False)
class InvalidUserName(TwistpiError):
    """username {name!r} contains characters that aren't allowed. Any ascii symbol besides -.@_ is blocked."""

    status = 400
    name: str


@attrs.define(auto_exc=True, str=False)
class InvalidUserConfig(TwistpiError):
    """{reason}"""

    status = 400
    reason: str


@attrs.define(auto_exc=True, str=False)
class UserExists(TwistpiError):
    """user already exists"""

    status = 409
    user: str


@attrs.define(auto_exc=True, str=False)
class UserKept(TwistpiError):
    """user {user!r} has non-volatile index: {index}"""

    status = 403
    user: str
    index: str
    """Its name without the user."""


# Indexes -----------------------------------------------------------------------------------------------------------


@attrs.define(auto_exc=True, str=False)
class InvalidNewIndexName(TwistpiError):
    """indexname {name!r} contains characters that aren't allowed. Any ascii symbol besides -.@_ is blocked."""

    status = 400
    name: str
    """Without the user."""


@attrs.define(auto_exc=True, str=False)
class InvalidIndexConfig(TwistpiError):
    """{reason}"""

    status = 400
    reason: str
    """The messages of the devpi protocol, several joined with a comma."""


@attrs.define(auto_exc=True, str=False)
class IndexExists(TwistpiError):
    """index {index!r} exists"""

    status = 409
    index: str


@attrs.define(auto_exc=True, str=False)
class IndexKept(TwistpiError):
    """index {index} non-volatile, cannot delete"""

    status = 403
    index: str


# Uploads -----------------------------------------------------------------------------------------------------------


@attrs.define(auto_exc=True, str=False)
class NoUploadToMirror(TwistpiError):
    """cannot submit to mirror index"""

    status = 404
    index: str


@attrs.define(auto_exc=True, str=False)
class UnknownAction(TwistpiError):
    """action {action!r} not supported"""

    status = 400
    action: str
    """The form's field ``:action``."""


# API tokens --------------------------------------------------------------------------------------------------------


@attrs.define(auto_exc=True, str=False)
class UnknownToken(TwistpiError):
    """The user {user} has no API token {token}; list them with twistpi token list --user {user}."""

    status = 404
    user: str
    token: str


@attrs.define(auto_exc=True, str=False)
class InvalidTokenRequest(TwistpiError):
    """An API token cannot be made like that: {reason}."""

    status = 400
    reason: str

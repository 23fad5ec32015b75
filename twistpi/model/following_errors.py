"""What a server that follows another one says when that one is gone, refuses or is strange; see ``model/errors.py``."""

from __future__ import annotations

from typing import ClassVar

import attrs

from twistpi.model.errors import TwistpiError


@attrs.define(auto_exc=True, str=False)
class PrimaryUnreachable(TwistpiError):
    """The primary at {url} cannot be reached: {reason}. What is known here is served; try again later."""

    status = 503
    url: str
    reason: str


@attrs.define(auto_exc=True, str=False)
class StrangePrimary(TwistpiError):
    """What answers at {url} does not answer as a primary does: {reason}."""

    status = 502
    url: str
    reason: str


@attrs.define(auto_exc=True, str=False)
class FollowingRefused(TwistpiError):
    """The primary at {url} refuses to be followed: {reason}.

    ``state`` says of each of these in a word why this server follows nobody at the moment.
    """

    status = 503
    state: ClassVar[str] = "refused"
    url: str
    reason: str


@attrs.define(auto_exc=True, str=False)
class OtherLog(FollowingRefused):
    """The primary at {url} has another log than this replica: {reason}. What is here is served and stays as it is. Name the right
    primary with --primary-url; or, to have the other log from now on: twistpi resync.
    """

    state = "other log"


@attrs.define(auto_exc=True, str=False)
class Diverged(FollowingRefused):
    """The primary at {url} and this replica diverged at serial {serial}: {reason}. What is here is served and stays as it is.
    Where the primary is right: twistpi resync, which saves what only this server has. Where it was restored from an old backup,
    and this replica is right: twistpi promote.
    """

    state = "diverged"
    serial: int
    """The first one that is not the same on both."""


@attrs.define(auto_exc=True, str=False)
class PrimaryFenced(FollowingRefused):
    """The server at {url} is no primary any more: {reason}. What is here is served; name the new primary with --primary-url."""

    state = "fenced"


@attrs.define(auto_exc=True, str=False)
class HistoryMissing(FollowingRefused):
    """The server at {url} cannot be followed from here: {reason}. Follow one that has the whole log, or start anew: twistpi
    resync.
    """

    state = "behind"


@attrs.define(auto_exc=True, str=False)
class NotHereYet(TwistpiError):
    """Serial {serial} is not here yet: after {seconds:g} s this server was at {here}. What was changed is in force at the
    primary, and will be here.
    """

    status = 504
    serial: int
    seconds: float
    here: int


@attrs.define(auto_exc=True, str=False)
class HistoryElsewhere(TwistpiError):
    """The server at {url} has no entries before serial {serial} itself, so they are not here either."""

    url: str
    serial: int

"""What servers of one log report of each other; see ``model/errors.py``.  An error that a server sends to another travels as JSON
(``web/replication/base.py``): its text as ``message``, its class as ``error``, and its fields.
"""

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
class NotFenced(TwistpiError):
    """No reason to step back: {reason}."""

    status = 409
    reason: str


@attrs.define(auto_exc=True, str=False)
class SenderRefused(TwistpiError):
    """A request that another server of the house passes on must prove it, and the token of this one does not: {reason}. Servers
    that pass requests on share one secret; see the setting secretfile.
    """

    status = 403
    reason: str


class AskFirst(Exception):
    """A worker cannot answer this by itself: the first process has to; caught where errors become answers."""


@attrs.define(auto_exc=True, str=False)
class NodeRefused(TwistpiError):
    """Only servers of the same house may ask for that, and the header Authorization does not prove to be one: {reason}.

    ``reason`` is ``missing``, ``malformed``, ``wrong secret``, ``expired``, ``other request`` or ``replayed``.  After ``expired``
    the asker takes the time in ``X-Twistpi-Time`` for that of this server, and asks once more.
    """

    status = 403
    reason: str


@attrs.define(auto_exc=True, str=False)
class FeedRefused(TwistpiError):
    """The changelog of this server cannot be followed from serial {asked}: {told}.

    ``reason`` says the same in a word: ``diverged`` (this log has another line there, or ends before), ``other log``, ``fenced``
    (the asker knows a later epoch), ``behind`` (this log begins only after that serial).
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


@attrs.define(auto_exc=True, str=False)
class UnknownSerial(TwistpiError):
    """There is no serial {serial} in this changelog, which has those from {first} to {last}."""

    status = 404
    serial: int
    first: int
    """The first line that is here; one more than ``last`` while there is none."""
    last: int


@attrs.define(auto_exc=True, str=False)
class FileNotHereYet(TwistpiError):
    """The file {filename} is not on this server yet, and nobody can be asked for it now: {reason}.

    Asking again later may help.
    """

    status = 503
    filename: str
    reason: str

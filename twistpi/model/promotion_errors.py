"""What a server says when another one was promoted, or when it cannot be promoted itself; see ``model/errors.py``."""

from __future__ import annotations

import attrs

from twistpi.model.errors import TwistpiError


@attrs.define(auto_exc=True, str=False)
class Fenced(TwistpiError):
    """Writes are not taken here any more, since {successor} was promoted and began epoch {epoch}. {beyond} Use the new primary;
    twistpi resync makes a replica of this server.
    """

    status = 503
    successor: str
    """Its URL, or how else it is called."""
    epoch: int
    beyond: str
    """A sentence about the entries that only this server has; or empty."""


@attrs.define(auto_exc=True, str=False)
class GivenUp(TwistpiError):
    """What this request waited for was given up, because the server stops or takes on another role. Try again in a moment."""

    status = 503


@attrs.define(auto_exc=True, str=False)
class NotPromotable(TwistpiError):
    """Promoting this server is not possible: {reason}."""

    status = 409
    reason: str


@attrs.define(auto_exc=True, str=False)
class EntriesOutstanding(TwistpiError):
    """Nobody was promoted: the primary at {url} has the entries up to {there}, this server only up to {here}{waited}. Try again
    when they are here, or go without them: twistpi promote --force.
    """

    status = 409
    url: str
    there: int
    here: int
    waited: str
    """For how long it was waited, as the end of that sentence."""


@attrs.define(auto_exc=True, str=False)
class NotFenced(TwistpiError):
    """No reason to step back: {reason}."""

    status = 409
    reason: str

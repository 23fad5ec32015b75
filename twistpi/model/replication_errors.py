"""Refusals between servers: of those that ask without the secret, of feeds that do not fit, and of writing where only reading is.

The first paragraph of a docstring is the sentence its reader sees.  What one server tells another travels as JSON
(``web/replication/authentication.py``): the sentence as ``message``, the name of the class as ``error``, and every field.
"""

from __future__ import annotations

import attrs

from twistpi.model.errors import TwistpiError


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
class NotPrimary(TwistpiError):
    """Nothing is written by this server, because it follows another one; ask the primary."""

    status = 503


@attrs.define(auto_exc=True, str=False)
class UnknownSnapshot(TwistpiError):
    """There is no snapshot {snapshot} here any more; have a new one made with POST /+snapshot."""

    status = 404
    snapshot: str


@attrs.define(auto_exc=True, str=False)
class UnknownSegment(TwistpiError):
    """There is no segment {segment} in this changelog."""

    status = 404
    segment: str

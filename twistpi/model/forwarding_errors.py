"""What a server says of a request that it could not hand on to the one that answers it; see ``model/errors.py``."""

from __future__ import annotations

import attrs

from twistpi.model.errors import TwistpiError


@attrs.define(auto_exc=True, str=False)
class NothingForwarded(TwistpiError):
    """Only {server} can do this, and it cannot be reached: {reason}. Nothing was changed; try again later. What is here can be
    read meanwhile.
    """

    status = 503
    server: str
    reason: str


@attrs.define(auto_exc=True, str=False)
class AnswerLost(TwistpiError):
    """No answer came from {server}: {reason}. Nothing is known to be changed; look before you do it again."""

    status = 503
    server: str
    reason: str


@attrs.define(auto_exc=True, str=False)
class NotBelieved(TwistpiError):
    """Only {server} can do this, and it does not believe this server when that passes requests on: {reason}. Both need the same
    secret (the setting secretfile). Nothing was changed.
    """

    status = 502
    server: str
    reason: str


@attrs.define(auto_exc=True, str=False)
class HeadTooLarge(TwistpiError):
    """The headers of this request are too large to be handed on to {server}: {size:,} bytes, where it takes {limit:,}."""

    status = 431
    server: str
    size: int
    limit: int


@attrs.define(auto_exc=True, str=False)
class SenderRefused(TwistpiError):
    """A request that another server of the house passes on must prove it, and the token of this one does not: {reason}. Servers
    that pass requests on share one secret; see the setting secretfile.
    """

    status = 403
    reason: str


class AskFirst(Exception):
    """A worker cannot answer this by itself: the first process has to; caught where errors become answers."""

"""What a server that follows another one says when that one is gone, refuses or is strange; see ``model/errors.py``."""

from __future__ import annotations

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

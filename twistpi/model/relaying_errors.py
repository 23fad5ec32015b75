"""What a replica says when it has to ask its primary and cannot; see ``model/errors.py``."""

from __future__ import annotations

import attrs

from twistpi.model.errors import TwistpiError


@attrs.define(auto_exc=True, str=False)
class FileNotHereYet(TwistpiError):
    """The file {filename} is not on this server yet, and nobody can be asked for it now: {reason}.

    Asking again later may help.
    """

    status = 503
    filename: str
    reason: str

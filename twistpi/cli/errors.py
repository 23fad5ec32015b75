"""The error of commands."""

from __future__ import annotations

import attrs

from twistpi.model.errors import TwistpiError


@attrs.define(auto_exc=True, str=False)
class CommandRefused(TwistpiError):
    """{sentence}"""

    sentence: str

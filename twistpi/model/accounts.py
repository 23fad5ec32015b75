"""Users, their API tokens, and whoever asks for something, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from twistpi.model.records import NOTHING, Json

ROOT: Final = "root"
"""The user that every server has, who may administer all others."""
ANYBODY: Final = ":ANONYMOUS:"
"""In an access list: everybody, with or without a login."""
ANY_USER: Final = ":AUTHENTICATED:"
"""In an access list: everybody who is logged in."""
BY_ANONYMOUS: Final = "+anonymous"
"""The author of an entry that somebody without a login caused."""


@attrs.frozen
class User:
    """Somebody who can own indexes and, with a password, log in."""

    name: str
    config: Mapping[str, Json] = NOTHING
    """``email``, ``title``, ``description`` and ``custom_data``, where set."""
    password_hash: str | None = None
    """What ``auth.passwords`` made of the password; empty for the blank password, None for a user who cannot log in."""
    created: str = ""
    """UTC, ``2026-11-22T17:12:19Z``."""
    modified: str | None = None
    """The same of the last change; None before the first."""


@attrs.frozen
class ApiToken:
    """A password for programs, which may do a few things for a while.  Its secret half is known to its holder alone."""

    token: str
    """Its public half: 16 hexadecimal digits."""
    user: str
    digest: str
    """SHA-256 of its secret half, as hexadecimal digits."""
    may: tuple[str, ...]
    """``read``, ``upload`` or both."""
    index: str | None = None
    """The one index it is good for, ``user/name``; None for all."""
    project: str | None = None
    """The one project (normalised) it may upload to; None for all."""
    expires: str | None = None
    """UTC, ``2026-11-22T17:00:00Z``; None for never."""
    title: str = ""
    created: str = ""
    """UTC, ``2026-11-22T17:12:19Z``."""


@attrs.frozen
class Principal:
    """Whoever asks for something, as far as the credentials of the request prove."""

    user: str | None = None
    """None for anybody: without credentials, or with such as prove nothing."""
    groups: tuple[str, ...] = ()
    """Names without the colon."""
    token: ApiToken | None = None
    """The API token that was shown instead of a password; it narrows what the user may do."""

    @property
    def author(self) -> str:
        """The author of an entry this asker causes."""
        return BY_ANONYMOUS if self.user is None else self.user


NOBODY: Final = Principal()
"""An asker of whom nothing is known."""

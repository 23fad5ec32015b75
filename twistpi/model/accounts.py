"""Users, API tokens and principals as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from twistpi.model.records import NOTHING, Json

ROOT: Final = "root"
"""The user that every server has, and that administers all others."""
ANYBODY: Final = ":ANONYMOUS:"
"""In an access list: everybody, with or without a login."""
ANY_USER: Final = ":AUTHENTICATED:"
"""In an access list: everybody who is logged in."""
BY_ANONYMOUS: Final = "+anonymous"
"""The author of an entry that a request without a login caused."""


@attrs.frozen
class User:
    """An account that can own indexes and, with a password, log in."""

    name: str
    config: Mapping[str, Json] = NOTHING
    """``email``, ``title``, ``description`` and ``custom_data``, where set."""
    password_hash: str | None = None
    """The hash that ``auth.passwords`` makes; empty for the blank password, None for a user who cannot log in."""
    created: str = ""
    """UTC, ``2026-11-22T17:12:19Z``."""
    modified: str | None = None
    """Of the last change, in the same form; None before the first."""


@attrs.frozen
class ApiToken:
    """A password for programs, with limited rights and perhaps for a limited time.  Only its holder knows its secret half."""

    token: str
    """Its public half: 16 hexadecimal digits."""
    user: str
    digest: str
    """SHA-256 of its secret half, as hexadecimal digits."""
    may: tuple[str, ...]
    """``read``, ``upload`` or both."""
    index: str | None = None
    """The only index it is valid for, ``user/name``; None for all."""
    project: str | None = None
    """The only project (normalised) it may upload to; None for all."""
    expires: str | None = None
    """UTC, ``2026-11-22T17:00:00Z``; None for never."""
    title: str = ""
    created: str = ""
    """UTC, ``2026-11-22T17:12:19Z``."""


@attrs.frozen
class Principal:
    """The user, or nobody, that the credentials of a request prove."""

    user: str | None = None
    """None without credentials, and with such as prove nothing."""
    groups: tuple[str, ...] = ()
    """Names without the colon."""
    token: ApiToken | None = None
    """The API token that was sent instead of a password; it narrows what the user may do."""

    @property
    def author(self) -> str:
        """The author of an entry that a request of this principal causes."""
        return BY_ANONYMOUS if self.user is None else self.user


NOBODY: Final = Principal()
"""The principal of a request that proves nothing."""

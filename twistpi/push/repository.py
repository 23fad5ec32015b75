"""The upload address of another server, and the login for it."""

from __future__ import annotations

import base64
from typing import Final
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import attrs

from twistpi.model.upload_errors import InvalidPush

_SAFE_IN_URLS: Final = "%/:=&?~#+!$,;'@()*[]|"


@attrs.frozen
class Repository:
    """An upload address; ``read_repository`` makes one."""

    url: str
    """ASCII, without user and password."""
    authorization: str | None = attrs.field(repr=False)
    """The value of the ``Authorization`` header, None without a login."""

    @property
    def host(self) -> str:
        """Host and port, for results and logs."""
        return urlsplit(self.url).netloc


def read_repository(url: str, username: str, password: str) -> Repository:
    """Return the repository at ``url``, with the login ``username`` and ``password``, or else with that in ``url``.

    Raise ``InvalidPush`` for what is no http or https address.
    """
    try:
        parts = urlsplit(url)
        is_web = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_web = False
    if not is_web:
        raise InvalidPush("posturl must be an http or https address")
    userinfo, at, host = parts.netloc.rpartition("@")
    if at and not username and not password:
        username, _, password = (unquote(part) for part in userinfo.partition(":"))
    login = base64.b64encode(f"{username}:{password}".encode("utf-8", "replace")).decode("ascii")
    clean = urlunsplit((parts.scheme, host, parts.path or "/", parts.query, ""))
    return Repository(quote(clean, safe=_SAFE_IN_URLS, errors="replace"), f"Basic {login}" if username or password else None)

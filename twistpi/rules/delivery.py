"""How a file that is in a bucket gets to a client: through this server, or by a redirect to the bucket.  Pure.

The address of a redirect is another one each time, because it is signed.  A client that caches responses by their final address,
as pip and poetry do, would never find a file in its cache again.  uv keeps files under their names.
"""

from __future__ import annotations

from typing import Final, Literal

import attrs

DeliveryMode = Literal["stream", "redirect", "auto"]
_BY_NAME: Final = ("uv/",)
"""How clients call themselves that do not cache by address."""
_SMALL: Final = 64 * 1024
"""Bytes up to which a redirect takes longer than the file."""


@attrs.frozen
class Redirect:
    """For how long the address in a redirect is valid, and how long the redirect may be remembered."""

    seconds: int
    cache_control: bytes


_OPEN: Final = Redirect(600, b"public, max-age=60")
_PRIVATE: Final = Redirect(60, b"private, no-store")


def decide_redirect(mode: DeliveryMode, user_agent: str | None, size: int, *, is_private: bool) -> Redirect | None:
    """Return the redirect for a GET request for a file of ``size`` bytes; None when it is to be streamed.

    The address of a private file is valid for a minute; everybody who has the address can read the file.
    """
    is_named = (user_agent or "").startswith(_BY_NAME)
    if mode == "stream" or size <= _SMALL or (mode == "auto" and not is_named):
        return None
    return _PRIVATE if is_private else _OPEN

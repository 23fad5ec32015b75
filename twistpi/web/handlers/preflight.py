"""What browsers ask before a page of another site may send an unusual request (Fetch standard, "CORS-preflight request")."""

from __future__ import annotations

from typing import Final

import attrs
from twisted.web.server import Request

from twistpi.web.access import Access
from twistpi.web.replies import NO_STORE, Headers, Reply
from twistpi.web.request import is_shared

_ALLOWED: Final[Headers] = (
    (b"Access-Control-Allow-Methods", b"GET, HEAD"),
    (
        b"Access-Control-Allow-Headers",
        b"Accept, Accept-Encoding, Cache-Control, Content-Type, If-Modified-Since, If-None-Match, If-Range, Pragma, Range,"
        b" User-Agent, X-Devpi-Absolute-Urls, X-Requested-With",
    ),
    (b"Access-Control-Max-Age", b"86400"),
)
"""No header with credentials: what needs them is not for other sites."""


@attrs.define(eq=False)
class PreflightHandler:
    """Answers ``OPTIONS`` where pages of other sites may read what everybody may."""

    _access: Access
    _json_index: str = ""
    """The index whose documents are at ``/pypi/``."""

    async def answer(self, request: Request, name: str | None = None, **_more: str) -> Reply:
        """Allow reading; of an index that is not open, or unknown, nothing."""
        self._access.share(request, name or self._json_index)
        return Reply(204, (*(_ALLOWED if is_shared(request) else ()), NO_STORE))

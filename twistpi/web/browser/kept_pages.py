"""Pages for readers who are not signed in, kept for a moment: the same one is often asked for again before anything changes.

Such a page depends on the view, which each committed entry changes, and a little on what changes by itself, such as the number of
downloads.  So it is dropped with the next entry, and after two seconds.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import attrs
from twisted.web.server import Request

from twistpi.simple.negotiate import accepts_gzip
from twistpi.web.addresses import Addresses, outside_url
from twistpi.web.browser.frame import THEME_COOKIE, wants_page
from twistpi.web.browser.rendering import PAGE_POLICY
from twistpi.web.replies import Reply, Responder
from twistpi.web.request import header

_SECONDS: Final = 2.0
_MOST_BYTES: Final = 4 * 1024 * 1024
"""Of all pages together."""
_LONGEST_TARGET: Final = 500
"""Bytes of path and query."""
_SEARCH: Final = b"/+search"

Key = tuple[bytes, str, bytes | None, bool]
"""Path and query, the address of the server, the theme, and whether the page is gzip-coded."""


@attrs.define(eq=False)
class KeptPages:
    """The pages; for the reactor's thread alone."""

    _responder: Responder
    _addresses: Addresses
    _pages: OrderedDict[Key, tuple[float, Reply]] = attrs.field(factory=OrderedDict, init=False)
    """With the time at which each was made, the oldest first."""
    _serial: int = attrs.field(default=-1, init=False)
    _size: int = attrs.field(default=0, init=False)

    def key_of(self, request: Request) -> Key | None:
        """Return what a page for ``request`` depends on beside the view; None if it is not the same for everybody."""
        if request.method != b"GET" or not wants_page(request) or _has_credentials(request):
            return None
        path = request.path
        if len(request.uri) > _LONGEST_TARGET or (b"/+" in path and not path.endswith(_SEARCH)):
            return None
        gzip = accepts_gzip(header(request, "accept-encoding"))
        return request.uri, outside_url(request, self._addresses), request.getCookie(THEME_COOKIE), gzip

    def find(self, key: Key) -> Reply | None:
        """Return the page that was made for ``key`` since the last entry and within the last seconds; None without one."""
        self._forget_old()
        found = self._pages.get(key)
        return None if found is None else found[1]

    def keep(self, key: Key, serial: int, reply: Reply) -> None:
        """Keep ``reply``, which began to be made at ``serial``, if it is a page and nothing changed since."""
        self._forget_old()
        if reply.status != 200 or PAGE_POLICY not in reply.headers or serial != self._serial or key in self._pages:
            return
        self._pages[key] = (self._responder.now(), reply)
        self._size += len(reply.body)
        while self._size > _MOST_BYTES:
            self._drop_oldest()

    def _forget_old(self) -> None:
        if self._serial != self._responder.serial:
            self._serial, self._size = self._responder.serial, 0
            self._pages.clear()
        before = self._responder.now() - _SECONDS
        while self._pages and next(iter(self._pages.values()))[0] <= before:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        _key, (_made, reply) = self._pages.popitem(last=False)
        self._size -= len(reply.body)


def _has_credentials(request: Request) -> bool:
    """Return whether ``request`` says who sends it; any cookie but that of the theme may."""
    headers = request.requestHeaders
    names = {part.partition("=")[0].strip() for part in (header(request, "cookie") or "").split(";")}
    return headers.hasHeader(b"Authorization") or headers.hasHeader(b"X-Devpi-Auth") or not names <= {"", THEME_COOKIE.decode()}

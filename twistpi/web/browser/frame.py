"""To whom a page is shown, and at which address they reached the server."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

import attrs
from twisted.web.server import Request

from twistpi.model.records import ROOT, Principal
from twistpi.rules.permissions import Action, is_allowed
from twistpi.simple.negotiate import accepts_gzip
from twistpi.web.access import Access
from twistpi.web.addresses import Addresses, outside_url
from twistpi.web.replies import Headers
from twistpi.web.request import header, is_installer, wants_html

THEME_COOKIE: Final = b"twistpi-theme"
_THEMES: Final = {b"light": "light", b"dark": "dark"}


@attrs.frozen
class Frame:
    """What every page needs to know of the request."""

    caller: Principal
    """Who reads the page; ``NOBODY`` without a login."""
    url: str
    """The address of this server as the reader reached it, without a slash at the end."""
    path: str = "/"
    """The path of the page, without the prefix of this server; percent-encoded."""
    theme: str = ""
    """``light`` or ``dark`` when the reader chose one; empty for what the browser prefers."""
    gzip: bool = False
    """Whether the browser takes a gzip-coded page."""
    is_administrator: bool = False
    """Whether the reader may administer the server."""
    form_token: str = ""
    """What each form has to send back, so that no page of another site can send it; empty where nobody is signed in."""
    message: str = ""
    """What the reader did last, for the top of the page; empty for nothing new."""
    cookies: Headers = ()
    """What the browser is to forget with this page."""
    root: str = attrs.field(init=False)
    """What links of this server begin with: empty, or ``/prefix``."""

    @root.default
    def _path_of_url(self) -> str:
        return urlsplit(self.url).path


@attrs.define(eq=False)
class Frames:
    """Makes the frame of a request."""

    _access: Access
    _addresses: Addresses

    async def of(self, request: Request) -> Frame:
        """Return the frame of ``request``; raise ``TwistpiError`` if its credentials cannot be looked at now."""
        caller = await self._access.principal(request)
        sessions = self._access.authenticator.sessions
        message = sessions.message(request)
        return Frame(
            caller,
            outside_url(request, self._addresses),
            request.path.decode("ascii", "replace"),
            _THEMES.get(request.getCookie(THEME_COOKIE) or b"", ""),
            accepts_gzip(header(request, "accept-encoding")),
            is_allowed(Action.ADMINISTER, caller, self._access.policy, user=ROOT),
            sessions.form_token(request),
            message,
            (sessions.said(request),) if message else (),
        )


def wants_page(request: Request) -> bool:
    """Return whether ``request`` is for a page for people: its ``Accept`` is that of a browser, and it is from no installer."""
    accept = (header(request, "accept") or "").lower()
    is_browser = wants_html(request) and "application/vnd.pypi.simple" not in accept and b"format" not in request.args
    return is_browser and not is_installer(header(request, "user-agent"))

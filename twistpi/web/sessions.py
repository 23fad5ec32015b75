"""Sessions: logins in browsers, which send them in a cookie.

A cookie is sent with requests that other sites cause, too, so it proves less than credentials that a client sends on purpose.  It
counts for reading, and for a form of this server that comes with the session's form token; never for a change by the API, and
never beside credentials.

It is ``SameSite=Lax``: with ``Strict`` a reader who follows a link in a mail would be signed out.  Nothing is lost by that,
because reading changes nothing here.  It holds all there is of a session, so a session ends when it is too old, when the password
changes, when the user is deleted, and when the browser drops the cookie, which signing out asks for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.web.server import Request
from werkzeug.datastructures import MultiDict
from werkzeug.http import dump_cookie, parse_cookie

from twistpi.auth.tokens import LoginTokens, is_valid_for
from twistpi.model.errors import TwistpiError
from twistpi.model.records import NOBODY, Principal, User
from twistpi.web.addresses import Addresses, outside_url
from twistpi.web.replies import SET_COOKIE
from twistpi.web.request import header

if TYPE_CHECKING:
    from twistpi.view.read import Readers

COOKIE: Final = "twistpi_session"
"""Without a dash, so that nginx has a variable for it."""
_MESSAGE_COOKIE: Final = "twistpi_message"
_MESSAGE_SECONDS: Final = 60
_LONGEST_MESSAGE: Final = 500
"""Characters."""
_MOST: Final = 4
"""Cookies of this name that are looked at: a browser sends one for each prefix of the path."""
_READING: Final = (b"GET", b"HEAD")
_NOT_SIGNED_IN: Final = "You are not signed in, or your session has ended. Sign in, and do it again."
_NO_FORM_TOKEN: Final = (
    "Nothing was changed, because the form is not one of your session: it may have been open since before you signed in. "
    "Go back, load the page again, and send the form once more."
)
Cookie = tuple[bytes, bytes]
"""A ``Set-Cookie`` header."""


@attrs.define(eq=False)
class Sessions:
    """Begins and ends sessions, and finds those of requests."""

    _readers: Readers
    _tokens: LoginTokens
    _clock: IReactorTime
    _entropy: Callable[[int], bytes]
    _addresses: Addresses

    def principal(self, request: Request) -> Principal:
        """Return the caller by the session of ``request``, which has no credentials; ``NOBODY`` unless it only reads."""
        found = self._find(request) if request.method in _READING else None
        return NOBODY if found is None else Principal(found[1])

    def form_token(self, request: Request) -> str:
        """Return what the forms of a page have to send back; empty without a session."""
        found = self._find(request)
        return "" if found is None else self._tokens.form_token(found[0], self._entropy(8).hex())

    def form_principal(self, request: Request, form_token: str) -> Principal:
        """Return who sends a form with ``form_token``.  Raise ``TwistpiError`` unless it is one of the request's session."""
        found = self._find(request)
        if found is None:
            raise TwistpiError(_NOT_SIGNED_IN, 403)
        if not self._tokens.is_form_token(found[0], form_token):
            raise TwistpiError(_NO_FORM_TOKEN, 403)
        return Principal(found[1])

    def begin(self, request: Request, user: User, message: str = "") -> tuple[Cookie, ...]:
        """Return the cookies with which a session of ``user`` begins, whose first page shows ``message``."""
        session = self._tokens.make_session(user, self._clock.seconds(), self._entropy(12).hex())
        cookie = self._cookie(request, COOKIE, session, self._tokens.lifetime_seconds)
        return (cookie, *self._message_cookie(request, session, message)) if message else (cookie,)

    def end(self, request: Request) -> Cookie:
        """Return the cookie with which the browser forgets its session."""
        return self._cookie(request, COOKIE, "", 0)

    def set_message(self, request: Request, message: str) -> tuple[Cookie, ...]:
        """Return the cookie with which the next page of the session shows ``message``."""
        found = self._find(request)
        return () if found is None else self._message_cookie(request, found[0], message)

    def _message_cookie(self, request: Request, session: str, message: str) -> tuple[Cookie, ...]:
        text = self._tokens.make_message(session, message[:_LONGEST_MESSAGE])
        return (self._cookie(request, _MESSAGE_COOKIE, text, _MESSAGE_SECONDS),)

    def message(self, request: Request) -> str:
        """Return the message that ``set_message`` set; empty without one."""
        found, sent = self._find(request), header(request, "cookie") or ""
        text = _cookies(sent).get(_MESSAGE_COOKIE)
        return "" if found is None or text is None else self._tokens.read_message(found[0], text)

    def said(self, request: Request) -> Cookie:
        """Return the cookie with which the browser forgets the message."""
        return self._cookie(request, _MESSAGE_COOKIE, "", 0)

    def _find(self, request: Request) -> tuple[str, str] | None:
        """Return text and user of the session that came with ``request``; None beside credentials of any kind."""
        sent, headers = header(request, "cookie"), request.requestHeaders
        if sent is None or headers.hasHeader(b"Authorization") or headers.hasHeader(b"X-Devpi-Auth"):
            return None
        for text in _cookies(sent).getlist(COOKIE)[:_MOST]:
            claim = self._tokens.read_session(text, self._clock.seconds())
            if claim is not None and is_valid_for(claim, self._readers.get().user(claim.user)):
                return text, claim.user
        return None

    def _cookie(self, request: Request, name: str, value: str, seconds: int) -> Cookie:
        address = urlsplit(outside_url(request, self._addresses))
        cookie = dump_cookie(
            name,
            value,
            max_age=seconds,
            path=address.path or "/",
            secure=address.scheme == "https",
            httponly=True,
            samesite="Lax",
            sync_expires=False,
        )
        return SET_COOKIE, cookie.encode("ascii")


def _cookies(sent: str) -> MultiDict[str, str]:
    """Return the cookies in a header; those of other servers of the host may hold anything."""
    return parse_cookie(sent.encode("ascii", "replace").decode())

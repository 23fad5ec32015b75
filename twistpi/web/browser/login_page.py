"""Signing in and out: ``/+login`` and ``/+logout``."""

from __future__ import annotations

import attrs
from twisted.web.server import Request

from twistpi.auth.passwords import BLANK
from twistpi.model.errors import TwistpiError
from twistpi.model.records import User
from twistpi.web.access import Access
from twistpi.web.addresses import Addresses, client_address, is_local
from twistpi.web.browser.forms import Forms, path_after
from twistpi.web.browser.frame import Frame, Frames
from twistpi.web.browser.rendering import Renderer, segment
from twistpi.web.replies import NO_STORE, Headers, Reply
from twistpi.web.request import header, parameter


@attrs.define(eq=False)
class LoginPage:
    """Makes ``/+login``, and answers its form and that of ``/+logout``."""

    _access: Access
    _addresses: Addresses
    _frames: Frames
    _forms: Forms
    _renderer: Renderer

    async def show(self, request: Request) -> Reply:
        """The form; for those who are signed in, the way on."""
        frame = await self._frames.of(request)
        after = path_after(parameter(request, b"next"), frame.root)
        return self._forms.done(request, after) if frame.form_token else self._page(frame, after)

    async def login(self, request: Request) -> Reply:
        """Begin a session."""
        self._check_is_own(request)
        form = self._forms.read(request)
        frame = await self._frames.of(request)
        after = path_after(form.first("next") or "", frame.root)
        name, password = (form.first("user") or "").strip(), form.first("password") or ""
        try:
            user = await self._proved(request, name, password)
        except TwistpiError as refusal:
            return self._page(frame, after, name, refusal)
        after = f"/{segment(user.name)}/+account" if user.password_hash == BLANK else after
        return self._forms.done(request, after, headers=self._access.authenticator.sessions.begin(request, user))

    async def logout(self, request: Request) -> Reply:
        """End the session; without one there is nothing to do."""
        sessions = self._access.authenticator.sessions
        if sessions.form_token(request):
            self._forms.sent(request)
        return self._forms.done(request, "/", headers=(sessions.end(request),))

    async def _proved(self, request: Request, name: str, password: str) -> User:
        address, local = client_address(request, self._addresses), is_local(request)
        return await self._access.authenticator.proved(name, password, address, local=local)

    def _check_is_own(self, request: Request) -> None:
        """Raise ``TwistpiError`` unless the browser says that a page of this server sent the form.

        Another site that signs its visitors in under its own account would learn what they do.  There is no session yet whose
        token could tell; but every browser of the last years tells the origin of a form, and a wrong one was refused before its
        body came (``addresses.check_site``).
        """
        if header(request, "origin") is None and header(request, "sec-fetch-site") is None:
            raise TwistpiError(
                "The browser does not say which page sent the form (Origin), so it may have been one of another site. "
                "Programs log in with JSON: POST /+login.",
                403,
            )

    def _page(self, frame: Frame, after: str, user: str = "", refusal: TwistpiError | None = None) -> Reply:
        retry = None if refusal is None else refusal.retry_after
        headers: Headers = (NO_STORE,) if retry is None else (NO_STORE, (b"Retry-After", b"%d" % retry))
        return self._renderer.page(
            frame,
            "login.html",
            status=200 if refusal is None else refusal.status,
            headers=headers,
            error="" if refusal is None else str(refusal),
            after=frame.root + after,
            user=user,
        )

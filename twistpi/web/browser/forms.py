"""Forms of the pages: who sends one, what it says, and where the reader goes when it is done."""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote

import attrs
from twisted.web.server import Request

from twistpi.model.errors import BadRequest, TwistpiError
from twistpi.model.records import Principal
from twistpi.web.access import Access
from twistpi.web.addresses import Addresses, outside_url
from twistpi.web.browser.frame import Frame, Frames
from twistpi.web.receiving.forms import Form, read_urlencoded
from twistpi.web.replies import NO_STORE, Headers, Reply, redirect_reply
from twistpi.web.request import header, kept_body

TOKEN: Final = "form_token"
"""The field with the form token of the session."""
_URLENCODED: Final = "application/x-www-form-urlencoded"
_SEE_OTHER: Final = 303
_LARGEST_OF_NOBODY: Final = 64 * 1024
"""Bytes of a form of somebody who is not signed in, as that of the login: it is parsed in the reactor."""


@attrs.frozen
class Sent:
    """A form of somebody who is signed in."""

    sender: Principal
    form: Form

    def text(self, name: str) -> str:
        """Return the value of a field, without white space around it and with plain ends of lines; empty without any."""
        return self.given(name) or ""

    def given(self, name: str) -> str | None:
        """Return the same; None for a field that was not sent."""
        value = self.form.first(name)
        return None if value is None else value.strip().replace("\r\n", "\n")

    def is_set(self, name: str) -> bool:
        """Return whether a box is ticked."""
        return bool(self.form.first(name))


@attrs.define(eq=False)
class Forms:
    """Reads forms, and answers them."""

    _access: Access
    _addresses: Addresses
    _frames: Frames

    async def frame(self, request: Request) -> Frame:
        """Return the frame of a page with a form that changes something; raise ``TwistpiError`` unless somebody is signed in."""
        frame = await self._frames.of(request)
        if not frame.form_token:
            raise TwistpiError("Sign in to do this.", 403)
        return frame

    def read(self, request: Request) -> Form:
        """Return what ``request`` says.

        Raise ``BadRequest`` for anything but a form without files, and ``TwistpiError`` for a large one without a session.
        """
        kind = (header(request, "content-type") or "").partition(";")[0].strip().lower()
        if kind != _URLENCODED:
            raise BadRequest(f"Send this as a form: {_URLENCODED}.")
        body = kept_body(request)
        if len(body) > _LARGEST_OF_NOBODY and not self._access.authenticator.sessions.form_token(request):
            raise TwistpiError("The form is too large for somebody who is not signed in.", 413)
        return read_urlencoded(body)

    def sent(self, request: Request) -> Sent:
        """Return the form in ``request`` and who sends it; raise ``TwistpiError`` unless it is one of the sender's session."""
        form = self.read(request)
        return Sent(self._access.authenticator.form_principal(request, form.first(TOKEN) or ""), form)

    def done(self, request: Request, path: str, message: str = "", headers: Headers = ()) -> Reply:
        """Return the answer to a form after which the reader goes to ``path`` below the root, where ``message`` is shown."""
        root = Frame(Principal(), outside_url(request, self._addresses)).root
        said = self._access.authenticator.sessions.set_message(request, message) if message else ()
        reply = redirect_reply(f"{root}{path}", _SEE_OTHER)
        kept = tuple(line for line in reply.headers if line[0] != NO_STORE[0])
        return attrs.evolve(reply, headers=(*kept, NO_STORE, *said, *headers))


def path_after(asked: str, root: str) -> str:
    """Return the path below ``root`` to which ``asked`` leads, a path of this server; ``/`` for anything that leads elsewhere.

    ``asked`` comes from an address that anybody may have made up: ``//other.example`` is another server.
    """
    if asked != root and not asked.startswith(f"{root}/"):
        return "/"
    below = asked.removeprefix(root) or "/"
    decoded = unquote(below)
    is_elsewhere = any(part in decoded for part in ("\\", "//", "/.."))
    return "/" if is_elsewhere or not decoded.isprintable() or decoded.startswith("/+log") else below

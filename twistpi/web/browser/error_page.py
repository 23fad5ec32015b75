"""What people see where something is missing, not allowed, or went wrong."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from http import HTTPStatus
from itertools import islice
from typing import Final
from urllib.parse import unquote

import attrs
from twisted.python.failure import Failure
from twisted.web.server import Request

from twistpi.http.offload import Offload
from twistpi.model.errors import FileRefused, InvalidName, LoginNeeded, TwistpiError
from twistpi.model.names import normalize_project
from twistpi.model.records import NOBODY
from twistpi.rules.permissions import may_read
from twistpi.web.access import Access
from twistpi.web.addresses import Addresses, outside_url, path_parts
from twistpi.web.browser.frame import Frame, Frames
from twistpi.web.browser.index_page import access_lists
from twistpi.web.browser.rendering import Renderer
from twistpi.web.errors import failure_reply
from twistpi.web.replies import NO_STORE, Headers, Reply

_COMPARED: Final = 5_000
"""Names that are compared with a wrong one."""
_SUGGESTED: Final = 5
_LONGEST_NAME: Final = 100
"""Characters; longer ones are compared with nothing."""
_KEPT: Final = (b"Retry-After", b"Allow", b"X-Twistpi-Policy")
_NOT_ALLOWED: Final = frozenset({401, 403})


@attrs.define(eq=False)
class ErrorPage:
    """Makes the pages of errors."""

    _access: Access
    _addresses: Addresses
    _frames: Frames
    _renderer: Renderer
    _offload: Offload

    async def show(self, request: Request, failure: Failure) -> Reply:
        """Return the page for a ``request`` that failed."""
        plain = failure_reply(request, failure, wants_json=False)
        # A challenge would open the browser's own window instead of our form.
        status = 403 if failure.check(LoginNeeded) else plain.status
        headers: Headers = (NO_STORE, *(header for header in plain.headers if header[0] in _KEPT))
        try:
            frame = await self._frames.of(request)
        except TwistpiError:  # credentials that cannot be looked at now
            frame = Frame(NOBODY, outside_url(request, self._addresses))
        sentence = plain.body.decode("utf-8", "replace").strip()
        refused = failure.value if isinstance(failure.value, FileRefused) else None
        return await self._offload(self._build, frame, request, status, sentence, headers, refused)

    def _build(
        self, frame: Frame, request: Request, status: int, sentence: str, headers: Headers, refused: FileRefused | None
    ) -> Reply:
        is_barred = status in _NOT_ALLOWED and refused is None
        near = self._near(frame, request) if status == HTTPStatus.NOT_FOUND else []
        return self._renderer.page(
            frame,
            "error.html",
            status=status,
            headers=headers,
            code=status,
            phrase=HTTPStatus(status).phrase,
            sentence=sentence,
            refused=refused,
            filename=unquote(frame.path.rpartition("/")[2]),
            near=near,
            may_sign_in=is_barred and frame.caller.user is None,
            who_may=self._who_may(request) if is_barred and frame.caller.user is not None else [],
        )

    def _who_may(self, request: Request) -> list[tuple[str, list[str]]]:
        """Return who may do what with the index of the path, for a reader who signed in and may ask them."""
        try:
            parts = path_parts(request, request.uri.decode("latin-1"), self._addresses)
        except TwistpiError:
            return []
        index = self._access.reader.index("/".join(parts[:2]))
        return [] if index is None else access_lists(index)

    def _near(self, frame: Frame, request: Request) -> list[tuple[str, str]]:
        """Return names that are like the one that does not exist, with their paths below the root."""
        try:
            parts = [part for part in path_parts(request, request.uri.decode("latin-1"), self._addresses) if part]
        except TwistpiError:
            return []
        reader = self._access.reader
        readable = [index.name for index in reader.indexes() if may_read(frame.caller, index)]
        asked = "/".join(parts[:2])
        if asked not in readable:
            owners = {name.partition("/")[0] for name in readable}
            return [(name, f"/{name}") for name in _like(asked, [*readable, *owners])]
        if len(parts) < 3:
            return []
        try:
            sought = normalize_project(unquote(parts[2]))
        except InvalidName:
            return []
        names = islice(reader.projects(asked), _COMPARED)
        return [(name, f"/{asked}/{name}") for name in _like(sought, names)]


def _like(name: str, names: Iterable[str]) -> list[str]:
    if len(name) > _LONGEST_NAME:
        return []
    return get_close_matches(name, list(names), _SUGGESTED, 0.5)

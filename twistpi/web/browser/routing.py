"""What routes are made of, and the choice between a page and what programs get at the same address."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from twisted.web.server import Request
from werkzeug.exceptions import NotFound

from twistpi.web.browser.frame import wants_page
from twistpi.web.replies import Reply
from twistpi.web.request import is_form

Handler = Callable[..., Awaitable[Reply | bytes | None]]
Route = tuple[str, Sequence[str], Handler]
"""Path, methods and handler."""


def for_people(page: Handler, other: Handler) -> Handler:
    """Return a handler that answers browsers with ``page``, and everybody else with ``other``."""

    async def answer(request: Request, **parts: str) -> Reply | bytes | None:
        return await (page if wants_page(request) else other)(request, **parts)

    return answer


def page_only(page: Handler) -> Handler:
    """Return a handler that answers browsers with ``page``, and everybody else as if there were nothing."""

    async def nothing(request: Request, **parts: str) -> Reply | bytes | None:
        raise NotFound

    return for_people(page, nothing)


def for_forms(page: Handler, other: Handler) -> Handler:
    """Return a handler that has ``page`` answer forms, and ``other`` everything else, JSON above all."""

    async def answer(request: Request, **parts: str) -> Reply | bytes | None:
        return await (page if is_form(request) else other)(request, **parts)

    return answer


def with_form(page: Handler, form: Handler | None = None) -> Handler:
    """Return a handler that answers browsers with ``page``, and its form, which is sent to the same address, with ``form``.

    Without ``form`` the page answers it, too.
    """
    shown, sent = page_only(page), form or page

    async def answer(request: Request, **parts: str) -> Reply | bytes | None:
        return await (sent if request.method == b"POST" else shown)(request, **parts)

    return answer

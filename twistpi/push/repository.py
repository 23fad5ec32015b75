"""Another server's upload endpoint: its address and login, and forms posted to it."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus
from typing import BinaryIO, Final
from urllib.parse import unquote, urlsplit, urlunsplit

import attrs
from twisted.internet.defer import Deferred

from twistpi.http.client import HTTPClient, Response
from twistpi.http.errors import Cause, RequestFailed
from twistpi.http.offload import Offload
from twistpi.http.streamed_body import StreamedBody
from twistpi.http.urls import quoted
from twistpi.model.errors import BadRequest
from twistpi.model.text import one_line
from twistpi.rules.uploads import EncodedForm

_PIECE: Final = 256 * 1024
"""Bytes of a file that are in memory at a time."""
_LONGEST_ANSWER: Final = 4 * 1024
"""Bytes of an answer that are read."""
_LONGEST_TEXT: Final = 1000
"""Characters of an answer that are shown."""
_TAGS: Final = re.compile(r"<(script|style|title)\b.*?</\1\s*>|<[^>]*>", re.IGNORECASE | re.DOTALL)


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

    Raise ``BadRequest`` for what is no http or https address.
    """
    try:
        parts = urlsplit(url)
        is_web = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_web = False
    if not is_web:
        raise BadRequest("posturl must be an http or https address")
    userinfo, at, host = parts.netloc.rpartition("@")
    if at and not username and not password:
        username, _, password = (unquote(part) for part in userinfo.partition(":"))
    login = base64.b64encode(f"{username}:{password}".encode("utf-8", "replace")).decode("ascii")
    clean = urlunsplit((parts.scheme, host, parts.path or "/", parts.query, ""))
    return Repository(quoted(clean), f"Basic {login}" if username or password else None)


async def post(
    repository: Repository, form: EncodedForm, file: BinaryIO | None, *, client: HTTPClient, patience: float
) -> tuple[int, str]:
    """Post ``form`` with ``file`` in it; return the status, and what the other server says, in one line.

    ``patience`` is the time in seconds in which it has to take a piece, or to answer once it has all.  Raise
    ``RequestFailed``, with ``Cause.CONNECT`` if there was no connection.
    """
    body = _body(form, file, client.offload, lambda: timer.reset(patience) if timer.active() else None)
    posting = Deferred.fromCoroutine(_exchange(repository, form, body, client))
    timer = client.clock.callLater(patience, posting.cancel)
    try:
        return await posting
    except Exception as error:
        body.stopProducing()
        if not timer.active():
            raise RequestFailed(f"no answer within {patience:g} s", Cause.TIMEOUT if body.started else Cause.CONNECT) from error
        if not isinstance(error, RequestFailed):
            raise
        raise RequestFailed(_line(error.reason), error.cause if body.started else Cause.CONNECT) from error
    finally:
        if timer.active():
            timer.cancel()


async def _exchange(repository: Repository, form: EncodedForm, body: StreamedBody, client: HTTPClient) -> tuple[int, str]:
    headers = {"Accept": "text/plain, application/json; q=0.8, */*; q=0.5", "Content-Type": form.content_type}
    if repository.authorization is not None:
        headers["Authorization"] = repository.authorization
    response = await client.request("POST", repository.url, headers=headers, body=body, follow=False)
    return response.status, _text(response, await response.beginning(_LONGEST_ANSWER))


def _body(form: EncodedForm, file: BinaryIO | None, offload: Offload, moved: Callable[[], object]) -> StreamedBody:
    """Return a form with its file, which stays the caller's, as the body of a request."""
    size = 0 if file is None else file.seek(0, 2)

    async def pieces() -> AsyncIterator[bytes]:
        yield form.head
        left = size
        if file is not None:
            file.seek(0)
            while left > 0:
                data: bytes = await offload(file.read, min(_PIECE, left))
                if not data:
                    raise OSError("the file on disk is shorter than it was")
                left -= len(data)
                yield data
        yield form.tail

    return StreamedBody(len(form.head) + size + len(form.tail), pieces, moved)


def _text(response: Response, body: bytes) -> str:
    """Return the text of an answer for people: that of its body, and its reason phrase unless that is the usual one."""
    if 300 <= response.status < 400:
        location = response.header("Location") or "elsewhere"
        return _line(f"it redirects to {location}, push to that address instead")
    text = body.decode("utf-8", "replace")
    if "html" in (response.header("Content-Type") or "").lower() or text.lstrip().startswith("<"):
        text = html.unescape(_TAGS.sub(" ", text))
    phrase = response.phrase
    said = _line(text)
    if phrase and phrase not in said and phrase.lower() != _usual_phrase(response.status).lower():
        said = f"{_line(phrase)} {said}".strip()
    return said or _line(phrase) or _usual_phrase(response.status)


def _usual_phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _line(text: str) -> str:
    """Return ``text`` as one line of limited length."""
    line = one_line(text)
    return line if len(line) <= _LONGEST_TEXT else f"{line[:_LONGEST_TEXT]}…"

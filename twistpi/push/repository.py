"""Another server's upload endpoint: its address and login, and forms posted to it."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Callable
from http import HTTPStatus
from typing import BinaryIO, Final
from urllib.parse import unquote, urlsplit, urlunsplit

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IConsumer
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from twistpi.http.body import Offload
from twistpi.http.client import HTTPClient, Response
from twistpi.http.errors import RequestFailed
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


@attrs.define(auto_exc=True, str=False)
class NoAnswer(Exception):
    """There was no answer that can be understood."""

    reason: str
    """For people."""
    is_away: bool
    """Whether there was no connection, so that it is not worth trying again."""


async def post(
    repository: Repository, form: EncodedForm, file: BinaryIO | None, *, client: HTTPClient, patience: float
) -> tuple[int, str]:
    """Post ``form`` with ``file`` in it; return the status, and what the other server says, in one line.

    ``patience`` is the time in seconds in which it has to take a piece, or to answer once it has all.  Raise ``NoAnswer``.
    """
    body = _Body(form, file, client.offload, lambda: timer.reset(patience) if timer.active() else None)
    posting = Deferred.fromCoroutine(_exchange(repository, form, body, client))
    timer = client.clock.callLater(patience, posting.cancel)
    try:
        return await posting
    except Exception as error:
        body.stopProducing()
        if not timer.active():
            raise NoAnswer(f"no answer within {patience:g} s", not body.started) from error
        if not isinstance(error, RequestFailed):
            raise
        raise NoAnswer(_line(error.reason), not body.started) from error
    finally:
        if timer.active():
            timer.cancel()


async def _exchange(repository: Repository, form: EncodedForm, body: _Body, client: HTTPClient) -> tuple[int, str]:
    headers = {"Accept": "text/plain, application/json; q=0.8, */*; q=0.5", "Content-Type": form.content_type}
    if repository.authorization is not None:
        headers["Authorization"] = repository.authorization
    response = await client.request("POST", repository.url, headers=headers, body=body, follow=False)
    return response.status, _text(response, await response.beginning(_LONGEST_ANSWER))


@implementer(IBodyProducer)
class _Body:
    """A form with its file, as the body of a request."""

    def __init__(self, form: EncodedForm, file: BinaryIO | None, offload: Offload, moved: Callable[[], None]) -> None:
        """``file`` stays the caller's; ``moved`` is called with every piece that was taken."""
        self.length = len(form.head) + len(form.tail)
        """Bytes."""
        self.started = False
        """Whether there was a connection."""
        self._left = 0
        if file is not None:
            self._left = file.seek(0, 2)
            file.seek(0)
        self.length += self._left
        self._form = form
        self._file = file
        self._offload = offload
        self._moved = moved
        self._work: Deferred[None] | None = None
        self._waiting: Deferred[None] | None = None
        self._paused = False

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """See ``IBodyProducer``."""
        self.started = True
        done: Deferred[None] = Deferred(lambda _: self.stopProducing())
        self._work = Deferred.fromCoroutine(self._produce(consumer))
        self._work.addErrback(lambda failure: failure.trap(CancelledError) and Deferred())  # stopped
        self._work.addCallbacks(done.callback, done.errback)
        return done

    def pauseProducing(self) -> None:
        """The connection has enough for now."""
        self._paused = True

    def resumeProducing(self) -> None:
        """The connection takes more."""
        self._paused = False
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    def stopProducing(self) -> None:
        """Stop; the Deferred of ``startProducing`` does not fire any more."""
        if self._work is not None:
            self._work.cancel()

    async def _produce(self, consumer: IConsumer) -> None:
        await self._write(consumer, self._form.head)
        while self._left > 0:
            assert self._file is not None
            data: bytes = await self._offload(self._file.read, min(_PIECE, self._left))
            if not data:
                raise OSError("the file on disk is shorter than it was")
            self._left -= len(data)
            await self._write(consumer, data)
        await self._write(consumer, self._form.tail)

    async def _write(self, consumer: IConsumer, data: bytes) -> None:
        consumer.write(data)
        if self._paused:
            self._waiting = Deferred()
            await self._waiting
        self._moved()


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

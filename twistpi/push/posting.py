"""One form posted to another server: its file straight from the disk, piece by piece, as fast as the other server takes it."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any, BinaryIO, Final

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from twistpi import __version__
from twistpi.model.reasons import explain
from twistpi.push.repository import Repository
from twistpi.rules.upload_form import EncodedForm

Offload = Callable[..., "Deferred[Any]"]
"""Runs a blocking function with its arguments in another thread, as ``deferToThread`` does."""

_PIECE: Final = 256 * 1024
"""Bytes of a file that are in memory at a time."""
_LONGEST_ANSWER: Final = 4 * 1024
"""Bytes of an answer that are read."""
_LONGEST_TEXT: Final = 1000
"""Characters of an answer that are shown."""
_TAGS: Final = re.compile(r"<(script|style|title)\b.*?</\1\s*>|<[^>]*>", re.IGNORECASE | re.DOTALL)


@attrs.define(auto_exc=True, str=False)
class NoAnswer(Exception):
    """The other server said nothing that could be understood."""

    reason: str
    """For people."""
    is_away: bool
    """Whether it could not even be connected to, so that it is not worth trying again."""


async def post(
    repository: Repository,
    form: EncodedForm,
    file: BinaryIO | None,
    *,
    agent: IAgent,
    clock: Any,
    offload: Offload,
    patience: float,
) -> tuple[int, str]:
    """Post ``form`` with ``file`` in it: the status, and what the other server says, in one line.

    ``patience`` are the seconds in which it has to take a piece, or to answer once it has all.  Raises ``NoAnswer``.
    """
    watch = _Watch(clock, patience)
    body = _Body(form, file, offload, watch.reset)
    try:
        return await watch.over(_exchange(repository, form, body, agent))
    except Exception as error:  # Twisted raises a large family: refused, broken TLS, lost connections, no HTTP at all
        body.stopProducing()
        reason = f"no answer within {patience:g} s" if watch.is_over else _line(explain(error))
        raise NoAnswer(reason, not body.started) from error


async def _exchange(repository: Repository, form: EncodedForm, body: _Body, agent: IAgent) -> tuple[int, str]:
    headers = Headers(
        {
            "User-Agent": [f"twistpi/{__version__}"],
            "Accept": ["text/plain, application/json; q=0.8, */*; q=0.5"],
            "Content-Type": [form.content_type],
        }
    )
    if repository.authorization is not None:
        headers.setRawHeaders("Authorization", [repository.authorization])
    response = await agent.request(b"POST", repository.url.encode("ascii"), headers, body)
    body.hang_up()
    answer = _Answer()
    response.deliverBody(answer)  # type: ignore[no-untyped-call]
    return response.code, _text(response, await answer.done)


@implementer(IBodyProducer)
class _Body:
    """A form on its way, with the file in it."""

    def __init__(self, form: EncodedForm, file: BinaryIO | None, offload: Offload, moved: Callable[[], None]) -> None:
        """``file`` stays the caller's; ``moved`` is called with every piece that was taken."""
        self.length = len(form.head) + len(form.tail)
        """Bytes."""
        self.started = False
        """Whether there was a connection at all."""
        self._left = 0
        if file is not None:
            self._left = file.seek(0, 2)
            file.seek(0)
        self.length += self._left
        self._form = form
        self._file = file
        self._offload = offload
        self._moved = moved
        self._consumer: Any = None
        self._work: Deferred[None] | None = None
        self._waiting: Deferred[None] | None = None
        self._paused = False
        self._done: Deferred[None] = Deferred(lambda _: self.stopProducing())

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """See ``IBodyProducer``."""
        self.started, self._consumer = True, consumer
        self._work = Deferred.fromCoroutine(self._produce())
        self._work.addCallbacks(lambda _: self._finish(None), self._finish)
        return self._done

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
        """Nobody wants the rest; the Deferred of ``startProducing`` is left as it is."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None and self._work is not None:
            self._work.cancel()

    def hang_up(self) -> None:
        """There is an answer: when it came before all was sent, the rest is not wanted, and would keep the connection open."""
        consumer = self._consumer
        self.stopProducing()
        if consumer is not None:
            # What is handed to producers counts bytes; only the transport behind it can be closed.
            getattr(consumer, "_consumer", consumer).abortConnection()

    async def _produce(self) -> None:
        await self._write(self._form.head)
        while self._left > 0:
            assert self._file is not None
            data: bytes = await self._offload(self._file.read, min(_PIECE, self._left))
            if not data:
                raise OSError("the file on disk is shorter than it was")
            self._left -= len(data)
            await self._write(data)
        await self._write(self._form.tail)

    async def _write(self, data: bytes) -> None:
        self._consumer.write(data)
        if self._paused:
            self._waiting = Deferred()
            await self._waiting
        self._moved()

    def _finish(self, failure: Failure | None) -> None:
        if self._consumer is None:
            return  # stopped
        self._consumer = None
        if failure is None:
            self._done.callback(None)
        else:
            self._done.errback(failure)


class _Answer(Protocol):
    """The beginning of a body; what is wrong with the end of it does not matter."""

    def __init__(self) -> None:
        self.done: Deferred[bytes] = Deferred(lambda _: self._close())
        self._pieces: list[bytes] = []
        self._size = 0

    def dataReceived(self, data: bytes) -> None:
        """A piece came."""
        self._pieces.append(data)
        self._size += len(data)
        if self._size >= _LONGEST_ANSWER:
            self._close()
            self.connectionLost()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """That was it."""
        if not self.done.called:
            self.done.callback(b"".join(self._pieces)[:_LONGEST_ANSWER])

    def _close(self) -> None:
        # What Twisted hands out can only be closed politely, which takes a peer that answers.
        connection: Any = getattr(self.transport, "_producer", self.transport)
        if connection is not None:
            getattr(connection, "abortConnection", connection.loseConnection)()


class _Watch:
    """Gives something up when nothing moves for too long."""

    def __init__(self, clock: Any, seconds: float) -> None:
        self.is_over = False
        self._clock = clock
        self._seconds = seconds
        self._call: Any = None

    def reset(self) -> None:
        """Something moved."""
        if self._call is not None and self._call.active():
            self._call.reset(self._seconds)

    async def over(self, work: Coroutine[Any, Any, tuple[int, str]]) -> tuple[int, str]:
        """What comes of ``work``, which is cancelled when it takes too long."""
        running = Deferred.fromCoroutine(work)
        self._call = self._clock.callLater(self._seconds, self._give_up, running)
        try:
            return await running
        finally:
            if self._call.active():
                self._call.cancel()

    def _give_up(self, running: Deferred[Any]) -> None:
        self.is_over = True
        running.cancel()


def _text(response: IResponse, body: bytes) -> str:
    """What an answer says for people: in its body or else in its status line, where many servers say nothing new."""
    if 300 <= response.code < 400:
        location = (response.headers.getRawHeaders("Location") or ["elsewhere"])[0]
        return _line(f"it redirects to {location}, push to that address instead")
    text = body.decode("utf-8", "replace")
    kind = (response.headers.getRawHeaders("Content-Type") or [""])[0]
    if "html" in kind.lower() or text.lstrip().startswith("<"):
        text = html.unescape(_TAGS.sub(" ", text))
    phrase = response.phrase.decode("latin-1") if isinstance(response.phrase, bytes) else str(response.phrase)
    said = _line(text)
    if phrase and phrase not in said and phrase.lower() != _usual_phrase(response.code).lower():
        said = f"{_line(phrase)} {said}".strip()
    return said or _line(phrase) or _usual_phrase(response.code)


def _usual_phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _line(text: str) -> str:
    """``text`` as one line that is not endless."""
    line = " ".join("".join(character if character.isprintable() else " " for character in text).split())
    return line if len(line) <= _LONGEST_TEXT else f"{line[:_LONGEST_TEXT]}…"

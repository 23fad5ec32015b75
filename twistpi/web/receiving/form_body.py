"""The body of a request that is a form: read while it comes, in threads, its file going straight to ``incoming/``.

Twisted writes a request's body into the object that ``choose_body`` gives it.  What arrives waits here until a thread takes it,
one batch after the other; when too much waits, the connection is not read until the thread catches up.  A refusal - the asker may
not upload, the form is broken or too large, the disk is full - is told as soon as it is known: what still comes is dropped.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import Request

from twistpi.blobs.received import Received, Receiving
from twistpi.model.errors import TwistpiError
from twistpi.model.upload_errors import UploadTooLarge
from twistpi.web.receiving.body_readers import BodyReader, reader_for
from twistpi.web.receiving.forms import Form
from twistpi.web.transport.channel_flow import NOT_WORTH_HURRY, ChannelFlow

if TYPE_CHECKING:
    from twistpi.blobs.interfaces import IBlobs

_BATCH: Final = 64 * 1024
"""Bytes that are worth a thread; smaller forms are read when all is here, and after everything else was checked."""
_MOST_WAITING: Final = 256 * 1024
"""Bytes that may wait for the thread before the sender has to."""

log = Logger()
_T = TypeVar("_T")
Offload = Callable[..., Deferred[Any]]
"""Runs a function in a thread, as ``deferToThread`` does."""
Admit = Callable[[Request, bytes], Awaitable[Any]]
"""Judges, by its headers and its path, whether a request may upload, and raises what refuses it.  Called before the body comes,
and before ``request.method``, ``path`` and ``args`` are set."""


class UploadServices(Protocol):
    """What is needed of ``Services``."""

    @property
    def blobs(self) -> IBlobs:
        """Where the file goes."""

    @property
    def offload(self) -> Offload:
        """See ``Offload``."""

    @property
    def max_upload_size(self) -> int:
        """Bytes of a request's body."""


class Flow(Protocol):
    """What a body asks of the connection it comes from."""

    def pause(self) -> None:
        """Read nothing more for a while; may be called again."""

    def resume(self) -> None:
        """Read on."""

    def answer_now(self) -> None:
        """Have the request answered soon, though its body is not complete."""


def choose_body(request: Request, services: UploadServices, length: int | None, admit: Admit | None = None) -> FormBody | None:
    """The object for the body of ``request`` when that is a form with files sent by POST, or a test result; None otherwise.

    Not for urlencoded bodies: they are small, and clients that mean JSON say so, too (``forms.read_urlencoded``).

    For ``Request.gotLength``, which is called when the headers are here and before the first byte of the body, with its
    ``length``: None when it comes in chunks.
    """
    channel: Any = request.channel
    if getattr(channel, "_command", None) != b"POST":
        return None
    kind, path = _header(request, b"Content-Type"), channel._path.partition(b"?")[0]
    open_reader = reader_for(path, kind, lambda: Receiving(services.blobs))
    if open_reader is None:
        return None
    body = FormBody(services, ChannelFlow(request), open_reader, length)
    body.begin(None if admit is None else lambda: admit(request, path))
    if body.is_refused and request.requestHeaders.hasHeader(b"Expect"):
        # The client waits for leave to send: it hears the refusal instead.
        request.requestHeaders.removeHeader(b"Expect")
        body.flow.answer_now()
    return body


def _header(request: Request, name: bytes) -> str:
    return (request.requestHeaders.getRawHeaders(name) or [b""])[0].decode("latin-1")


class FormBody:
    """A body on its way.  Everything but the reading happens in the reactor's thread.

    The door awaits ``admitted``, then ``form`` or ``result``.  When the request is over, answered or lost, Twisted closes the
    body, and with it the uploaded file, unless that was kept by then; so doors need not clean up.
    """

    def __init__(
        self, services: UploadServices, flow: Flow, open_reader: Callable[[], BodyReader], announced: int | None
    ) -> None:
        """``announced`` is the length of the body in bytes, None when it comes in chunks."""
        self.flow = flow
        self.received = 0
        """Bytes that came, whether they were wanted or not."""
        self._limit = services.max_upload_size
        self._offload = services.offload
        self._announced = announced
        self._open_reader = open_reader
        self._reader: BodyReader | None = None
        self._pieces: list[bytes] = []
        self._waiting = 0
        self._admission: Deferred[Any] | None = None
        self._asker: Any = None
        self._busy = False
        """Whether a thread has the reader."""
        self._paused = False
        self._refusal: Failure | None = None
        self._found: Form | Received | None = None
        self._closed = False
        self._waiters: list[Deferred[None]] = []

    def begin(self, admit: Callable[[], Awaitable[Any]] | None) -> None:
        """Expect the first byte.  Until ``admit`` is through, no more than can wait is taken, and nothing touches the disk."""
        try:
            self._reader = self._open_reader()
            if self._announced is not None and self._announced > self._limit:
                raise UploadTooLarge(self._limit)
        except TwistpiError:
            self._refuse(Failure())  # type: ignore[no-untyped-call]
            return
        if admit is not None:
            self._admission = ensureDeferred(_await(admit()))
            self._admission.addCallbacks(self._admit, self._deny)

    @property
    def is_refused(self) -> bool:
        """Whether it is known already that nothing will come of it."""
        return self._refusal is not None

    # For doors -----------------------------------------------------------------------------------------------------

    async def admitted(self) -> Any:
        """What ``admit`` returned; raises what it raised, or what else the body was refused for meanwhile."""
        await self._until(lambda: self._admission is None or self.is_refused)
        self._raise_refusal()
        return self._asker

    async def form(self) -> Form:
        """The whole form.  To be asked when all of the body is here, or the body asked for an early answer: when doors are.

        Raises ``UploadTooLarge``, ``FormTooLarge``, ``MalformedForm``, ``StorageFull``, and what ``admit`` raised.  When the
        connection is lost meanwhile, this never returns: it is for the door to be cancelled, as klein does.
        """
        found = await self._whole()
        assert isinstance(found, Form)
        return found

    async def result(self) -> Received:
        """The whole test result, the same way; raises ``BadRequest`` and ``BodyTooLarge`` as well."""
        found = await self._whole()
        assert isinstance(found, Received)
        return found

    async def _whole(self) -> Form | Received:
        await self._until(lambda: self.is_refused or (self._is_idle and not self._closed))
        self._raise_refusal()
        if self._found is None:
            self._work(last=True)
            await self._until(lambda: self.is_refused or self._found is not None)
            self._raise_refusal()
        assert self._found is not None
        return self._found

    # For Twisted ---------------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> int:
        """A piece of the body came."""
        self.received += len(data)
        if self.received > self._limit and not self.is_refused:
            self._refuse(Failure(UploadTooLarge(self._limit)))  # type: ignore[no-untyped-call]
        if self.is_refused or self._closed:
            return len(data)
        self._pieces.append(data)
        self._waiting += len(data)
        if self._waiting >= _BATCH and self._is_idle:
            self._work(last=False)
        elif self._waiting >= _MOST_WAITING:
            self._paused = True
            self.flow.pause()
        return len(data)

    def tell(self) -> int:
        """Bytes that came."""
        return self.received

    def seek(self, offset: int, whence: int = 0) -> int:
        """Twisted rewinds a body that is complete; there is nothing to rewind."""
        return 0

    def read(self, size: int = -1) -> bytes:
        """Nothing: what there is, is in ``form``."""
        return b""

    def close(self) -> None:
        """The request is over: forget what was not kept.  May be called again."""
        if self._closed:
            return
        self._closed = True
        self._drop()
        if self._admission is not None:
            self._admission.cancel()
        if not self._busy:
            self._close_reader()

    # Inside --------------------------------------------------------------------------------------------------------

    @property
    def _is_idle(self) -> bool:
        """Whether the next batch may begin."""
        return not self._busy and self._admission is None

    def _work(self, *, last: bool) -> None:
        """Give what waits to a thread."""
        data = b"".join(self._pieces)
        self._drop()
        self._busy = True
        assert self._reader is not None
        self._offload(_read, self._reader, data, last).addCallbacks(self._done, self._failed)
        self._resume()

    def _done(self, found: Form | Received | None) -> None:
        self._busy = False
        if self._closed or self.is_refused:
            self._close_reader()
            return
        self._found = found
        if self._waiting >= _BATCH:
            self._work(last=False)
        self._wake()

    def _failed(self, failure: Failure) -> None:
        self._busy = False
        self._close_reader()
        self._refuse(failure)

    def _admit(self, asker: object) -> None:
        self._admission = None
        self._asker = asker
        if self._waiting >= _BATCH and not self.is_refused and not self._closed:
            self._work(last=False)
        self._wake()

    def _deny(self, failure: Failure) -> None:
        self._admission = None
        if not (self._closed and failure.check(CancelledError)):  # type: ignore[no-untyped-call]
            self._refuse(failure)

    def _refuse(self, failure: Failure) -> None:
        """Nothing will come of it: drop what waits and what comes, and say so, soon when much is still to come."""
        self._refusal = self._refusal or failure
        self._drop()
        if not self._busy:
            self._close_reader()
        if not self._closed:
            self._resume()
            if self._announced is None or self._announced - self.received > NOT_WORTH_HURRY:
                self.flow.answer_now()
        self._wake()

    def _raise_refusal(self) -> None:
        if self._refusal is not None:
            self._refusal.raiseException()

    def _drop(self) -> None:
        self._pieces = []
        self._waiting = 0

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            self.flow.resume()

    def _close_reader(self) -> None:
        """Freeing a large file takes the disk a while."""
        reader, self._reader = self._reader, None
        if reader is not None and reader.is_open:
            self._offload(reader.close).addErrback(_not_closed)

    async def _until(self, is_so: Callable[[], bool]) -> None:
        while not is_so():
            waiter: Deferred[None] = Deferred()
            self._waiters.append(waiter)
            await waiter

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.callback(None)


def _read(reader: BodyReader, data: bytes, last: bool) -> Form | Received | None:
    """One batch; runs in a thread."""
    if data:
        reader.feed(data)
    return reader.finish() if last else None


async def _await(admission: Awaitable[_T]) -> _T:
    return await admission


def _not_closed(failure: Failure) -> None:
    log.failure("An upload could not be removed", failure=failure)

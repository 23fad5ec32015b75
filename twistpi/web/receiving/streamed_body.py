"""The body of an upload or of a test result, read in threads while it arrives; its file goes straight to ``incoming/``.

Twisted writes a request's body into the object that ``choose_body`` returns. Data waits here until a thread takes it, one batch
after the other; when too much waits, the connection is not read until the thread has caught up. A refusal (the client may not
upload, the form is broken or too large, the disk is full) is answered as soon as it is known; the rest of the body is dropped.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import orjson
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import Request

from twistpi.blobs.received import Received, Receiving
from twistpi.model.errors import BadRequest, TwistpiError
from twistpi.model.records import Principal
from twistpi.web.commits import UploadStorage
from twistpi.web.paths import segments_of
from twistpi.web.receiving.forms import Form, MultipartReader, is_multipart
from twistpi.web.transport.channel import NOT_WORTH_HURRY, Channel

LARGEST_RESULT: Final = 16 * 1024 * 1024
"""Bytes of a test result, which is parsed as a whole, though not in the reactor's thread."""
_RESULT_SEGMENTS: Final = 6
"""Segments in the path of a file: user, index, ``+f``, two of its digest, and its name."""
_BATCH: Final = 64 * 1024
"""Bytes that are worth a thread; smaller bodies are read when all is here, after everything else was checked."""
_MOST_WAITING: Final = 256 * 1024
"""Bytes that may wait for the thread before the client has to."""

log = Logger()
Admit = Callable[[Request, bytes], Awaitable[Principal]]
"""Decides by the headers and the path whether a request may upload; raises what refuses it. It is called before the body comes,
and before ``request.method``, ``path`` and ``args`` are set."""


class ResultReader:
    """Reads one test result, which is JSON that is kept as it is."""

    def __init__(self, open_file: Callable[[], Receiving]) -> None:
        self._open_file = open_file
        self._file: Receiving | Received | None = None

    def feed(self, data: bytes) -> None:
        """Write more of it. Raise ``TwistpiError``, ``StorageFull``."""
        if self._file is None:
            self._file = self._open_file()
        assert isinstance(self._file, Receiving)
        if self._file.size + len(data) > LARGEST_RESULT:
            raise TwistpiError(f"The body is larger than the {LARGEST_RESULT} bytes that are taken here.", 413)
        self._file.write(data)

    def finish(self) -> Received:
        """Return the file. Raise ``BadRequest`` if it is no JSON."""
        if not isinstance(self._file, Receiving):
            raise BadRequest("Bad request: could not decode json")
        self._file = received = self._file.finish()
        with received.open() as file:
            try:
                orjson.loads(file.read())
            except orjson.JSONDecodeError:
                raise BadRequest("Bad request: could not decode json") from None
        return received

    def close(self) -> None:
        """Delete the file unless it was kept."""
        if self._file is not None:
            self._file.close()


BodyReader = MultipartReader | ResultReader
"""Parses one body, in threads."""


def is_result_path(raw_path: bytes) -> bool:
    """Return whether a POST to ``raw_path`` (as sent, without query) holds a test result: it is the path of a file."""
    if b"+" not in raw_path and b"%2" not in raw_path:
        return False
    try:
        segments = segments_of(raw_path.decode("latin-1"))
    except TwistpiError:
        return False
    if segments and not segments[-1]:
        segments.pop()
    return len(segments) >= _RESULT_SEGMENTS and segments[-4] == b"+f"


def choose_body(request: Request, storage: UploadStorage, length: int | None, admit: Admit) -> StreamedBody | None:
    """Return the object for the body of ``request`` if that is a POST of a form with files or of a test result, else None.

    Not for urlencoded forms: they are small, and clients send JSON under that type, too (``forms.read_urlencoded``).

    For ``Request.gotLength``, which Twisted calls between the headers and the body; ``length`` is None for a chunked body.
    """
    channel = request.channel
    assert isinstance(channel, Channel)
    method, target = channel.request_line
    if method != b"POST":
        return None
    path = target.partition(b"?")[0]
    content_type = (request.requestHeaders.getRawHeaders(b"Content-Type") or [b""])[0].decode("latin-1")

    def open_reader() -> BodyReader:
        if is_result_path(path):
            return ResultReader(lambda: Receiving(storage.blobs))
        return MultipartReader(content_type, lambda: Receiving(storage.blobs))

    if not is_result_path(path) and not is_multipart(content_type):
        return None
    body = StreamedBody(storage, request, channel, open_reader, length)
    body.begin(lambda: admit(request, path))
    if body.is_refused and request.requestHeaders.hasHeader(b"Expect"):
        # The client waits for 100 Continue: it gets the refusal instead.
        request.requestHeaders.removeHeader(b"Expect")
        channel.answer_soon(request)
    return body


class StreamedBody:
    """A request body on its way. Everything but the parsing happens in the reactor's thread.

    A handler awaits ``admitted``, then ``form`` or ``result``. When the request is over, answered or lost, Twisted closes the
    body, which deletes the uploaded file unless it was kept by then; so handlers need not clean up.
    """

    def __init__(
        self,
        storage: UploadStorage,
        request: Request,
        channel: Channel,
        open_reader: Callable[[], BodyReader],
        announced: int | None,
    ) -> None:
        """``announced`` is the length of the body in bytes, None if it is chunked."""
        self.received = 0
        """Bytes that came, whether they were wanted or not."""
        self._request = request
        self._channel = channel
        self._limit = storage.max_upload_size
        self._offload = storage.offload
        self._announced = announced
        self._open_reader = open_reader
        self._reader: BodyReader | None = None
        self._pieces: list[bytes] = []
        self._waiting = 0
        self._admission: Deferred[Principal] | None = None
        self._principal: Principal | None = None
        self._is_wanted = False
        """Whether a handler waits for the result, and all of the body is here."""
        self._paused = False
        self._refusal: Failure | None = None
        self._found: Form | Received | None = None
        self._closed = False
        self._waiters: list[Deferred[None]] = []

    def begin(self, admit: Callable[[], Awaitable[Principal]]) -> None:
        """Expect the first byte. Until ``admit`` is through, no more than can wait is taken, and nothing touches the disk."""
        Deferred.fromCoroutine(self._process(admit))

    @property
    def is_refused(self) -> bool:
        """Whether it is known already that the body is refused."""
        return self._refusal is not None

    # For handlers ----------------------------------------------------------------------------------------------------

    async def admitted(self) -> Principal:
        """Return what ``admit`` returned. Raise what it raised, or what else the body was refused for meanwhile."""
        await self._until(lambda: self._principal is not None or self.is_refused)
        self._raise_refusal()
        assert self._principal is not None
        return self._principal

    async def form(self) -> Form:
        """Return the whole form; for handlers, which run when all of the body is here or an early answer was asked for.

        Raise ``TwistpiError``, ``BadRequest``, ``StorageFull``, and what ``admit`` raised. If the
        connection is lost meanwhile, this never returns: klein cancels the handler.
        """
        found = await self._whole()
        assert isinstance(found, Form)
        return found

    async def result(self) -> Received:
        """Return the whole test result, the same way. Raise ``BadRequest`` and ``TwistpiError`` as well."""
        found = await self._whole()
        assert isinstance(found, Received)
        return found

    async def _whole(self) -> Form | Received | None:
        self._is_wanted = True
        self._wake()
        await self._until(lambda: self.is_refused or self._found is not None)
        self._raise_refusal()
        return self._found

    # For Twisted -----------------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> int:
        """Take a piece of the body."""
        self.received += len(data)
        if self.received > self._limit and not self.is_refused:
            self._refuse(Failure(self._too_large()))
        if self._is_over:
            return len(data)
        self._pieces.append(data)
        self._waiting += len(data)
        if self._waiting >= _BATCH:
            self._wake()
        if self._waiting >= _MOST_WAITING:
            self._paused = True
            self._channel.pause_reading()
        return len(data)

    def tell(self) -> int:
        """Return how many bytes came."""
        return self.received

    def seek(self, offset: int, whence: int = 0) -> int:
        """Do nothing: Twisted rewinds a complete body, but this one is not kept."""
        return 0

    def read(self, size: int = -1) -> bytes:
        """Return nothing: the result is in ``form`` or ``result``."""
        return b""

    def close(self) -> None:
        """End: the request is over. What was not kept is deleted. May be called again."""
        self._closed = True
        self._drop()
        if self._admission is not None:
            self._admission.cancel()
        self._wake()

    # Inside ----------------------------------------------------------------------------------------------------------

    @property
    def _is_over(self) -> bool:
        return self._closed or self.is_refused

    async def _process(self, admit: Callable[[], Awaitable[Principal]]) -> None:
        """Read the body; runs until the request is over or the body refused."""
        try:
            self._reader = self._open_reader()
            if self._announced is not None and self._announced > self._limit:
                raise self._too_large()
            self._admission = Deferred.fromCoroutine(_await(admit()))
            self._principal = await self._admission
            self._wake()
            await self._read_batches(self._reader)
            await self._until(lambda: self._is_over)
        except CancelledError:
            pass  # closed before the admission was decided
        except Exception:
            self._refuse(Failure())
        finally:
            # Freeing a large file takes the disk a while.
            if self._reader is not None:
                self._offload(self._reader.close).addErrback(_log_not_closed)

    async def _read_batches(self, reader: BodyReader) -> None:
        while self._found is None:
            await self._until(lambda: self._is_over or self._is_wanted or self._waiting >= _BATCH)
            if self._is_over:
                return
            data = b"".join(self._pieces)
            self._drop()
            reading = self._offload(_read, reader, data, self._is_wanted)
            self._resume()
            self._found = await reading
            self._wake()

    def _refuse(self, failure: Failure) -> None:
        """Drop what waits and what comes, and have the refusal answered; at once if much is still to come."""
        self._refusal = self._refusal or failure
        self._drop()
        if not self._closed:
            self._resume()
            if self._announced is None or self._announced - self.received > NOT_WORTH_HURRY:
                self._channel.answer_soon(self._request)
        self._wake()

    def _too_large(self) -> TwistpiError:
        text = f"The upload is larger than the {self._limit} bytes that this server takes (its setting max-upload-size)."
        return TwistpiError(text, 413)

    def _raise_refusal(self) -> None:
        if self._refusal is not None:
            self._refusal.raiseException()

    def _drop(self) -> None:
        self._pieces = []
        self._waiting = 0

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            self._channel.resume_reading()

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
    """Parse one batch; runs in a thread."""
    if data:
        reader.feed(data)
    return reader.finish() if last else None


async def _await(admission: Awaitable[Principal]) -> Principal:
    return await admission


def _log_not_closed(failure: Failure) -> None:
    log.failure("An upload could not be removed", failure=failure)

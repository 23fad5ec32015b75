"""A bucket for threads and commands: the same methods, which block."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, Protocol, TypeVar, cast

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import blockingCallFromThread
from zope.interface import implementer

from twistpi.s3.bucket import Bucket, FileNumber
from twistpi.s3.objects import ObjectInfo, ObjectPage

_Result = TypeVar("_Result")
_call = cast(Callable[[IReactorFromThreads, Callable[[], Deferred[None]]], object], blockingCallFromThread)


def wait_for(reactor: IReactorFromThreads, work: Callable[[], Coroutine[Deferred[object], object, _Result]]) -> _Result:
    """Run ``work`` in the reactor's thread, and return its result in this one.  The reactor has to run."""
    results: list[_Result] = []

    async def run() -> None:
        results.append(await work())

    _call(reactor, lambda: Deferred.fromCoroutine(run()))
    return results[0]


@attrs.define(eq=False)
class BlockingBucket:
    """See ``Bucket``.  For any thread but the reactor's; the reactor has to run."""

    bucket: Bucket
    _reactor: IReactorFromThreads

    def put(self, key: str, content: bytes, *, if_absent: bool = False) -> None:
        """See ``Bucket``."""
        self._wait(lambda: self.bucket.put(key, content, if_absent=if_absent))

    def put_file(self, key: str, file: FileNumber, size: int, sha256: str, *, if_absent: bool = False) -> None:
        """See ``Bucket``."""
        self._wait(lambda: self.bucket.put_file(key, file, size, sha256, if_absent=if_absent))

    def put_stream(self, key: str, pieces: Iterable[bytes]) -> int:
        """See ``Bucket``; ``pieces`` is run in threads, by one at a time."""
        return self._wait(lambda: self.bucket.put_stream(key, self._in_threads(iter(pieces))))

    def read(self, key: str, limit: int) -> bytes:
        """See ``Bucket``."""
        return self._wait(lambda: self.bucket.read(key, limit))

    def download(self, key: str, write: Callable[[bytes], object]) -> int:
        """See ``Bucket``."""
        return self._wait(lambda: self.bucket.download(key, write))

    def head(self, key: str) -> ObjectInfo | None:
        """See ``Bucket``."""
        return self._wait(lambda: self.bucket.head(key))

    def delete(self, key: str) -> None:
        """See ``Bucket``."""
        self._wait(lambda: self.bucket.delete(key))

    def list(self, prefix: str = "", *, after: str = "", limit: int = 1000) -> ObjectPage:
        """See ``Bucket``."""
        return self._wait(lambda: self.bucket.list(prefix, after=after, limit=limit))

    def walk(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """See ``Bucket``."""
        after, is_last = "", False
        while not is_last:
            page = self.list(prefix, after=after)
            yield from page.objects
            is_last = page.is_last or not page.objects
            after = page.objects[-1].key if page.objects else ""

    def _wait(self, work: Callable[[], Coroutine[Deferred[object], object, _Result]]) -> _Result:
        return wait_for(self._reactor, work)

    async def _in_threads(self, pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
        while (piece := await self.bucket.requests.http.offload(next, pieces, None)) is not None:
            yield piece


class StoppedReactor(Protocol):
    """A reactor that does not run yet."""

    def run(self, installSignalHandlers: bool = True) -> None:
        """Run until ``stop``."""

    def stop(self) -> None:
        """Stop."""

    def callFromThread(self, function: Callable[[], object]) -> object:
        """Call ``function`` in the reactor's thread."""


@contextmanager
def running(reactor: StoppedReactor) -> Iterator[None]:
    """Run the reactor in another thread meanwhile.  Once in a process: for commands, in which none runs."""
    thread = threading.Thread(target=reactor.run, kwargs={"installSignalHandlers": False}, name="reactor", daemon=True)
    thread.start()
    try:
        yield
    finally:
        reactor.callFromThread(reactor.stop)
        thread.join()


@implementer(IReactorFromThreads)
@attrs.define(eq=False)
class OnDemand:
    """The reactor for the threads of a command: it runs in a thread of its own from when it is first needed to ``stop``.

    A reactor runs once in a process, and most commands that open a server directory need no bucket.
    """

    _reactor: StoppedReactor
    _until: ExitStack = attrs.field(factory=ExitStack, init=False)
    _is_running: bool = attrs.field(default=False, init=False)
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)

    def callFromThread(self, callable: Callable[..., Any], *args: object, **kwargs: object) -> None:
        """Call ``callable`` in the reactor's thread."""
        with self._lock:
            if not self._is_running:
                self._is_running = True
                self._until.enter_context(running(self._reactor))
        self._reactor.callFromThread(partial(callable, *args, **kwargs))

    def stop(self) -> None:
        """Stop it, if it was needed."""
        self._until.close()

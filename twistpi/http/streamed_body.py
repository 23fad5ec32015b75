"""The body of a request that comes in pieces, at the pace of the connection."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IConsumer
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer


@implementer(IBodyProducer)
class StreamedBody:
    """Sends the pieces that an asynchronous iterator yields, which make ``length`` bytes together."""

    def __init__(
        self, length: int, pieces: Callable[[], AsyncIterator[bytes]], moved: Callable[[], object] = lambda: None
    ) -> None:
        """``pieces`` is called once, when the connection takes the first one; ``moved`` with every piece that was taken."""
        self.length = length
        """Bytes."""
        self.started = False
        """Whether there was a connection."""
        self._pieces, self._moved = pieces, moved
        self._work: Deferred[None] | None = None
        self._waiting: Deferred[None] | None = None
        self._is_paused = False

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
        self._is_paused = True

    def resumeProducing(self) -> None:
        """The connection takes more."""
        self._is_paused = False
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    def stopProducing(self) -> None:
        """Stop; the Deferred of ``startProducing`` does not fire any more."""
        if self._work is not None:
            self._work.cancel()

    async def _produce(self, consumer: IConsumer) -> None:
        async for piece in self._pieces():
            consumer.write(piece)
            if self._is_paused:
                self._waiting = Deferred()
                await self._waiting
            self._moved()

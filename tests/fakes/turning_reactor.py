"""A reactor in a thread of its own, for tests whose own reactor stands still while they wait for a bucket."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from twisted.internet.epollreactor import EPollReactor
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadable import isInIOThread
from zope.interface import implementer

from twistpi.http.offload import Offload


class TurningReactor:
    """Turns until ``stop``.  It is not the installed reactor, and its thread is not the one that Twisted calls the reactor's."""

    def __init__(self) -> None:
        self.reactor: Any = EPollReactor()
        self._threads = self.reactor.getThreadPool()
        self._threads.start()
        self.offload = cast(Offload, partial(deferToThreadPool, self.reactor, self._threads))
        """Runs what blocks in other threads."""
        self._is_over = False
        self._thread = threading.Thread(target=self._turn, name="turning reactor", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End both threads.  Blocking."""
        self._threads.stop()
        self.reactor.callFromThread(setattr, self, "_is_over", True)
        self._thread.join()

    def _turn(self) -> None:
        while not self._is_over:
            self.reactor.doIteration(self.reactor.timeout())
            self.reactor.runUntilCurrent()


@implementer(IReactorFromThreads)
class FromThreadsOnly:
    """A reactor for threads that wait for it; who waits in the thread of the tests' reactor would halt a server."""

    def __init__(self, reactor: IReactorFromThreads) -> None:
        self._reactor = reactor

    def callFromThread(self, callable: Callable[..., Any], *args: object, **kwargs: object) -> None:
        """See ``IReactorFromThreads``."""
        assert not isInIOThread(), "the bucket is waited for in the reactor's thread"
        self._reactor.callFromThread(callable, *args, **kwargs)

"""What a server has to do with its process: reactor, memory, file descriptors, signals, the clock, and systemd."""

# ruff: noqa: N805 -- methods of a zope interface are declared as they are called, without self

from __future__ import annotations

import ctypes
import gc
import os
import resource
import signal
import socket
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from threading import Event, Thread
from types import FrameType
from typing import Final

import attrs
from twisted.internet.interfaces import (
    IListeningPort,
    IProtocolFactory,
    IReactorCore,
    IReactorFDSet,
    IReactorFromThreads,
    IReactorProcess,
    IReactorThreads,
    IReactorTime,
)
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from twistpi.http.offload import Offload

_ARENA_MAX, _TRIM_THRESHOLD, _MMAP_THRESHOLD = -8, -1, -3
"""Of glibc's ``mallopt``."""
_KEPT_FREE: Final = 4 * 1024 * 1024
"""Bytes at the end of the heap that are not given back."""
_MAPPED_ALONE: Final = 1280 * 1024
"""Bytes from which on a block is mapped by itself, and so given back when it is freed, whatever was freed before.  Reads from
sockets are smaller (``http/body_writer.py``): to map, clear and unmap each would cost as much as the read."""
_MOST_DESCRIPTORS: Final = 65_536
"""More are of no use to one process."""
_OTHER_DESCRIPTORS: Final = 192
"""For the log, the view in each thread, upstreams and all else that is no client."""
_MOST_CONNECTIONS: Final = 10_000
_LOOK: Final = 1.0
"""Seconds between two looks at the clock."""
_JUMP: Final = 1.0
"""Seconds; a clock that is set right by less runs slower for a while instead."""
_log = Logger()


class IServerReactor(IReactorCore, IReactorTime, IReactorThreads, IReactorProcess, IReactorFDSet):
    """A reactor that can run a server and its workers.  Its ports take factories of any class."""

    def run(installSignalHandlers: bool = True) -> None:
        """See ``IReactorCore``."""

    def listenTCP(port: int, factory: IProtocolFactory, backlog: int = 50, interface: str = "") -> IListeningPort:
        """See ``IReactorTCP``."""

    def listenUNIX(address: str, factory: IProtocolFactory, backlog: int = 50, mode: int = 0o666) -> IListeningPort:
        """See ``IReactorUNIX``."""

    def adoptStreamPort(fileDescriptor: int, addressFamily: int, factory: IProtocolFactory) -> IListeningPort:
        """See ``IReactorSocket``."""

    def adoptStreamConnection(fileDescriptor: int, addressFamily: int, factory: IProtocolFactory) -> None:
        """See ``IReactorSocket``."""


@attrs.frozen(eq=False)
class Process:
    """What every part of a server has from the process it runs in."""

    reactor: IServerReactor
    environment: Mapping[str, str]
    now: Callable[[], datetime]
    fail: Callable[[Exception], object]
    """Called with the error that makes it impossible to go on."""
    restart: Callable[[], object]
    """Has the process begin anew, in the role that ``node.json`` says then."""

    @property
    def offload(self) -> Offload:
        """Run a function in a thread of the reactor's pool."""
        return thread_pool_of(self.reactor)


def thread_pool_of(reactor: IReactorThreads) -> Offload:
    """Return what runs a function in a thread of the reactor's pool."""
    return partial(deferToThreadPool, reactor, reactor.getThreadPool())


def ease_collecting() -> None:
    """Spare the garbage collector what it need not look at again and again; halves the time a page of 4,000 files takes."""
    gc.freeze()  # what was loaded until now stays
    gc.set_threshold(20_000, 20, 50)


def give_memory_back() -> None:
    """Make the C library return freed memory to the system, where it is glibc.

    Pages of thousands of files are built in threads; an arena for each would keep the peak of each.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter, value in ((_ARENA_MAX, 1), (_TRIM_THRESHOLD, _KEPT_FREE), (_MMAP_THRESHOLD, _MAPPED_ALONE)):
            mallopt(parameter, value)


def raise_descriptor_limit() -> int:
    """Allow this process as many descriptors as it may allow itself; return how many those are.

    Every connection is one, and so is every file that is sent: the 1024 of most systems are few.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MOST_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):  # some sandboxes do not let go
            return soft
        return wanted
    return _MOST_DESCRIPTORS if soft == resource.RLIM_INFINITY else soft


def connections_for(descriptors: int) -> int:
    """Return how many connections so many descriptors are enough for, when each has a file sent to it."""
    return max(16, min(_MOST_CONNECTIONS, (descriptors - _OTHER_DESCRIPTORS) // 2))


def on_hangup(reactor: IReactorFromThreads, reopen: Callable[[], object]) -> None:
    """Call ``reopen`` on SIGHUP; after one that comes before the reactor runs, when it runs."""
    signal.signal(signal.SIGHUP, lambda _number, _frame: reactor.callFromThread(reopen))


def on_second_stop(reactor: IReactorFromThreads, hurry: Callable[[], object]) -> None:
    """Call ``hurry`` on a second SIGTERM or SIGINT.

    To be called when the reactor runs, whose own handlers see to the first one.
    """
    stopping = False

    def wrap(former: Callable[[int, FrameType | None], object]) -> Callable[[int, FrameType | None], None]:
        def handle(number: int, frame: FrameType | None) -> None:
            nonlocal stopping
            if stopping:
                reactor.callFromThread(hurry)
            else:
                stopping = True
                former(number, frame)

        return handle

    for number in (signal.SIGTERM, signal.SIGINT):
        handler = signal.getsignal(number)
        if callable(handler):
            signal.signal(number, wrap(handler))


@attrs.define(eq=False)
class ClockWatch:
    """Has the timers of a process come in time when the clock on the wall is set back.

    Twisted keeps its timers by that clock: when it is set back by an hour, heartbeats and pauses come an hour late.  A thread
    compares it with one that never jumps.  A clock that is set forward needs no help: what is due then is done early.
    """

    _reactor: IServerReactor
    _steady: Callable[[], float] = time.monotonic
    """A clock that never jumps."""
    _ahead: float = attrs.field(default=0.0, init=False)
    """By how much the one clock was ahead of the other at the last look."""
    _ended: Event = attrs.field(factory=Event, init=False)

    def start(self) -> None:
        """Begin to watch."""
        self._ahead = self._reactor.seconds() - self._steady()
        Thread(target=self._run, name="twistpi clock", daemon=True).start()

    def stop(self) -> None:
        """Watch no more."""
        self._ended.set()

    def _run(self) -> None:
        while not self._ended.wait(_LOOK):
            lost = self.look()
            if lost:
                self._reactor.callFromThread(self.make_up_for, lost)

    def look(self) -> float:
        """Return the seconds by which the clock was set back since the last look; 0 for what is no jump, or one forward."""
        before, self._ahead = self._ahead, self._reactor.seconds() - self._steady()
        return max(0.0, before - self._ahead) if before - self._ahead > _JUMP else 0.0

    def make_up_for(self, lost: float) -> None:
        """Have every timer come ``lost`` seconds sooner that was made before they were lost; in the reactor.

        Those made since the jump are recognised: they are due before others can be.
        """
        _log.warn("The clock was set back by {lost:.0f} s; what was planned before comes as it was planned.", lost=lost)
        since = self._reactor.seconds() + lost - 2 * _LOOK
        for call in self._reactor.getDelayedCalls():
            if call.getTime() > since:
                call.delay(-lost)


_START_STEP: Final = 10
"""Seconds between two reports of a start that takes long."""
_START_PATIENCE: Final = 120
"""Seconds that systemd waits for the next one."""


@attrs.define(eq=False)
class Notifier:
    """Tells systemd how the service is (``sd_notify(3)``).  Without ``NOTIFY_SOCKET`` in the environment it does nothing."""

    _address: str | None
    _clock: IReactorTime
    _monotonic: Callable[[], float]
    """Seconds of the monotonic clock, which systemd compares with its own."""
    _watchdog: float | None = None
    """Seconds after which the process counts as hung when it says nothing."""
    _alive: LoopingCall | None = attrs.field(init=False, default=None)
    _told_at: float | None = attrs.field(init=False, default=None)
    """When the progress of the start was last reported."""

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str], clock: IReactorTime, pid: int, monotonic: Callable[[], float]
    ) -> Notifier:
        """Return the notifier of the process ``pid`` with this ``environment``."""
        microseconds = environment.get("WATCHDOG_USEC", "")
        is_watched = environment.get("WATCHDOG_PID", str(pid)) == str(pid)
        watchdog = int(microseconds) / 1e6 if is_watched and microseconds.isdigit() and int(microseconds) > 0 else None
        return cls(environment.get("NOTIFY_SOCKET") or None, clock, monotonic, watchdog)

    def starting(self, done: int, total: int) -> None:
        """Tell every ten seconds that ``done`` of ``total`` entries are in the view: systemd waits as long as it goes on."""
        seconds = self._monotonic()
        if self._told_at is None:
            self._told_at = seconds
        if seconds < self._told_at + _START_STEP:
            return
        self._told_at = seconds
        percent = 100 * done // total
        self._send(f"EXTEND_TIMEOUT_USEC={_START_PATIENCE * 1_000_000}\nSTATUS=Building the view: {percent} %.")
        _log.info("Building the view: {percent} %, entry {done} of {total}.", percent=percent, done=done, total=total)

    def ready(self) -> None:
        """Tell that the service answers, and from now on, as often as is asked for, that the reactor is alive."""
        self._send(f"READY=1\nMAINPID={os.getpid()}\nSTATUS=Answering.")
        if self._address is not None and self._watchdog is not None and self._alive is None:
            self._alive = LoopingCall(self._send, "WATCHDOG=1")
            self._alive.clock = self._clock
            self._alive.start(self._watchdog / 2)

    def reloading(self) -> None:
        """Tell that certificates and logs are opened again; to be followed by ``ready``."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={int(self._monotonic() * 1e6)}")

    def stopping(self) -> None:
        """Tell that the service finishes what it has begun."""
        self._send("STOPPING=1\nSTATUS=Finishing what was begun.")

    def stopped(self) -> None:
        """Tell nothing any more."""
        if self._alive is not None and self._alive.running:
            self._alive.stop()

    def _send(self, text: str) -> None:
        if self._address is None:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as speaking:
                speaking.sendto(text.encode(), address)
        except OSError as error:
            _log.warn("systemd could not be told {text}: {reason}", text=text.partition("\n")[0], reason=str(error))

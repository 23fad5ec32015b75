"""What a server asks of its process: memory, garbage collection, file descriptors, and what signals do."""

from __future__ import annotations

import ctypes
import gc
import resource
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

_ARENA_MAX, _TRIM_THRESHOLD, _MMAP_THRESHOLD = -8, -1, -3
"""Of glibc's ``mallopt``."""
_KEPT_FREE = 4 * 1024 * 1024
"""Bytes at the end of the heap that are not given back."""
_MAPPED_ALONE = 1280 * 1024
"""Bytes from which on a block is mapped by itself, and so given back when it is freed, whatever was freed before.  Reads from
sockets are smaller (``http/body_writer.py``): to map, clear and unmap each would cost as much as the read."""
_MOST_DESCRIPTORS = 65_536
"""More are of no use to one process."""
_OTHER_DESCRIPTORS = 192
"""For the log, the view in each thread, upstreams and all else that is no client."""
_MOST_CONNECTIONS = 10_000


def ease_collecting() -> None:
    """Spare the garbage collector what it need not look at again and again; halves the time a page of 4,000 files takes."""
    gc.freeze()  # what was loaded until now stays
    gc.set_threshold(20_000, 20, 50)


def give_memory_back() -> None:
    """Have freed memory returned to the system, where the C library is glibc.

    Pages of thousands of files are built in threads; an arena for each would keep the peak of each.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter, value in ((_ARENA_MAX, 1), (_TRIM_THRESHOLD, _KEPT_FREE), (_MMAP_THRESHOLD, _MAPPED_ALONE)):
            mallopt(parameter, value)


def raise_descriptor_limit() -> int:
    """Allow this process as many descriptors as it may allow itself; how many those are.

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
    """How many connections so many descriptors are enough for, when each has a file sent to it."""
    return max(16, min(_MOST_CONNECTIONS, (descriptors - _OTHER_DESCRIPTORS) // 2))


_Handler = Callable[[int, FrameType | None], Any]


def on_hangup(reactor: Any, reopen: Callable[[], object]) -> None:
    """Have SIGHUP call ``reopen``; one that comes before the reactor runs is heeded when it does."""
    signal.signal(signal.SIGHUP, lambda _number, _frame: reactor.callFromThread(reopen))


def on_second_stop(reactor: Any, hurry: Callable[[], object]) -> None:
    """Have a second SIGTERM or SIGINT call ``hurry``.

    To be called when the reactor runs, whose own handlers see to the first one.
    """
    stopping = [False]

    def wrap(former: _Handler) -> _Handler:
        def handle(number: int, frame: FrameType | None) -> None:
            if stopping[0]:
                reactor.callFromThread(hurry)
            else:
                stopping[0] = True
                former(number, frame)

        return handle

    for number in (signal.SIGTERM, signal.SIGINT):
        handler = signal.getsignal(number)
        if callable(handler):
            signal.signal(number, wrap(handler))

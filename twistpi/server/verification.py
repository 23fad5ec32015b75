"""The changelog is read through once after each start, beside everything else, so that damage is found while it can be mended.

What a start needs to know of the log it checks itself; the rest may be gigabytes.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

import attrs

from twistpi.changelog.files import FileChangelog
from twistpi.model.peers import Position

PAUSE = 0.02
"""Seconds between two reads of 256 KiB: the reading takes a small part of one processor at most."""
_LOWEST_PRIORITY = 19


class _Stopped(Exception):
    """The server stops."""


@attrs.define
class Verification:
    """One reading of the whole log in a thread of its own."""

    _changelog: FileChangelog
    _done: Callable[[Position], object]
    """Told, in the thread, up to where the chain is right."""
    _failed: Callable[[Exception], object]
    """Told, in the thread, what is wrong."""
    _pause: float = PAUSE
    _stopping: threading.Event = attrs.field(factory=threading.Event, init=False)
    _thread: threading.Thread | None = attrs.field(default=None, init=False)

    def start(self) -> None:
        """Begin reading."""
        self._thread = threading.Thread(target=self._run, name="twistpi verification", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop reading; returns when the thread has ended, which takes milliseconds."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        if hasattr(os, "setpriority"):  # on Linux this is the thread's own priority
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST_PRIORITY)
        try:
            position = self._changelog.verify(self._yield)
        except _Stopped:
            return
        except Exception as error:
            self._failed(error)
        else:
            self._done(position)

    def _yield(self, _done: int, _total: int) -> None:
        if self._stopping.wait(self._pause):
            raise _Stopped

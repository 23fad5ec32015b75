"""How a server directory is: figures for ``/+metrics``, checks for ``/+ready``, and one reading of the whole changelog."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

import attrs
from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from twistpi.changelog.files import FileChangelog
from twistpi.changelog.writer import Writer
from twistpi.mirror.pages import PageService
from twistpi.model.monitoring import Check, Measure
from twistpi.model.server_errors import StorageFull
from twistpi.model.text import in_words
from twistpi.replication.progress import Progress

_MOST_LAG: Final = 60.0
"""Seconds that a replica may be behind while it is receiving what it lacks."""
_NEED_SOMEBODY: Final = frozenset({"refused", "other log", "diverged", "fenced", "behind"})
_PAUSE: Final = 0.02
"""Seconds between two reads of 256 KiB: reading the changelog takes a small part of one processor at most."""
_log = Logger()


@attrs.define(eq=False)
class ServerHealth:
    """Figures and checks of a server."""

    _path: str
    """The server directory."""
    _reserve: int
    """Free bytes of its disk, below which the server is not ready."""
    _changelog: FileChangelog
    _writer: Writer
    _mirror: PageService | None = None
    """None where another server asks the upstreams."""
    _is_open: Callable[[str], bool] = lambda name: True
    """Whether everybody may read the index with this name; others are not named."""
    _progress: Callable[[], Progress | None] = lambda: None
    """How far a replica is; None on a primary."""
    _seconds: Callable[[], float] = time.time
    _statvfs: Callable[[str], os.statvfs_result] = os.statvfs

    def measures(self) -> Iterator[Measure]:
        """See ``Measured``."""
        free, size = self._disk()
        yield Measure("twistpi_disk_free_bytes", "gauge", "Free space of the disk that has the server directory", free)
        yield Measure("twistpi_disk_size_bytes", "gauge", "The size of that disk", size)
        yield Measure("twistpi_changelog_serial", "gauge", "The last serial in the changelog", self._changelog.last.serial)

    def checks(self) -> Iterator[Check]:
        """See ``Checked``."""
        yield self._check_disk()
        yield self._check_log()
        if self._mirror is not None:
            yield _check_upstreams(self._mirror, self._is_open)
        progress = self._progress()
        if progress is not None:
            yield _check_lag(progress, self._seconds())

    def _disk(self) -> tuple[int, int]:
        found = self._statvfs(self._path)
        return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize

    def _check_disk(self) -> Check:
        try:
            free, _size = self._disk()
        except OSError as error:
            return Check("disk", False, f"The disk of the server directory cannot be looked at: {os.strerror(error.errno or 0)}.")
        reserve = f"the setting disk-reserve asks for {in_words(self._reserve)}"
        if free < self._reserve:
            passed_on = "Until then, mirrors pass files on without keeping them."
            return Check("disk", False, f"Only {in_words(free)} of the disk are free, and {reserve}: make room. {passed_on}")
        return Check("disk", True, f"{in_words(free)} of the disk are free; {reserve}.")

    def _check_log(self) -> Check:
        failure = self._writer.failure
        if failure is None:
            return Check("log", True, "The changelog can be written.")
        reason = getattr(failure, "reason", None) or str(failure)  # whole sentences name paths
        advice = "the server's log tells more"
        if isinstance(failure, StorageFull):
            advice = "make room. Until then, changes are refused, and new pages of mirrors are known in memory only"
        return Check("log", False, f"The changelog cannot be written ({reason}); {advice}.")


def _check_upstreams(mirror: PageService, is_open: Callable[[str], bool]) -> Check:
    """Everybody may read it, so of upstreams of closed indexes it says only that some did not answer."""
    failing = mirror.failing()
    if not failing:
        return Check("upstream", True, "No upstream is known to be out of reach.", needed=False)
    reasons = [f"{index}: {reason}" for index, reason in sorted(failing.items()) if is_open(index)]
    if len(reasons) < len(failing):
        reasons.append("some of closed indexes")
    sentence = f"Upstreams that did not answer when last asked: {'; '.join(reasons)}. What is known of them is served."
    return Check("upstream", False, sentence, needed=False)


def _check_lag(progress: Progress, now: float) -> Check:
    """A replica whose primary is away is as good as there is; one that is known to lack much, or has another log, is not."""
    if progress.is_complete:
        return Check("lag", True, "This replica has all that its primary has.")
    seconds = progress.lag_seconds(now)
    since = "since it was started" if seconds is None else f"for {seconds:.0f} s"
    if progress.state in _NEED_SOMEBODY:
        return Check("lag", False, f"This replica does not follow its primary any more ({progress.state}); the log tells more.")
    if not progress.is_connected:
        sentence = f"This replica has not heard of its primary {since} ({progress.state}); it serves what it has."
        return Check("lag", False, sentence, needed=False)
    sentence = f"This replica lacks {progress.lag_entries} entries of its primary's, {since}; it is receiving them."
    return Check("lag", False, sentence, needed=seconds is None or seconds > _MOST_LAG)


class Verification(threading.Thread):
    """Reads the whole changelog once, so that damage is found while it can be mended.  ``failed`` is called with what is wrong.

    Its pauses leave the processor to others, not a low priority: on a busy machine such a thread waits for its turn while it
    holds the interpreter, and everything else waits with it.
    """

    def __init__(self, changelog: FileChangelog, failed: Callable[[Exception], object]) -> None:
        super().__init__(name="twistpi verification", daemon=True)
        self._changelog, self._failed = changelog, failed
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Stop reading; return when the thread has ended, which takes milliseconds."""
        self._stopping.set()
        if self.is_alive():
            self.join()

    def run(self) -> None:
        """Read."""
        try:
            position = self._changelog.verify(self._pause)
        except CancelledError:
            return
        except Exception as error:
            self._failed(error)
        else:
            _log.info("The changelog is whole up to serial {serial}.", serial=position.serial)

    def _pause(self, _done: int, _total: int) -> None:
        if self._stopping.wait(_PAUSE):
            raise CancelledError

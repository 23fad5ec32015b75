"""Running the process that makes a name list's pages."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from twistpi.mirror.trouble import Trouble

_MODULE: Final = "twistpi.mirror.names_child"
_LONGEST_OUTPUT: Final = 64 * 1024


class NamesProcess(ProcessProtocol):
    """One run of ``names_child``."""

    def __init__(self) -> None:
        self.summary: Deferred[dict[str, Any]] = Deferred(lambda _: self._kill())
        """What it printed; fails with ``Trouble`` when the list is no good.  Cancelling it kills the process."""
        self._output = b""
        self._errors = b""

    def outReceived(self, data: bytes) -> None:
        """Its summary."""
        self._output += data[: _LONGEST_OUTPUT - len(self._output)]

    def errReceived(self, data: bytes) -> None:
        """Why it failed."""
        self._errors = (self._errors + data)[-_LONGEST_OUTPUT:]

    def processEnded(self, reason: Failure) -> None:
        """It is over."""
        if self.summary.called:
            return
        if reason.check(ProcessDone):  # type: ignore[no-untyped-call]
            self.summary.callback(json.loads(self._output))
        else:
            lines = self._errors.decode("utf-8", "replace").strip().splitlines() or ["it ended without a word"]
            self.summary.errback(Trouble(f"its name list cannot be used: {lines[-1]}"))

    def _kill(self) -> None:
        try:
            if self.transport is not None:
                self.transport.signalProcess("KILL")
        except ProcessExitedAlready:
            pass


def make_pages(spawner: Any, arguments: Sequence[str]) -> Deferred[dict[str, Any]]:
    """Have ``names_child`` work on ``arguments``; ``spawner`` is the reactor."""
    process = NamesProcess()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-m", _MODULE, *arguments]
    spawner.spawnProcess(process, sys.executable, command, env=environment)
    return process.summary

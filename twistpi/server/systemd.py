"""Tells systemd how the service is (``sd_notify(3)``): ready, reloading, stopping, alive.

Without ``NOTIFY_SOCKET`` in the environment, as when somebody else started the process, all of it does nothing.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from typing import Any

import attrs
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

_log = Logger()


@attrs.define(eq=False)
class Notifier:
    """Speaks to whoever started the process."""

    _address: str | None
    _clock: Any
    """The reactor."""
    _monotonic: Callable[[], float]
    """Seconds of the monotonic clock, which systemd compares with its own."""
    _watchdog: float | None = None
    """Seconds after which the process counts as hung when it says nothing."""
    _alive: LoopingCall | None = attrs.field(init=False, default=None)

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str], clock: Any, process: int, monotonic: Callable[[], float]
    ) -> Notifier:
        """As ``environment`` says, for the process of the number ``process``."""
        microseconds = environment.get("WATCHDOG_USEC", "")
        is_watched = environment.get("WATCHDOG_PID", str(process)) == str(process)
        watchdog = int(microseconds) / 1e6 if is_watched and microseconds.isdigit() and int(microseconds) > 0 else None
        return cls(environment.get("NOTIFY_SOCKET") or None, clock, monotonic, watchdog)

    def ready(self) -> None:
        """The service answers.  From now on its being alive is told, as often as is asked for, by the reactor itself."""
        self._say(f"READY=1\nMAINPID={os.getpid()}\nSTATUS=Answering.")
        if self._address is not None and self._watchdog is not None and self._alive is None:
            self._alive = LoopingCall(self._say, "WATCHDOG=1")
            self._alive.clock = self._clock
            self._alive.start(self._watchdog / 2)

    def reloading(self) -> None:
        """Certificates and logs are opened again; to be followed by ``ready``."""
        self._say(f"RELOADING=1\nMONOTONIC_USEC={int(self._monotonic() * 1e6)}")

    def stopping(self) -> None:
        """The service finishes what it has begun."""
        self._say("STOPPING=1\nSTATUS=Finishing what was begun.")

    def stopped(self) -> None:
        """Nothing is told any more."""
        if self._alive is not None and self._alive.running:
            self._alive.stop()

    def _say(self, text: str) -> None:
        if self._address is None:
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as speaking:
                speaking.sendto(text.encode(), address)
        except OSError as error:
            _log.warn("systemd could not be told {text}: {reason}", text=text.partition("\n")[0], reason=str(error))

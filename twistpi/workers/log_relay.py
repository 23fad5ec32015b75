"""The log of a worker: its events go to the first process, which writes all logs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel, formatEvent
from zope.interface import implementer

from twistpi.workers.control_channel import ACCESS, line_of

_LOGGED = "log"


@implementer(ILogObserver)
@attrs.frozen
class Telling:
    """An observer that tells the first process of each event."""

    _write: Callable[[bytes], object]

    def __call__(self, event: LogEvent) -> None:
        """Something is to be logged."""
        level = event.get("log_level", LogLevel.info)
        if level <= LogLevel.info and event.get("log_namespace") == "log_legacy":
            return  # Twisted's own chat about ports
        text = formatEvent(event)
        failure = event.get("log_failure")
        if failure is not None:
            text = f"{text}\n{failure.getTraceback()}"
        told = {"level": level.name, "namespace": event.get("log_namespace", ""), "text": text}
        self._write(line_of({_LOGGED: told}))


class Output:
    """What a worker has for a standard output: text goes to the first process, which has a real one."""

    tell: Callable[[bytes], object]

    def write(self, text: str) -> int:
        """Say ``text``."""
        self.tell(line_of({ACCESS: text}))
        return len(text)


def log_again(number: int, told: dict[str, Any]) -> bool:
    """Log here what the worker ``number`` has to log; False when ``told`` is something else."""
    event = told.get(_LOGGED)
    if not isinstance(event, dict):
        return False
    level = LogLevel.levelWithName(event["level"])
    Logger(str(event["namespace"])).emit(level, "worker {worker}: {text}", worker=number, text=event["text"])
    return True

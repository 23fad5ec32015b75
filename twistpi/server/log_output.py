"""The logs: how important a line of the server's own must be, whether lines are text or JSON, and a last look for secrets.

twistd has chosen where lines go before a service starts; what it chose is kept, and only how it is written is changed here.
"""

from __future__ import annotations

import contextlib
import sys
from datetime import UTC, datetime
from typing import IO, Literal, TextIO

import attrs
import orjson
from twisted.logger import (
    FileLogObserver,
    FilteringLogObserver,
    LogEvent,
    LogLevel,
    LogLevelFilterPredicate,
    LogPublisher,
    formatEvent,
    formatEventAsClassicLogText,
    globalLogPublisher,
)
from twisted.python.logfile import BaseLogFile

from twistpi.model.errors import invalid_setting
from twistpi.model.text import without_secrets
from twistpi.server.settings import Settings
from twistpi.web.access_log import AccessLog


@attrs.define(eq=False)
class LogOutput:
    """The files that lines go to."""

    _files: list[IO[str] | IO[bytes]] = attrs.field(factory=list)

    @classmethod
    def direct(
        cls, level: str, format: Literal["text", "json"] = "text", publisher: LogPublisher = globalLogPublisher
    ) -> LogOutput:
        """From now on the observers of ``publisher`` see only events of at least ``level`` ("info", "warn" …), and those that
        write to files do so in ``format``.
        """
        predicate = LogLevelFilterPredicate(defaultLogLevel=LogLevel.levelWithName(level))
        files = []
        for observer in list(publisher._observers):
            publisher.removeObserver(observer)
            writing = observer
            if isinstance(observer, FileLogObserver):
                files.append(observer._outFile)
                writing = FileLogObserver(observer._outFile, as_text if format == "text" else as_json)
            publisher.addObserver(FilteringLogObserver(writing, [predicate]))
        return cls(files)

    @property
    def is_shown(self) -> bool:
        """Whether the lines go to the standard output."""
        return sys.__stdout__ in self._files

    def reopen(self) -> None:
        """Go on in new files: somebody moved the old ones away."""
        for file in self._files:
            if isinstance(file, BaseLogFile):
                with contextlib.suppress(OSError):
                    file.reopen()


def as_text(event: LogEvent) -> str | None:
    """A line for people, with the traceback behind it where there is one."""
    text = formatEventAsClassicLogText(event)
    return None if text is None else without_secrets(text)


def as_json(event: LogEvent) -> str | None:
    """A line of JSON."""
    at = datetime.fromtimestamp(event["log_time"], UTC)
    failure = event.get("log_failure")
    fields = {
        "time": at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z",
        "event": "log",
        "level": event["log_level"].name if event.get("log_level") else "info",
        "system": event.get("log_namespace") or event.get("log_system") or "-",
        "message": without_secrets(formatEvent(event)),
    }
    if event.get("request"):
        fields["request"] = str(event["request"])
    if failure is not None:
        fields["traceback"] = without_secrets(failure.getTraceback())
    return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE).decode("utf-8")


def open_access_log(settings: Settings, standard_output: TextIO) -> AccessLog | None:
    """Return the log of requests, where one is wanted.  Raise ``TwistpiError``."""
    if settings.access_log is None:
        return None
    try:
        return AccessLog(settings.access_log, settings.log_format, standard_output)
    except OSError as error:
        reason = f"it must be a file that can be written: {error.strerror}"
        raise invalid_setting("access-log", settings.access_log, "the settings", reason) from None

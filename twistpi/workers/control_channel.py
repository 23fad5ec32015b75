"""Messages between the first process and a worker, over the worker's standard input and standard output.

To a worker: its ``WorkerConfig``, once, as a length and a pickle (both are the same program), then commands, one a line.  When
the input ends, the first process is gone, and the worker ends too.  From a worker: JSON objects, one a line, each with one of the
keys ``ready``, ``traffic``, ``access`` and ``log``; one with ``traffic`` has ``downloads``, ``asked-for`` and ``refused``, too.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable, Mapping
from typing import BinaryIO, Final

import attrs
import orjson
from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel, formatEvent
from zope.interface import implementer

from twistpi.model.records import Json
from twistpi.server.listening import InheritedSocket
from twistpi.server.settings import Settings
from twistpi.web.components import NodeFacts

STOP: Final = b"stop"
"""Command: finish the requests under way, then end."""
HURRY: Final = b"hurry"
"""Command: end now, whatever is under way."""
REOPEN: Final = b"reopen"
"""Command: open the certificates and the access log again; they may be other files now."""
TRAFFIC: Final = "traffic"
"""Message: what was answered since the last one (``web.traffic.Traffic.take``)."""
DOWNLOADS: Final = "downloads"
"""Beside ``TRAFFIC``: the files that were downloaded since the last one (``statistics.tally.Tally.take``)."""
MOST_DOWNLOADS: Final = 1000
"""Rows of them in one message, which has less than a megabyte; the next one has the others."""
ASKED_FOR: Final = "asked-for"
"""Beside ``TRAFFIC``: the paths of the blobs that were asked for (``gc.access_times.AccessTimes.take``)."""
MOST_ASKED_FOR: Final = 1000
"""Paths of them in one message."""
REFUSED: Final = "refused"
"""Beside ``TRAFFIC``: the requests that a policy refused (``web.refused_requests.RefusedRequests.take``)."""
MOST_REFUSED: Final = 200
"""Rows of them in one message."""
ACCESS: Final = "access"
"""Message: text for the access log, where that is the standard output."""
READY: Final = "ready"
"""Message: the worker accepts connections; the value is its process id."""
_LOGGED: Final = "log"
"""Message: an event for the log."""
_LENGTH: Final = struct.Struct("<Q")


@attrs.frozen
class WorkerConfig:
    """All that a worker has to know."""

    number: int
    """From 1."""
    workers: int
    """How many there are."""
    settings: Settings
    node: NodeFacts
    first_process: str
    """The path of the socket at which the first process answers its workers."""
    shared_state: int
    """The descriptor of the shared memory."""
    sockets: tuple[InheritedSocket, ...]
    offline: bool
    """Whether pages list only the files that are here."""


def encode_config(config: WorkerConfig) -> bytes:
    """Return ``config`` as it is sent."""
    content = pickle.dumps(config)
    return _LENGTH.pack(len(content)) + content


def read_config(file: BinaryIO) -> WorkerConfig:
    """Read a ``WorkerConfig`` from ``file``; blocking.  Raise ``EOFError``."""
    (length,) = _LENGTH.unpack(_read(file, _LENGTH.size))
    config = pickle.loads(_read(file, length))  # from the process that started this one, over a pipe of its own
    assert isinstance(config, WorkerConfig)
    return config


def _read(file: BinaryIO, size: int) -> bytes:
    """Read exactly ``size`` bytes: a pipe returns what it has at the moment."""
    content = b""
    while len(content) < size:
        piece = file.read(size - len(content))
        if not piece:
            raise EOFError
        content += piece
    return content


def encode_message(message: Mapping[str, Json]) -> bytes:
    """Return a message of a worker as a line."""
    return orjson.dumps(message, option=orjson.OPT_APPEND_NEWLINE, default=str)


@implementer(ILogObserver)
@attrs.frozen
class LogRelay:
    """A log observer that sends each event to the first process, which writes all logs."""

    _write: Callable[[bytes], object]

    def __call__(self, event: LogEvent) -> None:
        """Send an event."""
        level = event.get("log_level", LogLevel.info)
        if level <= LogLevel.info and event.get("log_namespace") == "log_legacy":
            return  # Twisted's own remarks about ports
        text = formatEvent(event)
        failure = event.get("log_failure")
        if failure is not None:
            text = f"{text}\n{failure.getTraceback()}"
        self._write(encode_message({_LOGGED: {"level": level.name, "namespace": event.get("log_namespace", ""), "text": text}}))


class RelayedOutput:
    """The standard output of a worker: text goes to the first process, which has a real one."""

    send: Callable[[bytes], object]

    def write(self, text: str) -> int:
        """Send ``text``."""
        self.send(encode_message({ACCESS: text}))
        return len(text)


def log_relayed(number: int, message: Mapping[str, Json]) -> bool:
    """Log the event in a message of the worker ``number``; return False when there is none in it."""
    event = message.get(_LOGGED)
    if not isinstance(event, dict):
        return False
    level = LogLevel.levelWithName(event["level"])
    Logger(str(event["namespace"])).emit(level, "worker {worker}: {text}", worker=number, text=event["text"])
    return True

"""What the first process tells a worker, over the worker's standard input, and what it hears from it, over its standard output.

To a worker: its orders, once, as a length and a pickle (both are the same program), then single words, one a line.  When the
input ends, the first process is gone, and the worker goes, too.  From a worker: JSON objects, one a line: that it serves, and
what it has to log.
"""

from __future__ import annotations

import pickle
import struct
from typing import Any, BinaryIO, Final

import attrs
import orjson

from twistpi.server.inherited_sockets import Listening
from twistpi.server.settings import Settings

STOP: Final = b"stop"
"""Finish what is being answered, and end."""
HURRY: Final = b"hurry"
"""End now, whatever is being answered."""
REOPEN: Final = b"reopen"
"""Certificates and the access log may be other files now: open them again."""
TRAFFIC: Final = "traffic"
"""What a worker says with what it answered lately (``web.traffic.Traffic.take``)."""
ACCESS: Final = "access"
"""What a worker says with text for the access log, where that is the standard output."""
READY: Final = "ready"
"""What a worker says, with its process id, when it serves."""
_LENGTH: Final = struct.Struct("<Q")


@attrs.frozen
class ControlChannel:
    """All that a worker has to know."""

    number: int
    """From 1."""
    workers: int
    """How many there are."""
    settings: Settings
    node: Any
    """``web.services.NodeFacts``."""
    first_process: str
    """The path of the socket at which the first process answers."""
    shared_state: int
    """The descriptor of the shared memory."""
    listening: tuple[Listening, ...]
    offline: bool
    """Whether only what is here is listed."""


def sealed(channel: ControlChannel) -> bytes:
    """``orders`` as they go over the wire."""
    content = pickle.dumps(channel)
    return _LENGTH.pack(len(content)) + content


def read_messages(file: BinaryIO) -> ControlChannel:
    """The orders that come out of ``file``; blocking.  Raises ``EOFError``."""
    (length,) = _LENGTH.unpack(_read(file, _LENGTH.size))
    channel = pickle.loads(_read(file, length))  # from the process that started this one, over a pipe of its own
    assert isinstance(channel, ControlChannel)
    return channel


def _read(file: BinaryIO, size: int) -> bytes:
    """Exactly so many bytes: pipes give what they have at the moment."""
    content = b""
    while len(content) < size:
        piece = file.read(size - len(content))
        if not piece:
            raise EOFError
        content += piece
    return content


def line_of(told: dict[str, Any]) -> bytes:
    """What a worker says, as a line."""
    return orjson.dumps(told, option=orjson.OPT_APPEND_NEWLINE, default=str)

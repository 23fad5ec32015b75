"""One line: ``SERIAL SP CHAIN SP JSON LF``, pure.  The package's docstring specifies it."""

from __future__ import annotations

import re
from binascii import hexlify
from collections.abc import Sequence
from hashlib import sha256

from twistpi.model.peers import BEGINNING
from twistpi.model.server_errors import FeedDamaged

FIRST_LINK = bytes.fromhex(BEGINNING.chain)
"""The digest that stands before serial 1: 32 zero bytes."""

_SHAPE = re.compile(rb"[1-9][0-9]* [0-9a-f]{64} \{.*\}", re.DOTALL)


class BadLine(Exception):
    """A line is not what the line before it allows; the message says why."""


def make_line(serial: int, previous: bytes, body: bytes) -> tuple[bytes, bytes]:
    """The line of ``body`` with its line feed, and its digest (32 bytes); ``previous`` is the digest of the line before."""
    number = b"%d " % serial
    digest = sha256(previous + number + body).digest()
    return b"%b%b %b\n" % (number, hexlify(digest), body), digest


def check_line(line: bytes, serial: int, previous: bytes) -> tuple[bytes, bytes]:
    """The digest and the body of ``line`` (without line feed); ``BadLine`` unless it is ``serial`` after ``previous``."""
    number = b"%d " % serial
    start = len(number)
    body = line[start + 65 :]
    digest = sha256(previous + number + body).digest()
    if line[: start + 65] == b"%b%b " % (number, hexlify(digest)):
        return digest, body
    if not _SHAPE.fullmatch(line):
        raise BadLine("this is not a line of a changelog")
    if not line.startswith(number):
        raise BadLine(f"serial {serial} is due here, but the line says {line.split(b' ', 1)[0].decode()}")
    raise BadLine("the line and its chain digest do not belong together, or the line before it is another")


def check_lines(lines: Sequence[bytes], first_serial: int, previous: bytes) -> tuple[list[bytes], bytes]:
    """The bodies of ``lines`` (without line feeds) and the digest of the last one.

    Raises ``FeedDamaged`` unless they are the lines from ``first_serial`` on, after one with the digest ``previous``.
    """
    bodies = []
    digest = previous
    for serial, line in enumerate(lines, first_serial):
        try:
            digest, body = check_line(line, serial, digest)
        except BadLine as problem:
            raise FeedDamaged(serial, str(problem)) from None
        if b"\n" in line:
            raise FeedDamaged(serial, "it holds a line feed")
        bodies.append(body)
    return bodies, digest


def has_shape(line: bytes) -> bool:
    """Whether ``line`` (without line feed) looks like a whole line, whatever its digest."""
    return _SHAPE.fullmatch(line) is not None


def read_header(line: bytes) -> tuple[int, str, bytes]:
    """Serial, chain and body as ``line`` (without line feed) states them, unchecked; raises ``BadLine``."""
    if not has_shape(line):
        raise BadLine("this is not a line of a changelog")
    serial, chain, body = line.split(b" ", 2)
    return int(serial), chain.decode(), body

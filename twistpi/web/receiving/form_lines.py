"""Where a multipart body begins, and how its lines end.

Old setuptools, and its ``register`` and ``upload_docs`` to this day, end lines with a line feed alone, which RFC 2046 forbids and
servers have always taken.  Such a body is rewritten here, as it passes, to the form that parsers read.
"""

from __future__ import annotations

from typing import Final

from twistpi.model.upload_errors import MalformedForm

_LONGEST_PREAMBLE: Final = 64 * 1024
"""Bytes before the first boundary, which mean nothing."""
_LONGEST_LINE: Final = 8 * 1024
"""Bytes of a line among the headers of a part."""


class FormLines:
    """Passes a multipart body on, from its first boundary, with lines that end as they should."""

    def __init__(self, boundary: bytes) -> None:
        self._dashed = b"--" + boundary
        self._begun = b""
        """What came until it was known how lines end."""
        self._rewriting: _LineFeeds | None = None
        self._passing = False

    def feed(self, data: bytes) -> bytes:
        """What can be told of the body after ``data``; raises ``MalformedForm``."""
        if self._passing:
            return data
        if self._rewriting is not None:
            return self._rewriting.feed(data)
        self._begun += data
        return self._begin()

    def _begin(self) -> bytes:
        at = self._first_boundary()
        if at < 0 and len(self._begun) > _LONGEST_PREAMBLE:
            raise MalformedForm("it does not begin with the boundary that its Content-Type names")
        after = at + len(self._dashed)
        if at < 0 or len(self._begun) == after:
            return b""
        body, self._begun = self._begun[at:], b""
        if body[len(self._dashed)] != ord("\n"):
            self._passing = True
            return body
        self._rewriting = _LineFeeds(self._dashed)
        return self._rewriting.feed(body)

    def _first_boundary(self) -> int:
        at = self._begun.find(self._dashed)
        while at > 0 and self._begun[at - 1] != ord("\n"):
            at = self._begun.find(self._dashed, at + 1)
        return at


class _LineFeeds:
    """Rewrites a body that begins with its boundary and whose lines end with a line feed."""

    def __init__(self, dashed: bytes) -> None:
        self._delimiter = b"\n" + dashed
        self._rest = b"\n"
        """What was not passed on yet; the line feed makes the first boundary look like all others."""
        self._in_headers = False
        self._over = False
        self._is_first = True

    def feed(self, data: bytes) -> bytes:
        if self._over:
            return data
        self._rest += data
        done: list[bytes] = []
        while (self._head if self._in_headers else self._body)(done):
            pass
        return b"".join(done)

    def _head(self, done: list[bytes]) -> bool:
        """Pass one line of a part's headers on; whether it was there."""
        line, end, rest = self._rest.partition(b"\n")
        if len(line) > _LONGEST_LINE:
            raise MalformedForm("a header of one of its parts is too long")
        if not end:
            return False
        line = line.removesuffix(b"\r")
        done.append(line + b"\r\n")
        self._rest = rest
        self._in_headers = bool(line)
        return True

    def _body(self, done: list[bytes]) -> bool:
        """Pass on what is before the next boundary, and the boundary; whether that was there with all its line."""
        at = self._rest.find(self._delimiter)
        if at < 0:
            kept = self._kept()
            done.append(self._rest[: len(self._rest) - kept])
            self._rest = self._rest[len(self._rest) - kept :]
            return False
        done.append(self._rest[:at])
        self._rest = self._rest[at:]
        after = len(self._delimiter)
        tail = self._rest[after : after + 2]
        if tail[:1] != b"\n" and len(tail) < 2:
            return False
        done.append((b"" if self._is_first else b"\r") + self._delimiter[self._is_first :])
        self._is_first = False
        if tail[:1] == b"\n" or tail == b"\r\n":
            done.append(b"\r\n")
            self._rest = self._rest[after + (1 if tail[:1] == b"\n" else 2) :]
            self._in_headers = True
            return True
        # The end, or something that the parser will not like either.
        done.append(self._rest[after:])
        self._rest, self._over = b"", True
        return False

    def _kept(self) -> int:
        """How many bytes at the end may be the beginning of a boundary."""
        at = self._rest.rfind(b"\n", max(0, len(self._rest) - len(self._delimiter) + 1))
        return len(self._rest) - at if at >= 0 and self._delimiter.startswith(self._rest[at:]) else 0

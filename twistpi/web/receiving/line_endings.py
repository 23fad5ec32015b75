"""The start of a multipart body, and the line endings of its headers and boundaries.

Old setuptools, and its ``register`` and ``upload_docs`` to this day, end lines with a bare line feed. RFC 2046 forbids that, but
servers have always accepted it. Such a body is rewritten on the fly to what the parser reads. A preamble is dropped.
"""

from __future__ import annotations

import re
from typing import Final

from twistpi.model.errors import BadRequest

_LONGEST_PREAMBLE: Final = 64 * 1024
"""Bytes before the first boundary, which mean nothing."""
_LONGEST_HEAD: Final = 16 * 1024
"""Bytes of the headers of one part, where lines end with a bare line feed."""


class LineEndings:
    """Passes a multipart body on from its first boundary, with CRLF at the end of boundaries and headers."""

    def __init__(self, boundary: bytes) -> None:
        self._dashed = b"--" + boundary
        self._delimiter = b"\n" + self._dashed
        # A boundary with the headers of the part behind it, or with the beginning of something else: the end, or an error.
        self._head = re.compile(re.escape(self._delimiter) + rb"(?:\r?\n(?:(?!\r?\n)[^\n]*\n)*\r?\n|[^\r\n]|\r[^\n])")
        self._rest = b""
        """What was not passed on yet."""
        self._begun = False
        self._rewriting = False

    def feed(self, data: bytes) -> bytes:
        """Return what can be passed on after ``data``. Raise ``BadRequest`` for a form without a boundary."""
        if self._begun and not self._rewriting:
            return data
        self._rest += data
        if not self._begun:
            self._begin()
        if not self._begun:
            return b""
        if self._rewriting:
            return self._rewrite()
        data, self._rest = self._rest, b""
        return data

    def _begin(self) -> None:
        """Look for the first boundary, and how its line ends."""
        at = self._rest.find(self._dashed)
        while at > 0 and self._rest[at - 1] != ord("\n"):
            at = self._rest.find(self._dashed, at + 1)
        if at < 0 and len(self._rest) > _LONGEST_PREAMBLE:
            raise BadRequest("The form cannot be read: it does not begin with the boundary that its Content-Type names.")
        after = at + len(self._dashed)
        if at < 0 or len(self._rest) == after:
            return
        self._begun = True
        self._rewriting = self._rest[after] == ord("\n")
        self._rest = (b"\n" if self._rewriting else b"") + self._rest[at:]

    def _rewrite(self) -> bytes:
        done: list[bytes] = []
        start = 0
        while (at := self._rest.find(self._delimiter, start)) >= 0:
            head = self._head.match(self._rest, at)
            if head is None:
                if len(self._rest) - at > _LONGEST_HEAD:
                    raise BadRequest("The form cannot be read: the headers of one of its parts are too long.")
                break
            done += [self._rest[start:at], head[0].replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")]
            start = head.end()
        end = at if at >= 0 else self._start_of_delimiter(start)
        done.append(self._rest[start:end])
        self._rest = self._rest[end:]
        return b"".join(done)

    def _start_of_delimiter(self, start: int) -> int:
        """Where, from ``start`` on, a delimiter may begin of which the rest is still to come; the end of the data if nowhere."""
        at = self._rest.rfind(b"\n", max(start, len(self._rest) - len(self._delimiter) + 1))
        return at if at >= 0 and self._delimiter.startswith(self._rest[at:]) else len(self._rest)

"""Status line and headers of an answer, read strictly: whatever two readers could take for two things is no answer."""

from __future__ import annotations

from typing import Final

import attrs

Lines = tuple[tuple[bytes, bytes], ...]
"""The headers of an answer, as they came."""

_LONGEST_NUMBER: Final = 20
"""Digits from which on a length is none; Python itself refuses to read thousands of them."""


class Malformed(Exception):
    """What came is no HTTP answer; says what is wrong."""


@attrs.frozen
class AnswerHead:
    """Status line and headers of an answer."""

    status: int
    reason: str
    lines: Lines
    length: int | None
    """Bytes of the body; None when it will end by itself."""
    chunked: bool
    """Whether the body comes in chunks, the last of which tells its end."""
    persistent: bool
    """Whether another request may follow over the same connection (RFC 9112, 9.3)."""

    def header(self, name: str) -> str | None:
        """The first value of a header; None when it is not there."""
        wanted = name.lower().encode("ascii")
        return next((value.decode("latin-1") for found, value in self.lines if found.lower() == wanted), None)


def read_head(top: bytes) -> AnswerHead:
    """What ``top`` says, which ends before the empty line; raises ``Malformed``."""
    status_line, *lines = top.split(b"\r\n")
    version, _, rest = status_line.partition(b" ")
    status, _, reason = rest.partition(b" ")
    if not version.startswith(b"HTTP/1.") or not (status.isdigit() and len(status) == 3) or _holds_a_break(reason):
        raise Malformed(f"it begins with {status_line[:40]!r}")
    found = tuple(_read_line(line) for line in lines)
    length, chunked = _length(found), _is_chunked(found)
    if chunked:
        # Whoever hears both of a length and of chunks may take the one or the other for the end (RFC 9112, 6.3).
        length, found = None, tuple(line for line in found if line[0].lower() != b"content-length")
    persistent = version == b"HTTP/1.1" and b"close" not in _options(found)
    return AnswerHead(int(status), reason.decode("latin-1"), found, length, chunked, persistent)


def _read_line(line: bytes) -> tuple[bytes, bytes]:
    name, colon, value = line.partition(b":")
    if not colon or not name or name != name.strip() or _holds_a_break(line):
        raise Malformed(f"the header line {line[:40]!r}")
    return name, value.strip(b" \t")


def _values(lines: Lines, name: bytes) -> list[bytes]:
    return [value for found, value in lines if found.lower() == name]


def _length(lines: Lines) -> int | None:
    lengths = set(_values(lines, b"content-length"))
    if len(lengths) > 1 or not all(length.isdigit() and len(length) < _LONGEST_NUMBER for length in lengths):
        raise Malformed("its length is ambiguous")
    return int(lengths.pop()) if lengths else None


def _is_chunked(lines: Lines) -> bool:
    codings = _values(lines, b"transfer-encoding")
    if codings and [coding.lower() for coding in codings] != [b"chunked"]:
        raise Malformed(f"the coding {b', '.join(codings)!r}")
    return bool(codings)


def _options(lines: Lines) -> set[bytes]:
    """What ``Connection`` says."""
    return {option.strip().lower() for value in _values(lines, b"connection") for option in value.split(b",")}


def _holds_a_break(text: bytes) -> bool:
    """Whether there is a character in it that ends a line for some readers and for others not."""
    return any(one in text for one in (b"\r", b"\n", b"\0"))

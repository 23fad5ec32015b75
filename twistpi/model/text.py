"""Text for logs and people: without secrets, as one line, sizes with units.  Pure."""

from __future__ import annotations

import re
from typing import Final

_SECRETS: Final = re.compile(
    r"(?P<address>\b[a-z][a-z0-9+.-]*://)[^/\s?#@'\"]+@"
    r"|(?P<slash>/)[^/\s?#@'\":]*:[^/\s?#@'\"]*@"
    r"|(?P<scheme>\b(?:Basic|Bearer|Twistpi-Node)[ ])(?=\S*[0-9=])[A-Za-z0-9+/=._~-]{6,}"
    r"|(?P<token>twistpi-[0-9a-f]{16}-)[A-Za-z0-9_-]{20,}"
    r"|(?P<login>\b(?:login|docs)-)[A-Za-z0-9_.-]{40,}",
    re.IGNORECASE,
)
_SIGNS: Final = ("@", "twistpi-", "login-", "docs-", "basic ", "bearer ")
"""Every match contains one of these; to look for them takes a tenth of the time."""


def without_secrets(text: str) -> str:
    """Return ``text`` without credentials in addresses and headers, and without tokens.

    None of these should ever be logged; this is for the messages of errors of libraries, and for malformed paths of clients.
    """
    lowered = text.lower()
    return _SECRETS.sub(_hidden, text) if any(sign in lowered for sign in _SIGNS) else text


def _hidden(match: re.Match[str]) -> str:
    kept = next(part for part in match.groups() if part)
    return f"{kept}***@" if match["address"] or match["slash"] else f"{kept}***"


def one_line(text: str) -> str:
    """Return ``text`` as one line: runs of white space and characters that cannot be printed become a space."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())


_UNITS: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_BYTES: Final = re.compile(r"(\d+)\s*([kmgt]?)(?:i?b)?\Z", re.IGNORECASE | re.ASCII)


def parse_bytes(text: str) -> int:
    """Return the number of bytes that a text such as ``500G`` says; raise ``ValueError``."""
    match = _BYTES.match(text.strip())
    if match is None:
        raise ValueError(text)
    return int(match[1]) * _UNITS[match[2].lower()]


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """Return a number of things: "1 file", "2,000 files"."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def in_words(size: float) -> str:
    """Return a number of bytes in the unit that suits it, with one decimal where that is not zero."""
    unit = "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{f'{size:.1f}'.removesuffix('.0')} {unit}"

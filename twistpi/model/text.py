"""Text for logs and people: secrets left out, numbers of bytes in words.  Pure."""

from __future__ import annotations

import re
from typing import Final

_SECRETS: Final = re.compile(
    r"(?P<address>\b[a-z][a-z0-9+.-]*://)[^/\s?#@'\"]+@"
    r"|(?P<slash>/)[^/\s?#@'\":]*:[^/\s?#@'\"]*@"
    r"|(?P<scheme>\b(?:Basic|Bearer|Twistpi-Node)[ ])(?=\S*[0-9=])[A-Za-z0-9+/=._~-]{6,}"
    r"|(?P<token>twistpi-[0-9a-f]{16}-)[A-Za-z0-9_-]{20,}"
    r"|(?P<login>\blogin-)[A-Za-z0-9_.-]{40,}",
    re.IGNORECASE,
)
_SIGNS: Final = ("@", "twistpi-", "login-", "basic ", "bearer ")
"""Without one of these nothing is found; looking for them costs a tenth."""


def without_secrets(text: str) -> str:
    """``text`` without what lets anybody in: credentials in addresses and headers, tokens.

    Nothing of the kind should ever be logged; this is for what others say, libraries in the messages of errors, and clients in
    paths that they put together wrongly.
    """
    lowered = text.lower()
    return _SECRETS.sub(_hidden, text) if any(sign in lowered for sign in _SIGNS) else text


def _hidden(match: re.Match[str]) -> str:
    kept = next(part for part in match.groups() if part)
    return f"{kept}***@" if match["address"] or match["slash"] else f"{kept}***"


def in_words(size: float) -> str:
    """So many bytes in the unit that suits them, with at most four digits."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.4g} {unit}"
        size /= 1024
    return f"{size:.4g} TiB"

"""Text -> HTML and paths -> URLs; the only place where either is escaped."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote

_SPECIAL: Final = re.compile(r"[&<>\"'\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_ENTITIES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"}
_NO_CHARACTER: Final = "\ufffd"
"""Instead of control characters, which no HTML document may hold."""
_PLAIN_PATH: Final = re.compile(r"[A-Za-z0-9_.~+/-]*\Z", re.ASCII)


def escape(text: str) -> str:
    """``text`` for the content of an element and for the value of a quoted attribute."""
    if _SPECIAL.search(text) is None:
        return text
    return _SPECIAL.sub(lambda match: _ENTITIES.get(match[0], _NO_CHARACTER), text)


def quote_path(path: str) -> str:
    """``path`` for a URL: percent-encoded where needed, ``+`` as it is, since clients ask for either form.

    The result needs no ``escape``.
    """
    return path if _PLAIN_PATH.match(path) else quote(path, safe="/+~!,=@")

"""The header ``Forwarded`` (RFC 7239).

``Forwarded: for=192.0.2.43;proto=https, for="[2001:db8::1]:4711"`` has an element for each proxy, the nearest last.  An invalid
header is not guessed at: a quote that a client left open would swallow what later proxies say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PAIR: Final = re.compile(rf'({_TOKEN})=(?:({_TOKEN})|"((?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*)")', re.ASCII)
_BETWEEN: Final = re.compile(r"[ \t]*([;,])[ \t]*|[ \t]*\Z", re.ASCII)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)

Element = Mapping[str, str]
"""What one proxy tells: ``for``, ``by``, ``proto``, ``host`` and extensions; names in lower case, values unquoted."""


def parse_forwarded(text: str) -> tuple[Element, ...] | None:
    """Return the elements of ``text``, several lines joined with commas, without empty ones; None when it is invalid."""
    elements: list[dict[str, str]] = [{}]
    at, text = 0, text.strip(" \t")
    while at < len(text):
        pair = _PAIR.match(text, at)
        if pair is not None:
            name = pair[1].lower()
            if name in elements[-1]:
                return None
            elements[-1][name] = pair[2] if pair[2] is not None else _ESCAPED.sub(r"\1", pair[3])
            at = pair.end()
        between = _BETWEEN.match(text, at)
        if between is None:
            return None
        if between[1] == ",":
            elements.append({})
        at = between.end()
    return tuple(element for element in elements if element)


def outermost(elements: Sequence[Element], is_trusted: Callable[[str], bool]) -> tuple[Element, ...]:
    """Return the last of ``elements`` that trusted proxies wrote, that of the outermost first.

    The last one is of the proxy that connected, which is trusted.  When ``is_trusted`` says so of its ``for``, the one before it
    counts as well, and so on.
    """
    first = len(elements) - 1
    while first > 0 and is_trusted(elements[first].get("for", "")):
        first -= 1
    return tuple(elements[max(first, 0) :])

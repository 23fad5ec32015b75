"""Which installer a ``User-Agent`` names, and which Python it installs for.

pip and uv send JSON after their name (``pip/24.0 {"python":"3.12.1",…}``); poetry, pdm and others send product tokens
(RFC 9110, 10.1.5) such as ``poetry/1.8.3 CPython/3.12.3``.  Whatever is sent, the result is short and harmless.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

import attrs
import orjson

_LONGEST: Final = 4096
"""Characters of a ``User-Agent`` that are looked at."""
_REMEMBERED: Final = 1024
_PRODUCT: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,31})(?:/(\S{1,64}))?(?:[\s(;{]|\Z)", re.ASCII)
_PYTHON: Final = re.compile(r"(?:\A|[\s(;])(?:CPython|PyPy|Python|Python-urllib)/(\S{1,64})", re.ASCII | re.IGNORECASE)
_SHORT_VERSION: Final = re.compile(r"\d{1,4}(?:\.\d{1,4})?", re.ASCII)
_BROWSER: Final = "mozilla"
"""What all browsers call themselves."""


@attrs.frozen
class Agent:
    """An installer."""

    installer: str
    """In lower case; ``browser`` for all browsers, empty where it is unknown."""
    version: str
    """Major and minor, ``24.0``; empty where it is unknown."""
    python: str
    """The version of Python, ``3.12``; empty where it is unknown."""
    key: str = attrs.field(init=False, eq=False, repr=False)
    """All fields as one string, to be looked up by: a string keeps its hash, and each file that is sent needs one."""

    @key.default
    def _make_key(self) -> str:
        return "\0".join((self.installer, self.version, self.python))


UNKNOWN: Final = Agent("", "", "")
"""An unknown installer."""
OTHERS: Final = Agent("other", "", "")
"""Stands for installers beyond the number that is kept."""


@lru_cache(_REMEMBERED)
def parse_agent(user_agent: str | None) -> Agent:
    """Return the installer that ``user_agent`` names; never raise."""
    text = (user_agent or "")[:_LONGEST].strip()
    product = _PRODUCT.match(text)
    if product is None:
        return UNKNOWN
    name, version = product[1].lower(), _short(product[2] or "")
    if name == _BROWSER:
        return Agent("browser", "", "")
    facts = _facts(text)
    python = facts.get("python")
    if isinstance(python, str):
        return Agent(name, version, _short(python))
    token = _PYTHON.search(text)
    return Agent(name, version, "" if token is None else _short(token[1]))


def _facts(text: str) -> dict[str, object]:
    """Return the JSON object at the end of ``text``; an empty one without any."""
    _, brace, rest = text.partition("{")
    try:
        facts = orjson.loads(brace + rest) if brace else {}
    except orjson.JSONDecodeError:
        return {}
    return facts if isinstance(facts, dict) else {}


def _short(version: str) -> str:
    """Return major and minor of ``version``; empty for what is no version."""
    found = _SHORT_VERSION.match(version)
    return "" if found is None else found[0]

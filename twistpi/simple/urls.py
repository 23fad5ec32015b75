"""URLs and HTML text: the references on an upstream's page made absolute, and the only place where either is escaped."""

from __future__ import annotations

import functools
import re
from typing import Final
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

from twistpi.model.urls import is_folder_address

_PATH: Final = r"[A-Za-z0-9_~!$&'()*+,;=@%/.-]{0,4000}\Z"
"""A path that can stay as it is, if no component begins with a dot: nothing to encode, no colon, no query."""
_PORT: Final = r"(?::(?:[1-9]\d{0,3}|[1-5]\d{4}|6[0-4]\d{3}))?"
_READY: Final = re.compile(r"https?://[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?" + _PORT + "/" + _PATH, re.ASCII)
_RELATIVE: Final = re.compile(r"((?:\.\./)*|/)(?![/.])" + _PATH, re.ASCII)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_NO_HOST: Final = re.compile(r"https?:(?!//[^/?#])|//(?:[/?#]|\Z)", re.IGNORECASE)
"""An authority without a host; ``urljoin`` would take the base's."""
_HOST: Final = re.compile(r"[^\x00-\x20\x7f-\U0010ffff\"<>\\^`{|}/?#]+\Z")
_PATH_SAFE: Final = "/%:@!$&'()*+,;=~"
_LONGEST: Final = 4096
"""Characters."""
_SPECIAL: Final = re.compile(r"[&<>\"'\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_ENTITIES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"}
_NO_CHARACTER: Final = "\ufffd"
"""Replaces control characters, which HTML does not allow."""
_PLAIN_PATH: Final = re.compile(r"[A-Za-z0-9_.~+/-]*\Z", re.ASCII)


def absolute(base: str, reference: str) -> str | None:
    """Resolve ``reference`` on a page at ``base`` to an absolute http or https URL without fragment; None when it is not one.

    The listing of a folder on this disk (a ``file:`` URL) links to files in it.
    Return None also for what could split a header or be read in two ways: control characters, odd hosts, invalid ports.
    """
    if "#" in reference:
        reference = reference.partition("#")[0]
    if _READY.match(reference) and "/." not in reference:
        return reference
    start = _RELATIVE.match(reference)
    if start and reference and reference.find("/.", start.end(1)) < 0:
        folder = _folder(base, start[1])
        return folder and folder + reference[start.end(1) :]
    return _resolved(base, reference.strip(" \t\r\n\f"))


def filename_of(url: str) -> str:
    """Return the last component, decoded, of an absolute URL's path; empty when the path ends in a slash."""
    last = url.partition("?")[0].rpartition("/")[2]
    return unquote(last) if "%" in last else last


@functools.lru_cache(maxsize=256)
def _folder(base: str, steps: str) -> str | None:
    """Resolve ``steps`` (``../`` any number of times, or ``/``) against ``base``.  Most links of a page share the result."""
    return _resolved(base, steps or ".")


def _resolved(base: str, reference: str) -> str | None:
    if not reference or len(reference) > _LONGEST or _CONTROL.search(reference) or _NO_HOST.match(reference):
        return None
    try:
        parts = urlsplit(urljoin(base, reference))
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and _HOST.match(parts.netloc) and parts.port != 0
        usable = usable or (is_folder_address(base) and parts.scheme == "file" and not parts.netloc)
    except ValueError:  # a port or an IPv6 address that is none
        return None
    if not usable:
        return None
    path, query = quote(parts.path or "/", safe=_PATH_SAFE), quote(parts.query, safe=_PATH_SAFE + "?")
    return SplitResult(parts.scheme, parts.netloc, path, query, "").geturl()


def escape(text: str) -> str:
    """Escape ``text`` for the content of an element and for the value of a quoted attribute."""
    if _SPECIAL.search(text) is None:
        return text
    return _SPECIAL.sub(lambda match: _ENTITIES.get(match[0], _NO_CHARACTER), text)


def quote_path(path: str) -> str:
    """Percent-encode ``path`` for a URL.  ``+`` stays as it is, since clients ask for either form.

    The result needs no ``escape``.
    """
    return path if _PLAIN_PATH.match(path) else quote(path, safe="/+~!,=@")

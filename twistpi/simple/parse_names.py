"""An upstream's list of all its projects, in JSON or HTML -> names.

There may be 730,000 of them in 40 MB, so the HTML form is not made a tree of: a name can hold no character that HTML would
write otherwise, and a pattern finds it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import attrs

from twistpi.model.errors import BadUpstreamPage, InvalidProjectName
from twistpi.model.names import normalize_project
from twistpi.model.records import Json
from twistpi.simple.fields import clean_serial
from twistpi.simple.parse import is_json
from twistpi.simple.parse_html import decode
from twistpi.simple.parse_json import read_json

_ANCHOR: Final = re.compile(r"<a\s([^<>]{1,2000}+)>\s*+([A-Za-z0-9._-]{1,200}+)/?\s*+</a", re.IGNORECASE)
"""Attributes and text.  Possessive and without ``<``: however the page is written, no part of it is read twice."""
_HREF: Final = re.compile(r"(?:\A|\s)href\s*+=\s*+[\"']?([^\"'\s]++)", re.IGNORECASE)
_NORMALIZED: Final = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*\Z", re.ASCII)
_LONGEST_NAME: Final = 200


@attrs.frozen
class NameList:
    """The projects an upstream says it has."""

    names: list[str]
    """Normalised, each once, in the order of the page."""
    serials: list[int] | None
    """The upstream's serial of each of ``names``; None unless it gives one for every project."""
    last_serial: int | None
    """The upstream's serial of the list."""


def parse_names(body: bytes, content_type: str, url: str = "") -> NameList:
    """The names on the list that ``url`` answered with; raises ``BadUpstreamPage``.  Names that are none are passed over."""
    if not is_json(body, content_type, url):
        return NameList(list(dict.fromkeys(_anchors(decode(body, content_type)))), None, None)
    page = read_json(body, url)
    projects = page.get("projects")
    if not isinstance(projects, list):
        raise BadUpstreamPage(url, "it has no list of projects")
    serials: dict[str, int | None] = {}
    for name, serial in _entries(projects):
        serials.setdefault(name, serial)
    known = [serial for serial in serials.values() if serial is not None]
    meta = page.get("meta")
    last_serial = clean_serial(meta.get("_last-serial")) if isinstance(meta, dict) else None
    return NameList(list(serials), known if known and len(known) == len(serials) else None, last_serial)


def _entries(projects: list[Json]) -> Iterator[tuple[str, int | None]]:
    for entry in projects:
        name = entry.get("name") if isinstance(entry, dict) else None
        if isinstance(name, str) and (normalized := _normalized(name)) is not None:
            yield normalized, clean_serial(entry.get("_last-serial"))


def _anchors(text: str) -> Iterator[str]:
    """The names of anchors whose address ends in the name they show, which sorts out the other links of a page."""
    for match in _ANCHOR.finditer(text):
        attributes, name = match[1], match[2]
        normalized = _normalized(name)
        if normalized is None:
            continue
        if not attributes.endswith((f'/{normalized}/"', f'"{normalized}/"', f'/{name}/"')):
            href = _HREF.search(attributes)
            if href is None or _normalized(href[1].rstrip("/").rpartition("/")[2]) != normalized:
                continue
        yield normalized


def _normalized(name: str) -> str | None:
    if len(name) > _LONGEST_NAME:
        return None
    if _NORMALIZED.match(name):
        return name
    try:
        return normalize_project(name)
    except InvalidProjectName:
        return None

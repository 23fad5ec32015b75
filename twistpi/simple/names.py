"""The list of all projects, ``/simple/``: read from an upstream, and rendered, piece by piece.

A list may have 730,000 names in 40 MB, so neither direction ever holds a whole one (R68).
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from html import unescape
from itertools import chain, islice
from typing import Final

import attrs
import orjson

from twistpi.model.errors import BadUpstreamPage, InvalidName
from twistpi.model.names import normalize_project, project_of_filename
from twistpi.model.records import Json
from twistpi.simple.fields import check_api_version, clean_serial
from twistpi.simple.index_pages import SEARCHED, has_form, require_end, require_index_page
from twistpi.simple.negotiate import Representation
from twistpi.simple.parse import charset_of, is_json
from twistpi.simple.render import HTML_VERSION, JSON_VERSION
from twistpi.simple.urls import escape, filename_of, quote_path

Name = tuple[str, int | None]
"""A normalised name, and the upstream's serial of the project."""

_ANCHOR: Final = re.compile(r"<a\s([^<>]{1,2000}+)>\s{0,100}+([A-Za-z0-9._-]{1,200}+)/?\s{0,100}+</a", re.IGNORECASE)
"""Attributes and text.  Possessive and without ``<``: however the page is written, no part of it is read twice."""
_FILE_ANCHOR: Final = re.compile(r"<a\s([^<>]{1,2000}+)>", re.IGNORECASE)
_LONGEST_ANCHOR: Final = 3_000
"""Characters, at least as many as the pattern above can match."""
_HREF: Final = re.compile(r"(?:\A|\s)href\s*+=\s*+[\"']?\s*+([^\"'\s]++)", re.IGNORECASE)
_NORMALIZED: Final = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*\Z", re.ASCII)
_LONGEST_NAME: Final = 200
_BLANK: Final = re.compile(r"[ \t\n\r]*")
_LONGEST_VALUE: Final = 1024 * 1024
"""Characters of a JSON value other than the list itself."""
_SNIFFED: Final = 1024
"""Bytes that tell JSON from HTML."""
_FEW_NAMES: Final = 10
"""A page with a form and fewer names may be one for people."""
_NAMES_AT_ONCE: Final = 4_000
"""Makes pieces of about 100 to 250 KB."""


@attrs.define
class NameListParser:
    """Parses the list that ``url`` answered with, whose bytes come in ``pieces``."""

    pieces: Iterator[bytes]
    content_type: str
    url: str
    is_whole: bool = True
    """Whether the bytes cannot have broken off unnoticed."""
    is_flat: bool = False
    """Whether an HTML page lists files, whose names contain those of the projects."""
    last_serial: int | None = attrs.field(default=None, init=False)
    """The upstream's serial of the list; known when all names were read."""

    def names(self) -> Iterator[Name]:
        """Yield the names in the order of the page.  They may repeat; names that are not valid are left out.

        Raise ``BadUpstreamPage`` for a document that is no list, maybe after some names.
        """
        start = b""
        while len(start) < _SNIFFED and (piece := next(self.pieces, b"")):
            start += piece
        body = chain((start,), self.pieces)
        if is_json(start, self.content_type, self.url):
            yield from self._json_names(_JsonScanner(_decoded(body, "utf-8-sig", "strict"), self._not_json))
            return
        charset = charset_of(self.content_type)
        yield from self._html_names(_decoded(body, "utf-8-sig" if charset == "utf-8" else charset, "replace"))

    def _html_names(self, pieces: Iterator[str]) -> Iterator[Name]:
        """Yield the names of anchors whose address ends in the name they show, which excludes the other links of a page.

        Of a flat page yield the projects of the files.  A name has no character that HTML would escape, so a pattern finds it.
        """
        count, start, rest, last = 0, "", "", ""
        for piece in pieces:
            if len(start) < SEARCHED:
                start += piece
            text = rest + piece
            end = 0
            for match in (_FILE_ANCHOR if self.is_flat else _ANCHOR).finditer(text):
                end = match.end()
                name = _project_of_anchor(match[1]) if self.is_flat else _name_of_anchor(match[1], match[2])
                if name is not None:
                    count += 1
                    yield name, None
            rest = text[max(end, len(text) - _LONGEST_ANCHOR) :]
            last = (last + piece)[-_LONGEST_ANCHOR:]
        if not self.is_whole:
            require_end(start, last, self.url)
        if not count or (count < _FEW_NAMES and has_form(start)):
            require_index_page(start, self.content_type, self.url)

    def _json_names(self, scanner: _JsonScanner) -> Iterator[Name]:
        meta: Json = None
        has_list = False
        try:
            for key in scanner.members():
                if key == "projects" and scanner.peek() == "[":
                    has_list = True
                    yield from _entries(scanner.elements())
                elif key == "meta":
                    meta = scanner.value()
                else:
                    scanner.value()
        except UnicodeDecodeError as error:
            raise self._not_json(str(error)) from error
        meta = meta if isinstance(meta, dict) else {}
        check_api_version(meta.get("api-version"), self.url)
        if not has_list:
            raise BadUpstreamPage(self.url, "it has no list of projects")
        self.last_serial = clean_serial(meta.get("_last-serial"))

    def _not_json(self, reason: str) -> BadUpstreamPage:
        return BadUpstreamPage(self.url, f"it is not JSON ({reason})")


def _decoded(pieces: Iterable[bytes], charset: str, errors: str) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(charset)(errors)
    for piece in pieces:
        yield decoder.decode(piece)
    yield decoder.decode(b"", final=True)


@attrs.define
class _JsonScanner:
    """Reads one JSON object, a member and, in a list that is a member, an element at a time."""

    _pieces: Iterator[str]
    _failure: Callable[[str], BadUpstreamPage]
    _text: str = ""
    _place: int = 0
    _decode: Callable[[str, int], tuple[Json, int]] = attrs.field(factory=lambda: json.JSONDecoder().raw_decode)

    def members(self) -> Iterator[str]:
        """Yield the keys of the object; the value of each must be read before the next."""
        if not self._skip("{"):
            raise self._failure("it is not an object")
        if not self._skip("}"):
            while True:
                key = self.value()
                if not isinstance(key, str) or not self._skip(":"):
                    raise self._failure("a key is missing")
                yield key
                if not self._goes_on("}"):
                    break
        if self.peek():
            raise self._failure("something follows it")

    def elements(self) -> Iterator[Json]:
        """Yield the elements of a list."""
        self._skip("[")
        if self._skip("]"):
            return
        yield self.value()
        while self._goes_on("]"):
            yield self.value()

    def value(self) -> Json:
        """Read a whole value."""
        self.peek()
        while True:
            try:
                found, end = self._decode(self._text, self._place)
                # A number that ends with the text may go on.
                if end < len(self._text) or not self._more():
                    self._place = end
                    return found
            except (ValueError, RecursionError) as error:
                if len(self._text) - self._place > _LONGEST_VALUE or not self._more():
                    raise self._failure(str(error)) from error

    def peek(self) -> str:
        """Return the next character that is not blank, empty at the end."""
        while (character := self._text[self._place : self._place + 1]) <= " ":
            blank = _BLANK.match(self._text, self._place)
            if character and blank is not None and blank.end() > self._place:
                self._place = blank.end()
            elif character or not self._more():
                break
        return character

    def _skip(self, character: str) -> bool:
        is_there = self.peek() == character
        self._place += is_there
        return is_there

    def _goes_on(self, end: str) -> bool:
        if self._skip(","):
            return True
        if not self._skip(end):
            raise self._failure(f"neither , nor {end} follows a value")
        return False

    def _more(self) -> bool:
        """Add the next piece to the text and forget what was read; return whether there was one."""
        piece = next(filter(None, self._pieces), "")
        if piece:
            self._text, self._place = self._text[self._place :] + piece, 0
        return bool(piece)


def _entries(projects: Iterable[Json]) -> Iterator[Name]:
    for entry in projects:
        name = entry.get("name") if isinstance(entry, dict) else None
        if isinstance(name, str) and (normalized := _normalized(name)) is not None:
            yield normalized, clean_serial(entry.get("_last-serial"))


def _name_of_anchor(attributes: str, name: str) -> str | None:
    """Return the normalised ``name``, which an anchor shows, when its address ends in it."""
    normalized = _normalized(name)
    if normalized is None or attributes.endswith((f'/{normalized}/"', f'"{normalized}/"', f'/{name}/"')):
        return normalized
    href = _HREF.search(attributes)
    if href is None:
        return None
    folder = href[1].removesuffix("/index.html").rstrip("/")  # generators of static files name the page in it
    return normalized if _normalized(folder.rpartition("/")[2]) == normalized else None


def _project_of_anchor(attributes: str) -> str | None:
    """Return the project of the file that an anchor leads to."""
    href = _HREF.search(attributes)
    return project_of_filename(filename_of(unescape(href[1]).partition("#")[0])) if href else None


def _normalized(name: str) -> str | None:
    if len(name) > _LONGEST_NAME:
        return None
    if _NORMALIZED.match(name):
        return name
    try:
        return normalize_project(name)
    except InvalidName:
        return None


# Rendering ---------------------------------------------------------------------------------------------------------


def render_names(
    index: str,
    names: Iterable[str],
    representation: Representation,
    *,
    serials: Iterable[int] | None = None,
    last_serial: int | None = None,
    base: str = "",
) -> Iterator[bytes]:
    """Yield the list of projects of ``index`` in one representation, piece by piece.

    ``names`` are normalised and keep their order; ``serials`` go with them one by one.  Serials are shown in JSON only, for
    mirrors of this server.  ``base`` is the way from the list to the pages, empty or with a slash at the end.
    """
    if not representation.is_json:
        return _html(index, iter(names), escape(quote_path(base)))
    if serials is None:
        return _json(({"name": name} for name in names), last_serial)
    return _json(({"name": name, "_last-serial": serial} for name, serial in zip(names, serials, strict=True)), last_serial)


def _json(projects: Iterator[Mapping[str, str | int]], last_serial: int | None) -> Iterator[bytes]:
    serial = {} if last_serial is None else {"_last-serial": last_serial}
    yield b'{"meta":' + orjson.dumps({"api-version": JSON_VERSION, **serial}) + b',"projects":['
    separator = b""
    while some := list(islice(projects, _NAMES_AT_ONCE)):
        yield separator + orjson.dumps(some)[1:-1]
        separator = b","
    yield b"]}"


def _html(index: str, names: Iterator[str], base: str) -> Iterator[bytes]:
    title = escape(f"{index}: simple list")
    version = f'<meta name="pypi:repository-version" content="{HTML_VERSION}">'
    yield (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">{version}<title>{title}</title></head>'
        f"<body><h1>{title}</h1>\n"
    ).encode()
    while some := list(islice(names, _NAMES_AT_ONCE)):
        # Normalised names hold nothing to escape.
        yield "".join([f'<a href="{base}{name}/">{name}</a><br>\n' for name in some]).encode()
    yield b"</body></html>\n"

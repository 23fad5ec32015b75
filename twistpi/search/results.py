"""What a search finds, as values; and texts in pieces, so that what matched can be marked without writing HTML."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

import attrs

from twistpi.search.expressions import squash
from twistpi.search.query import PART, Term

_LENGTH: Final = 200
"""Characters of an excerpt, about."""
_BEFORE: Final = 60
"""Characters of it before the first match."""
_MARKUP: Final = re.compile(r"[=~^#*`|_-]{2,}|[*`]|(?<!\S)\.\.(?!\S)")
"""What Markdown and reStructuredText write around words."""
_WORD: Final = re.compile(r"[^\W_]+")
_OF_NAMES: Final = ("name", "user", "index", "path", "type", PART)
"""Fields whose terms are not in texts."""
_SPACE: Final = re.compile(r"\s+")


@attrs.frozen
class Piece:
    """A piece of a text."""

    text: str
    is_match: bool = False


Pieces = tuple[Piece, ...]
"""A text, whose matches are pieces of their own."""


@attrs.frozen
class Location:
    """Where a project is."""

    index: str
    version: str
    """The newest one; empty where only the name is known."""
    kind: str
    """``own`` of a private index, ``mirrored`` for a mirror that has files of it, ``listed`` for a name in a mirror's list."""


@attrs.frozen
class Excerpt:
    """Another text of a project that matched."""

    field: str
    """``keywords``, ``description``, ``author``, ``author_email``, ``title`` or ``page``; the last two are of documentation."""
    pieces: Pieces
    path: str = ""
    """Of the page in the documentation."""
    version: str = ""
    """Of the documentation."""
    title: str = ""
    """Of the page."""


@attrs.frozen
class Hit:
    """A project that was found."""

    project: str
    """The normalised name."""
    name: str
    """As it is spelled."""
    locations: tuple[Location, ...]
    """The indexes that have it and that the reader may read, the best one first."""
    summary: str = ""
    name_pieces: Pieces = ()
    summary_pieces: Pieces = ()
    excerpts: tuple[Excerpt, ...] = ()

    @property
    def index(self) -> str:
        """The first of its indexes."""
        return self.locations[0].index

    @property
    def version(self) -> str:
        """The newest version there."""
        return self.locations[0].version

    @property
    def kind(self) -> str:
        """What it is there; see ``Location``."""
        return self.locations[0].kind


@attrs.frozen
class SearchPage:
    """One page of results."""

    query: str
    page: int = 1
    limit: int = 10
    """Hits on a page."""
    hits: tuple[Hit, ...] = ()
    total: int = 0
    """Projects that were found."""
    is_complete: bool = True
    """Whether ``total`` is all there are; else there are more, or the search took too long."""
    is_building: bool = False
    """Whether the index is being built, so that there may be more soon."""

    @property
    def pages(self) -> int:
        """How many pages there are."""
        return -(-self.total // self.limit)


@attrs.frozen
class Marker:
    """Finds in texts what ``terms`` match: words that begin with one, rows of words for a phrase, as SQLite finds them."""

    terms: Sequence[Term]
    _pattern: re.Pattern[str] | None = attrs.field(init=False)
    _beginnings: tuple[str, ...] = attrs.field(init=False)
    """The first words of the terms, in lower case: a text without any of them has no match."""

    @_pattern.default
    def _make_pattern(self) -> re.Pattern[str] | None:
        rows = [r"[\W_]{1,20}".join(map(re.escape, words)) for words in self._words()]
        return re.compile(rf"(?<![^\W_])(?:{'|'.join(rows)})[^\W_]*", re.IGNORECASE) if rows else None

    @_beginnings.default
    def _make_beginnings(self) -> tuple[str, ...]:
        return tuple({words[0].lower() for words in self._words()})

    def _words(self) -> list[list[str]]:
        found = (_WORD.findall(term.text) for term in self.terms if term.field not in _OF_NAMES)
        return [words for words in found if words]

    def marked(self, text: str) -> Pieces:
        """Return ``text`` in pieces."""
        return _split(text, [found.span() for found in self._pattern.finditer(text)] if self._pattern else [])

    def excerpt(self, text: str) -> Pieces:
        """Return the part of ``text`` around its first match, in one line; nothing if there is no match."""
        lowered = text.lower()
        is_possible = self._pattern is not None and any(word in lowered for word in self._beginnings)
        first = self._pattern.search(text) if is_possible and self._pattern else None
        if first is None:
            return ()
        start, end = max(0, first.start() - _BEFORE), first.start() + _LENGTH - _BEFORE
        if start:
            start = text.find(" ", start, first.start()) + 1 or start
        if end < len(text):
            end = max(first.end(), text.rfind(" ", first.end(), end))
        shown = _SPACE.sub(" ", _MARKUP.sub(" ", text[start:end])).strip()
        return self.marked(f"{'… ' if start else ''}{shown}{' …' if end < len(text) else ''}")

    def name(self, name: str) -> Pieces:
        """Return ``name`` with what contains one of the terms as matches, whatever separators there are."""
        places = [place for place, character in enumerate(name) if character.isalnum()]
        squashed = squash(name)
        spans = []
        for term in self.terms:
            text = squash(term.text)
            start = squashed.find(text) if text and term.field in (None, "name") else -1
            if start >= 0:
                spans.append((places[start], places[start + len(text) - 1] + 1))
        return _split(name, spans)


def _split(text: str, spans: Iterable[tuple[int, int]]) -> Pieces:
    pieces, place = [], 0
    for start, end in sorted(spans):
        if end <= place:
            continue
        start = max(start, place)
        pieces += [Piece(text[place:start]), Piece(text[start:end], is_match=True)]
        place = end
    return tuple(piece for piece in (*pieces, Piece(text[place:])) if piece.text)

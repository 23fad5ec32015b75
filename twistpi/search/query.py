"""The query language of search: text to an expression.  Every text is a query; what is not understood counts as words.

A word or a ``'quoted phrase'`` is a term; ``field:term`` looks in one field alone, ``term*`` is a beginning.  ``AND``, ``OR``,
``NOT``, ``ANDNOT`` and ``ANDMAYBE`` (capitals) and parentheses combine them; terms without an operator between them all have to
match.  ``term^2`` is accepted and means ``term``.  This is the language of devpi-web, whose library is Whoosh.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

import attrs

LONGEST: Final = 500
"""Characters of a query that are looked at."""
_MOST_TERMS: Final = 32
"""Further terms are left out."""
_DEEPEST: Final = 20
"""Levels of parentheses; those inside are left out."""
FIELDS: Final = (
    *("name", "user", "index", "path", "type"),
    *("summary", "keywords", "description", "author", "author_email", "classifiers", "title", "page"),
)
"""What may stand before a colon."""
PART: Final = "part"
"""A field that no query names."""


@attrs.frozen
class Term:
    """A word or a phrase."""

    text: str
    field: str | None = None
    """One of ``FIELDS``; None for all that is searched by default; ``PART`` for names that contain it."""
    is_prefix: bool = False
    """Whether a ``*`` stood behind it."""


@attrs.frozen
class And:
    """All of its parts match; without parts, always."""

    parts: tuple[Expression, ...] = ()


@attrs.frozen
class Or:
    """One of its parts matches; without parts, never."""

    parts: tuple[Expression, ...] = ()


@attrs.frozen
class Not:
    """Its part does not match."""

    part: Expression


@attrs.frozen
class Maybe:
    """``required`` matches; what matches ``optional``, too, is worth more."""

    required: Expression
    optional: Expression


Expression = Term | And | Or | Not | Maybe
ALWAYS: Final = And()
NEVER: Final = Or()

_TOKEN: Final = re.compile(
    rf"""
      (?P<parenthesis>[()])
    | (?P<scope>{"|".join(FIELDS)}):(?=\()
    | (?:(?P<field>{"|".join(FIELDS)}):(?=\S))?
      (?: (?P<quote>['"])(?P<phrase>.*?)(?P=quote) | (?P<word>(?:(?![*^](?:\s|[()]|\Z))[^\s()])+?(?=[*^]|[\s()]|\Z)) )
      (?P<star>\*)? (?:\^[0-9.]+)? (?=[\s()]|\Z)
    | (?P<other>[^\s()]+)
    """,
    re.VERBOSE,
)
_BINARY: Final = frozenset({"AND", "OR", "ANDNOT", "ANDMAYBE"})
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


@attrs.frozen
class _Scope:
    """A field before a group in parentheses."""

    field: str


_Token = str | Term | _Scope
"""A parenthesis or an operator; a term; a field before a group."""


def parse(text: str) -> Expression:
    """Return what ``text`` asks for; ``NEVER`` for one without a letter or digit."""
    tokens = _without_empty_groups(_balanced(_tokens(_CONTROL.sub(" ", text[:LONGEST]))))
    tokens = _with_operators_that_apply(tokens)
    return _Parser(tokens).either(None) if tokens else NEVER


def terms(expression: Expression) -> Iterator[Term]:
    """Yield the terms that have to match, or may, in order; not those that must not."""
    match expression:
        case Term():
            yield expression
        case And(parts) | Or(parts):
            for part in parts:
                yield from terms(part)
        case Maybe(required, optional):
            yield from terms(required)
            yield from terms(optional)
        case Not():
            pass


def _tokens(text: str) -> Iterator[_Token]:
    count = 0
    for found in _TOKEN.finditer(text):
        word = found["word"]
        if found["parenthesis"] or (word in _BINARY | {"NOT"} and not found["field"] and not found["star"]):
            yield found[0] if found["parenthesis"] else word
        elif found["scope"]:
            yield _Scope(found["scope"])
        else:
            content = found["other"] or found["phrase"] or word or ""
            if any(map(str.isalnum, content)) and count < _MOST_TERMS:
                count += 1
                yield Term(content.strip(), found["field"], bool(found["star"]))


def _balanced(tokens: Iterator[_Token]) -> list[_Token]:
    """``tokens`` without parentheses that have no partner or are too deep."""
    found: list[_Token] = []
    opened: list[int | None] = []
    unwanted: set[int] = set()
    for token in tokens:
        if token == "(":
            opened.append(len(found) if len(opened) < _DEEPEST else None)
            if opened[-1] is None:
                continue
        elif token == ")" and (not opened or opened.pop() is None):
            continue
        found.append(token)
    unwanted.update(place for place in opened if place is not None)
    kept: list[_Token] = [token for place, token in enumerate(found) if place not in unwanted]
    return [
        token
        for place, token in enumerate(kept)
        if not isinstance(token, _Scope) or (place + 1 < len(kept) and kept[place + 1] == "(")
    ]


def _without_empty_groups(tokens: list[_Token]) -> list[_Token]:
    found: list[_Token] = []
    for token in tokens:
        if token == ")" and found[-1] == "(":
            found.pop()
            if found and isinstance(found[-1], _Scope):
                found.pop()
        else:
            found.append(token)
    return found


def _with_operators_that_apply(tokens: list[_Token]) -> list[_Token]:
    """``tokens`` with every operator that lacks an operand made a word."""
    found = [*tokens]
    operand_follows = False
    for place in reversed(range(len(found))):
        token = found[place]
        if token == "NOT" or token in _BINARY:
            if not operand_follows:
                found[place] = Term(str(token))
            operand_follows = token == "NOT" or not operand_follows
        else:
            operand_follows = token != ")"
    operand_before = False
    for place, token in enumerate(found):
        if token in _BINARY and not operand_before:
            found[place] = token = Term(str(token))
        operand_before = isinstance(token, Term) or token == ")"
    return found


@attrs.define
class _Parser:
    """Recursive descent over tokens that are well-formed."""

    _tokens: Sequence[_Token]
    _place: int = 0

    def either(self, field: str | None) -> Expression:
        """Alternatives; ``field`` is that of terms without one."""
        parts = [self._all(field)]
        while self._next() == "OR":
            self._place += 1
            parts.append(self._all(field))
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _all(self, field: str | None) -> Expression:
        parts = [self._chain(field)]
        while self._next() not in (None, ")", "OR"):
            self._place += self._next() == "AND"
            parts.append(self._chain(field))
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _chain(self, field: str | None) -> Expression:
        found = self._one(field)
        while (operator := self._next()) in ("ANDNOT", "ANDMAYBE"):
            self._place += 1
            other = self._one(field)
            found = And((found, Not(other))) if operator == "ANDNOT" else Maybe(found, other)
        return found

    def _one(self, field: str | None) -> Expression:
        token = self._tokens[self._place]
        self._place += 1
        if isinstance(token, Term):
            return attrs.evolve(token, field=token.field or field)
        if isinstance(token, _Scope):
            field = token.field
            self._place += 1
        elif token == "NOT":
            part = self._one(field)
            return part.part if isinstance(part, Not) else Not(part)
        found = self.either(field)
        self._place += 1
        return found

    def _next(self) -> _Token | None:
        return self._tokens[self._place] if self._place < len(self._tokens) else None

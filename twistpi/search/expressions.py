"""Expressions of the query language as full-text expressions of SQLite, and as a test of single names.

Texts are searched by words: a term finds the words that begin with it, a phrase such words in a row.  Names are searched by their
letters and digits alone, so that ``foo-bar``, ``foo_bar`` and ``foobar`` are one; a term finds the names that contain it.
Source of the syntax: SQLite, "FTS5 Extension", 3 (full-text query syntax).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from twistpi.search import query
from twistpi.search.query import ALWAYS, NEVER, And, Expression, Maybe, Not, Or, Term

COLUMNS: Final = (
    *("exact", "parts", "summary", "keywords", "description", "author", "author_email", "classifiers", "title", "page"),
    *("place", "type"),
)
"""The columns of the table ``words``: ``exact`` is the squashed name, ``parts`` all its endings; ``place`` and ``type`` say where
and what a document is."""
SEARCHED: Final = ("parts", "summary", "keywords", "description", "author", "author_email", "title", "page")
"""Those that a term without a field is looked for in."""
BRIEF: Final = ("parts", "summary", "keywords")
"""The ones among them that say most, and have few words."""
ANY: Final = "any"
"""A word in ``type`` of every document."""
_SEPARATORS: Final = re.compile(r"[^a-z0-9]+")
_SHORTEST_TRIGRAM: Final = 3
_MOST_ENDINGS: Final = 60


def squash(name: str) -> str:
    """Return the letters and digits of ``name``, in lower case; nothing for what can be no part of a name, which is ASCII."""
    return _SEPARATORS.sub("", name.lower()) if name.isascii() else ""


def endings(squashed: str) -> str:
    """Return the endings of a name, longest first, as words: a term in the middle of it is the beginning of one of them."""
    return " ".join(squashed[place:] for place in range(max(1, min(len(squashed) - 1, _MOST_ENDINGS))))


def place_words(index: str, project: str) -> str:
    """Return the words for the column ``place``: user, index and path, in hexadecimal digits since names may hold anything."""
    user, _, name = index.partition("/")
    return f"u{_hex(user)} i{_hex(name)} p{_hex(f'/{index}/{project}')}"


def _hex(text: str) -> str:
    return text.lower().encode().hex()


# Documents ---------------------------------------------------------------------------------------------------------


def documents_matching(expression: Expression, columns: tuple[str, ...] = SEARCHED) -> str:
    """Return the expression for the table ``words``; empty for ``NEVER``.

    Terms without a field are looked for in ``columns``.  With ``BRIEF``, what must not match is still looked for in all.
    """
    match expression:
        case Term():
            return _term(expression, columns)
        case Or(parts):
            return _joined(" OR ", [documents_matching(part, columns) for part in parts])
        case And(parts):
            return _all_of(*_scoped(parts, columns))
        case Not():
            return _all_of((expression,), columns)
        case Maybe(required, optional):
            needed, welcome = documents_matching(required, columns), documents_matching(optional, columns)
            is_small = isinstance(required, Term | And | Or) and isinstance(optional, Term)
            return f"({needed} OR ({needed} AND {welcome}))" if needed and welcome and is_small else needed


def _scoped(parts: Iterable[Expression], columns: tuple[str, ...]) -> tuple[list[Expression], tuple[str, ...]]:
    """Take ``type:summary`` and the like as what the other parts are looked for in."""
    rest: list[Expression] = []
    found = columns
    for part in parts:
        if isinstance(part, Term) and part.field == "type" and part.text.lower() in SEARCHED:
            found = (part.text.lower(),)
        rest.append(part)
    return rest, found


def _all_of(parts: Iterable[Expression], columns: tuple[str, ...]) -> str:
    wanted, unwanted = [], []
    for part in parts:
        if isinstance(part, Not):
            unwanted.append(documents_matching(part.part, SEARCHED if columns == BRIEF else columns))
        else:
            wanted.append(documents_matching(part, columns))
    if not all(wanted):
        return ""
    found = _joined(" AND ", wanted or [f"type : {ANY}"])
    excluded = _joined(" OR ", unwanted)
    return f"({found} NOT {excluded})" if excluded else found


def _joined(operator: str, parts: Iterable[str]) -> str:
    found = [part for part in parts if part]
    return f"({operator.join(found)})" if len(found) > 1 else "".join(found)


def _term(term: Term, columns: tuple[str, ...]) -> str:
    text, squashed = term.text, squash(term.text)
    match term.field:
        case "name":
            return _string("exact", squashed, is_prefix=term.is_prefix)
        case query.PART:
            return _string("parts", squashed, is_prefix=True)
        case "user":
            return _string("place", f"u{_hex(text)}", is_prefix=term.is_prefix)
        case "index" if "/" not in text:
            return _string("place", f"i{_hex(text)}", is_prefix=term.is_prefix)
        case "index":
            return _string("place", f"p{_hex(_path(text))}2f" if not term.is_prefix else f"p{_hex(_path(text))}", is_prefix=True)
        case "path":
            return _string("place", f"p{_hex(_path(text))}", is_prefix=term.is_prefix)
        case "type":
            return _string("type", text, is_prefix=term.is_prefix)
        case str(field):
            return _string(field, text, is_prefix=True)
    is_letter = len(squashed or text) == 1 and not term.is_prefix
    texts = " ".join(column for column in columns if column != "parts")
    in_name = _string("exact" if is_letter else "parts", squashed, is_prefix=not is_letter) if "parts" in columns else ""
    return _joined(" OR ", [in_name, _string(f"{{{texts}}}", text, is_prefix=not is_letter)])


def _path(text: str) -> str:
    return text if text.startswith("/") else f"/{text}"


def _string(columns: str, text: str, *, is_prefix: bool) -> str:
    quoted = text.replace('"', '""')
    return f'{columns} : "{quoted}"{" *" if is_prefix else ""}' if text else ""


# Names in the lists of mirrors -------------------------------------------------------------------------------------


def within(expression: Expression, index: str) -> Expression:
    """Return what is left of ``expression`` for the names in the list of ``index``: terms for names, or none at all."""
    match expression:
        case Term():
            return _within(expression, index)
        case And(parts):
            found = tuple(left for part in parts if (left := within(part, index)) != ALWAYS)
            return NEVER if NEVER in found else found[0] if len(found) == 1 else And(found)
        case Or(parts):
            found = tuple(left for part in parts if (left := within(part, index)) != NEVER)
            return ALWAYS if ALWAYS in found else found[0] if len(found) == 1 else Or(found)
        case Not(part):
            left = within(part, index)
            return NEVER if left == ALWAYS else ALWAYS if left == NEVER else Not(left)
        case Maybe(required, _):
            return within(required, index)


def _within(term: Term, index: str) -> Expression:
    squashed = squash(term.text)
    user, _, name = index.partition("/")

    def known(asked: str, text: str) -> Expression:
        is_so = text.startswith(asked) if term.is_prefix else text == asked
        return ALWAYS if is_so else NEVER

    match term.field:
        case None | query.PART:
            return Term(squashed) if squashed else NEVER
        case "name":
            return Term(squashed, "name", term.is_prefix) if squashed else NEVER
        case "user":
            return known(term.text.lower(), user.lower())
        case "index":
            return known(term.text.lower(), name.lower() if "/" not in term.text else index.lower())
        case "path":
            return _within_path(_path(term.text).lower(), f"/{index}/".lower(), is_prefix=term.is_prefix)
        case "type":
            return known(term.text.lower(), "project")
        case _:
            return NEVER


def _within_path(asked: str, folder: str, *, is_prefix: bool) -> Expression:
    if is_prefix and folder.startswith(asked):
        return ALWAYS
    rest = squash(asked.removeprefix(folder))
    return Term(rest, "name", is_prefix) if asked.startswith(folder) and rest else NEVER


def names_matching(expression: Expression) -> str | None:
    """Return the full-text expression that finds at least the names that ``accepts`` accepts; None where there is none.

    Of alternatives those of three characters or more count.  ``expression`` is a result of ``within``.
    """
    match expression:
        case Term(text):
            return f'"{text}"' if len(text) >= _SHORTEST_TRIGRAM else None
        case And(parts):
            return _joined(" AND ", [found for part in parts if (found := names_matching(part))]) or None
        case Or(parts):
            return _joined(" OR ", [found for part in parts if (found := names_matching(part))]) or None
        case Not() | Maybe():
            return None


def shortest_beginning(expression: Expression) -> str | None:
    """Return a short term that has to match, where ``names_matching`` finds none: names that begin with it are looked at."""
    match expression:
        case Term(text):
            return text
        case And(parts) | Or(parts):
            return next((found for part in parts if (found := shortest_beginning(part))), None)
        case Not() | Maybe():
            return None


def accepts(expression: Expression, squashed: str) -> bool:
    """Return whether a name matches; ``expression`` is a result of ``within``."""
    match expression:
        case Term(text, "name", is_prefix):
            return squashed.startswith(text) if is_prefix else squashed == text
        case Term(text):
            return text in squashed
        case And(parts):
            return all(accepts(part, squashed) for part in parts)
        case Or(parts):
            return any(accepts(part, squashed) for part in parts)
        case Not(part):
            return not accepts(part, squashed)
        case Maybe(required, _):
            return accepts(required, squashed)

"""What is shown of the projects that were found, read for a whole page at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs
import orjson

from twistpi.model.records import NOTHING
from twistpi.search.finding import KINDS, LISTED, MIRRORED, OWN, Group, Reading
from twistpi.search.query import Term
from twistpi.search.results import Excerpt, Hit, Location, Marker

_MOST_EXCERPTS: Final = 4
_MOST_LOCATIONS: Final = 20
"""Indexes that are named for one project."""
_TEXTS: Final = ("summary", "keywords", "description", "author", "author_email", "title", "page")

_Texts = Mapping[str, str]
"""Column -> text; with the path and version of a page of documentation."""


@attrs.frozen
class _Known:
    """A project in one index."""

    location: Location
    number: int = 0
    """Of its document; 0 for a name in a list."""
    name: str = ""
    """As it is spelled there."""


def hits_of(
    reading: Reading, groups: Sequence[Group], wanted: Sequence[Term], order: Mapping[str, int] = NOTHING
) -> tuple[Hit, ...]:
    """Return what is shown of ``groups``: each as the first index in ``order`` knows it, or else that of the best match."""
    marker, known = Marker(wanted), _known(reading, [group.project for group in groups])
    for group in groups:
        best = reading.places.get(group.place)
        known[group.project].sort(key=lambda one: _rank(one.location, order, best))
    documents = [one.number for of_project in known.values() for one in of_project[:1]]
    pages = {group.project: [number for number, path in group.documents if path][:_MOST_EXCERPTS] for group in groups}
    texts = _texts(reading, [*documents, *(number for numbers in pages.values() for number in numbers)])
    return tuple(_hit(group, known[group.project], texts, pages[group.project], marker) for group in groups)


def _rank(location: Location, order: Mapping[str, int], best: str | None) -> tuple[int, int, bool]:
    return order.get(location.index, 0), KINDS.index(location.kind), location.index != best


def _hit(group: Group, known: Sequence[_Known], texts: Mapping[int, _Texts], pages: Sequence[int], marker: Marker) -> Hit:
    first = known[0] if known else _Known(Location("", "", LISTED))
    name, own = first.name or group.project, texts.get(first.number, NOTHING)
    summary = own.get("summary", "")
    fields = [(field, own.get(field, "")) for field in _TEXTS[1:5]]
    excerpts = [Excerpt(field, pieces) for field, text in fields if (pieces := marker.excerpt(text))]
    excerpts += [_page_excerpt(texts[number], marker) for number in pages if number in texts]
    return Hit(
        group.project,
        name,
        tuple(one.location for one in known[:_MOST_LOCATIONS]),
        summary,
        marker.name(name),
        marker.marked(summary),
        tuple(excerpts[:_MOST_EXCERPTS]),
    )


def _page_excerpt(texts: _Texts, marker: Marker) -> Excerpt:
    title, path, version = texts["title"], texts["path"], texts["version"]
    found = marker.excerpt(texts["page"])
    if found:
        return Excerpt("page", found, path, version, title)
    return Excerpt("title", marker.marked(title), path, version, title)


def _known(reading: Reading, projects: Sequence[str]) -> dict[str, list[_Known]]:
    """Return where each of ``projects`` is, as far as the reader may know."""
    found: dict[str, list[_Known]] = {project: [] for project in projects}
    asked = orjson.dumps(projects).decode()
    rows = reading.rows(
        "project, place, version, is_own, id, name",
        "SELECT * FROM document WHERE path = '' AND project IN (SELECT value FROM json_each(?)) ORDER BY is_own DESC, id",
        asked,
    )
    for project, place, version, is_own, number, name in rows:
        if place in reading.places and reading.offers(reading.places[place], project):
            location = Location(reading.places[place], version, OWN if is_own else MIRRORED)
            found[project].append(_Known(location, number, name))
    lists = "SELECT name, mirrors FROM listed WHERE name IN (SELECT value FROM json_each(?))"
    for project, bits in reading.rows("name, mirrors", lists, asked):
        here = {one.location.index for one in found[project]}
        names = (name for number, name in reading.mirrors.items() if bits >> number & 1)
        offering = (name for name in names if name not in here and reading.offers(name, project))
        found[project] += [_Known(Location(name, "", LISTED)) for name in offering]
    return found


def _texts(reading: Reading, numbers: Sequence[int]) -> dict[int, _Texts]:
    rows: list[list[Any]] = reading.rows(
        f"number, {', '.join(_TEXTS)}, path, version",
        f"SELECT wanted.value AS number, {', '.join(f'words.{column}' for column in _TEXTS)}, document.path AS path, version"
        " FROM json_each(?) AS wanted CROSS JOIN words ON words.rowid = wanted.value"
        " CROSS JOIN document ON document.id = wanted.value",
        orjson.dumps(numbers).decode(),
    )
    return {number: dict(zip((*_TEXTS, "path", "version"), texts, strict=True)) for number, *texts in rows}

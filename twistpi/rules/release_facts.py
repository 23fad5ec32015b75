"""The facts of a release as its page shows them, from its core metadata.  Pure.

Everything in there was written by those who made the release: a page escapes it, and only checked addresses become links.

Sources: "Core metadata specifications"; "Well-known project URLs" (PEP 753); "Dependency specifiers" (PEP 508).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from email.utils import getaddresses
from typing import Final
from urllib.parse import urlsplit

import attrs
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from twistpi.model.records import Json
from twistpi.model.text import one_line

MOST: Final = 200
"""Values of one field that are shown; some releases have thousands."""
_LONGEST: Final = 2000
"""Characters of a value that are shown."""
_EXTRA: Final = re.compile(r"""extra\s*==\s*["']([^"']+)["']""")
_WITH_EXTRA: Final = re.compile(r"""\s*\band\s+extra\s*==\s*["'][^"']+["']|\bextra\s*==\s*["'][^"']+["'](?:\s+and\s+)?""")
_UNSAFE_IN_URL: Final = re.compile(r"[\s\x00-\x20\x7f\"'<>`\\]")
_PUNCTUATION: Final = re.compile(r"[^a-z0-9]")

_WELL_KNOWN: Final[Mapping[str, str]] = {
    "homepage": "Homepage",
    "documentation": "Documentation",
    "docs": "Documentation",
    "source": "Source",
    "sourcecode": "Source",
    "repository": "Source",
    "github": "Source",
    "changelog": "Changelog",
    "changes": "Changelog",
    "whatsnew": "Changelog",
    "history": "Changelog",
    "releasenotes": "Release notes",
    "issues": "Issues",
    "issue": "Issues",
    "bugs": "Issues",
    "tracker": "Issues",
    "issuetracker": "Issues",
    "bugtracker": "Issues",
    "download": "Download",
    "funding": "Funding",
    "sponsor": "Funding",
    "donate": "Funding",
    "donation": "Funding",
}
"""Normalised labels of PEP 753, in the order in which links are shown."""
_ORDER: Final = tuple(dict.fromkeys(_WELL_KNOWN.values()))


@attrs.frozen
class Person:
    """Who wrote or maintains something."""

    name: str
    email: str = ""
    """Empty when it is not told, or no address."""


@attrs.frozen
class ProjectLink:
    """A link of a release."""

    label: str
    url: str
    is_safe: bool
    """Whether it may become a link: its scheme is ``http``, ``https`` or ``mailto``, and it has nothing odd."""


@attrs.frozen
class Dependency:
    """What a release requires."""

    text: str
    """As it is written, if it cannot be read."""
    project: str = ""
    """The normalised name; empty when ``text`` cannot be read."""
    name: str = ""
    extras: tuple[str, ...] = ()
    specifier: str = ""
    marker: str = ""
    """When it counts, but for the extra."""
    url: str = ""
    """Where it comes from, when an address is required instead of a version."""


@attrs.frozen
class ReleaseFacts:
    """What the page of a release shows of its core metadata."""

    name: str = ""
    version: str = ""
    summary: str = ""
    description: str = ""
    description_type: str = ""
    """``Description-Content-Type``."""
    authors: tuple[Person, ...] = ()
    maintainers: tuple[Person, ...] = ()
    license: str = ""
    """The license expression, else what the field ``License`` or the classifiers say, in one line."""
    requires_python: str = ""
    keywords: tuple[str, ...] = ()
    links: tuple[ProjectLink, ...] = ()
    classifiers: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """Pairs of the first part and what follows it, both in the order of the alphabet."""
    dependencies: tuple[Dependency, ...] = ()
    """What is always required."""
    extras: tuple[tuple[str, tuple[Dependency, ...]], ...] = ()
    """Pairs of an extra and what it requires."""
    dynamic: tuple[str, ...] = ()
    requires_external: tuple[str, ...] = ()
    license_files: tuple[str, ...] = ()


def release_facts(metadata: Mapping[str, Json]) -> ReleaseFacts:
    """Return the facts in ``metadata``, by the keys of ``model/releases.py``; what is not as it should be is left out."""
    dependencies, extras = _dependencies(_texts(metadata, "requires_dist"), _texts(metadata, "provides_extras"))
    classifiers = _texts(metadata, "classifiers")
    return ReleaseFacts(
        name=_line(metadata, "name"),
        version=_line(metadata, "version"),
        summary=_line(metadata, "summary"),
        description=text if isinstance(text := metadata.get("description"), str) else "",
        description_type=_line(metadata, "description_content_type"),
        authors=_people(_line(metadata, "author"), _line(metadata, "author_email")),
        maintainers=_people(_line(metadata, "maintainer"), _line(metadata, "maintainer_email")),
        license=_license(metadata, classifiers),
        requires_python=_line(metadata, "requires_python"),
        keywords=_keywords(metadata.get("keywords")),
        links=_links(metadata),
        classifiers=_grouped(classifiers),
        dependencies=dependencies,
        extras=extras,
        dynamic=_texts(metadata, "dynamic"),
        requires_external=_texts(metadata, "requires_external"),
        license_files=_texts(metadata, "license_file"),
    )


NO_FACTS: Final = ReleaseFacts()
"""Of a release of which nothing but its files is known."""


def is_safe_link(url: str) -> bool:
    """Return whether ``url`` may become a link: ``http`` or ``https`` with a host, or ``mailto``; no odd characters."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    if _UNSAFE_IN_URL.search(url):
        return False
    return (parts.scheme in ("http", "https") and bool(parts.hostname)) or (parts.scheme == "mailto" and "@" in parts.path)


def _line(metadata: Mapping[str, Json], key: str) -> str:
    value = metadata.get(key)
    text = value if isinstance(value, str) else ", ".join(map(str, value)) if isinstance(value, list) else ""
    text = one_line(text)[:_LONGEST]
    return "" if text == "UNKNOWN" else text


def _texts(metadata: Mapping[str, Json], key: str) -> tuple[str, ...]:
    value = metadata.get(key)
    found = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    lines = (one_line(text)[:_LONGEST] for text in found[:MOST] if isinstance(text, str))
    return tuple(dict.fromkeys(line for line in lines if line not in ("", "UNKNOWN")))


def _people(names: str, addresses: str) -> tuple[Person, ...]:
    """Return who ``Author`` and ``Author-email`` name; the second alone often has both: ``Alice <alice@example.com>``."""
    found = [Person(one_line(name), email if _is_address(email) else "") for name, email in getaddresses([addresses])]
    named = [person for person in found if person.name or person.email]
    if len(named) == 1 and not named[0].name:
        return (attrs.evolve(named[0], name=names),)
    known = {person.name for person in named}
    return tuple([Person(names)] * bool(names and names not in known) + named)[:MOST]


def _is_address(email: str) -> bool:
    return is_safe_link(f"mailto:{email}")


def _license(metadata: Mapping[str, Json], classifiers: Sequence[str]) -> str:
    """Return the license in one line: some releases have its whole text in the field ``License``."""
    expression = _line(metadata, "license_expression")
    if expression:
        return expression
    text = metadata.get("license")
    if isinstance(text, str) and text.strip() and "\n" not in text.strip() and len(text) < 200:
        return _line(metadata, "license")
    named = [one.rpartition(" :: ")[2] for one in classifiers if one.startswith("License :: ")]
    first = one_line(text.strip().partition("\n")[0])[:100] if isinstance(text, str) else ""
    return ", ".join(named) or first


def _keywords(value: Json) -> tuple[str, ...]:
    if isinstance(value, list):
        words: Sequence[str] = [one for one in value if isinstance(one, str)]
    elif isinstance(value, str):
        words = value.split(",") if "," in value else value.split()
    else:
        return ()
    return tuple(dict.fromkeys(word for word in map(one_line, words[:MOST]) if word))[:50]


def _links(metadata: Mapping[str, Json]) -> tuple[ProjectLink, ...]:
    """Return the links, those with well-known labels first; an address that two fields give comes once."""
    labelled = [
        (label.strip(), url.strip()) for label, _, url in (text.partition(",") for text in _texts(metadata, "project_urls"))
    ]
    legacy = [("Homepage", _line(metadata, "home_page")), ("Download", _line(metadata, "download_url"))]
    found: dict[str, ProjectLink] = {}
    for label, url in (*labelled, *legacy):
        if url and url.rstrip("/") not in found:
            words = _WELL_KNOWN.get(_PUNCTUATION.sub("", label.lower()), label or url)
            found[url.rstrip("/")] = ProjectLink(words, url, is_safe_link(url))
    return tuple(sorted(found.values(), key=lambda link: _ORDER.index(link.label) if link.label in _ORDER else len(_ORDER)))


def _grouped(classifiers: Sequence[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    groups: dict[str, list[str]] = {}
    for classifier in classifiers:
        group, _, rest = classifier.partition(" :: ")
        groups.setdefault(group, []).append(rest or group)
    return tuple((group, tuple(members)) for group, members in sorted(groups.items()))


def _dependencies(
    texts: Sequence[str], provided: Sequence[str]
) -> tuple[tuple[Dependency, ...], tuple[tuple[str, tuple[Dependency, ...]], ...]]:
    """Return what is always required, and what each extra requires; an extra may require nothing."""
    always: list[Dependency] = []
    of_extra: dict[str, list[Dependency]] = {canonicalize_name(extra): [] for extra in provided}
    for text in texts:
        dependency, extras = _parsed(text)
        for extra in extras:
            of_extra.setdefault(extra, []).append(dependency)
        if not extras:
            always.append(dependency)
    return tuple(always), tuple((extra, tuple(found)) for extra, found in of_extra.items())


def _parsed(text: str) -> tuple[Dependency, Sequence[str]]:
    """Return a dependency and the normalised extras for which it counts."""
    try:
        requirement = Requirement(text)
    except (InvalidRequirement, RecursionError):
        return Dependency(text), ()
    marker = "" if requirement.marker is None else str(requirement.marker)
    url = requirement.url or ""
    return (
        Dependency(
            text,
            canonicalize_name(requirement.name),
            requirement.name,
            tuple(sorted(requirement.extras)),
            str(requirement.specifier),
            _WITH_EXTRA.sub("", marker).strip(),
            url,
        ),
        list(dict.fromkeys(map(str, map(canonicalize_name, _EXTRA.findall(marker))))),
    )

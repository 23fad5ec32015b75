"""Names of projects with version specifiers, as the lists of a policy have them: ``requests``, ``django>=4,<5``, ``acme-*``.

Source: "Version specifiers" (PEP 440).
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import attrs
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from twistpi.model.errors import InvalidName
from twistpi.model.names import normalize_project, parsed_version

_OPERATOR: Final = re.compile(r"\s*(?:[<>=!~]=?|===)")
_PARTS: Final = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)(\*?)\s*(.*)\Z", re.DOTALL)
_LONGEST: Final = 1000
"""Characters."""


@attrs.frozen
class Requirement:
    """A project, or all whose names begin alike, in all or some of their versions."""

    name: str
    """Normalised; the beginning of names where ``is_prefix``."""
    versions: SpecifierSet = attrs.field(factory=SpecifierSet)
    is_prefix: bool = False

    @classmethod
    def parse(cls, text: str) -> Requirement:
        """Read ``name``, ``name*`` or either with specifiers; raise ``ValueError``, which says what is wrong."""
        parts = _PARTS.match(text) if len(text) <= _LONGEST else None
        if parts is None:
            raise ValueError(f"{text[:_LONGEST]!r} does not begin with the name of a project")
        name, star, specifiers = parts.groups()
        try:
            normal = re.sub(r"[-_.]+", "-", name).lower() if star else normalize_project(name)
            return cls(normal, SpecifierSet(specifiers), bool(star))
        except (InvalidName, InvalidSpecifier) as error:
            raise ValueError(f"{text!r} is neither a project nor one with version specifiers: {error}") from error

    def __str__(self) -> str:
        """Return the text that ``parse`` reads."""
        return f"{self.name}{'*' if self.is_prefix else ''}{self.versions}"

    def matches_name(self, project: str) -> bool:
        """Return whether the project of this normalised name is meant, in any version."""
        return project.startswith(self.name) if self.is_prefix else project == self.name

    def matches(self, project: str, version: str) -> bool:
        """Return whether ``version`` is meant, as the name of a file has it.

        What is no version by PEP 440 is meant where all are, and by ``===`` where it is written alike.
        """
        if not self.matches_name(project):
            return False
        parsed = parsed_version(version)
        if parsed is None:
            return all(one.operator == "===" and one.version.lower() == version.lower() for one in self.versions)
        return self.versions.contains(parsed, prereleases=True)


@attrs.frozen
class RequirementList:
    """Requirements, found by the project; a list of names may be long."""

    by_name: Mapping[str, tuple[Requirement, ...]]
    prefixes: tuple[Requirement, ...]

    @classmethod
    def parse(cls, texts: Iterable[str]) -> RequirementList:
        """Read texts as ``Requirement.parse`` does; raise ``ValueError``."""
        by_name: defaultdict[str, tuple[Requirement, ...]] = defaultdict(tuple)
        prefixes = []
        for requirement in map(Requirement.parse, texts):
            if requirement.is_prefix:
                prefixes.append(requirement)
            else:
                by_name[requirement.name] += (requirement,)
        return cls(dict(by_name), tuple(prefixes))

    def __bool__(self) -> bool:
        """Return whether there is any."""
        return bool(self.by_name or self.prefixes)

    def naming(self, project: str) -> Iterator[Requirement]:
        """Return those that mean some version of ``project``, a normalised name."""
        yield from self.by_name.get(project, ())
        yield from (prefix for prefix in self.prefixes if prefix.matches_name(project))

    def about(self, project: str) -> RequirementList:
        """Return those that mean some version of ``project``; for it, it is the same, and found sooner."""
        found = tuple(self.naming(project))
        return RequirementList({project: found}, ()) if found else NO_REQUIREMENTS

    def match(self, project: str, version: str) -> Requirement | None:
        """Return the first that means ``version``, as the name of a file has it."""
        return next((one for one in self.naming(project) if one.matches(project, version)), None)


NO_REQUIREMENTS: Final = RequirementList({}, ())


def split_requirements(text: str) -> list[str]:
    """Return the requirements in ``text``, between commas or line ends; ``#`` begins a comment.

    A comma before an operator belongs to the requirement: ``a>=1,<2,b`` are two.
    """
    return list(_joined(piece for line in text.splitlines() for piece in line.partition("#")[0].split(",")))


def _joined(pieces: Iterable[str]) -> Iterator[str]:
    waiting = ""
    for piece in pieces:
        if waiting and _OPERATOR.match(piece):
            waiting += f",{piece.strip()}"
            continue
        if waiting:
            yield waiting
        waiting = piece.strip()
    if waiting:
        yield waiting

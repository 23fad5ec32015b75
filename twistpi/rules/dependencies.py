"""What a release requires, as its core metadata says (``Requires-Dist``).

Source: "Dependency specifiers" (PEP 508).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import attrs
from packaging.requirements import InvalidRequirement
from packaging.requirements import Requirement as DependencySpecifier
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from twistpi.model.names import normalize_project

_NAME: Final = re.compile(r"\s*([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)")


@attrs.frozen
class Dependency:
    """What a release requires of one project."""

    project: str
    """The normalised name."""
    text: str
    """The whole requirement as it was written."""
    extras: tuple[str, ...] = ()
    """The extras of the project that are required with it."""
    marker: str = ""
    """When it is required: ``extra == "docs"``, ``python_version < "3.12"``; empty for always."""
    versions: SpecifierSet | None = None
    """Which versions; None where an address is required, or where the text has another form than the specification."""

    @classmethod
    def parse(cls, text: str) -> Dependency | None:
        """Read a requirement; None where it does not begin with the name of a project.

        Old releases have forms that no installer reads any more; of them the name alone is known.
        """
        name = _NAME.match(text)
        if name is None:
            return None
        project = normalize_project(name[1])
        try:
            found = DependencySpecifier(text)
        except InvalidRequirement:
            return cls(project, text)
        versions = None if found.url else found.specifier
        return cls(project, text, tuple(sorted(found.extras)), str(found.marker or ""), versions)

    def admits(self, versions: Iterable[Version]) -> bool:
        """Return whether one of ``versions`` may be installed for it; true where it is not known which may."""
        return self.versions is None or any(self.versions.contains(one, prereleases=True) for one in versions)


def dependencies_on(project: str, required: Iterable[str]) -> list[Dependency]:
    """Return those of the requirements ``required`` that are of ``project`` (normalised), in their order."""
    named = (text for text in required if (name := _NAME.match(text)) and normalize_project(name[1]) == project)
    return [found for text in named if (found := Dependency.parse(text)) is not None]

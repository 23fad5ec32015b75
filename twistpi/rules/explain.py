"""Why an index shows what it shows for a project: which index answers, and which rule hides what."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Final

import attrs

from twistpi.model.names import comparable_version, version_of_filename
from twistpi.model.records import Index, KnownFile, KnownProject
from twistpi.rules.inheritance import Ruling, bases_of, rule_on_mirrors

_NO_TROUBLES: Final[Mapping[str, str]] = {}


class Verdict(enum.Enum):
    """What an index has to do with the answer; the value says it in words."""

    ANSWERS = "answers"
    SHADOWED = "has only files that a nearer index has, too"
    EMPTY = "has the project, but offers no file"
    NO_VERSION = "has the project, but not this version"
    ABSENT = "has no such project"
    SILENCED = "is hidden by the whitelist rule"
    TROUBLED = "cannot tell"


@attrs.frozen
class FileFate:
    """A file of an index, and whether it is shown."""

    filename: str
    shadowed_by: str | None = None
    """The nearer index whose file of that name is shown instead; None when this one is shown."""
    withheld: str | None = None
    """Why it is not offered at all: ``quarantined``, ``vanished``, or ``silenced``; None when it is."""

    @property
    def shown(self) -> bool:
        """Whether it is on the page."""
        return self.shadowed_by is None and self.withheld is None


@attrs.frozen
class IndexFate:
    """What becomes of one index of the order."""

    index: Index
    verdict: Verdict
    files: tuple[FileFate, ...] = ()
    """Those of the version that was asked about, or all; of a silenced mirror those it is known to have."""
    silenced_by: str | None = None
    """The private index that has the project and so hides this mirror."""
    reason: str | None = None
    """Why it cannot tell."""


@attrs.frozen
class Explanation:
    """Who answers for a project."""

    project: str
    version: str | None
    """None when all of the project was asked about."""
    ruling: Ruling
    """Whether mirrors may contribute, and why."""
    fates: tuple[IndexFate, ...]
    """One for each index, nearest first."""
    missing_bases: tuple[tuple[str, str], ...] = ()
    """Pairs of an index and a base it names that does not exist."""

    @property
    def answering(self) -> tuple[str, ...]:
        """The names of the indexes of which something is shown, nearest first."""
        return tuple(fate.index.name for fate in self.fates if fate.verdict is Verdict.ANSWERS)


def explain(
    order: Sequence[Index],
    project: str,
    version: str | None,
    knowledge: Mapping[str, KnownProject],
    troubles: Mapping[str, str] = _NO_TROUBLES,
) -> Explanation:
    """Explain what ``order`` (of ``resolution_order``) shows for ``project`` (normalised), or for one ``version`` of it.

    ``knowledge`` says by index what each one knows of the project; an index that is not in it has none.  ``troubles`` says by
    index why an upstream could not be asked.
    """
    ruling = rule_on_mirrors(project, order, lambda name: name in knowledge)
    owners: dict[str, str] = {}
    fates = [_fate(index, version, knowledge.get(index.name), troubles.get(index.name), ruling, owners) for index in order]
    names = {index.name for index in order}
    missing = tuple((index.name, base) for index in order for base in dict.fromkeys(bases_of(index)) if base not in names)
    return Explanation(project, version, ruling, tuple(fates), missing)


def _fate(
    index: Index, version: str | None, known: KnownProject | None, trouble: str | None, ruling: Ruling, owners: dict[str, str]
) -> IndexFate:
    """The fate of one index; ``owners``, file name to index, learns which files it shows."""
    files = () if known is None else _files(known, version)
    if index.is_mirror and not ruling.allowed:
        silenced = tuple(FileFate(file.link.filename, withheld="silenced") for file in files)
        return IndexFate(index, Verdict.SILENCED, silenced, silenced_by=ruling.private)
    if known is None:
        return IndexFate(index, Verdict.ABSENT if trouble is None else Verdict.TROUBLED, reason=trouble)
    offered = {file.link.filename for file in known.offered}
    fates = tuple(_file_fate(index, known, file.link.filename, offered, owners) for file in files)
    return IndexFate(index, _verdict(known, version, fates), fates, reason=trouble)


def _files(known: KnownProject, version: str | None) -> tuple[KnownFile, ...]:
    if version is None:
        return known.files
    wanted = comparable_version(version)
    found = [(file, version_of_filename(file.link.filename, known.project)) for file in known.files]
    return tuple(file for file, told in found if told is not None and comparable_version(told) == wanted)


def _file_fate(index: Index, known: KnownProject, filename: str, offered: set[str], owners: dict[str, str]) -> FileFate:
    if filename not in offered:
        return FileFate(filename, withheld="quarantined" if known.quarantined else "vanished")
    owner = owners.setdefault(filename, index.name)
    return FileFate(filename, None if owner == index.name else owner)


def _verdict(known: KnownProject, version: str | None, fates: Sequence[FileFate]) -> Verdict:
    if any(fate.shown for fate in fates):
        return Verdict.ANSWERS
    if any(fate.shadowed_by is not None for fate in fates):
        return Verdict.SHADOWED
    return Verdict.EMPTY if version is None or fates else Verdict.NO_VERSION

"""Explanation of a project's page: what each index of the resolution order contributes, what is not shown, and why.  Pure."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence

import attrs

from twistpi.model.names import comparable_version, version_of_filename
from twistpi.model.records import NOTHING, Index, KnownFile, KnownProject
from twistpi.rules.file_policy import Refusal
from twistpi.rules.inheritance import Ruling, bases_of, rule_on_mirrors
from twistpi.rules.offered_files import policies_for

Refusals = Mapping[str, Mapping[str, Refusal]]
"""Index -> name of a file -> why it is not offered, or would not be."""


class Verdict(enum.Enum):
    """How an index contributes to the page; the value is for people."""

    ANSWERS = "answers"
    SHADOWED = "has only files that a nearer index has, too"
    EMPTY = "has the project, but offers no file"
    NO_VERSION = "has the project, but not this version"
    ABSENT = "has no such project"
    SILENCED = "is hidden by the whitelist rule"
    BARRED = "is not asked, because an allow list does not name the project"
    FAILED = "cannot tell"


@attrs.frozen
class FileFate:
    """A file of an index, with the reason why it is not shown."""

    filename: str
    shadowed_by: str | None = None
    """The nearer index whose file of that name is shown instead; None when there is none."""
    withheld: str | None = None
    """Why it is not offered: ``quarantined``, ``vanished``, ``silenced`` or ``refused``; None when it is."""
    refusal: Refusal | None = None
    """What a policy has against it; where that only reports, the file is shown all the same."""

    @property
    def shown(self) -> bool:
        """Whether it is on the page."""
        return self.shadowed_by is None and self.withheld is None


@attrs.frozen
class IndexFate:
    """How one index of the resolution order contributes."""

    index: Index
    verdict: Verdict
    files: tuple[FileFate, ...] = ()
    """Those of the requested version, or all; of a silenced mirror those that are known."""
    silenced_by: str | None = None
    """The private index that has the project or reserves its name, and therefore hides this mirror."""
    barred_by: str | None = None
    """The index whose allow list keeps this mirror from being asked."""
    reason: str | None = None
    """Why it is not known what the index has."""


@attrs.frozen
class Explanation:
    """The contributions of all indexes to a project."""

    project: str
    version: str | None
    """None for all versions."""
    ruling: Ruling
    """Whether mirrors may contribute, and why."""
    fates: tuple[IndexFate, ...]
    """One for each index, nearest first."""
    missing_bases: tuple[tuple[str, str], ...] = ()
    """Pairs of an index and a base of it that does not exist."""
    former_owners: tuple[str, ...] = ()
    """The private indexes that had the project, where mirrors may contribute now because none has it any more."""

    @property
    def answering(self) -> tuple[str, ...]:
        """The names of the indexes with a shown file, nearest first."""
        return tuple(fate.index.name for fate in self.fates if fate.verdict is Verdict.ANSWERS)


def explain(
    order: Sequence[Index],
    project: str,
    version: str | None,
    knowledge: Mapping[str, KnownProject],
    failures: Mapping[str, str] = NOTHING,
    former_owners: Sequence[str] = (),
    refusals: Refusals = NOTHING,
) -> Explanation:
    """Explain what ``order`` (of ``resolution_order``) shows for ``project`` (normalised), or for one ``version`` of it.

    ``knowledge`` has the project of each index that has it, ``failures`` the reasons why upstreams could not be asked, by index;
    ``former_owners`` are private indexes that had it once, ``refusals`` what policies have against files of mirrors.
    """
    ruling = rule_on_mirrors(project, order, lambda name: name in knowledge)
    owners: dict[str, str] = {}
    fates = [
        _silenced(index, version, knowledge.get(index.name), ruling)
        or _barred(index, project, order)
        or _fate(index, version, knowledge.get(index.name), failures.get(index.name), refusals.get(index.name, NOTHING), owners)
        for index in order
    ]
    names = {index.name for index in order}
    missing = tuple((index.name, base) for index in order for base in dict.fromkeys(bases_of(index)) if base not in names)
    left_to_mirrors = ruling.allowed and ruling.whitelisted is None
    return Explanation(project, version, ruling, tuple(fates), missing, tuple(former_owners) if left_to_mirrors else ())


def _silenced(index: Index, version: str | None, known: KnownProject | None, ruling: Ruling) -> IndexFate | None:
    """Return what is to be said of a mirror that a private index keeps from contributing; None for any other index."""
    if not index.is_mirror or ruling.allowed:
        return None
    files = () if known is None else _files(known, version)
    silenced = tuple(FileFate(file.link.filename, withheld="silenced") for file in files)
    return IndexFate(index, Verdict.SILENCED, silenced, silenced_by=ruling.private or ruling.reserved)


def _barred(index: Index, project: str, order: Sequence[Index]) -> IndexFate | None:
    """Return what is to be said of a mirror that an allow list keeps from being asked; None for any other index."""
    if not index.is_mirror:
        return None
    barring = (one.index for one in policies_for(index, order) if one.is_enforced and not one.has_names(project))
    by = next(barring, None)
    return None if by is None else IndexFate(index, Verdict.BARRED, barred_by=by)


def _fate(
    index: Index,
    version: str | None,
    known: KnownProject | None,
    failure: str | None,
    refusals: Mapping[str, Refusal],
    owners: dict[str, str],
) -> IndexFate:
    """Return the contribution of one index; the files it shows are added to ``owners`` (file name -> index)."""
    if known is None:
        return IndexFate(index, Verdict.ABSENT if failure is None else Verdict.FAILED, reason=failure)
    files, offered = _files(known, version), {file.link.filename for file in known.offered}
    names = [file.link.filename for file in files]
    fates = tuple(_file_fate(index, known, filename, offered, refusals.get(filename), owners) for filename in names)
    return IndexFate(index, _verdict(known, version, fates), fates, reason=failure)


def _files(known: KnownProject, version: str | None) -> tuple[KnownFile, ...]:
    if version is None:
        return known.files
    wanted = comparable_version(version)
    found = [(file, version_of_filename(file.link.filename, known.project)) for file in known.files]
    return tuple(file for file, named in found if named is not None and comparable_version(named) == wanted)


def _file_fate(
    index: Index, known: KnownProject, filename: str, offered: set[str], refusal: Refusal | None, owners: dict[str, str]
) -> FileFate:
    if filename not in offered:
        return FileFate(filename, withheld="quarantined" if known.quarantined else "vanished")
    if refusal is not None and refusal.is_enforced:
        return FileFate(filename, withheld="refused", refusal=refusal)
    owner = owners.setdefault(filename, index.name)
    return FileFate(filename, None if owner == index.name else owner, refusal=refusal)


def _verdict(known: KnownProject, version: str | None, fates: Sequence[FileFate]) -> Verdict:
    if any(fate.shown for fate in fates):
        return Verdict.ANSWERS
    if any(fate.shadowed_by is not None for fate in fates):
        return Verdict.SHADOWED
    return Verdict.EMPTY if version is None or fates else Verdict.NO_VERSION

"""Inheritance: which indexes contribute to a project, in which order, which of them a principal may read, and why."""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

import attrs

from twistpi.model.errors import LoginNeeded, PermissionDenied
from twistpi.model.names import comparable_version, version_of_filename
from twistpi.model.records import NOBODY, NOTHING, Index, KnownFile, KnownProject, Principal
from twistpi.rules.permissions import Action, Policy, check, is_open, may_read

_EVERY_PROJECT: Final = "*"


def bases_of(index: Index) -> tuple[str, ...]:
    """Return the names of the bases of ``index``, existing or not; a mirror has none."""
    return () if index.is_mirror else index.bases


def resolution_order(index: Index, lookup: Callable[[str], Index | None]) -> list[Index]:
    """Return ``index`` and all it inherits from, nearest first: breadth first through the bases, mirrors last.

    ``lookup`` returns an index by its name.  Bases that do not exist are skipped; each index comes once, so cycles and diamonds
    do no harm.
    """
    order = {index.name: index}
    waiting = deque([index])
    while waiting:
        for name in bases_of(waiting.popleft()):
            if name not in order and (base := lookup(name)) is not None:
                order[name] = base
                waiting.append(base)
    return sorted(order.values(), key=lambda one: one.is_mirror)


@attrs.frozen
class Ruling:
    """Whether mirrors may contribute to a project, and why."""

    allowed: bool
    private: str | None = None
    """The first private index that has the project, before any whitelist allows it; None when there is none."""
    whitelisted: str | None = None
    """The private index at which the whitelist allows the project; None when there is none."""
    reserved: str | None = None
    """The first private index that reserves the name; None when there is none."""


def rule_on_mirrors(project: str, order: Sequence[Index], has_project: Callable[[str], bool]) -> Ruling:
    """Whether mirrors in ``order`` may contribute to ``project`` (normalised).

    They may not when a private index reserves the name, whether any has the project or not.  Else they may when no private index
    has the project, and when the whitelist allows it.  The whitelist is the
    ``mirror_whitelist`` of the first private index; each further one narrows it or, with ``mirror_whitelist_inheritance: union``
    in the first index of ``order``, widens it.  At each private index it is consulted before ``has_project`` is called.
    """
    reserved = next((index.name for index in order if not index.is_mirror and _reserves(index, project)), None)
    if reserved is not None:
        return Ruling(False, reserved=reserved)
    widens = bool(order) and order[0].config.get("mirror_whitelist_inheritance", "union") == "union"
    whitelist: frozenset[str] | None = None
    private: str | None = None
    for index in order:
        if index.is_mirror:
            continue
        own = frozenset(index.config.get("mirror_whitelist", ()))
        whitelist = own if whitelist is None else whitelist | own if widens else whitelist & own
        if project in whitelist or _EVERY_PROJECT in whitelist:
            return Ruling(True, private, index.name)
        if private is None and has_project(index.name):
            private = index.name
    return Ruling(private is None, private)


def _reserves(index: Index, project: str) -> bool:
    """Whether ``index`` has ``project``, or a beginning of it with a ``*``, among its reserved names."""
    held = index.config.get("reserved", ())
    return any(project.startswith(name[:-1]) if name.endswith("*") else project == name for name in held)


def sources(project: str, order: Sequence[Index], has_project: Callable[[str], bool]) -> list[Index]:
    """Return the indexes of ``order`` that contribute to ``project``: the private ones, and the mirrors where they are allowed.

    ``has_project`` tells whether the private index of a name has the project; it is not called for mirrors.
    """
    allowed = rule_on_mirrors(project, order, has_project).allowed
    return [index for index in order if allowed or not index.is_mirror]


def silence_note(project: str, order: Sequence[Index], contributing: Collection[Index]) -> str:
    """Return for people which mirrors of ``order`` do not contribute to ``project``, and why; empty when all do."""
    silenced = ", ".join(index.name for index in order if index.is_mirror and index not in contributing)
    if not silenced:
        return ""
    is_reserved = any(not index.is_mirror and _reserves(index, project) for index in order)
    reason = "name is reserved" if is_reserved else "project isn't in the mirror_whitelist"
    return f"Because this {reason}, no releases from {silenced} are included."


EVERYBODY: Final = ""
"""The audience of an index that everybody may read."""


@attrs.frozen
class Inheritance:
    """An index and all it inherits from, as they are at one moment."""

    index: Index
    order: tuple[Index, ...]
    """As ``resolution_order`` gives it."""
    names: frozenset[str]
    """Of all of them, and of bases that do not exist: every index that an answer depends on."""
    is_open: bool
    """Whether everybody may read all of them."""


def inheritance_of(index: Index, lookup: Callable[[str], Index | None]) -> Inheritance:
    """Return what ``index`` inherits from; ``lookup`` returns an index by its name."""
    order = resolution_order(index, lookup)
    names = frozenset(name for one in order for name in (one.name, *bases_of(one)))
    return Inheritance(index, tuple(order), names, all(map(is_open, order)))


@attrs.frozen
class VisibleIndexes:
    """What a principal may read of an index and of what it inherits."""

    inheritance: Inheritance
    audience: str = EVERYBODY
    """The same for all principals that may read the same; ``EVERYBODY`` only where all indexes are open."""
    hidden: frozenset[str] = frozenset()
    """The names of the indexes that the principal may not read."""
    principal: Principal = NOBODY
    """``NOBODY`` where everything is open."""

    @property
    def index(self) -> Index:
        """The requested index."""
        return self.inheritance.index

    @property
    def is_open(self) -> bool:
        """Whether everybody may read all."""
        return self.inheritance.is_open

    @property
    def visible(self) -> tuple[Index, ...]:
        """The indexes that the principal may read, nearest first."""
        order = self.inheritance.order
        return tuple(index for index in order if index.name not in self.hidden) if self.hidden else order


def visible_indexes(principal: Principal, inheritance: Inheritance) -> VisibleIndexes:
    """Return what ``principal`` may read.  Raise ``LoginNeeded`` or ``PermissionDenied`` if not even the index itself."""
    if inheritance.is_open:
        return VisibleIndexes(inheritance)
    check(Action.READ, principal, Policy(), index=inheritance.index)
    closed = [index for index in inheritance.order if not is_open(index)]
    readable = sorted(index.name for index in closed if may_read(principal, index))
    return VisibleIndexes(
        inheritance,
        "+" + ",".join(readable),  # a name holds neither character
        frozenset(index.name for index in closed if index.name not in readable),
        principal,
    )


def visible_sources(project: str, visibility: VisibleIndexes, has_project: Callable[[str], bool]) -> list[Index]:
    """Return the indexes that contribute to ``project`` (normalised) and are visible.

    Whether mirrors are allowed is decided over all indexes, hidden ones included.  Raise ``LoginNeeded`` or ``PermissionDenied``
    when an index is hidden and no visible private index has the project: any other answer would reveal what the hidden one has.
    """
    found = sources(project, visibility.inheritance.order, has_project)
    if not visibility.hidden:
        return found
    visible = [index for index in found if index.name not in visibility.hidden]
    if any(not index.is_mirror and has_project(index.name) for index in visible):
        return visible
    raise not_all_visible(visibility)


def not_all_visible(visibility: VisibleIndexes) -> LoginNeeded | PermissionDenied:
    """Return what tells that an index is hidden that may have what is not found in the others."""
    subject = f"what {visibility.index.name} inherits"
    return (
        LoginNeeded(
            f"Unauthorized: Log in to read: {subject} is not open to everybody, and no valid login came with the request."
        )
        if visibility.principal.user is None
        else PermissionDenied(f"read all of {subject}")
    )


# Explanation ---------------------------------------------------------------------------------------------------------


class Verdict(enum.Enum):
    """How an index contributes to the page; the value is for people."""

    ANSWERS = "answers"
    SHADOWED = "has only files that a nearer index has, too"
    EMPTY = "has the project, but offers no file"
    NO_VERSION = "has the project, but not this version"
    ABSENT = "has no such project"
    SILENCED = "is hidden by the whitelist rule"
    FAILED = "cannot tell"


@attrs.frozen
class FileFate:
    """A file of an index, with the reason why it is not shown."""

    filename: str
    shadowed_by: str | None = None
    """The nearer index whose file of that name is shown instead; None when there is none."""
    withheld: str | None = None
    """Why it is not offered: ``quarantined``, ``vanished``, or ``silenced``; None when it is."""

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
) -> Explanation:
    """Explain what ``order`` (of ``resolution_order``) shows for ``project`` (normalised), or for one ``version`` of it.

    ``knowledge`` has the project of each index that has it, ``failures`` the reasons why upstreams could not be asked, by index;
    ``former_owners`` are private indexes that had it once.
    """
    ruling = rule_on_mirrors(project, order, lambda name: name in knowledge)
    owners: dict[str, str] = {}
    fates = [_fate(index, version, knowledge.get(index.name), failures.get(index.name), ruling, owners) for index in order]
    names = {index.name for index in order}
    missing = tuple((index.name, base) for index in order for base in dict.fromkeys(bases_of(index)) if base not in names)
    left_to_mirrors = ruling.allowed and ruling.whitelisted is None
    return Explanation(project, version, ruling, tuple(fates), missing, tuple(former_owners) if left_to_mirrors else ())


def _fate(
    index: Index, version: str | None, known: KnownProject | None, failure: str | None, ruling: Ruling, owners: dict[str, str]
) -> IndexFate:
    """Return the contribution of one index; the files it shows are added to ``owners`` (file name -> index)."""
    files = () if known is None else _files(known, version)
    if index.is_mirror and not ruling.allowed:
        silenced = tuple(FileFate(file.link.filename, withheld="silenced") for file in files)
        return IndexFate(index, Verdict.SILENCED, silenced, silenced_by=ruling.private or ruling.reserved)
    if known is None:
        return IndexFate(index, Verdict.ABSENT if failure is None else Verdict.FAILED, reason=failure)
    offered = {file.link.filename for file in known.offered}
    fates = tuple(_file_fate(index, known, file.link.filename, offered, owners) for file in files)
    return IndexFate(index, _verdict(known, version, fates), fates, reason=failure)


def _files(known: KnownProject, version: str | None) -> tuple[KnownFile, ...]:
    if version is None:
        return known.files
    wanted = comparable_version(version)
    found = [(file, version_of_filename(file.link.filename, known.project)) for file in known.files]
    return tuple(file for file, named in found if named is not None and comparable_version(named) == wanted)


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

"""Inheritance: which indexes contribute to a project, in which order, which of them a principal may read, and why."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

import attrs

from twistpi.model.errors import LoginNeeded, PermissionDenied, login_needed
from twistpi.model.records import NOBODY, NOTHING, Index, Principal
from twistpi.rules.file_policy import FilePolicy
from twistpi.rules.offered_files import policies_for
from twistpi.rules.permissions import Action, Policy, check, is_open, may_read
from twistpi.rules.requirements import RequirementList

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
    policies: Mapping[str, tuple[FilePolicy, ...]] = NOTHING
    """What counts for the files of each of them, by its name; without those for which nothing does."""

    def own_policies(self, owner: str) -> tuple[FilePolicy, ...]:
        """Return those for the files of the index ``owner`` that do not count at its own address."""
        return tuple(policy for policy in self.policies.get(owner, ()) if policy.index != owner)

    def allow_lists(self, mirror: str) -> tuple[RequirementList, ...]:
        """Return those that all have to name a project of ``mirror``; none where everything is allowed."""
        return tuple(one.allow for one in self.policies.get(mirror, ()) if one.is_enforced and one.allow is not None)

    def lets_in(self, mirror: Index, project: str) -> bool:
        """Return whether the allow lists name ``project`` (normalised): what they do not name is not asked for."""
        return all(any(allow.naming(project)) for allow in self.allow_lists(mirror.name))


def inheritance_of(index: Index, lookup: Callable[[str], Index | None]) -> Inheritance:
    """Return what ``index`` inherits from; ``lookup`` returns an index by its name."""
    order = resolution_order(index, lookup)
    names = frozenset(name for one in order for name in (one.name, *bases_of(one)))
    policies = {one.name: found for one in order if (found := policies_for(one, order))}
    return Inheritance(index, tuple(order), names, all(map(is_open, order)), policies)


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
    inheritance = visibility.inheritance
    found = sources(project, inheritance.order, has_project)
    if inheritance.policies:
        found = [index for index in found if not index.is_mirror or inheritance.lets_in(index, project)]
    if not visibility.hidden:
        return found
    visible = [index for index in found if index.name not in visibility.hidden]
    if any(not index.is_mirror and has_project(index.name) for index in visible):
        return visible
    raise not_all_visible(visibility)


def not_all_visible(visibility: VisibleIndexes) -> LoginNeeded | PermissionDenied:
    """Return what tells that an index is hidden that may have what is not found in the others."""
    subject = f"what {visibility.index.name} inherits"
    return login_needed("read", subject) if visibility.principal.user is None else PermissionDenied(f"read all of {subject}")

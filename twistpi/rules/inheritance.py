"""Inheritance: which indexes contribute to a project, in which order, when mirrors do, and which of them a principal may read."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import attrs

from twistpi.model.accounts import NOBODY, Principal
from twistpi.model.errors import LoginNeeded, PermissionDenied
from twistpi.model.records import Index
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


def rule_on_mirrors(project: str, order: Sequence[Index], has_project: Callable[[str], bool]) -> Ruling:
    """Whether mirrors in ``order`` may contribute to ``project`` (normalised).

    They may when no private index has the project, and when the whitelist allows it.  The whitelist is the
    ``mirror_whitelist`` of the first private index; each further one narrows it or, with ``mirror_whitelist_inheritance: union``
    in the first index of ``order``, widens it.  At each private index it is consulted before ``has_project`` is called.
    """
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


def sources(project: str, order: Sequence[Index], has_project: Callable[[str], bool]) -> list[Index]:
    """Return the indexes of ``order`` that contribute to ``project``: the private ones, and the mirrors where they are allowed.

    ``has_project`` tells whether the private index of a name has the project; it is not called for mirrors.
    """
    allowed = rule_on_mirrors(project, order, has_project).allowed
    return [index for index in order if allowed or not index.is_mirror]


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
    subject = f"what {visibility.index.name} inherits"
    raise (
        LoginNeeded(f"Log in to read: {subject} is not open to everybody, and no valid login came with the request.")
        if visibility.principal.user is None
        else PermissionDenied(f"read all of {subject}")
    )

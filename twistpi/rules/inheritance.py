"""Which indexes answer for a project, in which order, when a mirror must stay silent, and which of them a caller may read."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import attrs

from twistpi.model.account_errors import Forbidden, LoginNeeded
from twistpi.model.accounts import NOBODY, Principal
from twistpi.model.records import Index
from twistpi.rules.permissions import Action, Policy, check, is_open, may_read

_EVERY_PROJECT: Final = "*"


def bases_of(index: Index) -> tuple[str, ...]:
    """The names of the indexes that ``index`` inherits from by itself, existing or not: none for a mirror."""
    return () if index.is_mirror else index.bases


def resolution_order(index: Index, lookup: Callable[[str], Index | None]) -> list[Index]:
    """``index`` and all it inherits from, nearest first: breadth first through the bases, mirrors at the very end.

    ``lookup`` gives an index by its name.  Bases that do not exist are passed over; each index comes once, so cycles and
    diamonds do no harm.  A mirror inherits nothing.
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
    """The first private index that has the project and was reached before any whitelist allowed it; None when none has."""
    whitelisted: str | None = None
    """The private index at which the whitelist held the project; None when none did."""


def rule_on_mirrors(project: str, order: Sequence[Index], has_project: Callable[[str], bool]) -> Ruling:
    """Whether mirrors in ``order`` may contribute to ``project`` (normalised).

    They may when no private index has the project, and when the whitelist allows it.  The whitelist is the first private
    index's ``mirror_whitelist``, which each further one narrows or, if the first index of ``order`` says
    ``mirror_whitelist_inheritance: union``, widens; it is consulted at every step, before the index there is asked
    ``has_project``.
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


def mirrors_allowed(project: str, order: Sequence[Index], has_project: Callable[[str], bool]) -> bool:
    """Whether mirrors in ``order`` may contribute to ``project``, as ``rule_on_mirrors`` has it."""
    return rule_on_mirrors(project, order, has_project).allowed


def sources(project: str, order: Sequence[Index], has_project: Callable[[str], bool]) -> list[Index]:
    """The indexes of ``order`` that contribute to ``project``: the private ones, and the mirrors where they are allowed.

    ``has_project`` says whether a private index has the project, given the index's name; mirrors are never asked.
    """
    return list(order) if mirrors_allowed(project, order, has_project) else [index for index in order if not index.is_mirror]


EVERYBODY: Final = ""
"""The audience of what is open to everybody."""


@attrs.frozen
class Inheritance:
    """An index and everything it inherits from, as they are set up at one moment."""

    index: Index
    order: tuple[Index, ...]
    """As ``resolution_order`` gives it."""
    names: frozenset[str]
    """Of all of them, and of the bases that do not exist but might: what any answer depends on."""
    is_open: bool
    """Whether everybody may read all of them."""


def inheritance_of(index: Index, lookup: Callable[[str], Index | None]) -> Inheritance:
    """What ``index`` inherits from; ``lookup`` gives an index by its name."""
    order = resolution_order(index, lookup)
    names = frozenset(name for one in order for name in (one.name, *bases_of(one)))
    return Inheritance(index, tuple(order), names, all(map(is_open, order)))


@attrs.frozen
class VisibleIndexes:
    """What one asker may see of an index and of what it inherits."""

    inheritance: Inheritance
    audience: str = EVERYBODY
    """The same for all who see the same; never ``EVERYBODY`` where an index is not open, even when the asker sees it all."""
    hidden: frozenset[str] = frozenset()
    """The names of the indexes the asker may not see."""
    principal: Principal = NOBODY
    """Who it is; nobody in particular where everything is open."""

    @property
    def index(self) -> Index:
        """The index that was asked."""
        return self.inheritance.index

    @property
    def is_open(self) -> bool:
        """Whether everybody sees the same."""
        return self.inheritance.is_open

    @property
    def visible(self) -> tuple[Index, ...]:
        """The indexes the asker may see, nearest first."""
        order = self.inheritance.order
        return tuple(index for index in order if index.name not in self.hidden) if self.hidden else order


def visible_indexes(principal: Principal, inheritance: Inheritance) -> VisibleIndexes:
    """What ``asker`` sees; raises ``LoginNeeded`` or ``Forbidden`` when that is not even the index itself."""
    if inheritance.is_open:
        return VisibleIndexes(inheritance)
    check(Action.READ, principal, Policy(), index=inheritance.index)
    closed = [index for index in inheritance.order if not is_open(index)]
    seen = sorted(index.name for index in closed if may_read(principal, index))
    return VisibleIndexes(
        inheritance,
        "+" + ",".join(seen),  # a name holds neither character
        frozenset(index.name for index in closed if index.name not in seen),
        principal,
    )


def visible_sources(project: str, visibility: VisibleIndexes, has_project: Callable[[str], bool]) -> list[Index]:
    """The indexes that contribute to ``project`` (normalised), as far as the asker may see them.

    Whether mirrors are allowed is decided over all indexes, hidden ones included.  Raises ``LoginNeeded`` or ``Forbidden`` when
    something is hidden and no private index that the asker sees has the project: whatever else was said would tell of the hidden.
    """
    found = sources(project, visibility.inheritance.order, has_project)
    if not visibility.hidden:
        return found
    visible = [index for index in found if index.name not in visibility.hidden]
    if any(not index.is_mirror and has_project(index.name) for index in visible):
        return visible
    subject = f"what {visibility.index.name} inherits"
    raise LoginNeeded("read", subject) if visibility.principal.user is None else Forbidden(f"read all of {subject}")

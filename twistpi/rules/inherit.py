"""Which indexes answer for a project, in which order, and when a mirror must stay silent.

An index inherits from its bases.  A name that a private index uses is never looked up on a mirror unless somebody allowed it:
else whoever registers the name publicly decides what is installed (dependency confusion).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import attrs

from twistpi.model.records import Index

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

"""What somebody may see of an index and of everything it inherits from.

Two rules meet here.  Whoever may not read an index sees nothing of it, not even through an index that inherits from it; and what
a reader cannot see still counts when a private name silences mirrors.  Where the two leave only an answer that would tell whether
a hidden index has a project, or would let a public namesake take its place, there is none: every name is refused alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs

from twistpi.model.account_errors import Forbidden, LoginNeeded
from twistpi.model.accounts import NOBODY, Asker
from twistpi.model.records import Index
from twistpi.rules.inherit import bases_of, resolution_order, sources
from twistpi.rules.permissions import Action, Policy, check, is_open, may_read

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
class Sight:
    """What one asker may see of an index and of what it inherits."""

    inheritance: Inheritance
    audience: str = EVERYBODY
    """The same for all who see the same; never ``EVERYBODY`` where an index is not open, even when the asker sees it all."""
    hidden: frozenset[str] = frozenset()
    """The names of the indexes the asker may not see."""
    asker: Asker = NOBODY
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


def see(asker: Asker, inheritance: Inheritance) -> Sight:
    """What ``asker`` sees; raises ``LoginNeeded`` or ``Forbidden`` when that is not even the index itself."""
    if inheritance.is_open:
        return Sight(inheritance)
    check(Action.READ, asker, Policy(), index=inheritance.index)
    closed = [index for index in inheritance.order if not is_open(index)]
    seen = sorted(index.name for index in closed if may_read(asker, index))
    return Sight(
        inheritance,
        "+" + ",".join(seen),  # a name holds neither character
        frozenset(index.name for index in closed if index.name not in seen),
        asker,
    )


def visible_sources(project: str, sight: Sight, has_project: Callable[[str], bool]) -> list[Index]:
    """The indexes that contribute to ``project`` (normalised), as far as the asker may see them.

    Whether mirrors are allowed is decided over all indexes, hidden ones included.  Raises ``LoginNeeded`` or ``Forbidden`` when
    something is hidden and no private index that the asker sees has the project: whatever else was said would tell of the hidden.
    """
    found = sources(project, sight.inheritance.order, has_project)
    if not sight.hidden:
        return found
    visible = [index for index in found if index.name not in sight.hidden]
    if any(not index.is_mirror and has_project(index.name) for index in visible):
        return visible
    subject = f"what {sight.index.name} inherits"
    raise LoginNeeded("read", subject) if sight.asker.user is None else Forbidden(f"read all of {subject}")

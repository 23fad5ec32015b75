"""Whom a process tells of the entries that it committed or followed."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from twistpi.model.changes import Change

EntryListener = Callable[[int, tuple[Change, ...]], object]
"""Called in the reactor with the serial up to which readers of the view see the entries from now on, and with the new changes."""


@attrs.define(eq=False)
class Announcements:
    """Calls listeners after entries, in the order in which they were added."""

    _listeners: list[tuple[EntryListener, tuple[type[Change], ...]]] = attrs.field(factory=list, init=False)

    def add(self, listener: EntryListener, *kinds: type[Change]) -> None:
        """Call ``listener`` after entries with a change of one of ``kinds``; after all entries if none is named."""
        self._listeners.append((listener, kinds))

    def announce(self, serial: int, changes: tuple[Change, ...]) -> None:
        """Call the listeners that ``changes`` concern; ``serial`` is that of the newest entry."""
        concerned = {type(change) for change in changes}
        for listener, kinds in self._listeners:
            if not kinds or not concerned.isdisjoint(kinds):
                listener(serial, changes)

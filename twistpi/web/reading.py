"""What the one who asks may see: indexes with all they inherit from, kept in memory until any index changes.

Most servers are open, and most requests come from installers: for what everybody may read, nothing is read from the view and
nobody is asked who they are.
"""

from __future__ import annotations

import attrs
from twisted.web.server import Request

from twistpi.model.errors import UnknownIndex
from twistpi.model.records import Index
from twistpi.rules.permissions import Action, check, is_open
from twistpi.rules.seeing import Inheritance, Sight, inheritance_of, see
from twistpi.web.services import Services

_MOST = 20_000
"""Indexes that are remembered."""


@attrs.define(eq=False)
class Reading:
    """Tells what may be read.  For the reactor's thread alone."""

    _services: Services
    _known: dict[str, Inheritance] = attrs.field(factory=dict)

    async def sight(self, request: Request, name: str) -> Sight:
        """What the asker of ``request`` sees of the index ``name`` and of what it inherits.

        Raises ``UnknownIndex``, and ``LoginNeeded`` or ``Forbidden`` when that is nothing.
        """
        inheritance = self.inheritance(name)
        if inheritance.is_open:
            return Sight(inheritance)
        asker = await self._services.identify.asker(request)
        return see(asker, self.inheritance(name))

    async def index(self, request: Request, name: str) -> Index:
        """The index ``name``, when the asker of ``request`` may read it, whatever it inherits; raises the same."""
        index = self.inheritance(name).index
        if is_open(index):
            return index
        asker = await self._services.identify.asker(request)
        index = self.inheritance(name).index
        check(Action.READ, asker, self._services.policy, index=index)
        return index

    def inheritance(self, name: str) -> Inheritance:
        """The index ``name`` and all it inherits from, as they are set up now; raises ``UnknownIndex``."""
        found = self._known.get(name)
        return self._read(name) if found is None else found

    def is_current(self, sight: Sight) -> bool:
        """Whether no index that matters to ``sight`` was set up otherwise since; raises ``UnknownIndex`` when it is gone."""
        now = self.inheritance(sight.index.name)
        return now is sight.inheritance or now == sight.inheritance

    def is_open(self, name: str) -> bool:
        """Whether the index ``name`` is there and everybody may read it, whatever it inherits."""
        try:
            return is_open(self.inheritance(name).index)
        except UnknownIndex:
            return False

    def forget(self) -> None:
        """Some index came, went, or is set up otherwise."""
        self._known.clear()

    def _read(self, name: str) -> Inheritance:
        reader = self._services.readers.get()
        index = reader.index(name)
        if index is None:
            raise UnknownIndex(name)
        if len(self._known) >= _MOST:
            self._known.clear()
        inheritance = self._known[name] = inheritance_of(index, reader.index)
        return inheritance

"""What the doors that speak the devpi protocol share: who asks, whether that is allowed, and how a change is made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import attrs
from twisted.web.server import Request

from twistpi.model.account_errors import Forbidden
from twistpi.model.accounts import Asker
from twistpi.model.changes import Change
from twistpi.model.records import Index, Json
from twistpi.rules.indexes import index_facts
from twistpi.rules.permissions import Action, check, is_allowed
from twistpi.web.replies import Reply, put
from twistpi.web.services import Services

if TYPE_CHECKING:
    from twistpi.view.read import Reader


@attrs.define(eq=False)
class Door:
    """A group of handlers."""

    _services: Services

    async def asker(self, request: Request) -> Asker:
        """Who asks; raises ``TooBusy``."""
        return await self._services.identify.asker(request)

    @property
    def reader(self) -> Reader:
        """What everybody sees now."""
        return self._services.readers.get()

    def check(
        self, action: Action, asker: Asker, *, user: str | None = None, index: Index | None = None, subject: str | None = None
    ) -> None:
        """Refuse what ``asker`` may not do; see ``rules.permissions.check``.  Who has no login, or no more, is told so."""
        try:
            check(action, asker, self._services.policy, user=user, index=index, subject=subject)
        except Forbidden as refusal:
            if asker.user is None:
                raise Forbidden(f"{refusal.what}: log in first") from None
            raise

    def facts(self, index: Index, asker: Asker) -> dict[str, Json]:
        """The settings of ``index``; the upstream's password only for who could change it."""
        may_modify = is_allowed(Action.MODIFY_INDEX, asker, self._services.policy, index=index)
        return index_facts(index, with_credentials=may_modify)

    async def commit(self, decide: Callable[[Reader], Sequence[Change]], asker: Asker) -> None:
        """Make the changes that ``decide`` finds necessary, and return when everybody sees them.

        ``decide`` first judges what is known now, so that refusals and what changes nothing never wait for the writer; then the
        writer has it judge again, for what came in between.  Raises what ``decide`` and the writer raise.
        """
        if decide(self.reader):
            await self._services.writer.commit(decide, asker.author)

    def put(self, request: Request, reply: Reply) -> bytes:
        """Make ``reply`` the answer to ``request``."""
        return put(request, reply, self._services.standing.at(self._services.clock.seconds()))

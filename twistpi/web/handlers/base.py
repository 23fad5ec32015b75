"""What the doors that speak the devpi protocol share: who asks, whether that is allowed, and how a change is made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import attrs
from twisted.web.server import Request

from twistpi.model.account_errors import Forbidden, NoUploadToMirror
from twistpi.model.accounts import Principal
from twistpi.model.changes import Change
from twistpi.model.errors import UnknownIndex
from twistpi.model.records import Index, Json
from twistpi.rules.indexes import index_facts
from twistpi.rules.permissions import Action, check, is_allowed
from twistpi.web.replies import Reply, put
from twistpi.web.services import Services

if TYPE_CHECKING:
    from twistpi.view.read import Reader


@attrs.define(eq=False)
class Handler:
    """A group of handlers."""

    _services: Services

    async def principal(self, request: Request) -> Principal:
        """Who asks; raises ``TooBusy``."""
        return await self._services.authenticator.principal(request)

    @property
    def reader(self) -> Reader:
        """What everybody sees now."""
        return self._services.readers.get()

    def existing(self, view: Reader, name: str) -> Index:
        """The index ``name``; raises ``UnknownIndex``."""
        found = view.index(name)
        if found is None:
            raise UnknownIndex(name)
        return found

    def stage(self, view: Reader, name: str) -> Index:
        """The index ``name``, which takes uploads; raises ``UnknownIndex`` and ``NoUploadToMirror``."""
        found = self.existing(view, name)
        if found.is_mirror:
            raise NoUploadToMirror(name)
        return found

    def allowed(self, action: Action, principal: Principal, view: Reader, name: str) -> Index:
        """The index ``name`` when ``asker`` may do ``action`` to it, else ``Forbidden``; to one that does not exist nobody may
        do anything.
        """
        found = view.index(name)
        self.check(action, principal, index=found, subject=name)
        return found or self.existing(view, name)

    def check(
        self,
        action: Action,
        principal: Principal,
        *,
        user: str | None = None,
        index: Index | None = None,
        project: str | None = None,
        subject: str | None = None,
    ) -> None:
        """Refuse what ``asker`` may not do; see ``rules.permissions.check``.  Who has no login, or no more, is told so."""
        try:
            check(action, principal, self._services.policy, user=user, index=index, project=project, subject=subject)
        except Forbidden as refusal:
            if principal.user is None:
                raise Forbidden(f"{refusal.what}: log in first") from None
            raise

    def facts(self, index: Index, principal: Principal) -> dict[str, Json]:
        """The settings of ``index``; the upstream's password only for who could change it."""
        may_modify = is_allowed(Action.MODIFY_INDEX, principal, self._services.policy, index=index)
        return index_facts(index, with_credentials=may_modify)

    async def commit(self, decide: Callable[[Reader], Sequence[Change]], principal: Principal) -> Sequence[Change]:
        """Make the changes that ``decide`` finds necessary, and return them, perhaps none, when everybody sees them.

        ``decide`` first judges what is known now, so that refusals and what changes nothing never wait for the writer; then the
        writer has it judge again, for what came in between.  Raises what ``decide`` and the writer raise.
        """
        if not decide(self.reader):
            return ()
        committed = await self._services.writer.commit(decide, principal.author)
        return committed.changes

    def put(self, request: Request, reply: Reply) -> bytes:
        """Make ``reply`` the answer to ``request``."""
        return put(request, reply, self._services.standing.at(self._services.clock.seconds()))

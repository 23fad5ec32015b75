"""Who the caller of a request is, and what they may do; which indexes they see."""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.web.server import Request

from twistpi.model.errors import PermissionDenied, TwistpiError, UnknownIndex
from twistpi.model.records import Index, Json, Principal
from twistpi.rules.file_policy import ALLOW, QUARANTINED
from twistpi.rules.indexes import index_facts
from twistpi.rules.inheritance import Inheritance, VisibleIndexes, inheritance_of, visible_indexes
from twistpi.rules.offered_files import is_withheld, policies_for
from twistpi.rules.permissions import Action, Policy, check, is_allowed, is_open, may_read
from twistpi.view.read import Reader, Readers
from twistpi.web.authentication import Authenticator
from twistpi.web.request import TwistpiRequest

_MOST = 20_000
"""Indexes whose inheritance is remembered."""


def existing_index(view: Reader, name: str) -> Index:
    """Return the index ``name``; raise ``UnknownIndex``."""
    found = view.index(name)
    if found is None:
        raise UnknownIndex(name)
    return found


def stage_index(view: Reader, name: str) -> Index:
    """Return the index ``name``, which takes uploads; raise ``UnknownIndex`` or ``TwistpiError``."""
    found = existing_index(view, name)
    if found.is_mirror:
        raise TwistpiError("cannot submit to mirror index", 404)
    return found


def readable_indexes(view: Reader, principal: Principal) -> frozenset[str]:
    """Return the names of the indexes that ``principal`` may read, whatever they inherit."""
    return frozenset(index.name for index in view.indexes() if may_read(principal, index))


def project_status(view: Reader, index: str, project: str) -> str | None:
    """Return the status marker of a project (PEP 792); None without one."""
    header = view.header(index, project)
    return None if header is None else header[0]


@attrs.define(eq=False)
class Access:
    """Authenticates callers and checks permissions.  For the reactor's thread alone, but for ``check`` and what it uses."""

    readers: Readers
    authenticator: Authenticator
    policy: Policy
    shares: bool = True
    """Whether pages of other sites may read what everybody may."""
    _inheritances: dict[str, Inheritance] = attrs.field(factory=dict, init=False)

    @property
    def reader(self) -> Reader:
        """The view as it is now, for the calling thread."""
        return self.readers.get()

    async def principal(self, request: Request) -> Principal:
        """Return the caller; raise ``TwistpiError``."""
        return await self.authenticator.principal(request)

    def allowed(self, action: Action, principal: Principal, view: Reader, name: str) -> Index:
        """Return the index ``name`` if ``principal`` may do ``action`` to it, else raise ``PermissionDenied``.

        Nothing is allowed on an index that does not exist.
        """
        found = view.index(name)
        self.check(action, principal, index=found, subject=name)
        return found or existing_index(view, name)

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
        """Raise ``PermissionDenied`` or ``LoginNeeded`` for what is not allowed, as ``rules.permissions.check`` does.

        A caller who is not logged in is told so.
        """
        try:
            check(action, principal, self.policy, user=user, index=index, project=project, subject=subject)
        except PermissionDenied as refusal:
            if principal.user is None:
                raise PermissionDenied(f"{refusal.what}: log in first") from None
            raise

    def settings_of(self, index: Index, principal: Principal) -> dict[str, Json]:
        """Return the settings of ``index``, with the upstream's password only for callers who may change it."""
        may_modify = is_allowed(Action.MODIFY_INDEX, principal, self.policy, index=index)
        return index_facts(index, with_credentials=may_modify)

    async def index(self, request: Request, name: str) -> Index:
        """Return the index ``name`` if the caller may read it, whatever it inherits.

        Raise ``UnknownIndex``, ``LoginNeeded`` or ``PermissionDenied``.
        """
        index = self.inheritance(name).index
        if is_open(index):
            return index
        principal = await self.principal(request)
        index = self.inheritance(name).index
        check(Action.READ, principal, self.policy, index=index)
        return index

    async def visibility(self, request: Request, name: str) -> VisibleIndexes:
        """Return what the caller sees of the index ``name`` and of its bases; raise as ``index`` does if that is nothing."""
        inheritance = self.inheritance(name)
        if inheritance.is_open:
            return VisibleIndexes(inheritance)
        principal = await self.principal(request)
        return visible_indexes(principal, self.inheritance(name))

    def open_visibility(self, name: str) -> VisibleIndexes | None:
        """Return the same where it needs no credentials; None otherwise, and if there is no such index."""
        try:
            inheritance = self.inheritance(name)
        except UnknownIndex:
            return None
        return VisibleIndexes(inheritance) if inheritance.is_open else None

    def offers(self) -> Callable[[str, str], bool]:
        """Return what tells, in any thread, whether an index lets in a project by its own allow list."""
        limited = [index for index in self.reader.indexes() if index.is_mirror and index.config.get(ALLOW)]
        inheritances = {index.name: self.inheritance(index.name) for index in limited}

        def offers(name: str, project: str) -> bool:
            found = inheritances.get(name)
            return found is None or found.lets_in(found.index, project)

        return offers

    def withholds(self) -> Callable[[str, str, str], bool]:
        """Return what tells, in any thread, whether a private index has put a version of a project into quarantine."""
        private = [index for index in self.reader.indexes_with_setting(QUARANTINED) if not index.is_mirror]
        policies = {index.name: policies_for(index, (index,)) for index in private}
        return lambda name, project, version: is_withheld(project, version, policies.get(name, ()))

    def share(self, request: Request, name: str) -> None:
        """Let pages of other sites read the answer to ``request`` if the index ``name`` and all it inherits are open."""
        if isinstance(request, TwistpiRequest):
            request.is_shared = self.is_shared(name)

    def is_shared(self, name: str) -> bool:
        """Return whether pages of other sites may read what the index ``name`` offers."""
        return self.shares and self.open_visibility(name) is not None

    def inheritance(self, name: str) -> Inheritance:
        """Return the index ``name`` and all its bases as they are configured now; raise ``UnknownIndex``."""
        found = self._inheritances.get(name)
        if found is not None:
            return found
        view = self.reader
        index = existing_index(view, name)
        if len(self._inheritances) >= _MOST:
            self._inheritances.clear()
        inheritance = self._inheritances[name] = inheritance_of(index, view.index)
        return inheritance

    def is_current(self, visibility: VisibleIndexes) -> bool:
        """Return whether no index that matters was reconfigured since; raise ``UnknownIndex`` if it is gone."""
        now = self.inheritance(visibility.index.name)
        return now is visibility.inheritance or now == visibility.inheritance

    def is_open(self, name: str) -> bool:
        """Return whether the index ``name`` exists and everybody may read it, whatever it inherits."""
        try:
            return is_open(self.inheritance(name).index)
        except UnknownIndex:
            return False

    def forget(self) -> None:
        """Read the configuration of indexes again: one was created, changed or deleted."""
        self._inheritances.clear()

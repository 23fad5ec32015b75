"""The indexes that contribute to a project and that the caller may read, once their upstreams were asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs
from twisted.internet.defer import Deferred, DeferredList
from twisted.python.failure import Failure
from twisted.web.server import Request

from twistpi.model.errors import TwistpiError, UnknownIndex, UnknownProject, UpstreamFailed
from twistpi.model.records import Index
from twistpi.rules.inheritance import Inheritance, VisibleIndexes, inheritance_of, visible_indexes, visible_sources
from twistpi.rules.permissions import Action, check, is_open
from twistpi.web.fast.ready import Account
from twistpi.web.services import Services

if TYPE_CHECKING:
    from twistpi.mirror.pages import PageState


_Told = tuple[Index, "PageState"]
"""A mirror, and how what it says came about."""
_Failed = tuple[Index, TwistpiError]
"""A mirror, and why it cannot tell."""


@attrs.frozen
class Found:
    """What came of asking."""

    indexes: tuple[Index, ...]
    """Those that contribute, nearest first."""
    account: Account
    """How fresh what the mirrors say is."""
    fresh_until: float
    """Unix seconds until which asking again would say the same."""


@attrs.define(eq=False)
class Sources:
    """Finds out who answers for a project."""

    _services: Services

    def of(self, visibility: VisibleIndexes, project: str) -> tuple[Index, ...]:
        """The indexes that contribute to ``project``, nearest first; raises ``LoginNeeded`` or ``Forbidden``."""
        reader = self._services.readers.get()
        return tuple(visible_sources(project, visibility, lambda name: reader.has_project(name, project)))

    async def ask(self, visibility: VisibleIndexes, project: str) -> Found:
        """Ask the upstreams that contribute to ``project``.

        Raises what ``of`` raises; ``UnknownProject`` when nobody has the project; ``UpstreamFailed`` or ``UpstreamUnreachable``
        when nobody is known to have it and somebody could not be asked.
        """
        indexes = self.of(visibility, project)
        mirrors = [index for index in indexes if index.is_mirror]
        told: list[_Told]
        failed: list[_Failed]
        if len(mirrors) == len(indexes) == 1:
            told, failed = [(mirrors[0], await self._services.mirror.ensure(mirrors[0], project))], []
        else:
            told, failed = await self._ask_each(mirrors, project)
            self._require(visibility, project, indexes, told, failed)
        account, fresh_until = self._account(told, failed)
        now = self.of(visibility, project)
        return Found(now, account, fresh_until if now == indexes else 0.0)

    async def refresh(self, visibility: VisibleIndexes, project: str) -> None:
        """Ask the upstreams that contribute to ``project`` however lately they were asked, and be content with nothing old.

        Without any there is nothing to do.  Raises what ``ask`` raises, and what keeps an upstream from answering.
        """
        indexes = self.of(visibility, project)
        mirrors = [index for index in indexes if index.is_mirror]
        if not mirrors:
            return
        told, failed = await self._ask_each(mirrors, project, force=True)
        if failed:
            raise failed[0][1]
        self._require(visibility, project, indexes, told, failed)
        for mirror, state in told:
            if state.kind == "stale":
                raise UpstreamFailed(mirror.name, project, state.reason or "it did not answer")
        for mirror in mirrors:
            self._services.page_cache.forget_project(mirror.name, project)

    async def _ask_each(
        self, mirrors: Sequence[Index], project: str, *, force: bool = False
    ) -> tuple[list[_Told], list[_Failed]]:
        """Ask several; one that fails takes nothing away from what the others know, and one that is gone says nothing,
        nor does one without the project.
        """
        asked = [Deferred.fromCoroutine(self._services.mirror.ensure(mirror, project, force=force)) for mirror in mirrors]
        outcomes: Sequence[tuple[bool, Any]] = await DeferredList(asked, consumeErrors=True)
        told: list[_Told] = []
        failed: list[_Failed] = []
        for mirror, (succeeded, outcome) in zip(mirrors, outcomes, strict=True):
            if succeeded:
                told.append((mirror, outcome))
            elif not outcome.check(UnknownProject, UnknownIndex):
                failed.append((mirror, _expected(outcome)))
        return told, failed

    def _require(
        self, visibility: VisibleIndexes, project: str, indexes: Sequence[Index], told: Sequence[_Told], failed: Sequence[_Failed]
    ) -> None:
        """Somebody has the project, or it is an error: not to have it, or not to know."""
        knowing = [index for index in indexes if not index.is_mirror] + [mirror for mirror, _error in failed]
        reader = self._services.readers.get()
        if told or any(reader.has_project(index.name, project) for index in knowing):
            return
        raise failed[0][1] if failed else UnknownProject(visibility.index.name, project)

    def _account(self, told: Sequence[_Told], failed: Sequence[_Failed]) -> tuple[Account, float]:
        """The least fresh of what the upstreams said counts for all; what one could not say is asked again every time."""
        missing = "; ".join(f"{mirror.name}: {getattr(error, 'reason', error)}" for mirror, error in failed) or None
        if not told:
            return Account(missing=missing), float("inf") if missing is None else 0.0
        now = self._services.clock.seconds()
        expiry = min(float(mirror.config.get("mirror_cache_expiry", self._services.cache_expiry)) for mirror, _state in told)
        states = [state for _mirror, state in told]
        worst = max(states, key=lambda state: (state.kind == "stale", state.kind == "miss", state.age))
        checked_at = now - worst.age
        account = Account(worst.kind, checked_at, checked_at + expiry, worst.source or "local", worst.reason, missing)
        return account, 0.0 if missing is not None else now + min(state.fresh_for for state in states)


def _expected(failure: Failure) -> TwistpiError:
    """The error of ``failure``; what is no refusal of ours is raised."""
    if isinstance(failure.value, TwistpiError):
        return failure.value
    failure.raiseException()
    raise AssertionError("not reached")


_MOST = 20_000
"""Indexes that are remembered."""


@attrs.define(eq=False)
class Reading:
    """Tells what may be read.  For the reactor's thread alone."""

    _services: Services
    _known: dict[str, Inheritance] = attrs.field(factory=dict)

    async def visibility(self, request: Request, name: str) -> VisibleIndexes:
        """What the asker of ``request`` sees of the index ``name`` and of what it inherits.

        Raises ``UnknownIndex``, and ``LoginNeeded`` or ``Forbidden`` when that is nothing.
        """
        inheritance = self.inheritance(name)
        if inheritance.is_open:
            return VisibleIndexes(inheritance)
        principal = await self._services.authenticator.principal(request)
        return visible_indexes(principal, self.inheritance(name))

    async def index(self, request: Request, name: str) -> Index:
        """The index ``name``, when the asker of ``request`` may read it, whatever it inherits; raises the same."""
        index = self.inheritance(name).index
        if is_open(index):
            return index
        principal = await self._services.authenticator.principal(request)
        index = self.inheritance(name).index
        check(Action.READ, principal, self._services.policy, index=index)
        return index

    def inheritance(self, name: str) -> Inheritance:
        """The index ``name`` and all it inherits from, as they are set up now; raises ``UnknownIndex``."""
        found = self._known.get(name)
        return self._read(name) if found is None else found

    def is_current(self, visibility: VisibleIndexes) -> bool:
        """Whether no index that matters to ``sight`` was set up otherwise since; raises ``UnknownIndex`` when it is gone."""
        now = self.inheritance(visibility.index.name)
        return now is visibility.inheritance or now == visibility.inheritance

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

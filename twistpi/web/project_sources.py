"""The indexes that contribute to a project and that the caller may read, once their upstreams were asked."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from twistpi.mirror.pages import PageState
from twistpi.model.errors import TwistpiError, UnknownIndex, UnknownProject, UpstreamFailed
from twistpi.model.records import Index
from twistpi.rules.inheritance import VisibleIndexes, visible_sources
from twistpi.web.access import Access
from twistpi.web.components import MirrorServices
from twistpi.web.fast.ready import CacheStatus, ReadyAnswers

_Answer = tuple[Index, "PageState"]
"""A mirror, and how fresh what it says is."""
_Failed = tuple[Index, TwistpiError]
"""A mirror, and why it does not answer."""


@attrs.frozen
class ContributingIndexes:
    """The indexes that contribute to a project once their upstreams were asked."""

    indexes: tuple[Index, ...]
    """Nearest first."""
    status: CacheStatus
    """How fresh the least fresh of them is."""
    fresh_until: float
    """Unix seconds until which asking again would say the same."""


@attrs.define(eq=False)
class ProjectSources:
    """Finds the indexes that contribute to a project, and asks their upstreams."""

    _access: Access
    _mirrors: MirrorServices
    _ready: ReadyAnswers
    _clock: IReactorTime

    def of(self, visibility: VisibleIndexes, project: str) -> tuple[Index, ...]:
        """The indexes that contribute to ``project``, nearest first; raises ``LoginNeeded`` or ``PermissionDenied``."""
        reader = self._access.reader
        return tuple(visible_sources(project, visibility, lambda name: reader.has_project(name, project)))

    async def ask(self, visibility: VisibleIndexes, project: str) -> ContributingIndexes:
        """Ask the upstreams that contribute to ``project``.

        Raises what ``of`` raises; ``UnknownProject`` if no index has the project; ``UpstreamFailed`` or ``UpstreamUnreachable``
        if no index is known to have it and an upstream did not answer.
        """
        indexes = self.of(visibility, project)
        mirrors = [index for index in indexes if index.is_mirror]
        states: list[_Answer]
        failed: list[_Failed]
        if len(mirrors) == len(indexes) == 1:
            states, failed = [(mirrors[0], await self._mirrors.pages.ensure(mirrors[0], project))], []
        else:
            states, failed = await self._ask_each(mirrors, project)
            self._require(visibility, project, indexes, states, failed)
        status, fresh_until = self._status(states, failed)
        now = self.of(visibility, project)
        return ContributingIndexes(now, status, fresh_until if now == indexes else 0.0)

    async def refresh(self, visibility: VisibleIndexes, project: str) -> None:
        """Ask the upstreams that contribute to ``project`` however lately they were asked; stale data is an error.

        Without any there is nothing to do.  Raises what ``ask`` raises, and what keeps an upstream from answering.
        """
        indexes = self.of(visibility, project)
        mirrors = [index for index in indexes if index.is_mirror]
        if not mirrors:
            return
        answers, failed = await self._ask_each(mirrors, project, force=True)
        if failed:
            raise failed[0][1]
        self._require(visibility, project, indexes, answers, failed)
        for mirror, state in answers:
            if state.kind == "stale":
                raise UpstreamFailed(mirror.name, project, state.reason or "it did not answer")
        for mirror in mirrors:
            self._ready.page_cache.forget(mirror.name, project)

    async def _ask_each(
        self, mirrors: Sequence[Index], project: str, *, force: bool = False
    ) -> tuple[list[_Answer], list[_Failed]]:
        """Ask several mirrors; those that were deleted or lack the project are left out of both lists."""
        asked = [Deferred.fromCoroutine(self._outcome(mirror, project, force)) for mirror in mirrors]
        answers: list[_Answer] = []
        failed: list[_Failed] = []
        for mirror, asking in zip(mirrors, asked, strict=True):
            outcome = await asking
            if not isinstance(outcome, TwistpiError):
                answers.append((mirror, outcome))
            elif not isinstance(outcome, UnknownProject | UnknownIndex):
                failed.append((mirror, outcome))
        return answers, failed

    async def _outcome(self, mirror: Index, project: str, force: bool) -> PageState | TwistpiError:
        try:
            return await self._mirrors.pages.ensure(mirror, project, force=force)
        except TwistpiError as error:
            return error

    def _require(
        self,
        visibility: VisibleIndexes,
        project: str,
        indexes: Sequence[Index],
        answers: Sequence[_Answer],
        failed: Sequence[_Failed],
    ) -> None:
        """Raise an error unless an index has the project: it is unknown, or an upstream did not answer."""
        knowing = [index for index in indexes if not index.is_mirror] + [mirror for mirror, _error in failed]
        reader = self._access.reader
        if answers or any(reader.has_project(index.name, project) for index in knowing):
            return
        raise failed[0][1] if failed else UnknownProject(visibility.index.name, project)

    def _status(self, answers: Sequence[_Answer], failed: Sequence[_Failed]) -> tuple[CacheStatus, float]:
        """Return the status of the least fresh mirror, and until when it holds; if one failed, that is not at all."""
        missing = "; ".join(f"{mirror.name}: {getattr(error, 'reason', error)}" for mirror, error in failed) or None
        if not answers:
            return CacheStatus(missing=missing), float("inf") if missing is None else 0.0
        now = self._clock.seconds()
        expiry = min(float(mirror.config.get("mirror_cache_expiry", self._mirrors.cache_expiry)) for mirror, _state in answers)
        states = [state for _mirror, state in answers]
        worst = max(states, key=lambda state: (state.kind == "stale", state.kind == "miss", state.age))
        checked_at = now - worst.age
        status = CacheStatus(worst.kind, checked_at, checked_at + expiry, worst.source or "local", worst.reason, missing)
        return status, 0.0 if missing is not None else now + min(state.fresh_for for state in states)

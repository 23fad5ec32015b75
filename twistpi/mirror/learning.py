"""What an upstream's answer about a project teaches: parsed, compared with what is known, committed.

While an upstream is asked its index may be deleted, made anew, or aimed at another upstream.  What the old one says then is
nobody's business any more: the decision, which is taken where nothing can come in between, refuses it as ``Outdated``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import attrs
from twisted.internet.defer import Deferred

from twistpi.mirror.place import Place, is_aimed_at
from twistpi.mirror.trouble import Outdated, Trouble
from twistpi.mirror.upstream import LARGE, Answer, Offload
from twistpi.model.changes import Change
from twistpi.model.errors import BadUpstreamPage, UnknownProject
from twistpi.model.records import Freshness, ProjectPage
from twistpi.rules.mirrors import decide_links, decide_vanished
from twistpi.simple.parse import parse_project_page

Kind = Literal["hit", "miss", "revalidated", "stale"]
"""``hit``: fresh; ``miss``: learned just now; ``revalidated``: confirmed or renewed just now; ``stale``: upstream failed."""


@attrs.define
class Learner:
    """Keeps what upstreams answer."""

    _readers: Any
    """``view.read.Readers``."""
    _writer: Any
    """``changelog.writer.Writer``."""
    _clock: Any
    _offload: Offload

    async def learn(self, place: Place, project: str, known: bool, freshness: Freshness | None, answer: Answer) -> Kind:
        """Learn what ``answer`` says, given what was known when it was asked for.

        Raises ``UnknownProject`` for one that the upstream does not have and never had, ``Trouble`` for an answer that is no
        good, ``Outdated`` when the index is another by now, and what the writer raises.
        """
        now = self._clock.seconds()
        if answer.status == 200:
            page = await self._parse(project, answer)
            learned = Freshness(now, answer.etag, answer.last_modified, missing=False, source=place.source)
            await self._commit(self._links_decider(place, page, freshness), _remembering(place, project, learned))
            return "revalidated" if known else "miss"
        if answer.status == 304 and freshness is not None:
            await self._confirm(place, project, freshness, answer)
            return "revalidated"
        if answer.status in (404, 410):
            return await self._learn_absence(place, project, known, now)
        raise Trouble(f"it answered {answer.status}")

    async def _confirm(self, place: Place, project: str, freshness: Freshness, answer: Answer) -> None:
        reader = self._readers.get()
        _require_aim(reader, place)
        if not reader.has_project(place.index, project):
            raise Outdated  # a new index of the same name and upstream, which has nothing yet that could be confirmed
        etag, last_modified = answer.etag or freshness.etag, answer.last_modified or freshness.last_modified
        confirmed = attrs.evolve(freshness, checked_at=self._clock.seconds(), etag=etag, last_modified=last_modified)
        await self._remember(place, project, confirmed)

    async def _learn_absence(self, place: Place, project: str, known: bool, now: float) -> Kind:
        def decide(reader: Any) -> Sequence[Change]:
            _require_aim(reader, place)
            return decide_vanished(reader.project(place.index, project))

        if not known:
            _require_aim(self._readers.get(), place)
            raise UnknownProject(place.index, project)
        await self._commit(decide, _remembering(place, project, Freshness(now, missing=True, source=place.source)))
        return "revalidated"

    async def _parse(self, project: str, answer: Answer) -> ProjectPage:
        given = (answer.body, answer.content_type, answer.url, project)
        try:
            if len(answer.body) > LARGE:
                page: ProjectPage = await self._offload(parse_project_page, *given)
            else:
                page = parse_project_page(*given)
        except BadUpstreamPage as error:
            raise Trouble(f"its page cannot be used: {error.reason}") from error
        if page.header.last_serial is None and answer.last_serial is not None:
            page = attrs.evolve(page, header=attrs.evolve(page.header, last_serial=answer.last_serial))
        return page

    def _links_decider(self, place: Place, page: ProjectPage, freshness: Freshness | None) -> Callable[[Any], Sequence[Change]]:
        same_upstream = freshness is not None and freshness.source == place.source

        def decide(reader: Any) -> Sequence[Change]:
            _require_aim(reader, place)
            known = reader.project(place.index, page.project)
            if known is not None and same_upstream and not place.ignores_serial:
                _refuse_older(known.header.last_serial, page.header.last_serial)
            return decide_links(place.index, known, page)

        return decide

    def _commit(self, decide: Callable[[Any], Sequence[Change]], local: Callable[[Any], object]) -> Deferred[Any]:
        committed: Deferred[Any] = self._writer.commit(decide, by="+mirror", local=local)
        return committed

    def _remember(self, place: Place, project: str, freshness: Freshness) -> Deferred[None]:
        kept: Deferred[None] = self._writer.keep(_remembering(place, project, freshness))
        return kept


def _remembering(place: Place, project: str, freshness: Freshness) -> Callable[[Any], None]:
    """What notes ``freshness``, unless the index has another upstream by now."""

    def work(view: Any) -> None:
        if is_aimed_at(view.reader.index(place.index), place):
            view.remember_freshness(place.index, project, freshness)

    return work


def _require_aim(reader: Any, place: Place) -> None:
    if not is_aimed_at(reader.index(place.index), place):
        raise Outdated


def _refuse_older(known: int | None, offered: int | None) -> None:
    if known is not None and offered is not None and offered < known:
        raise Trouble(f"its page has the serial {offered}, older than {known}, which it had before")

"""Where a mirror's pages come from: the upstreams themselves, unless somebody else asks them (``relayed_pages.py``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import attrs

from twistpi.mirror.addresses import page_url
from twistpi.mirror.freshness import validators
from twistpi.mirror.learning import Kind, Learner
from twistpi.mirror.place import Place
from twistpi.mirror.upstream import Upstream


class PageSource(Protocol):
    """Where a mirror's pages come from."""

    minds_force: bool
    """Whether it asks otherwise when an answer is to be as new as can be, so that the two sorts of questions must not be one."""

    async def fetch(self, place: Place, project: str, *, force: bool, answering: Callable[[], None]) -> Kind:
        """Ask once, and see to it that the view knows the answer; ``answering`` is called when it begins to come.

        Raises ``UnknownProject``, ``Trouble``, ``Outdated``, and what keeps the view from learning.
        """


@attrs.define
class UpstreamPages:
    """Pages as the upstreams themselves have them."""

    _upstream: Upstream
    _readers: Any
    _learner: Learner
    _patience: float
    """Seconds until an answer has to begin."""
    minds_force: bool = attrs.field(default=False, init=False)

    async def fetch(self, place: Place, project: str, *, force: bool, answering: Callable[[], None]) -> Kind:
        """See ``PageSource``; asks with the validators that are known, which is as new as can be."""
        reader = self._readers.get()
        freshness = reader.freshness(place.index, project)
        known = reader.has_project(place.index, project)
        etag, last_modified = validators(freshness, known, place.source)
        answer = await self._upstream.page(
            page_url(place.source, project),
            place.credentials,
            etag=etag,
            last_modified=last_modified,
            patience=self._patience,
            answering=answering,
        )
        return await self._learner.learn(place, project, known, freshness, answer)

"""A replica's project pages: the primary asks the upstream, and what it learned comes with the log.

When a page was last confirmed is remembered here, as on any server, so that a page that is fresh costs no question.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import attrs

from twistpi.mirror.learning import Kind
from twistpi.mirror.place import Place, is_aimed_at
from twistpi.mirror.refresh import GONE
from twistpi.mirror.relayed_asking import PrimaryAsking, Reach
from twistpi.mirror.trouble import Outdated, Trouble
from twistpi.model.errors import TwistpiError, UnknownProject
from twistpi.model.records import Freshness

PATH: Final = "/+relay/page"


@attrs.define(eq=False)
class PrimaryPages:
    """Pages as the primary has them; a ``refresh.PageSource``."""

    _asking: PrimaryAsking
    _readers: Any
    _writer: Any
    """``changelog.writer.Writer``, which keeps what is local."""
    _clock: Any
    _reach: Reach
    _patience: float
    """Seconds until the primary has to answer."""
    minds_force: bool = attrs.field(default=True, init=False)

    async def fetch(self, place: Place, project: str, *, force: bool, answering: Callable[[], None]) -> Kind:
        """See ``PageSource``."""
        asked = {"index": place.index, "project": project, "force": force}
        try:
            told = await self._asking.question(PATH, asked, patience=self._patience)
            answering()
            await self._reach(int(told["serial"]))
        except UnknownProject:
            raise
        except TwistpiError as error:
            reason = getattr(error, "reason", str(error))
            raise Trouble(reason, unreachable=error.status in (503, 504)) from error
        if not is_aimed_at(self._readers.get().index(place.index), place):
            raise Outdated
        if told["kind"] == "stale":
            raise Trouble(str(told["reason"]))
        await self._remember(place, project, told)
        kind: Kind = told["kind"]
        return kind

    async def _remember(self, place: Place, project: str, told: dict[str, Any]) -> None:
        """Note when the upstream confirmed the page to the primary."""
        checked_at = self._clock.seconds() - float(told["age"])
        freshness = Freshness(checked_at, missing=told["reason"] == GONE, source=place.source)

        def work(view: Any) -> None:
            if is_aimed_at(view.reader.index(place.index), place):
                view.remember_freshness(place.index, project, freshness)

        await self._writer.keep(work)

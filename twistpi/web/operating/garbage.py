"""``+gc``: have blobs removed that nothing names any more, and see how far that is."""

from __future__ import annotations

import attrs
from twisted.web.server import Request

from twistpi.model.accounts import ROOT
from twistpi.model.records import Json
from twistpi.rules.permissions import Action
from twistpi.sweeping.sweep import FOLDERS
from twistpi.sweeping.sweeper import Report, Sweeper
from twistpi.web.doors import Door
from twistpi.web.replies import Reply, result_reply


@attrs.define(eq=False)
class GarbageDoor(Door):
    """Answers ``/+gc``, for who administers the server."""

    _sweeper: Sweeper

    async def show(self, request: Request) -> bytes:
        """The sweep under way and the one before it; raises ``Forbidden``."""
        await self._check(request)
        return self.put(request, self._reply())

    async def sweep(self, request: Request) -> bytes:
        """Begin a sweep, or have one follow that under way: ``number`` is the one to wait for.  Raises ``Forbidden``."""
        await self._check(request)
        return self.put(request, self._reply(self._sweeper.ask()))

    async def _check(self, request: Request) -> None:
        self.check(Action.ADMINISTER, await self.asker(request), user=ROOT, subject="this server")

    def _reply(self, number: int | None = None) -> Reply:
        sweeper = self._sweeper
        told: dict[str, Json] = {"running": _facts(sweeper.running), "last": _facts(sweeper.last), "folders": FOLDERS}
        return result_reply("gc", told if number is None else {**told, "number": number}, 200 if number is None else 202)


def _facts(report: Report | None) -> Json:
    return None if report is None else attrs.asdict(report)

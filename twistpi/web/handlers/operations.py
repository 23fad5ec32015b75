"""Operations: health and readiness for everybody, garbage collection and promotion for administrators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import orjson
from twisted.web.server import Request

from twistpi.gc.collector import GarbageCollector, Report
from twistpi.gc.garbage import FOLDERS
from twistpi.model.accounts import ROOT
from twistpi.model.monitoring import Check, Checked
from twistpi.model.records import Json
from twistpi.replication.promotion import Promotion
from twistpi.rules.permissions import Action
from twistpi.web.access import Access
from twistpi.web.replies import JSON, NO_STORE, Reply, Responder, length_of, result_reply
from twistpi.web.request import json_body


@attrs.define(eq=False)
class GarbageHandler:
    """Answers ``/+gc``, for administrators."""

    _access: Access
    _responder: Responder
    _collector: GarbageCollector

    async def show(self, request: Request) -> bytes:
        """The sweep under way and the one before it; raises ``Forbidden``."""
        await self._check(request)
        return self._responder.put(request, self._reply())

    async def sweep(self, request: Request) -> bytes:
        """Begin a sweep, or have one follow that under way: ``number`` is the one to wait for.  Raises ``Forbidden``."""
        await self._check(request)
        return self._responder.put(request, self._reply(self._collector.ask()))

    async def _check(self, request: Request) -> None:
        self._access.check(Action.ADMINISTER, await self._access.principal(request), user=ROOT, subject="this server")

    def _reply(self, number: int | None = None) -> Reply:
        collector = self._collector
        told: dict[str, Json] = {"running": _facts(collector.running), "last": _facts(collector.last), "folders": FOLDERS}
        return result_reply("gc", told if number is None else {**told, "number": number}, 200 if number is None else 202)


def _facts(report: Report | None) -> Json:
    return None if report is None else attrs.asdict(report)


@attrs.define(eq=False)
class PromoteHandler:
    """Answers ``/+promote``, for administrators."""

    _access: Access
    _responder: Responder
    _promotion: Promotion

    async def show(self, request: Request) -> bytes:
        """The promotion under way or the last one; raises ``Forbidden``."""
        await self._check(request)
        return self._responder.put(request, result_reply("promotion", self._promotion.facts()))

    async def promote(self, request: Request) -> bytes:
        """Begin to become the primary: with ``{"force": true}`` without what is outstanding.

        Raises ``Forbidden``, ``NotPromotable``.  What comes of it is told by ``show``.
        """
        await self._check(request)
        body = json_body(request)
        self._promotion.begin(force=isinstance(body, dict) and body.get("force") is True)
        return self._responder.put(request, result_reply("promotion", self._promotion.facts(), 202))

    async def _check(self, request: Request) -> None:
        self._access.check(Action.ADMINISTER, await self._access.principal(request), user=ROOT, subject="this server")


ALIVE = b'{"status":"alive"}\n'
"""What a process answers that answers at all."""
_RETRY = (b"Retry-After", b"5")


@attrs.define(eq=False)
class HealthHandler:
    """Answers ``/+health`` and ``/+ready``."""

    _responder: Responder
    _checking: Sequence[Checked]

    async def health(self, request: Request) -> bytes:
        """Always 200: it is the answer itself that tells."""
        return self._responder.put(request, _reply(200, ALIVE))

    async def ready(self, request: Request) -> bytes:
        """200, or 503 when something that is needed is not fine; each check in JSON, with a sentence."""
        checks = [check for checking in self._checking for check in checking()]
        is_ready = all(check.fine for check in checks if check.needed)
        told = {"ready": is_ready, "checks": [_told(check) for check in checks]}
        body = orjson.dumps(told, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        return self._responder.put(request, _reply(200 if is_ready else 503, body))


def _told(check: Check) -> dict[str, Any]:
    return {
        "name": check.name,
        "result": "fine" if check.fine else "failed" if check.needed else "warning",
        "message": check.sentence,
    }


def _reply(status: int, body: bytes) -> Reply:
    headers = ((b"Content-Type", JSON), length_of(body), NO_STORE)
    return Reply(status, headers if status == 200 else (*headers, _RETRY), body)

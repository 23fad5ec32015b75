"""``/+health`` and ``/+ready``: whether this process answers, and whether it should be asked.  For everybody, without a login.

A supervisor restarts what is not alive; a load balancer goes elsewhere while a server is not ready.  So ``/+health`` says only
that the process answers, and what a restart would not mend is told by ``/+ready``.
"""

from __future__ import annotations

from typing import Any

import attrs
import orjson
from twisted.web.server import Request

from twistpi.model.checks import Check
from twistpi.web.doors import Door
from twistpi.web.replies import JSON, NO_STORE, Reply, length_of

ALIVE = b'{"status":"alive"}\n'
"""What a process answers that answers at all."""
_RETRY = (b"Retry-After", b"5")


@attrs.define(eq=False)
class HealthDoor(Door):
    """Answers both."""

    async def health(self, request: Request) -> bytes:
        """Always 200: it is the answer itself that tells."""
        return self.put(request, _reply(200, ALIVE))

    async def ready(self, request: Request) -> bytes:
        """200, or 503 when something that is needed is not fine; each check in JSON, with a sentence."""
        checks = [check for checking in self._services.checking for check in checking()]
        is_ready = all(check.fine for check in checks if check.needed)
        told = {"ready": is_ready, "checks": [_told(check) for check in checks]}
        body = orjson.dumps(told, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        return self.put(request, _reply(200 if is_ready else 503, body))


def _told(check: Check) -> dict[str, Any]:
    return {
        "name": check.name,
        "result": "fine" if check.fine else "failed" if check.needed else "warning",
        "message": check.sentence,
    }


def _reply(status: int, body: bytes) -> Reply:
    headers = ((b"Content-Type", JSON), length_of(body), NO_STORE)
    return Reply(status, headers if status == 200 else (*headers, _RETRY), body)

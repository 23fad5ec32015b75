"""``+status``: how the server is, for monitoring and for ``devpi --version``."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.web.server import Request

from twistpi.model.records import Json
from twistpi.web.doors import Door
from twistpi.web.replies import result_reply

_ROLES = {"primary": "MASTER", "standalone": "MASTER", "replica": "REPLICA"}
"""Our words, and those of the devpi protocol."""
_NOT_TOLD = "…"
"""Paths are nobody's business."""


@attrs.define(eq=False)
class StatusDoor(Door):
    """Answers ``/+status``."""

    async def status(self, request: Request) -> bytes:
        """Everything that may be known by everybody."""
        return self.put(request, result_reply("status", self._facts(request)))

    def _facts(self, request: Request) -> dict[str, Json]:
        services = self._services
        software, _, version = services.software.partition("/")
        host: Any = request.getHost()  # type: ignore[no-untyped-call]
        serial, moved_at = services.standing.serial, services.standing.moved_at
        return {
            "serverdir": _NOT_TOLD,
            "uuid": services.node.node_id,
            "role": _ROLES.get(services.node.role, services.node.role.upper()),
            "versioninfo": {software: version},
            "server-code": _NOT_TOLD,
            "host": getattr(host, "host", None),
            "port": getattr(host, "port", None),
            "outside-url": services.outside_url or None,
            "serial": serial,
            "last-commit-timestamp": moved_at,
            "event-serial": serial,
            "event-serial-timestamp": moved_at,
            "event-serial-in-sync-at": services.clock.seconds(),
            "metrics": self._metrics(),
            "polling_replicas": {},
        }

    def _metrics(self) -> list[Json]:
        services = self._services
        return [
            ["twistpi_page_cache_pages", "gauge", len(services.page_cache)],
            ["twistpi_page_cache_bytes", "gauge", services.page_cache.size],
            ["twistpi_passwords_hashed", "counter", services.identify.line.hashed],
            ["twistpi_ready_paths", "gauge", len(services.tables.pages) + len(services.tables.files)],
        ]

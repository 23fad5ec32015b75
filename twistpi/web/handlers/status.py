"""``+status``: how the server is, for monitoring and for ``devpi --version``."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import attrs
from twisted.web.server import Request

from twistpi.model.accounts import ROOT
from twistpi.model.errors import TwistpiError
from twistpi.model.records import Json
from twistpi.replication.progress import Progress
from twistpi.rules.permissions import Action, is_allowed
from twistpi.web.handlers.base import Handler
from twistpi.web.replies import result_reply
from twistpi.web.request import passed_on_of

_ROLES = {"primary": "MASTER", "standalone": "MASTER", "replica": "REPLICA"}
"""Our words, and those of the devpi protocol."""
_NOT_TOLD = "…"
"""Paths are nobody's business."""


@attrs.define(eq=False)
class StatusHandler(Handler):
    """Answers ``/+status``."""

    async def status(self, request: Request) -> bytes:
        """Everything that may be known by everybody; to root also the names of files that fail to come."""
        with_names = await self._is_root(request)
        return self.put(request, result_reply("status", self._facts(request, with_names=with_names)))

    async def _is_root(self, request: Request) -> bool:
        """Whether whoever administers the server asks; how that is, others are told all the same."""
        try:
            principal = await self.principal(request)
        except TwistpiError:
            return False
        return is_allowed(Action.ADMINISTER, principal, self._services.policy, user=ROOT)

    def _facts(self, request: Request, *, with_names: bool) -> dict[str, Json]:
        services = self._services
        software, _, version = services.software.partition("/")
        host, port = _place(request)
        serial, moved_at = services.standing.serial, services.standing.moved_at
        now = services.clock.seconds()
        following = services.following
        replica = {} if following is None else replica_facts(following.progress, services.node.primary_url, now)
        return {
            "serverdir": _NOT_TOLD,
            "uuid": services.node.node_id,
            "role": _ROLES.get(services.node.role, services.node.role.upper()),
            "versioninfo": {software: version},
            "server-code": _NOT_TOLD,
            "host": host,
            "port": port,
            "outside-url": services.outside_url or None,
            "serial": serial,
            "last-commit-timestamp": moved_at,
            "event-serial": serial,
            "event-serial-timestamp": moved_at,
            "event-serial-in-sync-at": now,
            "metrics": self._metrics(),
            "polling_replicas": self._followers(),
            "log-id": services.node.log_id,
            "log-begins-after": 0 if services.feeds is None else services.feeds.changelog.begins_after.serial,
            "epoch": self.reader.epoch(),
            "fenced": None if (fencing := services.fencing) is None or fencing.fence is None else str(fencing.fence.error()),
            **replica,
            **self._files(replica.get("replica-metadata-in-sync-at"), now, with_names=with_names),
        }

    def _files(self, log_complete_at: float | None, now: float, *, with_names: bool) -> dict[str, Json]:
        """What the status of a replica says of its files: the protocol's words, and ours under ``files``."""
        files = self._services.files
        if files is None:
            return {}
        facts = files.facts(with_names=with_names)
        since = [log_complete_at, files.figures.searched_at, files.in_sync_at(now)]
        return {
            "replica-init-queue-finished-at": files.figures.searched_at,
            "replica-files-in-sync-at": files.in_sync_at(now),
            "replica-in-sync-at": None if None in since else max(at for at in since if at is not None),
            "replication-errors": {failure["path"]: failure for failure in facts["failing"]},
            "files": facts,
        }

    def _followers(self) -> dict[str, Json]:
        """Which servers follow this one, by their ids, in the words of the devpi protocol."""
        feeds = self._services.feeds
        return (
            {}
            if feeds is None
            else {
                node: {
                    "remote-ip": follower.address,
                    "outside-url": follower.outside_url,
                    "serial": follower.reached,
                    "in-request": bool(follower.bodies),
                    "is-streaming": bool(follower.bodies),
                    "last-request": follower.last_request,
                }
                for node, follower in feeds.followers.items()
            }
        )

    def _metrics(self) -> list[Json]:
        services = self._services
        return [
            ["twistpi_page_cache_pages", "gauge", len(services.page_cache)],
            ["twistpi_page_cache_bytes", "gauge", services.page_cache.size],
            ["twistpi_passwords_hashed", "counter", services.authenticator.line.hashed],
            ["twistpi_ready_paths", "gauge", len(services.tables.pages) + len(services.tables.files)],
        ]


def replica_facts(progress: Progress, primary_url: str | None, now: float) -> dict[str, Json]:
    """What the status of a replica says beside that of a primary: the protocol's words, and then ours.

    All times are Unix seconds.  ``lag-entries`` and ``lag-seconds`` are null while nothing is known of the primary.
    """
    primary: dict[str, Json] = {
        "url": None if primary_url is None else strip_credentials(primary_url),
        "uuid": progress.primary_uuid,
        "serial": progress.primary_serial,
        "serial-timestamp": progress.primary_time,
        "contacted-at": progress.contacted_at,
    }
    return {
        **{f"{name}-{key}": value for name in ("primary", "master") for key, value in primary.items()},
        "update-from-primary-at": progress.updated_at,
        "update-from-master-at": progress.updated_at,
        "replica-started-at": progress.started_at,
        "replica-metadata-in-sync-at": progress.complete_at,
        "replica-in-sync-at": progress.complete_at,
        "replication-errors": {},
        "replica-state": progress.state,
        "lag-entries": progress.lag_entries,
        "lag-seconds": progress.lag_seconds(now),
        "last-error": progress.last_error,
        "last-error-at": progress.last_error_at,
    }


def strip_credentials(url: str) -> str:
    """``url`` without a name and a password."""
    scheme, mark, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{mark}{host.rpartition('@')[2]}{slash}{path}"


def _place(request: Request) -> tuple[str | None, int | None]:
    """Host and port at which ``request`` arrived, perhaps at a worker."""
    passed_on = passed_on_of(request)
    if passed_on is not None:
        asked = urlsplit(passed_on.outside)
        return asked.hostname, asked.port
    host: Any = request.getHost()  # type: ignore[no-untyped-call]
    return getattr(host, "host", None), getattr(host, "port", None)

"""``+status``: how the server is, for monitoring and for ``devpi --version``."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

import attrs
from twisted.web.server import Request

from twistpi.advisories.service import Advisories
from twistpi.model.errors import TwistpiError
from twistpi.model.monitoring import Checked
from twistpi.model.records import NOBODY, ROOT, Json
from twistpi.model.urls import without_credentials
from twistpi.replication.progress import Progress
from twistpi.rules.permissions import Action, is_allowed
from twistpi.web.access import Access
from twistpi.web.addresses import Addresses
from twistpi.web.components import NodeFacts, ReplicationServices
from twistpi.web.fast.ready import ReadyAnswers
from twistpi.web.replies import Reply, Responder, result_reply
from twistpi.web.request import passed_on_of

_ROLES = {"primary": "MASTER", "standalone": "MASTER", "replica": "REPLICA"}
"""Our words, and those of the devpi protocol."""
_NOT_TOLD = "…"
"""Shown instead of paths."""


@attrs.define(eq=False)
class StatusHandler:
    """Answers ``/+status``."""

    _access: Access
    _responder: Responder
    _addresses: Addresses
    _node: NodeFacts
    _software: str
    _replication: ReplicationServices
    _ready: ReadyAnswers
    _advisories: Advisories
    _checking: Sequence[Checked] = ()

    async def status(self, request: Request) -> Reply:
        """The status; for root with the names of files that cannot be fetched."""
        try:
            principal = await self._access.principal(request)
        except TwistpiError:
            principal = NOBODY
        with_names = is_allowed(Action.ADMINISTER, principal, self._access.policy, user=ROOT)
        return result_reply("status", self._facts(request, with_names=with_names))

    def _facts(self, request: Request, *, with_names: bool) -> dict[str, Json]:
        replication, headers = self._replication, self._responder.default_headers
        software, _, version = self._software.partition("/")
        host, port = _host_and_port(request)
        serial, moved_at = headers.serial, headers.moved_at
        now = self._responder.now()
        following = replication.following
        replica = {} if following is None else replica_facts(following.progress, self._node.primary_url, now)
        return {
            "serverdir": _NOT_TOLD,
            "uuid": self._node.node_id,
            "role": _ROLES.get(self._node.role, self._node.role.upper()),
            "versioninfo": {software: version},
            "server-code": _NOT_TOLD,
            "host": host,
            "port": port,
            "outside-url": self._addresses.outside_url or None,
            "serial": serial,
            "last-commit-timestamp": moved_at,
            "event-serial": serial,
            "event-serial-timestamp": moved_at,
            "event-serial-in-sync-at": now,
            "metrics": [
                ["twistpi_page_cache_pages", "gauge", len(self._ready.page_cache)],
                ["twistpi_page_cache_bytes", "gauge", self._ready.page_cache.size],
                ["twistpi_passwords_hashed", "counter", self._access.authenticator.line.hashed],
                ["twistpi_ready_paths", "gauge", len(self._ready.pages) + len(self._ready.files)],
            ],
            "polling_replicas": self._followers(),
            "log-id": self._node.log_id,
            "log-begins-after": 0 if replication.feeds is None else replication.feeds.changelog.begins_after.serial,
            "log-has-summary": replication.feeds is not None and replication.feeds.changelog.summary is not None,
            "epoch": self._access.reader.epoch(),
            "failed-checks": {
                check.name: check.sentence for checks in self._checking for check in checks() if check.needed and not check.fine
            },
            "fenced": None if (fencing := replication.fencing) is None or fencing.fence is None else str(fencing.fence.error()),
            "advisories": self._advisories.public_facts(),
            **({} if replication.cluster is None else {"cluster": dict(replication.cluster())}),
            **replica,
            **self._files(replica.get("replica-metadata-in-sync-at"), now, with_names=with_names),
        }

    def _files(self, log_complete_at: float | None, now: float, *, with_names: bool) -> dict[str, Json]:
        """Return the status of a replica's files: names of the protocol, and ours under ``files``."""
        files = self._replication.queue
        if files is None:
            return {}
        facts = files.facts(with_names=with_names)
        since = [log_complete_at, files.searched_at, files.in_sync_at(now)]
        return {
            "replica-init-queue-finished-at": files.searched_at,
            "replica-files-in-sync-at": files.in_sync_at(now),
            "replica-in-sync-at": None if None in since else max(at for at in since if at is not None),
            "replication-errors": {failure["path"]: failure for failure in facts["failing"]},
            "files": facts,
        }

    def _followers(self) -> dict[str, Json]:
        """Return the followers of this server by their ids, in the format of the devpi protocol."""
        feeds = self._replication.feeds
        followers = {} if feeds is None else feeds.followers
        return {
            node: {
                "remote-ip": follower.address,
                "outside-url": follower.outside_url,
                "serial": follower.reached,
                "in-request": bool(follower.bodies),
                "is-streaming": bool(follower.bodies),
                "last-request": follower.last_request,
            }
            for node, follower in followers.items()
        }


def replica_facts(progress: Progress, primary_url: str | None, now: float) -> dict[str, Json]:
    """Return what the status of a replica says beside that of a primary: names of the protocol, and then ours.

    All times are Unix seconds.  ``lag-entries`` and ``lag-seconds`` are null while nothing is known of the primary.
    """
    primary: dict[str, Json] = {
        "url": None if primary_url is None else without_credentials(primary_url),
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


def _host_and_port(request: Request) -> tuple[str | None, int | None]:
    """Return host and port at which ``request`` arrived, perhaps at a worker."""
    passed_on = passed_on_of(request)
    if passed_on is not None:
        asked = urlsplit(passed_on.outside)
        return asked.hostname, asked.port
    host = request.getHost()
    return getattr(host, "host", None), getattr(host, "port", None)

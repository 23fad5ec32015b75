"""Why a primary refuses to be followed: its answer as an error that says what to do.

Where two logs diverged is found by halving: the primary tells the chain of any serial, and two logs whose chains are the same at
a serial are the same up to it.
"""

from __future__ import annotations

from typing import Any, Protocol

import attrs

from twistpi.http.body import Offload
from twistpi.model.errors import TwistpiError
from twistpi.model.peers import Position
from twistpi.model.server_errors import FollowingRefused, PrimaryUnreachable, StrangePrimary, UnknownSerial
from twistpi.replication.primary import Primary, PrimaryAnswer


class Changelog(Protocol):
    """As much of the changelog as is used here (``changelog.files.FileChangelog``)."""

    @property
    def last(self) -> Position:
        """The end of the newest line."""

    @property
    def begins_after(self) -> Position:
        """The end of the line before the first one."""

    def position(self, serial: int) -> Position:
        """Return the end of a line.  Raise ``UnknownSerial``.  Blocking."""


@attrs.define(eq=False)
class Refusals:
    """Reads the refusals of one primary."""

    _primary: Primary
    _changelog: Changelog
    _offload: Offload

    async def of(self, answer: PrimaryAnswer, log_id: str) -> TwistpiError:
        """Return the error that ``answer``, which is no feed, means; ``log_id`` is that of the log here.

        Raise ``PrimaryUnreachable`` when the primary is gone before everything is understood.
        """
        url = self._primary.url
        if answer.status in (502, 503, 504):
            return PrimaryUnreachable(url, await self._message(answer))
        if answer.status == 403:
            return refused(url, await self._refused(answer))
        if answer.status != 409:
            answer.discard()
            return StrangePrimary(url, f"it answers {answer.status} where it should hand out its changelog")
        fields = await answer.json()
        if not isinstance(fields, dict):
            return StrangePrimary(url, "its refusal cannot be understood")
        return await self._conflict(fields, log_id)

    def other_log(self, theirs: str, ours: str) -> FollowingRefused:
        """Return the error for a primary whose log is ``theirs``."""
        return FollowingRefused(
            f"The primary at {self._primary.url} has another log than this replica: that is {theirs or 'unknown'}, and this one "
            f"is {ours}. What is here is served and stays as it is. Name the right primary with --primary-url; or, to have the "
            "other log from now on: twistpi resync.",
            "other log",
        )

    async def _conflict(self, fields: dict[str, Any], log_id: str) -> TwistpiError:
        url, theirs, reason = self._primary.url, str(fields.get("log_id", "")), fields.get("reason")
        if reason == "other log" or theirs != log_id:
            return self.other_log(theirs, log_id)
        if reason == "fenced":
            return FollowingRefused(
                f"The server at {url} is no primary any more: another server was promoted; the one there is of epoch "
                f"{fields.get('epoch')}. What is here is served; name the new primary with --primary-url.",
                "fenced",
            )
        if reason == "behind":
            return FollowingRefused(
                f"The server at {url} cannot be followed from here: it has no entry right after serial "
                f"{self._changelog.last.serial} any more. Follow one that has the whole log, or start anew: twistpi resync.",
                "behind",
            )
        if reason == "diverged":
            serial = fields.get("serial")
            return await self._diverged(serial if isinstance(serial, int) else self._changelog.last.serial)
        return refused(url, str(fields.get("message", reason)))

    async def _diverged(self, theirs: int) -> FollowingRefused:
        """Return the error with the serial at which the logs diverge; ``theirs`` is the primary's last one."""
        ours = self._changelog.last.serial
        same, other = self._changelog.begins_after.serial, min(ours, theirs) + 1
        while other - same > 1:  # the same at ``same``, not at ``other``
            middle = (same + other) // 2
            if await self._is_same(middle):
                same = middle
            else:
                other = middle
        return FollowingRefused(
            f"The primary at {self._primary.url} and this replica diverged at serial {other}: {_told(other, ours, theirs)}. What "
            "is here is served and stays as it is. Where the primary is right: twistpi resync, which saves what only this server "
            "has. Where it was restored from an old backup, and this replica is right: twistpi promote.",
            "diverged",
        )

    async def _is_same(self, serial: int) -> bool:
        try:
            ours = await self._offload(self._changelog.position, serial)
        except UnknownSerial:
            return False
        answer = await self._primary.ask("GET", f"/+changelog/position?serial={serial}")
        if answer.status == 404:
            answer.discard()
            return False
        fields = await answer.json()
        return answer.status == 200 and isinstance(fields, dict) and fields.get("chain") == ours.chain

    async def _refused(self, answer: PrimaryAnswer) -> str:
        fields = await answer.json()
        reason = fields.get("reason") if isinstance(fields, dict) else None
        if reason == "wrong secret":
            return "it has another secret; start both with the same --secretfile"
        return f"it does not let this server in ({reason or 'no reason given'}); do both have the same secret?"

    async def _message(self, answer: PrimaryAnswer) -> str:
        content = await answer.read(64 * 1024)
        told = " ".join(content.decode("utf-8", "replace").split())[:200]
        return f"it answers {answer.status}{f' ({told})' if told else ''}"


def refused(url: str, reason: str) -> FollowingRefused:
    """Return the error for a primary that does not let this server follow it."""
    return FollowingRefused(f"The primary at {url} refuses to be followed: {reason}.")


def _told(serial: int, ours: int, theirs: int) -> str:
    if serial > theirs:
        return f"the primary ends before it, at {theirs}, and this replica goes on up to {ours}"
    if serial > ours:
        return f"this replica ends before it, at {ours}, and the primary goes on up to {theirs}"
    return f"from there on, the primary (up to {theirs}) and this replica (up to {ours}) have different entries"

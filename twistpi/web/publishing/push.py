"""Pushes: a release goes from an index to another one of this server, or to another server.

Here nothing is copied: when everything about a push is known to be right, one entry says it.  What a mirror has not got yet is
fetched before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import attrs
from twisted.web.server import Request

from twistpi.model.account_errors import Forbidden, LoginToPush
from twistpi.model.accounts import Asker
from twistpi.model.changes import Change
from twistpi.model.errors import UnknownIndex
from twistpi.model.records import Index
from twistpi.model.releases import Release
from twistpi.model.upload_errors import CannotPushTo, FileNotFetched
from twistpi.push.releases import TAKEN, Line
from twistpi.push.repository import read_repository
from twistpi.rules.permissions import Action, is_allowed
from twistpi.rules.push_requests import ExternalPush, InternalPush, Selection, read_push
from twistpi.rules.pushes import (
    ActionLog,
    PushSource,
    PushTarget,
    checked_release,
    decide_push,
    mirrored_release,
    selected_docs,
    selected_files,
)
from twistpi.rules.uploads import is_volatile
from twistpi.web.doors import Door
from twistpi.web.publishing.fetching import Fetching, Sidecar
from twistpi.web.publishing.storing import Storing
from twistpi.web.reading import Reading
from twistpi.web.replies import result_reply
from twistpi.web.request import json_body

if TYPE_CHECKING:
    from twistpi.view.read import Reader


@attrs.define(eq=False)
class PushDoor(Door):
    """Answers ``PUSH``, and a ``POST`` that is no upload, at ``/{user}/{index}``."""

    _reading: Reading
    _storing: Storing
    _fetching: Fetching = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._fetching = Fetching(self._services, self._storing)

    async def push(self, request: Request, user: str, index: str) -> bytes:
        """Push a release out of an index, whose bases do not count.

        Raises ``UnknownIndex``, ``LoginNeeded`` and ``Forbidden`` when that may not be read, ``InvalidPush``, ``BadRequest``,
        what ``decide_push`` raises, ``CannotPushTo``, and what keeps a mirror from getting its files.
        """
        source = await self._reading.index(request, f"{user}/{index}")
        wanted = read_push(json_body(request))
        asker = await self.asker(request)
        if isinstance(wanted, InternalPush):
            return self.put(request, result_reply("actionlog", await self._inside(source, wanted, asker), secret=True))
        lines = await self._outside(source, wanted, asker)
        return self.put(request, result_reply("actionlog", lines, 200 if lines[-1][0] in TAKEN else 502, secret=True))

    async def _inside(self, source: Index, wanted: InternalPush, asker: Asker) -> ActionLog:
        told: list[ActionLog] = []
        sidecars: dict[str, Sidecar] = {}

        def decide(view: Reader) -> Sequence[Change]:
            found = self._source(view, source.name, wanted.selection, asker, sidecars)
            release = checked_release(found, wanted.selection)
            target = self._target(view, wanted, asker, [file.known.link.filename for file in release.files])
            changes, lines = decide_push(found, target, wanted.selection)
            told.append(lines)
            return changes

        if source.is_mirror:
            await self._fetching.learn(source, wanted.selection.project)
            with suppress(FileNotFetched):  # whatever else speaks against it is said before anything is fetched
                decide(self.reader)
            sidecars.update(await self._fetching.fetch(source, self._release(source, wanted.selection, asker), wanted.selection))
        await self.commit(decide, asker)
        return told[-1]

    async def _outside(self, source: Index, wanted: ExternalPush, asker: Asker) -> list[Line]:
        if asker.user is None:
            raise LoginToPush("push", source.name)
        if asker.token is not None:
            raise Forbidden("push to another server with an API token")
        repository = read_repository(wanted.url, wanted.username, wanted.password)
        selection = wanted.selection
        if source.is_mirror:
            await self._fetching.learn(source, selection.project)
            await self._fetching.fetch(source, self._release(source, selection, asker), selection)
        release = self._release(source, selection, asker)
        files, docs = selected_files(release, selection), selected_docs(release, selection)
        # Half a release on the other server helps nobody: it goes on when the client leaves.
        return await self._storing.finish(
            lambda: self._services.pusher.push(release, files, docs, repository, register=wanted.register_project)
        )

    def _release(self, source: Index, selection: Selection, asker: Asker) -> Release:
        return checked_release(self._source(self.reader, source.name, selection, asker, {}), selection)

    def _source(self, view: Reader, name: str, selection: Selection, asker: Asker, sidecars: Mapping[str, Sidecar]) -> PushSource:
        """Where the release comes from, as it is now."""
        index = self.existing(view, name)
        self.check(Action.READ, asker, index=index)
        project = selection.project
        if index.is_mirror:
            release = mirrored_release(view.project(name, project), selection.version, sidecars)
        else:
            release = view.release(name, project, selection.version)
        return PushSource(index, release, _status(view, name, project))

    def _target(self, view: Reader, wanted: InternalPush, asker: Asker, filenames: Sequence[str]) -> PushTarget:
        """Where it goes, as it is now."""
        name, project = wanted.target, wanted.selection.project
        index = view.index(name)
        if index is None:
            raise UnknownIndex(name)
        if not is_allowed(Action.UPLOAD, asker, self._services.policy, index=index, project=project):
            raise CannotPushTo(asker.user, name)
        gone = {} if is_volatile(index) else {filename: view.removed_paths(name, filename) for filename in filenames}
        return PushTarget(index, view.releases(name, project), _status(view, name, project), gone)


def _status(view: Reader, index: str, project: str) -> str | None:
    """The project's status marker (PEP 792)."""
    known = view.header(index, project)
    return None if known is None else known[0]

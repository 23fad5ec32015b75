"""How handlers change things: blobs are stored first, then an entry names them (laws 2 and 3)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, ParamSpec, TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from twistpi.blobs.address import BlobAddress
from twistpi.blobs.interfaces import IBlobs
from twistpi.blobs.received import Received
from twistpi.changelog.writer import Writer
from twistpi.http.offload import Offload
from twistpi.http.single_flight import SingleFlight
from twistpi.model.changes import Change, IndexDeleted
from twistpi.model.records import Index, Principal
from twistpi.model.releases import FileRemoved, ProjectRemoved, ReleaseRemoved
from twistpi.model.server_errors import BlobConflict, SyncFailed
from twistpi.model.text import one_line
from twistpi.rules.descriptions import describe
from twistpi.rules.exposure import (
    Exposed,
    exposed_by_change,
    exposed_by_removal,
    exposure_text,
    indexes_after,
    is_emptied,
)
from twistpi.rules.permissions import may_read
from twistpi.rules.token_requests import label_of
from twistpi.rules.upload_checks import STRICT
from twistpi.view.read import Reader, Readers

Decide = Callable[[Reader], Sequence[Change]]
"""Decides on a view which changes a request makes; raises what speaks against them."""
_REMOVALS = (FileRemoved, ReleaseRemoved, ProjectRemoved)
_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

_log = Logger()


@attrs.frozen(eq=False)
class Edit:
    """What a caller wants to change."""

    decide: Decide
    principal: Principal
    message: str
    """What is said when it is done."""


@attrs.define(eq=False)
class Commits:
    """Commits changes through the writer, and logs what each request changed."""

    _readers: Readers
    writer: Writer

    async def commit(self, decide: Decide, principal: Principal) -> Sequence[Change]:
        """Commit the changes that ``decide`` returns, and return them, perhaps none, once readers see them.

        ``decide`` is called on the current view first, so that refusals and changes without effect never wait for the writer;
        then in the writer's thread, for what was committed in between.  Raise what ``decide`` and the writer raise.
        """
        return await self.append(decide, principal) if decide(self._readers.get()) else ()

    async def append(self, decide: Callable[[Reader], Sequence[Change]], principal: Principal) -> Sequence[Change]:
        """Do the same for callers who asked ``decide`` already."""
        committed = await self.writer.commit(decide, principal.author)
        if described := describe(committed.changes):
            by, serial = principal.author, committed.serial
            if principal.token is not None:
                by = f"{by} (token {label_of(principal.token)})"
            _log.info("{by} {described} (serial {serial}).", by=by, described=one_line(described), serial=serial)
        return committed.changes

    async def remove(self, decide: Decide, principal: Principal) -> tuple[Sequence[Change], str]:
        """Do the same; also return a sentence about names that are left to mirrors, empty without any.

        It is logged; ``principal`` is told of indexes that it may read.
        """
        exposed: dict[str, Sequence[str]] = {}

        def watched(view: Reader) -> Sequence[Change]:
            changes = decide(view)
            exposed.clear()
            if any(isinstance(change, IndexDeleted) or "bases" in getattr(change, "changed", ()) for change in changes):
                before = _indexes(view)
                exposed.update(exposed_by_change(before, indexes_after(before, changes), view.projects))
            return changes

        changes = await self.commit(watched, principal)
        view = self._readers.get()
        for change in changes:
            if isinstance(change, _REMOVALS) and not view.has_project(change.index, change.project):
                has_project = partial(_has_project, view, change.project)
                exposed.update(exposed_by_removal(_indexes(view), change.index, change.project, has_project))
        if not exposed:
            return changes, ""
        _log.warn("{by}: {reason}.", by=principal.author, reason=exposure_text(exposed))
        return changes, exposure_text(_readable(exposed, _indexes(view), principal))

    async def make(self, edit: Edit) -> str:
        """Commit ``edit`` and return what is to be said about it, names that are left to mirrors included."""
        _, exposure = await self.remove(edit.decide, edit.principal)
        return "; ".join(filter(None, (edit.message, exposure)))

    def preview(self, edit: Edit) -> tuple[Sequence[Change], str]:
        """Return which changes ``edit`` would make now, and the sentence about names that they would leave to mirrors.

        Called in any thread.  Raise what ``edit.decide`` raises.
        """
        view = self._readers.get()
        changes, before = edit.decide(view), _indexes(view)
        exposed = dict(exposed_by_change(before, indexes_after(before, changes), view.projects))
        for index, project in {(change.index, change.project): None for change in changes if isinstance(change, _REMOVALS)}:
            if is_emptied(view.releases(index, project), changes):
                left = partial(_is_left, view, project, index)
                exposed.update(exposed_by_removal(before, index, project, left))
        return changes, exposure_text(_readable(exposed, before, edit.principal), ahead=True)


def _readable(exposed: Exposed, indexes: Mapping[str, Index], principal: Principal) -> Exposed:
    """Return ``exposed`` without indexes that ``principal`` may not read, and such as are gone."""
    return {name: names for name, names in exposed.items() if name in indexes and may_read(principal, indexes[name])}


def _is_left(view: Reader, project: str, emptied: str, index: str) -> bool:
    return index != emptied and view.has_project(index, project)


def _indexes(view: Reader) -> dict[str, Index]:
    return {index.name: index for index in view.indexes()}


def _has_project(view: Reader, project: str, index: str) -> bool:
    return view.has_project(index, project)


@attrs.define(eq=False)
class UploadStorage:
    """Stores uploaded content as blobs.

    Storing goes on when the client leaves: half an upload is worth nothing, and a whole one is kept.
    """

    blobs: IBlobs
    offload: Offload
    fail: Callable[[Exception], object]
    """Called when a sync failed, after which the server has to stop (law 10)."""
    max_upload_size: int = 4 << 30
    """The most bytes of a request's body."""
    upload_checks: str = STRICT
    """Which checks (``UPLOAD_CHECKS``) uploads have to pass where an index says nothing else."""
    anonymous_results: int = 1 << 30
    """Bytes of an index's test results up to which further ones need no login."""
    _work: SingleFlight[object, Any] = attrs.field(init=False, factory=SingleFlight)

    def finish(self, work: Callable[[], Coroutine[Any, Any, _Result]]) -> Deferred[_Result]:
        """Return the result of ``work``, which goes on when the Deferred is cancelled."""
        return self._work.join(object(), work)

    async def keep(
        self, content: Received, filename: str, beside: Iterable[tuple[BlobAddress, bytes]] = ()
    ) -> Sequence[tuple[str, int]]:
        """Make ``content`` the blob ``filename``, and each of ``beside`` one, as ``keep_bytes`` does; return what that returns.

        Raise what ``Received.keep`` raises.
        """

        def work() -> Sequence[tuple[str, int]]:
            content.keep(filename)
            return [self._write(address, data) for address, data in beside]

        return await self._blocking(work)

    async def keep_at(self, content: Received, address: BlobAddress) -> None:
        """Make ``content`` the blob at ``address``; raise what ``Received.keep_at`` raises."""
        await self._blocking(content.keep_at, address)

    async def keep_bytes(self, address: BlobAddress, data: bytes) -> tuple[str, int]:
        """Make ``data`` the blob at ``address``, unless there is one already; return SHA-256 and size of the one that is there.

        Raise ``StorageFull`` and ``SyncFailed``.
        """
        return await self._blocking(self._write, address, data)

    async def is_here(self, address: BlobAddress) -> bool:
        """Return whether there is a blob at ``address``."""
        return await self.offload(self.blobs.find, address) is not None

    async def _blocking(
        self, work: Callable[_Arguments, _Result], *arguments: _Arguments.args, **named: _Arguments.kwargs
    ) -> _Result:
        try:
            return await self.offload(work, *arguments, **named)
        except SyncFailed as final:
            self.fail(final)
            raise

    def _write(self, address: BlobAddress, data: bytes) -> tuple[str, int]:
        sha256 = hashlib.sha256(data).hexdigest()
        with self.blobs.incoming() as incoming:
            incoming.write(data)
            try:
                self.blobs.keep(incoming, address, sha256)
            except BlobConflict:
                return self.blobs.digest(address), self.blobs.find(address) or 0
        return sha256, len(data)

"""The first page of the server, and the page of a user."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final

import attrs
from twisted.web.server import Request

from twistpi.http.offload import Offload
from twistpi.model.errors import unknown_user
from twistpi.model.monitoring import Checked
from twistpi.model.records import Index
from twistpi.model.urls import public_address
from twistpi.rules.permissions import Action, is_allowed, is_open, may_read
from twistpi.statistics.downloads import Downloads
from twistpi.view.read import Reader
from twistpi.view.read_overview import Upload
from twistpi.web.access import Access
from twistpi.web.browser.frame import Frame, Frames
from twistpi.web.browser.rendering import Renderer
from twistpi.web.handlers.search import number
from twistpi.web.replies import Reply
from twistpi.web.request import parameter

_LATEST_UPLOADS: Final = 10
_BUSIEST: Final = 5
"""Projects that are named as the most downloaded ones."""
_DAYS: Final = 30
_SEARCHED: Final = 2000
"""Uploads that are looked at for such as the reader may see."""
_MOST_INDEXES: Final = 200
"""On one page."""


@attrs.frozen
class IndexRow:
    """An index in a list."""

    index: Index
    projects: int
    """How many it knows."""
    is_open: bool
    """Whether everybody may read it."""

    @property
    def upstream(self) -> str:
        """Scheme, host and path of what a mirror copies, without anything secret; empty for a private index."""
        return public_address(str(self.index.config.get("mirror_url", ""))) if self.index.is_mirror else ""


@attrs.frozen
class OwnedIndexes:
    """A user, and the indexes of that user that the reader may read."""

    user: str
    title: str
    rows: tuple[IndexRow, ...]


@attrs.define(eq=False)
class HomePage:
    """Makes ``/``, and ``/{user}``."""

    _access: Access
    _frames: Frames
    _renderer: Renderer
    _offload: Offload
    _checks: Sequence[Checked]
    _downloads: Downloads

    async def home(self, request: Request) -> Reply:
        """What is here, and what is new."""
        frame = await self._frames.of(request)
        problems = [check.sentence for checked in self._checks for check in checked() if not check.fine]
        return await self._offload(self._build_home, frame, problems)

    async def user(self, request: Request, user: str) -> Reply:
        """One user with the indexes, a part of them on each page."""
        frame = await self._frames.of(request)
        return await self._offload(self._build_user, frame, user, number(parameter(request, b"page"), 1))

    def _build_home(self, frame: Frame, problems: Sequence[str]) -> Reply:
        reader = self._access.reader
        counts = reader.project_counts()
        indexes = [index for index in reader.indexes() if may_read(frame.caller, index)]
        titles = {user.name: str(user.config.get("title", "")) for user in reader.users()}
        readable = {index.name for index in indexes}

        def is_shown(index: str, project: str) -> bool:
            return index in readable and reader.has_project(index, project)

        latest = islice(_newest_of_each_release(reader, readable), _LATEST_UPLOADS)
        return self._renderer.page(
            frame,
            "home.html",
            owners=_by_owner(indexes[:_MOST_INDEXES], counts, titles),
            left_out=max(0, len(indexes) - _MOST_INDEXES),
            totals={
                "indexes": len(indexes),
                "own": sum(counts.get(index.name, 0) for index in indexes if not index.is_mirror),
                "mirrored": sum(counts.get(index.name, 0) for index in indexes if index.is_mirror),
            },
            uploads=list(latest),
            busiest=self._downloads.busiest(_DAYS, _BUSIEST, is_shown),
            problems=problems,
        )

    def _build_user(self, frame: Frame, name: str, page: int) -> Reply:
        reader = self._access.reader
        found = reader.user(name)
        if found is None:
            raise unknown_user(name)
        indexes = [index for index in reader.indexes_of(name) if may_read(frame.caller, index)]
        last = max(1, -(-len(indexes) // _MOST_INDEXES))
        page = min(max(1, page), last)
        rows = _rows(indexes[(page - 1) * _MOST_INDEXES : page * _MOST_INDEXES], reader.project_counts())
        policy = self._access.policy
        return self._renderer.page(
            frame,
            "user.html",
            user=found,
            rows=rows,
            page=page,
            last=last,
            may_create_index=is_allowed(Action.CREATE_INDEX, frame.caller, policy, user=name),
            may_manage=is_allowed(Action.MANAGE_TOKENS, frame.caller, policy, user=name),
        )


def _rows(indexes: Iterable[Index], counts: dict[str, int]) -> tuple[IndexRow, ...]:
    return tuple(IndexRow(index, counts.get(index.name, 0), is_open(index)) for index in indexes)


def _by_owner(indexes: Iterable[Index], counts: dict[str, int], titles: dict[str, str]) -> list[OwnedIndexes]:
    owned: dict[str, list[Index]] = {}
    for index in indexes:
        owned.setdefault(index.name.partition("/")[0], []).append(index)
    return [OwnedIndexes(user, titles.get(user, ""), _rows(of_user, counts)) for user, of_user in sorted(owned.items())]


def _newest_of_each_release(reader: Reader, readable: set[str]) -> Iterable[Upload]:
    """Yield the last upload of each release that is in a ``readable`` index, the newest first."""
    seen = set()
    for upload in islice(reader.uploads(), _SEARCHED):
        release = (upload.index, upload.project, upload.version)
        if upload.index in readable and release not in seen:
            seen.add(release)
            yield upload

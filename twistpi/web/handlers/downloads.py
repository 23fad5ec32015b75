"""``+downloads``: how often files were downloaded, as JSON or CSV, for those who may read their index."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence

import attrs
from twisted.internet.defer import DeferredLock
from twisted.web.server import Request

from twistpi.http.offload import Offload
from twistpi.model.errors import AskFirst, BadRequest, TwistpiError, UnknownProject
from twistpi.model.names import normalize_project
from twistpi.model.records import Json
from twistpi.rules.permissions import may_read
from twistpi.statistics.download_queries import COLUMNS, Count, Report, Scope
from twistpi.statistics.downloads import Downloads
from twistpi.statistics.recorder import Recorder
from twistpi.web.access import Access
from twistpi.web.replies import CSV, PRIVATE, VARY_CALLER, Reply, length_of, result_reply
from twistpi.web.request import parameter, wants_csv

_DAYS = 30
_MOST_DAYS = 3650


@attrs.define(eq=False)
class DownloadsHandler:
    """Answers ``+downloads`` of the server, of an index and of a project."""

    _access: Access
    _downloads: Downloads
    _offload: Offload
    _recorder: Recorder | None
    """Writes what was counted; None in a worker."""
    _one: DeferredLock = attrs.field(factory=DeferredLock, init=False)
    """Held for what may take seconds, so that it takes one thread at a time."""

    async def of_server(self, request: Request) -> Reply:
        """The downloads of all indexes that the caller may read."""
        principal = await self._access.principal(request)
        await self._prepare()

        def is_readable(name: str) -> bool:
            index = self._access.reader.index(name)
            return index is not None and may_read(principal, index)

        asked = _asked(request)
        return await self._alone(lambda: self._reply(self._downloads.readable(is_readable), *asked))

    async def of_index(self, request: Request, name: str) -> Reply:
        """The downloads of the files that an index has itself."""
        index = await self._access.index(request, name)
        await self._prepare()
        asked = _asked(request)
        return await self._alone(lambda: self._reply(Scope((index.name,)), *asked))

    async def of_project(self, request: Request, name: str, project: str) -> Reply:
        """The downloads of the files of a project that an index has itself."""
        index, normalized = await self._access.index(request, name), normalize_project(project)
        if not self._access.reader.has_project(index.name, normalized):
            raise UnknownProject(index.name, normalized)
        await self._prepare()
        return await self._offload(self._reply, Scope((index.name,), normalized), *_asked(request))

    async def _prepare(self) -> None:
        """Write what was counted; raise ``AskFirst`` in a worker, and ``TwistpiError`` where nothing is counted."""
        if not self._downloads.is_counting:
            raise TwistpiError("This server does not count downloads (its setting no-downloads).", 404)
        if self._recorder is None:
            raise AskFirst
        await self._recorder.flush()

    async def _alone(self, work: Callable[[], Reply]) -> Reply:
        """Return what ``work`` returns, which is done in a thread when nobody else's is."""
        await self._one.acquire()
        try:
            return await self._offload(work)
        finally:
            self._one.release()

    def _reply(self, scope: Scope, days: int, is_csv: bool) -> Reply:
        """Blocking."""
        has_project = self._access.reader.has_project
        if is_csv:
            return _csv_reply([row for row in self._downloads.rows(scope, days) if has_project(str(row[1]), str(row[2]))])
        report = self._downloads.report(scope, days)
        # What was removed from an index is nothing for those who may read it since.
        shown = [count for count in report.projects if has_project(*count.name.rsplit("/", 1))]
        return result_reply("downloads", {"days": days, **_facts(scope, attrs.evolve(report, projects=shown))})


def _asked(request: Request) -> tuple[int, bool]:
    """Return for how many days, and whether as CSV; raise ``BadRequest``."""
    text = parameter(request, b"days") or str(_DAYS)
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= _MOST_DAYS:
        raise BadRequest(f"Bad request: days must be a whole number from 1 to {_MOST_DAYS}, got {text[:20]}")
    return int(text), wants_csv(request)


def _facts(scope: Scope, report: Report) -> dict[str, Json]:
    facts: dict[str, Json] = {
        "total": report.total,
        "recent": sum(day.number for day in report.days),
        "by_day": _numbers(report.days),
        "by_month": _numbers(report.months),
        "by_installer": _numbers(report.installers),
        "by_python": _numbers(report.pythons),
    }
    if scope.project is None:
        return {**facts, "by_index": _numbers(report.indexes), "by_project": _numbers(report.projects)}
    return {**facts, "project": scope.project, "by_version": _numbers(report.versions), "by_file": _numbers(report.files)}


def _numbers(counts: Sequence[Count]) -> dict[str, Json]:
    return {count.name: count.number for count in counts}


def _csv_reply(rows: Iterable[Sequence[str | int]]) -> Reply:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    body = text.getvalue().encode()
    return Reply(200, ((b"Content-Type", CSV), length_of(body), PRIVATE, VARY_CALLER), body)

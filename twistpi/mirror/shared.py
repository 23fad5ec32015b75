"""Pages and files of a mirror that several nodes of a cluster have: one asks the upstream, and the others have it from there.

Who holds the lease of a page or file asks.  Others wait, and find what was learned: links in the log, files in the bucket, and in
the lease's note when the upstream was asked, which is no entry.  Where no lease can be had, a node asks by itself: twice is
better than never.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import attrs
import orjson
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from twistpi.changelog.writer import Writer
from twistpi.http.errors import Cause, RequestFailed
from twistpi.mirror.download import Download, KeptFile
from twistpi.mirror.file_transfer import Sink
from twistpi.mirror.files import FileSource
from twistpi.mirror.page_source import Kind, Known, PageSource
from twistpi.mirror.remembered_pages import remembering
from twistpi.mirror.upstream import UpstreamConfig, is_fresh
from twistpi.model.errors import TwistpiError, UnknownProject
from twistpi.model.records import Freshness, Index, Json, KnownFile
from twistpi.view.read import KeptBlob, Readers

_PAGE_WAITS: Final = 30.0
"""Seconds that a node waits for another one's page."""
_FILE_WAITS: Final = 10.0
"""Seconds that a node waits for another one's file: its clients get no byte meanwhile, and leave at last."""
_log = Logger()


class Turn(Protocol):
    """The right to do something that others leave alone meanwhile."""

    @property
    def note(self) -> str:
        """What the last one left who had it; empty without one."""

    @property
    def is_news(self) -> bool:
        """Whether the note was left while this one was waited for."""

    async def end(self, note: str) -> bool:
        """Give it back, and leave ``note``."""


class TakeTurn(Protocol):
    """Returns the turn called ``name``; None if it is not to be had within ``patience`` seconds."""

    def __call__(self, name: str, patience: float) -> Awaitable[Turn | None]:
        """See the class."""


Reach = Callable[[int], Awaitable[object]]
"""Returns once the view shows a serial."""


@attrs.define
class SharedPages:
    """Project pages from ``source``, or as another node learned them."""

    _source: PageSource
    _take: TakeTurn
    _reach: Reach
    _readers: Readers
    _writer: Writer
    _now: Callable[[], float]
    """Unix seconds."""
    minds_force: bool = attrs.field(default=True, init=False)

    async def refresh(
        self, config: UpstreamConfig, project: str, known: Known, *, force: bool, responding: Callable[[], None]
    ) -> tuple[Kind, Freshness]:
        """See ``PageSource``."""
        turn = await self._take(f"page {config.index} {project}", _PAGE_WAITS)
        if turn is None:
            return await self._source.refresh(config, project, known, force=force, responding=responding)
        note = turn.note
        try:
            learned = self._learned(turn, config, known, force=force)
            if learned is None:
                kind, freshness = await self._source.refresh(config, project, known, force=force, responding=responding)
                if self._readers.unrecorded.get(config.index, project) is None:
                    note = _note_of(config, freshness, self._readers.get().serial())
                else:
                    note = ""  # the others cannot have it from the log, and ask by themselves
                return kind, freshness
            responding()
            return await self._adopt(config, project, known, learned)
        except UnknownProject:
            note = _dump({"source": config.source, "absent": True})
            raise
        except RequestFailed as failed:
            note = _dump(
                {"source": config.source, "failed": failed.reason, "cause": failed.cause.value, "wait": failed.retry_after}
            )
            raise
        finally:
            await turn.end(note)

    def _learned(self, turn: Turn, config: UpstreamConfig, known: Known, *, force: bool) -> dict[str, Json] | None:
        """Return what another node learned of the same upstream, if that is as good as asking; None otherwise."""
        note = _load(turn.note)
        if note.get("source") != config.source:
            return None
        if turn.is_news:
            return note
        freshness = _freshness_of(note)
        is_newer = known.freshness is None or (freshness is not None and freshness.checked_at > known.freshness.checked_at)
        usable = not force and is_newer and is_fresh(freshness, config.source, config.expiry, self._now())
        return note if usable else None

    async def _adopt(self, config: UpstreamConfig, project: str, known: Known, note: dict[str, Json]) -> tuple[Kind, Freshness]:
        """Bring what ``note`` says into the view; raise as ``refresh``."""
        if note.get("absent"):
            raise UnknownProject(config.index, project)
        freshness, serial = _freshness_of(note), note.get("serial")
        if freshness is None or not isinstance(serial, int):
            wait = note.get("wait")
            raise RequestFailed(
                str(note.get("failed")), Cause(note.get("cause")), float(wait) if isinstance(wait, int | float) else None
            )
        await self._reach(serial)
        config.require_current(self._readers.get().index(config.index))
        if not self._readers.get().has_project(config.index, project):
            raise UnknownProject(config.index, project)
        await self._writer.keep(remembering(config, project, freshness))
        return ("revalidated" if known.is_known else "miss"), freshness


def _dump(note: dict[str, Json]) -> str:
    return orjson.dumps(note).decode()


def _load(text: str) -> dict[str, Json]:
    try:
        note = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return note if isinstance(note, dict) else {}


def _note_of(config: UpstreamConfig, freshness: Freshness, serial: int) -> str:
    return _dump({"source": config.source, "serial": serial, "freshness": attrs.asdict(freshness)})


def _freshness_of(note: dict[str, Json]) -> Freshness | None:
    fields = note.get("freshness")
    try:
        return Freshness(**fields) if isinstance(fields, dict) else None
    except TypeError:  # of another version
        return None


@attrs.define(eq=False)
class SharedFiles:
    """Files from ``source``, or where another node put them."""

    _source: FileSource
    _take: TakeTurn
    _reach: Callable[[], Awaitable[object]]
    """Returns once the view shows what other nodes recorded."""

    def plan(self, index: Index, project: str, known_file: KnownFile) -> Download:
        """See ``FileSource``."""
        return self._source.plan(index, project, known_file)

    def plan_blob(self, blob: KeptBlob) -> Download:
        """See ``FileSource``."""
        return self._source.plan_blob(blob)

    async def find(self, download: Download) -> KeptFile | None:
        """See ``FileSource``; wait for another node that fetches the file."""
        found = await self._source.find(download)
        sha256 = download.known_file.link.sha256
        if found is not None or sha256 is None:
            return found
        turn = await self._take(f"file {sha256}", _FILE_WAITS)
        if turn is None:
            return None
        if turn.is_news:
            try:
                await self._reach()
                found = await self._source.find(download)
            except BaseException:
                await turn.end("")
                raise
        if found is not None:
            await turn.end("")
        else:
            Deferred.fromCoroutine(self._end_with(download, turn))
        return found

    async def _end_with(self, download: Download, turn: Turn) -> None:
        """Give ``turn`` back when the file is recorded, or is not to be had."""
        try:
            await download.finished()
        except TwistpiError:
            pass
        except Exception:
            _log.failure("A file was not fetched")
        finally:
            await turn.end("")

    async def fetch(self, download: Download, sink: Sink) -> str:
        """See ``FileSource``."""
        return await self._source.fetch(download, sink)

    async def record(self, download: Download, kept: KeptFile) -> None:
        """See ``FileSource``."""
        await self._source.record(download, kept)

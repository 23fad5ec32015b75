"""What is noted of a mirror's pages beside the changelog: when they were confirmed, and what could not be recorded."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from twistpi.mirror.upstream import UpstreamConfig
from twistpi.model.records import Freshness, ProjectPage
from twistpi.model.server_errors import LogUnreachable, StorageFull
from twistpi.rules.mirrors import listed_project
from twistpi.view.database import ViewDatabase
from twistpi.view.read import Readers


def remembering(config: UpstreamConfig, project: str, freshness: Freshness) -> Callable[[ViewDatabase], None]:
    """Return what notes ``freshness`` in a view, unless the index has another upstream by then; for ``Writer.keep``."""

    def work(view: ViewDatabase) -> None:
        if config.is_current(view.reader.index(config.index)):
            view.remember_freshness(config.index, project, freshness)

    return work


def remember_page(
    readers: Readers, config: UpstreamConfig, page: ProjectPage, learned: Freshness, full: StorageFull | LogUnreachable
) -> Freshness:
    """Let readers show ``page``, though it cannot be recorded; return its freshness, which is without validators.

    A page that was not recorded must come again as a whole.  Raise ``StaleConfig``.
    """
    reader = readers.get()
    config.require_current(reader.index(config.index))
    known = listed_project(config.index, reader.project(config.index, page.project), page)
    learned = attrs.evolve(learned, etag=None, last_modified=None)
    readers.unrecorded.learn(config.index, page.project, learned, full.reason, known)
    return learned

"""A log on a fake disk, a view that is a list, and what turns requests into both."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import attrs

from tests.fakes.faulty_disk import FaultyDisk
from tests.fakes.list_view import ListView
from twistpi.changelog.batch import Batches, Request
from twistpi.changelog.files import FileChangelog
from twistpi.model.codec import decode_content
from twistpi.model.peers import BEGINNING

NOW = datetime(2026, 11, 22, 17, 0, 0, 123456, tzinfo=UTC)


@attrs.define
class Bench:
    """See the module."""

    disk: FaultyDisk = attrs.field(factory=FaultyDisk)
    view: ListView = attrs.field(factory=ListView)
    now: datetime = NOW
    log: FileChangelog = attrs.field(init=False)
    batches: Batches = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.log = FileChangelog.open("/log", self.disk)
        self.batches = Batches(self.log, self.view, lambda: self.now)

    def ask(self, *requests: Request) -> list[Any]:
        """The answers, of an error its class; nothing may be fatal."""
        outcome = self.batches.process(requests)
        assert outcome.fatal is None
        assert self.consistent()
        assert outcome.end == self.view.position
        return [type(answer) if isinstance(answer, Exception) else answer for answer in outcome.answers]

    def authors(self) -> list[str]:
        """Of the entries in the log."""
        return [decode_content(line.body).by for line in self.log.read(BEGINNING)]

    def consistent(self) -> bool:
        """Whether the view holds exactly what the log does."""
        lines = [decode_content(line.body, line.serial) for line in self.log.read(BEGINNING)]
        return lines == self.view.entries and self.view.position == self.log.last and not self.view.begun

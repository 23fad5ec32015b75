"""The source of a process that fetches nothing: a worker, which leaves that to the first process.

So there is one fetch for the whole machine, and one place that remembers which upstream failed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from twistpi.mirror.download import Download, KeptFile
from twistpi.mirror.file_transfer import Sink
from twistpi.mirror.page_source import Known
from twistpi.mirror.upstream import UpstreamConfig
from twistpi.model.errors import AskFirst
from twistpi.model.records import Index, KnownFile
from twistpi.view.read import KeptBlob


class LocalOnly:
    """A source of pages, files, core metadata, and name lists, that has none: every method raises ``AskFirst``."""

    minds_force = False

    async def refresh(
        self, config: UpstreamConfig, project: str, known: Known, *, force: bool, responding: Callable[[], None]
    ) -> NoReturn:
        """See ``PageSource``."""
        raise AskFirst

    def plan(self, index: Index, project: str, known_file: KnownFile) -> NoReturn:
        """See ``FileSource``."""
        raise AskFirst

    def plan_blob(self, blob: KeptBlob) -> NoReturn:
        """See ``FileSource``: what the view names and the disk lacks is on its way to the first process, or lost."""
        raise AskFirst

    async def find(self, download: Download) -> KeptFile | None:
        """See ``FileSource``."""
        raise AskFirst

    async def fetch(self, download: Download, sink: Sink) -> NoReturn:
        """See ``FileSource``."""
        raise AskFirst

    async def record(self, download: Download, kept: KeptFile) -> NoReturn:
        """See ``FileSource``."""
        raise AskFirst

    async def bring(self, index: Index, project: str, known_file: KnownFile) -> NoReturn:
        """See ``MetadataSource``."""
        raise AskFirst

    async def ensure(self, index: Index, *, force: bool = False) -> NoReturn:
        """See ``NameLists``: only the first process sends the lists of all names."""
        raise AskFirst

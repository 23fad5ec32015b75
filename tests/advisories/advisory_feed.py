"""A feed of advisories on loopback, and what reads it."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import attrs

from tests.in_reactor import offload, until
from tests.mirror.mirror_setup import Setup, reactor
from twistpi.advisories.feeds import Feed, HTTPFeed
from twistpi.advisories.loader import AdvisoryLoader
from twistpi.advisories.refresh import AdvisoryRefresh
from twistpi.advisories.service import Advisories
from twistpi.advisories.store import AdvisoryStore
from twistpi.model.changes import AdvisoriesAccepted

FOLDER = "/osv/PyPI"
ALL = f"{FOLDER}/all.zip"


def record(identity: str, project: str = "hello", modified: str = "2026-11-20T00:00:00Z", **more: Any) -> dict[str, Any]:
    """A record about all versions of a project."""
    ranges = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}]}]
    affected = {"package": {"ecosystem": "PyPI", "name": project}, "ranges": ranges}
    return {"id": identity, "modified": modified, "affected": [affected], **more}


def zipped(*records: Any) -> bytes:
    """What a feed has."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number, one in enumerate(records):
            archive.writestr(f"{number}.json", one if isinstance(one, bytes) else json.dumps(one))
    return file.getvalue()


@attrs.define(eq=False)
class FeedSetup:
    """What reads a feed, over the parts of a mirror."""

    setup: Setup
    refresh: AdvisoryRefresh
    loader: AdvisoryLoader
    told: list[frozenset[str] | None]
    """What the listeners of the loader were told."""

    @classmethod
    def make(cls, setup: Setup, feed: Feed | None = None) -> FeedSetup:
        """Build it; nothing is started."""
        feed = feed or HTTPFeed(f"{setup.fake.url}{ALL}", setup.upstream)
        refresh = AdvisoryRefresh(
            feed,
            setup.blobs,
            setup.readers,
            setup.writer,
            setup.clock,
            offload,
            state_path=str(setup.folder / "advisories.json"),
        )
        told: list[frozenset[str] | None] = []
        store = AdvisoryStore(str(setup.folder / "advisories.sqlite"))
        call = reactor.callFromThread
        loader = AdvisoryLoader(store, setup.readers, setup.blobs, setup.clock, offload, call)
        made = cls(setup, refresh, loader, told)
        loader.listeners.append(told.append)
        return made

    @property
    def service(self) -> Advisories:
        """Both together."""
        return Advisories(self.loader.store, self.loader, self.refresh)

    def start(self) -> None:
        """Begin as a server does."""
        self.service.start()

    async def stop(self) -> None:
        """End as a server does."""
        await self.service.stop()

    def put(self, *records: Any) -> None:
        """Have the feed consist of these records."""
        self.setup.fake.add_file(ALL, zipped(*records))

    def add(self, *records: dict[str, Any]) -> None:
        """Have the feed list records as new, which are not in the zip yet."""
        lines = [f"{one['modified']},{one['id']}" for one in reversed(records)]
        self.setup.fake.add_file(f"{FOLDER}/modified_id.csv", "\n".join(lines).encode())
        for one in records:
            self.setup.fake.add_file(f"{FOLDER}/{one['id']}.json", json.dumps(one).encode())

    async def read(self) -> None:
        """Return once the feed was looked at for the next time."""
        runs = self.refresh.runs
        self.setup.clock.elapse(600.0)
        await until(lambda: self.refresh.runs > runs and not self.refresh.is_running)

    async def followed(self) -> None:
        """Return once what was accepted counts."""
        self.loader.changed(0, self.setup.announced)
        await until(lambda: self.loader.facts()["is-current"] and not self.loader.is_running)

    def accepted(self) -> list[AdvisoriesAccepted]:
        """The sets that were accepted."""
        return [change for change in self.setup.announced if isinstance(change, AdvisoriesAccepted)]

    def known(self, project: str = "hello") -> list[str]:
        """The ids of the advisories about a project that count."""
        return [one.id for one in self.loader.store.of(project)]

"""All that a process has about advisories."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
from twisted.internet.defer import Deferred

from twistpi.advisories.loader import AdvisoryLoader
from twistpi.advisories.refresh import AdvisoryRefresh
from twistpi.advisories.store import AdvisoryStore
from twistpi.model.monitoring import Checked, Measured
from twistpi.model.records import Json


@attrs.define(eq=False)
class Advisories:
    """The advisories that count, and what keeps them up to date."""

    store: AdvisoryStore = attrs.field(factory=AdvisoryStore)
    """Knows what is known against versions of projects."""
    loader: AdvisoryLoader | None = None
    """Loads accepted sets into it; None in a worker."""
    refresh: AdvisoryRefresh | None = None
    """Reads the feed, and accepts sets; None where there is no feed, or where another server reads it."""

    @property
    def measuring(self) -> Sequence[Measured]:
        """What has figures for ``/+metrics``."""
        return [one.measures for one in (self.loader, self.refresh) if one is not None]

    @property
    def checking(self) -> Sequence[Checked]:
        """What has checks for ``/+ready``."""
        return [] if self.refresh is None else [self.refresh.checks]

    def facts(self) -> dict[str, Json]:
        """For the status: which set counts, and what is known of the feed."""
        loaded = {} if self.loader is None else self.loader.facts()
        return {**loaded, "refresh": None if self.refresh is None else self.refresh.facts()}

    def public_facts(self) -> dict[str, Json] | None:
        """For everybody: how many count, and whether they are new; None where none was accepted, and nothing reads a feed."""
        accepted = None if self.loader is None else self.loader.facts()["accepted"]
        if accepted is None and self.refresh is None:
            return None
        return {
            "count": self.store.count,
            "modified": None if accepted is None else accepted["modified"],
            "is-current": accepted is None or accepted["sha256"] == self.store.digest,
            "is-stale": self.refresh is not None and self.refresh.is_stale(),
        }

    def start(self) -> None:
        """Load what was accepted, and begin to look at the feed."""
        for service in (self.loader, self.refresh):
            if service is not None:
                service.start()

    async def stop(self) -> None:
        """Cancel what is under way."""
        for service in (self.refresh, self.loader):
            stopped = None if service is None else service.stop()
            if isinstance(stopped, Deferred):
                await stopped

"""What is told of the files of a replica: how many came, and when all of them were here."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from twistpi.model.monitoring import Measure
from twistpi.view.read import KeptBlob


@attrs.define(eq=False)
class Tally:
    """Counts since the process began."""

    fetched: int = 0
    """Blobs that came unasked."""
    fetched_bytes: int = 0
    last_error: str | None = None
    """Why nothing came, the last time that nothing did; it stays after it was put right."""
    searched_at: float | None = None
    """When it was first known what is lacking, in Unix seconds; None before."""
    in_sync_at: float | None = None
    """When nothing was last known to be lacking, before something was again."""

    def came(self, blob: KeptBlob) -> None:
        """``blob`` is here now."""
        self.fetched += 1
        self.fetched_bytes += blob.size

    def measures(self, outstanding: int, failing: int) -> Iterable[Measure]:
        """For the metrics."""
        prefix = "twistpi_replica_files"
        yield Measure(f"{prefix}_outstanding", "gauge", "Files that this replica is known to lack", outstanding)
        yield Measure(f"{prefix}_failing", "gauge", "Files that failed to come and will be tried again", failing)
        yield Measure(f"{prefix}_fetched", "counter", "Files that came from the primary unasked", self.fetched)
        yield Measure(f"{prefix}_fetched_bytes", "counter", "Bytes of these files", self.fetched_bytes)

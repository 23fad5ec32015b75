"""Advisories for tests of audits, looked up as a server does."""

from __future__ import annotations

import io
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final

from twistpi.advisories.advisory_set import write_set
from twistpi.advisories.store import AdvisoryStore
from twistpi.model.changes import AdvisoriesAccepted
from twistpi.rules.osv import Advisory, Range

HIGH: Final = Advisory(
    "hello", "GHSA-1", summary="it leaks", severity="high", published="2026-01-02T00:00:00Z", ranges=(Range("0", "2.0"),)
)
UNKNOWN: Final = Advisory("hello", "PYSEC-2", summary="it is slow", ranges=(Range("1.5"),))
MALWARE: Final = Advisory("evil", "MAL-3", summary="it steals", versions=("6.6",))
ADVISORIES: Final = (HIGH, UNKNOWN, MALWARE, Advisory("absent", "GHSA-4", severity="critical", ranges=(Range("0"),)))


def store_of(folder: Path, advisories: Sequence[Advisory] = ADVISORIES) -> tuple[AdvisoryStore, AdvisoriesAccepted]:
    """A store in ``folder`` that has them, and the change that says so."""
    file = io.BytesIO()
    count = write_set(advisories, file, str(folder / "sorting"))
    (folder / "sorting").unlink()
    content = file.getvalue()
    digest = sha256(content).hexdigest()
    store = AdvisoryStore(str(folder / "advisories.sqlite"))
    store.load(io.BytesIO(content), digest)
    return store, AdvisoriesAccepted(digest, len(content), count, "https://osv.example/", "2026-01-02T00:00:00Z")

"""What an author is told whose change is written, but not visible; see ``model/errors.py``."""

from __future__ import annotations

import attrs

from twistpi.model.errors import StorageFull


@attrs.define(auto_exc=True, str=False)
class WrittenNotShown(StorageFull):
    """The change is recorded for good as entry {serial}, but cannot be shown yet, since nothing can be written to {path}:
    {reason}. Free some space; it shows by itself then, so there is no need to send it again.
    """

    serial: int

"""The budgets of mirrors' caches, and the free room on a disk."""

from __future__ import annotations

import os

from twistpi.rules.eviction import DAY, Budget, Limits
from twistpi.server.settings import Settings
from twistpi.view.read import Reader


def server_budget(settings: Settings) -> Budget:
    """Return the budget of all mirrors together."""
    days = settings.cache_max_age
    return Budget(settings.cache_max_bytes, None if days is None else days * DAY, settings.cache_min_age * DAY)


def limits_of(settings: Settings, reader: Reader) -> Limits:
    """Return the budgets of a primary that does not run."""
    indexes = reader.indexes()
    return Limits.of(server_budget(settings), indexes, [index.name for index in indexes] if settings.offline else ())


def free_bytes(path: str) -> int:
    """Return the free bytes of the disk that has ``path``."""
    found = os.statvfs(path)
    return found.f_bavail * found.f_frsize

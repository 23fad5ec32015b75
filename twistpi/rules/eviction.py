"""Which cached files have to go so that a cache stays within its budget: those that nobody asked for the longest.

A pass reads all cached files twice.  The first time it sums their bytes by the hour in which each was last asked for, so that the
memory it needs depends on the hours, not on the files.  The second time it takes what is older than the hour at which enough is
gone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Final

import attrs

from twistpi.model.names import comparable_version, normalize_project, version_of_filename
from twistpi.model.records import Index, Json

HOUR: Final = 3600.0
DAY: Final = 86400.0
_SERVER: Final = ""
"""The scope of the server's own budget, beside the names of indexes."""


@attrs.frozen
class Pin:
    """A project, or one of its versions, whose files are never evicted."""

    project: str
    """The normalised name."""
    version: str | None = None
    """As it was given; None for all versions."""

    @classmethod
    def parse(cls, text: str) -> Pin:
        """Read ``project`` or ``project==version``; raise ``ValueError`` and ``InvalidName``."""
        name, equals, version = (part.strip() for part in text.partition("=="))
        if not name or (equals and (not version or "," in version or not version.isprintable() or " " in version)):
            raise ValueError(text)
        return cls(normalize_project(name), version or None)

    def __str__(self) -> str:
        """Return the text that ``parse`` reads."""
        return self.project if self.version is None else f"{self.project}=={self.version}"

    def names(self, project: str, filename: str) -> bool:
        """Return whether the file ``filename`` of ``project``, a normalised name, is pinned."""
        if project != self.project or self.version is None:
            return project == self.project
        version = version_of_filename(filename, project)
        return version is not None and comparable_version(version) == comparable_version(self.version)


@attrs.frozen
class Budget:
    """How much of a cache is kept."""

    max_bytes: int | None = None
    max_age: float | None = None
    """Seconds after which a file goes that nobody asked for; None for never."""
    min_age: float = DAY
    """Seconds for which every file is kept after it was cached."""

    @property
    def is_limited(self) -> bool:
        """Whether anything ever has to go."""
        return self.max_bytes is not None or self.max_age is not None


@attrs.frozen
class CachedFile:
    """A file of which a mirror has the bytes."""

    number: int
    """Its number in the view."""
    index: str
    project: str
    """The normalised name."""
    filename: str
    sha256: str
    size: int
    """Bytes, with those of its core metadata."""
    is_replaceable: bool
    """Whether the upstream lists it still, and no release of a private index is the same file."""


@attrs.frozen
class Limits:
    """The budgets of a server and of its mirrors."""

    server: Budget = Budget()
    indexes: Mapping[str, Budget] = attrs.field(factory=dict)
    pins: Mapping[str, Mapping[str, Collection[Pin]]] = attrs.field(factory=dict)
    """By index and project."""
    unavailable: Collection[str] = ()
    """Indexes whose files cannot be fetched again at the moment: nothing of them goes."""

    @classmethod
    def of(cls, server: Budget, indexes: Iterable[Index], unavailable: Collection[str] = ()) -> Limits:
        """Return the limits that the settings of ``indexes`` say."""
        mirrors = [index for index in indexes if index.is_mirror]
        budgets = {index.name: _budget_of(index.config, server) for index in mirrors}
        return cls(server, budgets, {index.name: _pins_of(index.config) for index in mirrors}, unavailable)

    @property
    def is_limited(self) -> bool:
        """Whether any cache has a budget."""
        return self.server.is_limited or any(budget.is_limited for budget in self.indexes.values())

    def local(self) -> Limits:
        """Return the limits of a replica: those of indexes are its primary's business."""
        budget = Budget(min_age=self.server.min_age)
        return attrs.evolve(self, indexes=dict.fromkeys(self.indexes, budget))

    @property
    def has_ages(self) -> bool:
        """Whether files go because of their age alone."""
        return any(budget.max_age is not None for budget in (self.server, *self.indexes.values()))

    def exceeded(self, usage: Mapping[str, int]) -> bool:
        """Return whether the bytes of each index in ``usage`` are more than some budget allows."""
        scopes = [(self.server, sum(usage.values())), *((self.indexes[name], usage.get(name, 0)) for name in self.indexes)]
        return any(budget.max_bytes is not None and used > budget.max_bytes for budget, used in scopes)

    def may_go(self, file: CachedFile, kept: float, now: float) -> bool:
        """Return whether ``file``, which was cached at ``kept`` (Unix seconds), may be evicted at all."""
        budget = self.indexes.get(file.index)
        if budget is None or not file.is_replaceable or file.index in self.unavailable or self.is_pinned(file):
            return False
        return kept < now - max(budget.min_age, HOUR)

    def is_pinned(self, file: CachedFile) -> bool:
        """Return whether a pin of its index names ``file``."""
        pins = self.pins.get(file.index, {}).get(file.project, ())
        return any(pin.names(file.project, file.filename) for pin in pins)

    def is_expired(self, file: CachedFile, accessed: float, now: float) -> bool:
        """Return whether nobody asked for ``file`` for longer than its index, or the server, keeps such files."""
        ages = [budget.max_age for budget in (self.server, self.indexes[file.index]) if budget.max_age is not None]
        return bool(ages) and accessed < now - min(ages)


def _budget_of(config: Mapping[str, Json], server: Budget) -> Budget:
    """The budget of an index; its minimum age is the server's unless it has one."""
    max_age, min_age = config.get("cache_max_age"), config.get("cache_min_age")
    return Budget(
        config.get("cache_max_bytes"),
        None if max_age is None else max_age * DAY,
        server.min_age if min_age is None else min_age * DAY,
    )


def _pins_of(config: Mapping[str, Json]) -> Mapping[str, Collection[Pin]]:
    pins: dict[str, list[Pin]] = {}
    for pin in map(Pin.parse, config.get("pins", ())):
        pins.setdefault(pin.project, []).append(pin)
    return pins


@attrs.define
class _Cut:
    """Where the files to evict end, in the order of the hours in which they were last asked for."""

    hour: int
    """All before it go."""
    left: int
    """Bytes that still have to go of what was last asked for in this hour."""

    def takes(self, hour: int, size: int) -> bool:
        """Return whether a file goes, and count it."""
        if hour != self.hour or self.left <= 0:
            return hour < self.hour
        self.left -= size
        return True


_FIRST: Final = -(2**62)
_LAST: Final = 2**62
"""Hours before and after all others."""


def _cut(hours: Mapping[int, int], excess: int) -> _Cut:
    """Return where to cut so that ``excess`` bytes go, or all there are."""
    if excess <= 0:
        return _Cut(_FIRST, 0)
    for hour in sorted(hours):
        if hours[hour] >= excess:
            return _Cut(hour, excess)
        excess -= hours[hour]
    return _Cut(_LAST, 0)


@attrs.define
class Selection:
    """Chooses files in two readings of all of them; memory for 8,760 hours of each year that files are old."""

    limits: Limits
    now: float
    """Unix seconds."""
    usage: Counter[str] = attrs.field(factory=Counter, init=False)
    """Bytes that the files of each index have."""
    _expired: Counter[str] = attrs.field(factory=Counter, init=False)
    _hours: dict[str, Counter[int]] = attrs.field(factory=dict, init=False)
    """Bytes of each index that may go, by the hour in which they were last asked for."""
    _cuts: dict[str, _Cut] = attrs.field(factory=dict, init=False)

    def weigh(self, file: CachedFile, kept: float, accessed: float) -> None:
        """Count ``file``, which was cached at ``kept`` and last asked for at ``accessed`` (Unix seconds); the first reading."""
        self.usage[file.index] += file.size
        if not self.limits.may_go(file, kept, self.now):
            return
        if self.limits.is_expired(file, accessed, self.now):
            self._expired[file.index] += file.size
        else:
            self._hours.setdefault(file.index, Counter())[int(accessed // HOUR)] += file.size

    def choose(self, missing: int = 0) -> bool:
        """Decide what goes, so that the disk has ``missing`` bytes more; return whether anything does."""
        remaining: Counter[int] = Counter()
        gone = sum(self._expired.values())
        for index, hours in self._hours.items():
            budget, kept = self.limits.indexes[index], self.usage[index] - self._expired[index]
            cut = self._cuts[index] = _cut(hours, 0 if budget.max_bytes is None else kept - budget.max_bytes)
            for hour, size in hours.items():
                goes = size if hour < cut.hour else cut.left if hour == cut.hour else 0
                gone += goes
                remaining[hour] += size - goes
        limit, total = self.limits.server.max_bytes, sum(self.usage.values())
        excess = max(missing, 0 if limit is None else total - limit) - gone
        self._cuts[_SERVER] = _cut(remaining, excess)
        return gone > 0 or (excess > 0 and any(remaining.values()))

    def takes(self, file: CachedFile, kept: float, accessed: float) -> bool:
        """Return whether ``file`` goes; the second reading."""
        if not self.limits.may_go(file, kept, self.now):
            return False
        if self.limits.is_expired(file, accessed, self.now):
            return True
        hour = int(accessed // HOUR)
        cut = self._cuts.get(file.index)
        return (cut is not None and cut.takes(hour, file.size)) or self._cuts[_SERVER].takes(hour, file.size)

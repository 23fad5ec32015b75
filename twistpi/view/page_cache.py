"""Finished pages in memory: the least recently used go first, and a change of a page's sources drops it at once.

A page of an index that inherits from others depends on each of them: they are its ``sources``.  For the reactor's thread alone;
every operation costs the same however much is kept.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Iterator
from typing import Final, Generic, Protocol, TypeVar

import attrs

_OVERHEAD: Final = 1024
"""Bytes that a page costs beside its body: key, headers, places in the tables."""
_MARKS: Final = 1024
"""How many changes a mark looks back on; older marks count as outdated."""


class CachedPage(Protocol):
    """A page, as far as the cache must know it."""

    @property
    def size(self) -> int:
        """The bytes of it that count against the limit; the same for ever."""

    @property
    def sources(self) -> frozenset[str]:
        """The indexes that the page was made of."""


@attrs.frozen(cache_hash=True)
class PageKey:
    """One project page in one shape."""

    index: str
    project: str
    """The normalised name."""
    representation: str
    """The content type."""
    gzip: bool
    base: str
    """What the links of the page begin with, for example ``../../``."""
    audience: str = ""
    """Who may see it: empty for everybody, else the same for all who see the same."""


_Group = tuple[str, str | None]
"""The pages made of an index and a project, or of an index, where the project is None."""
Page = TypeVar("Page", bound=CachedPage)


class PageCache(Generic[Page]):
    """Pages of at most ``limit_bytes`` bytes together."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._pages: OrderedDict[PageKey, Page] = OrderedDict()
        self._groups: defaultdict[_Group, set[PageKey]] = defaultdict(set)
        self._forgotten: deque[_Group] = deque(maxlen=_MARKS)
        self._count = 0
        self.size = 0
        """Bytes that are in use."""

    def __len__(self) -> int:
        return len(self._pages)

    def get(self, key: PageKey) -> Page | None:
        """The page of ``key``, which is the most recently used one now; or None."""
        page = self._pages.get(key)
        if page is not None:
            self._pages.move_to_end(key)
        return page

    def mark(self) -> int:
        """The present moment, for ``put``; to be taken before reading the facts for a page."""
        return self._count

    def put(self, key: PageKey, page: Page, since: int | None = None) -> bool:
        """Keep ``page``; False when it is larger than the whole cache, or when its sources changed after the mark ``since``.

        Without the mark, a page that was rendered in a thread from older facts could outlive them.
        """
        size = page.size + _OVERHEAD
        if size > self._limit or (since is not None and self._is_outdated(key, page, since)):
            return False  # what is kept under the key stays: it may be newer
        self._drop(key)
        self._pages[key] = page
        self.size += size
        for group in _groups(key, page):
            self._groups[group].add(key)
        while self.size > self._limit:
            self._drop(next(iter(self._pages)))
        return True

    def forget(self, index: str, project: str | None = None) -> None:
        """Drop every page made of what ``index`` has of ``project``, or of anything of ``index``."""
        self._forgotten.append((index, project))
        self._count += 1
        for key in tuple(self._groups.get((index, project), ())):
            self._drop(key)

    def forget_everywhere(self, project: str) -> None:
        """Drop every page of ``project``, whatever it was made of."""
        self._count += _MARKS + 1  # every mark is outdated
        for key in [key for key in self._pages if key.project == project]:
            self._drop(key)

    def clear(self) -> None:
        """Drop everything."""
        self._pages.clear()
        self._groups.clear()
        self.size = 0
        self._count += _MARKS + 1  # every mark is outdated

    def _drop(self, key: PageKey) -> None:
        page = self._pages.pop(key, None)
        if page is None:
            return
        self.size -= page.size + _OVERHEAD
        for group in _groups(key, page):
            self._groups[group].discard(key)
            if not self._groups[group]:
                del self._groups[group]

    def _is_outdated(self, key: PageKey, page: Page, since: int) -> bool:
        missed = self._count - since
        if missed > len(self._forgotten):
            return True
        groups = set(_groups(key, page))
        return any(self._forgotten[-number] in groups for number in range(1, missed + 1))


def _groups(key: PageKey, page: CachedPage) -> Iterator[_Group]:
    for index in page.sources | {key.index}:
        yield index, key.project
        yield index, None

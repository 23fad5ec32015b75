"""Finished pages in memory: least recently used go first, and what a page was made of makes it go at once.

A page of an index that inherits from others depends on each of them.  It names them in ``sources``, and is forgotten when the
project changes in any of them.  For the reactor's thread alone; every operation costs the same however much is kept.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable
from typing import Final, Generic, Protocol, TypeVar

import attrs

_OVERHEAD: Final = 1024
"""Bytes that a page costs beside its body: key, headers, places in the tables."""
_MARKS: Final = 1024
"""How many forgettings a mark looks back on; older marks count as outdated."""


class IPageKey(Protocol):
    """What tells pages apart, as far as the cache must know it; hashable."""

    @property
    def index(self) -> str:
        """The index that was asked."""

    @property
    def project(self) -> str:
        """The project that the page is about; "" for a name list."""


class IPage(Protocol):
    """A page, as far as the cache must know it."""

    @property
    def size(self) -> int:
        """The bytes of it that count against the limit."""

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


Key = TypeVar("Key", bound=IPageKey)
Page = TypeVar("Page", bound=IPage)
_Fact = tuple[str, str]
"""An index and a project."""


class PageCache(Generic[Key, Page]):
    """Pages of at most ``limit_bytes`` bytes together."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._pages: OrderedDict[Key, Page] = OrderedDict()
        self._sizes: dict[Key, int] = {}
        self._of_fact: dict[_Fact, set[Key]] = {}
        self._of_index: dict[str, set[Key]] = {}
        self._forgettings: deque[tuple[str, str | None]] = deque(maxlen=_MARKS)
        self._count = 0
        self.size = 0
        """Bytes that are in use."""

    def __len__(self) -> int:
        return len(self._pages)

    def get(self, key: Key) -> Page | None:
        """The page of ``key``, which is the most recently used one now; or None."""
        page = self._pages.get(key)
        if page is not None:
            self._pages.move_to_end(key)
        return page

    def mark(self) -> int:
        """The present moment, for ``put``: take it before reading what a page will be made of."""
        return self._count

    def put(self, key: Key, page: Page, since: int | None = None) -> bool:
        """Keep ``page``; False when it is larger than the whole cache, or when what it is made of changed after ``since``.

        Without that mark, a page that was rendered beside the reactor from yesterday's facts could outlive them.
        """
        size = page.size + _OVERHEAD
        if size > self._limit or (since is not None and self._is_outdated(key, page, since)):
            return False  # what is kept under the key stays: it may be newer
        self.drop(key)
        self._pages[key] = page
        self._sizes[key] = size
        self.size += size
        for index in self._indexes(key, page):
            self._of_fact.setdefault((index, key.project), set()).add(key)
            self._of_index.setdefault(index, set()).add(key)
        while self.size > self._limit:
            self.drop(next(iter(self._pages)))
        return True

    def drop(self, key: Key) -> None:
        """Let go of one page, if it is here."""
        page = self._pages.pop(key, None)
        if page is None:
            return
        self.size -= self._sizes.pop(key)
        for index in self._indexes(key, page):
            _discard(self._of_fact, (index, key.project), key)
            _discard(self._of_index, index, key)

    def forget_project(self, index: str, project: str) -> int:
        """Let go of every page that shows what ``index`` has of ``project``; how many there were."""
        self._note(index, project)
        return self._drop_all(self._of_fact.get((index, project), ()))

    def forget_index(self, index: str) -> int:
        """Let go of every page that shows anything of ``index``; how many there were."""
        self._note(index, None)
        return self._drop_all(self._of_index.get(index, ()))

    def clear(self) -> None:
        """Let go of everything."""
        self._drop_all(self._pages)
        self._count += _MARKS + 1  # every mark is outdated

    def _drop_all(self, keys: Iterable[Key]) -> int:
        found = tuple(keys)
        for key in found:
            self.drop(key)
        return len(found)

    def _note(self, index: str, project: str | None) -> None:
        self._forgettings.append((index, project))
        self._count += 1

    def _is_outdated(self, key: Key, page: Page, since: int) -> bool:
        missed = self._count - since
        if missed > len(self._forgettings):
            return True
        indexes = self._indexes(key, page)
        recent = (self._forgettings[-number] for number in range(1, missed + 1))
        return any(index in indexes and project in (None, key.project) for index, project in recent)

    @staticmethod
    def _indexes(key: Key, page: Page) -> frozenset[str]:
        return page.sources | {key.index}


Group = TypeVar("Group", str, _Fact)


def _discard(table: dict[Group, set[Key]], group: Group, key: Key) -> None:
    keys = table[group]
    keys.discard(key)
    if not keys:
        del table[group]

"""What the slow way learned, for the fast one: which answer belongs to which request line and wish."""

from __future__ import annotations

from collections import OrderedDict

import attrs

from twistpi.view.page_cache import PageKey
from twistpi.web.fast.ready import ReadyFile

_MOST = 10_000
"""Entries of each table; the oldest leave first."""


@attrs.define(eq=False)
class Tables:
    """Maps the very bytes of a request's path to an answer.

    Nothing in here is true by itself: a page is looked up in the page cache again, a file is forgotten when its project changes.
    Only requests without a query, for whole answers, are learned.
    """

    small_bytes: int = 16 * 1024 * 1024
    """Bytes of small files that are kept in memory."""
    pages: OrderedDict[tuple[bytes, str], PageKey] = attrs.field(factory=OrderedDict)
    """By path and ``Negotiated.variant``."""
    files: OrderedDict[bytes, ReadyFile] = attrs.field(factory=OrderedDict)
    _paths: dict[tuple[str, str], set[bytes]] = attrs.field(factory=dict)
    _small: int = 0

    def learn_page(self, path: bytes, variant: str, key: PageKey) -> None:
        """``path`` asked with a wish of ``variant`` is the page under ``key``."""
        self.pages[path, variant] = key
        if len(self.pages) > _MOST:
            self.pages.popitem(last=False)

    def learn_file(self, path: bytes, file: ReadyFile) -> None:
        """``path`` is ``file``, whole and on disk."""
        self.forget_file(path)
        self.files[path] = file
        self._paths.setdefault(file.owner, set()).add(path)
        self._small += len(file.content or b"")
        while len(self.files) > _MOST or self._small > self.small_bytes:
            self.forget_file(next(iter(self.files)))

    def forget_file(self, path: bytes) -> None:
        """Look ``path`` up again."""
        file = self.files.pop(path, None)
        if file is None:
            return
        self._small -= len(file.content or b"")
        paths = self._paths[file.owner]
        paths.discard(path)
        if not paths:
            del self._paths[file.owner]

    def clear(self) -> None:
        """Look everything up again."""
        self.pages.clear()
        for path in list(self.files):
            self.forget_file(path)

    def forget_files(self, index: str, project: str | None = None) -> None:
        """Look every file of a project up again, or of a whole index."""
        owners = [(index, project)] if project else [owner for owner in self._paths if owner[0] == index]
        for owner in owners:
            for path in list(self._paths.get(owner, ())):
                self.forget_file(path)

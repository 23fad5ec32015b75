"""The names of views that are kept in a bucket, and which of them are used and dropped.  Pure.

A view is the object ``views/VERSION-SERIAL-SHA256.sqlite``: by which version of the fold it was made, up to which entry, and the
digest of its bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

import attrs

FOLDER: Final = "views/"
"""What the keys begin with."""
EVERY: Final = 50_000
"""Entries after which another view is worth keeping: a node folds as many in a second."""
_KEPT: Final = 2
"""Views of each version that are kept: a node may be reading the older one."""
_NAME: Final = re.compile(r"views/([0-9]{1,9})-([0-9]{20})-([0-9a-f]{64})\.sqlite")


@attrs.frozen(order=True)
class ViewName:
    """One view; of one version, later ones are greater."""

    fold_version: int
    serial: int
    sha256: str

    @property
    def key(self) -> str:
        """Its key in the bucket."""
        return f"{FOLDER}{self.fold_version}-{self.serial:020d}-{self.sha256}.sqlite"


def view_names(keys: Iterable[str]) -> list[ViewName]:
    """Return the views among ``keys``, in order; others are passed over."""
    found = [match for key in keys if (match := _NAME.fullmatch(key))]
    return sorted(ViewName(int(match[1]), int(match[2]), match[3]) for match in found)


def choose_view(names: Iterable[ViewName], fold_version: int, last: int) -> ViewName | None:
    """Return the view that a new node begins with, whose log has the entries up to ``last``; None when all are to be folded."""
    fitting = [name for name in names if name.fold_version == fold_version and name.serial <= last]
    return max(fitting, default=None)


def is_due(names: Iterable[ViewName], fold_version: int, serial: int, every: int = EVERY) -> bool:
    """Return whether a view of ``serial`` is worth keeping."""
    newest = choose_view(names, fold_version, serial)
    return serial - (0 if newest is None else newest.serial) >= every


def to_drop(names: Sequence[ViewName]) -> list[ViewName]:
    """Return the views that are of no use beside newer ones of the same version."""
    versions = {name.fold_version for name in names}
    by_version = [sorted(name for name in names if name.fold_version == version) for version in versions]
    return sorted(name for one in by_version for name in one[:-_KEPT])

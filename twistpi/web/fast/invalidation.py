"""Which pages and files in memory an entry invalidates, in a form that can be sent to another process.  Pure."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator

import attrs

from twistpi.model.changes import (
    Change,
    FileCached,
    IndexCreated,
    IndexDeleted,
    IndexModified,
    LinksChanged,
    MetadataCached,
    MetadataMissing,
    ProjectVanished,
)
from twistpi.model.releases import (
    AttachmentAdded,
    AttachmentRemoved,
    FileRemoved,
    FileUploaded,
    FileYanked,
    ProjectMarked,
    ProjectRemoved,
    ReleaseDescribed,
    ReleaseRemoved,
)


class InvalidationKind(enum.IntEnum):
    """What an invalidation is about."""

    PROJECT = 0
    """The files of a project in an index changed."""
    PAGES = 1
    """Its pages changed, but none of its files."""
    BYTES = 2
    """The bytes of a file, or of its metadata, are here now; a page that says the same without them stays valid."""
    INDEX = 3
    """An index was created, deleted or reconfigured."""


@attrs.frozen
class Invalidation:
    """One project or index that changed."""

    kind: InvalidationKind
    index: str
    project: str = ""
    """Empty where the whole index is meant."""


def invalidations_of(changes: Iterable[Change]) -> Iterator[Invalidation]:
    """Return what ``changes`` invalidate."""
    for change in changes:
        match change:  # what comes by the million first
            case FileCached() | MetadataCached():
                # A path is given where the link alone does not tell all about the file.
                kind = InvalidationKind.BYTES if change.path is None else InvalidationKind.PAGES
                yield Invalidation(kind, change.index, change.project)
            case (
                LinksChanged()
                | ProjectVanished()
                | MetadataMissing()
                | FileUploaded()
                | FileRemoved()
                | FileYanked()
                | ReleaseDescribed()
                | ReleaseRemoved()
                | ProjectMarked()
                | ProjectRemoved()
                | AttachmentAdded()
                | AttachmentRemoved()
            ):
                yield Invalidation(InvalidationKind.PROJECT, change.index, change.project)
            case IndexCreated() | IndexModified() | IndexDeleted():
                yield Invalidation(InvalidationKind.INDEX, change.index)
            case _:
                pass

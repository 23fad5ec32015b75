"""What of the pages and files in memory an entry makes untrue, in a few words, so that another process can be told.  Pure."""

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
from twistpi.model.release_changes import (
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
    """How far the consequences go."""

    PROJECT = 0
    """What an index has of a project is not what it was."""
    PAGES = 1
    """Its pages say something more."""
    BYTES = 2
    """The bytes of a file, or of its metadata, are here now: a page that says the same with and without them stays true."""
    INDEX = 3
    """An index was made, removed, or set up otherwise."""


@attrs.frozen
class Invalidation:
    """One thing that is not what it was."""

    kind: InvalidationKind
    index: str
    project: str = ""
    """Empty where the whole index is meant."""


def invalidations_of(changes: Iterable[Change]) -> Iterator[Invalidation]:
    """What ``changes`` touch of what is shown to readers."""
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

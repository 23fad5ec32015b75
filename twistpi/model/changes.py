"""The changes: one frozen class, in the past tense, for each thing that can happen.

Those of private releases stand in ``model/release_changes.py``.

A change holds all its fold needs; time and author stand in the entry around it.  Names of classes and fields are the format of
the changelog: they may gain fields with defaults, and are otherwise never changed.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from twistpi.model.records import NOTHING, Json, Link, PageHeader
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


@attrs.frozen
class LogStarted:
    """The changelog began; always and only the first change of serial 1."""

    log_id: str
    """32 hexadecimal digits that tell this log from every other."""
    log_format: int = 1
    """The version of the line format (``twistpi/changelog``)."""


@attrs.frozen
class EpochBegan:
    """From this entry on another server is the primary; before the first such change the epoch is 1."""

    epoch: int
    """One more than the epoch before."""
    node_id: str
    """Of the server that appends from now on: 32 hexadecimal digits."""


@attrs.frozen
class UserCreated:
    """A user came to be."""

    user: str
    config: Mapping[str, Json] = NOTHING
    """``email``, ``title`` and the like, as the devpi client knows them."""
    password_hash: str | None = ""
    """What ``auth.passwords`` made of the password; empty for the blank password, None for a user who cannot log in."""


@attrs.frozen
class UserModified:
    """A user is described differently, or has another password: only what differs from before."""

    user: str
    changed: Mapping[str, Json] = NOTHING
    """Keys with their new values."""
    removed: tuple[str, ...] = ()
    """Keys that are set no more."""
    password_hash: str | None = None
    """Of the new password, empty for the blank one; None when the password stays."""


@attrs.frozen
class UserDeleted:
    """A user is gone, with all API tokens; the same entry says so of each of the user's indexes before."""

    user: str


@attrs.frozen
class IndexCreated:
    """An index came to be."""

    index: str
    """``user/name``."""
    config: Mapping[str, Json]
    """``type``, ``volatile``, ``mirror_url`` and the like, as the devpi client knows them."""


@attrs.frozen
class IndexModified:
    """An index is set up differently: only what differs from before."""

    index: str
    changed: Mapping[str, Json] = NOTHING
    """Keys with their new values."""
    removed: tuple[str, ...] = ()
    """Keys that are set no more."""


@attrs.frozen
class IndexDeleted:
    """An index is gone with all that was known in it; indexes that inherit from it keep its name among their bases."""

    index: str


@attrs.frozen
class TokenCreated:
    """An API token came to be: a password for programs that may do a few things for a while."""

    token: str
    """Its public half: 16 hexadecimal digits, which never name another one."""
    user: str
    """For whom it speaks; a token can never do what its user cannot."""
    digest: str
    """SHA-256 of its secret half, as hexadecimal digits."""
    may: tuple[str, ...]
    """``read``, ``upload`` or both."""
    index: str | None = None
    """The one index it is good for; None for all."""
    project: str | None = None
    """The one project (normalised) it may upload to; None for all."""
    expires: str | None = None
    """UTC, ``2026-11-22T17:00:00Z``; None for never."""
    title: str = ""
    """What it is for, for people."""


@attrs.frozen
class TokenRevoked:
    """An API token is not accepted any more."""

    token: str


@attrs.frozen
class LinksChanged:
    """A mirror learned what its upstream lists for a project: only the differences to what it knew."""

    index: str
    project: str
    """The normalised name."""
    added: tuple[Link, ...] = ()
    changed: tuple[Link, ...] = ()
    """Links whose file name was known, with their new values."""
    removed: tuple[str, ...] = ()
    """File names the upstream lists no more."""
    versions_added: tuple[str, ...] = ()
    versions_removed: tuple[str, ...] = ()
    header: PageHeader | None = None
    """The page's header when it is another than before."""


@attrs.frozen
class ProjectVanished:
    """An upstream answered that a project it once had does not exist; what is cached of it stays."""

    index: str
    project: str


@attrs.frozen
class FileCached:
    """A mirror keeps the bytes of a file from now on; the blob is on disk before this is said."""

    index: str
    project: str
    filename: str
    sha256: str
    size: int
    """Bytes."""
    path: str | None = None
    """Of the file below the index; said only where a file name and a digest leave it open, as for a file that its upstream
    has replaced."""


@attrs.frozen
class MetadataCached:
    """A mirror keeps the core metadata of a file from now on; the blob is on disk before this is said."""

    index: str
    project: str
    filename: str
    """Of the distribution, not of the metadata file."""
    sha256: str
    size: int
    """Bytes."""
    path: str | None = None
    """Of the file below the index; said only where a file name and a digest leave it open, as for a file that its upstream
    has replaced."""


@attrs.frozen
class MetadataMissing:
    """It turned out that a file has no core metadata anybody can read, so pages stop to announce it."""

    index: str
    project: str
    filename: str
    reason: str
    path: str | None = None
    """Of the file below the index; said only where a file name and a digest leave it open, as for a file that its upstream
    has replaced."""


Change = (
    LogStarted
    | EpochBegan
    | UserCreated
    | UserModified
    | UserDeleted
    | IndexCreated
    | IndexModified
    | IndexDeleted
    | TokenCreated
    | TokenRevoked
    | LinksChanged
    | ProjectVanished
    | FileCached
    | MetadataCached
    | MetadataMissing
    | ReleaseDescribed
    | FileUploaded
    | AttachmentAdded
    | AttachmentRemoved
    | FileRemoved
    | ReleaseRemoved
    | ProjectRemoved
    | FileYanked
    | ProjectMarked
)
"""Anything that can stand in the changelog."""


@attrs.frozen
class Entry:
    """One line of the changelog: changes that are true together or not at all."""

    serial: int
    """1, 2, 3 … without gaps."""
    at: str
    """UTC, ``2026-11-22T17:00:00.123456Z``."""
    by: str
    """The user or ``+anonymous``; ``+mirror`` for what this server learned from an upstream, ``+init`` for what it began with."""
    changes: tuple[Change, ...]

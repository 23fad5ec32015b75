"""The changes: one frozen class, named in the past tense, for each thing that can happen.

The changes of private releases are in ``model/releases.py``.

In all of them ``index`` is ``user/name``, ``project`` the normalised name; a size is in bytes, a digest in hexadecimal digits;
``changed`` has keys with their new values, ``removed`` those that are not set any more.

A change holds all that its fold needs; time and author are in the entry around it.  Names of classes and fields are the format of
the changelog: a class may gain fields with defaults; nothing else is ever changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from twistpi.model.records import NOTHING, Json, Link, PageHeader
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

ADVISORY_SET: Final = "advisories.jsonl.gz"
"""The file name of the blobs of sets of advisories."""


@attrs.frozen
class LogStarted:
    """The changelog began: always and only the first change of serial 1."""

    log_id: str
    """32 hexadecimal digits, unique to this log."""
    log_format: int = 1
    """The version of the line format (``twistpi/changelog``)."""


@attrs.frozen
class EpochBegan:
    """Another server is the primary from this entry on.  Before the first such change the epoch is 1."""

    epoch: int
    """One more than the epoch before."""
    node_id: str
    """Of the server that appends from now on: 32 hexadecimal digits."""


@attrs.frozen
class HistoryCompacted:
    """A summary was made that stands for the entries up to one of them, where these were removed.  It changes nothing else."""

    after: int
    """The serial of the last entry that it stands for."""
    chain: str
    """The chain digest of that entry."""
    sha256: str
    """Of the lines of the summary; see ``changelog.summary``."""


@attrs.frozen
class UserCreated:
    """A user was created."""

    user: str
    config: Mapping[str, Json] = NOTHING
    """``email``, ``title`` and the like, as the devpi client knows them."""
    password_hash: str | None = ""
    """The hash that ``auth.passwords`` makes; empty for the blank password, None for a user who cannot log in."""
    created: str | None = None
    """UTC, ``2026-11-22T17:12:19Z``, when the user was created where it was imported from; None for the time of the entry."""
    modified: str | None = None
    """The same of its last modification there."""


@attrs.frozen
class UserModified:
    """Settings or the password of a user changed: only what differs from before."""

    user: str
    changed: Mapping[str, Json] = NOTHING
    removed: tuple[str, ...] = ()
    password_hash: str | None = None
    """Of the new password, empty for the blank one; None when the password stays."""


@attrs.frozen
class UserDeleted:
    """A user was deleted, with all API tokens.

    Before this, the same entry deletes the user's indexes, and takes both out of access lists and bases (``IndexModified``).
    """

    user: str


@attrs.frozen
class IndexCreated:
    """An index was created."""

    index: str
    config: Mapping[str, Json]
    """``type``, ``volatile``, ``mirror_url`` and the like, as the devpi client knows them."""


@attrs.frozen
class IndexModified:
    """Settings of an index changed: only what differs from before."""

    index: str
    changed: Mapping[str, Json] = NOTHING
    removed: tuple[str, ...] = ()


@attrs.frozen
class IndexDeleted:
    """An index was deleted with all it had.  Indexes that inherit from it keep its name among their bases."""

    index: str


@attrs.frozen
class TokenCreated:
    """An API token was created."""

    token: str
    """Its public half: 16 hexadecimal digits, which are never used again."""
    user: str
    """Its user; a token can never do what its user cannot."""
    digest: str
    """SHA-256 of its secret half, as hexadecimal digits."""
    may: tuple[str, ...]
    """``read``, ``upload`` or both."""
    index: str | None = None
    """The only index it is valid for; None for all."""
    project: str | None = None
    """The only project (normalised) it may upload to; None for all."""
    expires: str | None = None
    """UTC, ``2026-11-22T17:00:00Z``; None for never."""
    title: str = ""


@attrs.frozen
class TokenRevoked:
    """An API token was revoked."""

    token: str


@attrs.frozen
class LinksChanged:
    """An upstream lists other links for a project than before: only the differences."""

    index: str
    project: str
    added: tuple[Link, ...] = ()
    changed: tuple[Link, ...] = ()
    """Links whose file name was known already, with their new values."""
    removed: tuple[str, ...] = ()
    """Names of files that the upstream does not list any more."""
    versions_added: tuple[str, ...] = ()
    versions_removed: tuple[str, ...] = ()
    header: PageHeader | None = None
    """The page's header when it differs from before."""


@attrs.frozen
class ProjectVanished:
    """An upstream does not have a project any more; what is cached of it stays."""

    index: str
    project: str


@attrs.frozen
class FileCached:
    """A mirror has the bytes of a file from now on; the blob was on disk before."""

    index: str
    project: str
    filename: str
    sha256: str
    size: int
    path: str | None = None
    """Of the file below the index; None where the file name and the digest determine it."""


@attrs.frozen
class MetadataCached:
    """A mirror has the core metadata of a file from now on; the blob was on disk before."""

    index: str
    project: str
    filename: str
    """Of the distribution, not of the metadata file."""
    sha256: str
    size: int
    path: str | None = None


@attrs.frozen
class MetadataMissing:
    """A file has no core metadata that can be read, so pages do not announce it any more."""

    index: str
    project: str
    filename: str
    reason: str
    path: str | None = None


@attrs.frozen
class AdvisoriesAccepted:
    """Another set of advisories counts from now on; its blob, which is called ``ADVISORY_SET``, was on disk before."""

    sha256: str
    size: int
    count: int
    """How many advisories are in it, each about one project."""
    source: str = ""
    """The feed that it was read from, without credentials."""
    modified: str = ""
    """UTC, when the newest of them was changed, as the feed has it."""


Change = (
    LogStarted
    | EpochBegan
    | HistoryCompacted
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
    | AdvisoriesAccepted
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
"""Anything that can be in the changelog."""


@attrs.frozen
class Entry:
    """One line of the changelog: changes that happened together."""

    serial: int
    """1, 2, 3 … without gaps."""
    at: str
    """UTC, ``2026-11-22T17:00:00.123456Z``."""
    by: str
    """The user or ``+anonymous``; ``+mirror`` for what came from an upstream, ``+init`` for what the server began with."""
    changes: tuple[Change, ...]

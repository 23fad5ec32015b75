"""What moves between servers, one frozen value for each user, index, release and file, and what is reported about it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import BinaryIO, Final, Protocol

import attrs

from twistpi.model.records import NOTHING, Json
from twistpi.model.releases import LogLine

FILE: Final = "file"
"""The kind of a distribution; those of attachments are in ``model/releases.py``."""


@attrs.frozen
class UserRecord:
    """A user to be created."""

    name: str
    config: Mapping[str, Json] = NOTHING
    password_hash: str | None = None
    created: str | None = None
    modified: str | None = None
    former: Mapping[str, Json] | None = None
    """The settings that the source told before, where they changed while it was followed."""

    @property
    def subject(self) -> str:
        """What a report calls it."""
        return f"user {self.name}"


@attrs.frozen
class IndexRecord:
    """An index to be created."""

    name: str
    """``user/name``."""
    config: Mapping[str, Json]
    """In the words of twistpi, with every default."""
    former: Mapping[str, Json] | None = None
    """Those that the source told before, where they changed while it was followed."""

    @property
    def subject(self) -> str:
        """What a report calls it."""
        return f"index {self.name}"


@attrs.frozen
class ReleaseRecord:
    """A release of a private project with its metadata, without empty fields."""

    index: str
    project: str
    """Normalised."""
    version: str
    metadata: Mapping[str, Json]

    @property
    def subject(self) -> str:
        """What a report calls it."""
        return f"{self.index} {self.project} {self.version}"


@attrs.frozen
class RemovalRecord:
    """Releases and files of a project that the source told of before, while it was followed, and has no more."""

    index: str
    project: str
    """Normalised."""
    gone: frozenset[int]
    """A ``release_key`` or ``file_key`` of each."""

    @property
    def subject(self) -> str:
        """What a report calls it."""
        return f"{self.index} {self.project}"


def release_key(version: str) -> int:
    """Return eight bytes that stand for a version of a project."""
    return _key(f"=={version}")


def file_key(path: str) -> int:
    """Return eight bytes that stand for a file or attachment at ``path`` below its index."""
    return _key(path)


def _key(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())


Open = Callable[[], AbstractContextManager[BinaryIO]]
"""Opens the bytes of a file; raises ``BadRequest`` or ``OSError``."""


@attrs.frozen(eq=False)
class FileRecord:
    """A distribution, a test result or documentation."""

    kind: str
    """``file``, ``toxresult`` or ``doczip``."""
    index: str
    project: str
    """Normalised."""
    version: str
    filename: str
    open: Open
    hashes: Mapping[str, str] = NOTHING
    """Those that the source tells, by algorithm; the bytes must have each."""
    size: int | None = None
    """Bytes, where the source tells."""
    uploaded_at: str | None = None
    """UTC, ``2026-11-29T02:59:32Z``."""
    log: tuple[LogLine, ...] = ()
    for_filename: str | None = None
    """Of the tested distribution."""
    url: str | None = None
    """Where the upstream of a mirror has it."""
    requires_python: str | None = None
    """That of this file; None for that of its release."""
    yanked: bool | str = False
    path: str | None = None
    """Where the source has it below its index; the digits in it are those of its SHA-256, or of that of the tested file."""
    describes: bool = False
    """Whether its own metadata describes the release: the source tells of releases no more than their names."""

    @property
    def subject(self) -> str:
        """What a report calls it."""
        return f"{self.index} {self.project} {self.filename}"


@attrs.frozen
class Remark:
    """A sentence of the report."""

    subject: str
    text: str
    is_loss: bool = True
    """Whether something of the source is not here; else a mere note."""
    kind: str | None = None
    """Of the thing that is not taken (see ``kind_of``); None when it is only a part or no single thing."""


Record = UserRecord | IndexRecord | ReleaseRecord | RemovalRecord | FileRecord
Item = Record | Remark


class Source(Protocol):
    """Something that can be imported."""

    def totals(self) -> Mapping[str, int]:
        """How many there are of each kind (see ``kind_of``), where that is known before; else empty."""

    def items(self) -> Iterator[Item]:
        """Yield users, then indexes, releases, distributions, and attachments; what cannot be taken as a ``Remark``."""


def kind_of(item: Record) -> str:
    """Return under which heading a report counts ``item``."""
    if isinstance(item, FileRecord):
        return {FILE: "files", "toxresult": "test results", "doczip": "documentation"}[item.kind]
    names = {UserRecord: "users", IndexRecord: "indexes", ReleaseRecord: "releases", RemovalRecord: "removals"}
    return names[type(item)]

"""The blobs that a replica lacks: the search for them, those that wait to be fetched, and those that failed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

import attrs

from twistpi.blobs.address import BlobAddress, blob_address, metadata_address, provenance_address
from twistpi.blobs.interfaces import IBlobs
from twistpi.http.backoff import backoff_delay
from twistpi.model.changes import ADVISORY_SET, AdvisoriesAccepted, FileCached, MetadataCached
from twistpi.model.records import Json
from twistpi.model.releases import AttachmentAdded, FileUploaded
from twistpi.rules.replication import BlobPolicy
from twistpi.view.read import KeptBlob, NamedBlob, Reader, Readers
from twistpi.view.read_releases import Mark

Naming = FileUploaded | FileCached | MetadataCached | AttachmentAdded | AdvisoriesAccepted
"""The changes that name blobs."""
_ROWS = 500
"""Of the view, looked at in one go."""
_SMALL: Final = 512 * 1024
"""Bytes up to which a blob is fetched together with others."""
_BATCH: Final = 200
"""Blobs of one request at most."""
_BATCH_BYTES: Final = 2 * 1024 * 1024
"""Bytes of one request, about; all of them are in memory for a moment."""
_FIRST_RETRY: Final = 0.5
"""Seconds before the second attempt; each further one doubles it."""
_LONGEST_RETRY: Final = 600.0
_MOST_FAILED: Final = 10_000
"""Blobs that are remembered; more are found again when the view is walked through."""
_SHOWN: Final = 100
_RETRIED_AT_ONCE: Final = 100
_HIDDEN: Final = "…"
Key = tuple[str, str]
"""Digits and file name of a blob."""
Adopt = Callable[[BlobAddress, str, int], bool]
"""Makes a blob, of an address, SHA-256 and size, from a file of the search path; tells whether there was one."""


@attrs.frozen
class MissingBlob:
    """A blob that is named and not here."""

    is_uploaded: bool
    """Whether it was uploaded, so that no upstream has it."""
    blob: KeptBlob

    @property
    def key(self) -> Key:
        """Digits and file name."""
        return self.blob.digits, self.blob.filename


@attrs.define(eq=False)
class BlobSearch:
    """Finds missing blobs; files of the search path are made blobs on the way."""

    _readers: Readers
    _blobs: IBlobs
    _policy: BlobPolicy
    _adopt: Adopt | None = None

    def walk(self, after: Mark) -> tuple[list[MissingBlob], Mark | None]:
        """Search the next part of the view.  Return what is missing there, and where the next part begins; None at the end."""
        named, mark = self._readers.get().named_blobs(after, _ROWS)
        return list(self._missing(named)), mark

    def look(self, changes: Sequence[Naming]) -> list[MissingBlob]:
        """Return the missing blobs that ``changes`` name, as far as they are named still."""
        reader = self._readers.get()
        return list(self._missing(named for change in changes for named in named_by(change, reader)))

    def still(self, missing: Sequence[MissingBlob]) -> list[MissingBlob]:
        """Return those of ``missing`` that are named still, and still not here."""
        reader = self._readers.get()
        named = [one for one in missing if reader.names_blob(one.blob.digits, one.blob.filename)]
        return [one for one in named if not self._is_here(one.blob)]

    def _missing(self, named: Iterable[NamedBlob]) -> Iterator[MissingBlob]:
        for one in named:
            if self._policy.wants(one.index) and not self._is_here(one.blob):
                yield MissingBlob(one.is_private, one.blob)

    def _is_here(self, blob: KeptBlob) -> bool:
        address = BlobAddress(blob.digits, blob.filename)
        found = self._blobs.find(address)
        if found is None and self._adopt is not None:
            return self._adopt(address, blob.sha256, blob.size)
        return found == blob.size


def index_of(change: Naming) -> str:
    """Return the index whose blobs ``change`` names; empty for those of the server."""
    return "" if isinstance(change, AdvisoriesAccepted) else change.index


def named_by(change: Naming, reader: Reader) -> Iterator[NamedBlob]:
    """Yield the blobs that ``change`` names, as far as the view names them now."""
    is_uploaded = isinstance(change, FileUploaded | AttachmentAdded)
    for address in addresses_in(change, reader):
        blob = reader.kept_blob(address.digits, address.filename)
        if blob is not None:
            yield NamedBlob(index_of(change), is_uploaded, blob)


def addresses_in(change: Naming, reader: Reader) -> Iterator[BlobAddress]:
    """Yield the addresses of the blobs that ``change`` names; core metadata lies beside its file, which the view knows.

    Raise ``InvalidName`` or ``ValueError`` for a change that names what has no address.
    """
    match change:
        case FileUploaded():
            file = blob_address(change.sha256, change.filename)
            yield file
            if change.metadata_sha256 is not None:
                yield metadata_address(file)
            if change.provenance_sha256 is not None:
                yield provenance_address(change.provenance_sha256, change.filename)
        case FileCached():
            yield blob_address(change.sha256, change.filename)
        case MetadataCached():
            for _, known in reader.files_by_filename(change.index, change.filename):
                digest = known.metadata_blob_sha256
                if known.metadata_sha256 == change.sha256 and digest is not None:
                    yield metadata_address(blob_address(digest, change.filename))
        case AttachmentAdded():
            _, three, thirteen, filename = change.path.split("/")
            yield BlobAddress(three + thirteen, filename)
        case AdvisoriesAccepted():
            yield blob_address(change.sha256, ADVISORY_SET)


@attrs.define(eq=False)
class PendingBlobs:
    """Blobs that wait: uploaded ones before those of mirrors, each in the order in which it was found missing."""

    _uploaded: dict[Key, MissingBlob] = attrs.field(factory=dict)
    _mirrored: dict[Key, MissingBlob] = attrs.field(factory=dict)

    def put(self, missing: MissingBlob) -> None:
        """Add ``missing``; one that waits already stays where it is."""
        (self._uploaded if missing.is_uploaded else self._mirrored).setdefault(missing.key, missing)

    def take(self, *, alone: bool) -> list[MissingBlob]:
        """Remove and return what the next request is to fetch: several small blobs, or one if one ``alone`` may be, or none."""
        for queue in (self._uploaded, self._mirrored):
            batch = _batch(queue.values())
            if len(batch) < 2:
                batch = (batch or list(queue.values())[:1]) if alone else []
            for missing in batch:
                del queue[missing.key]
            if batch:
                return batch
        return []

    def __len__(self) -> int:
        return len(self._uploaded) + len(self._mirrored)


def _batch(queue: Iterable[MissingBlob]) -> list[MissingBlob]:
    batch: list[MissingBlob] = []
    size = 0
    for missing in islice(queue, 2 * _BATCH):
        if len(batch) >= _BATCH or size >= _BATCH_BYTES:
            break
        if missing.blob.size <= _SMALL:
            batch.append(missing)
            size += missing.blob.size
    return batch


@attrs.define
class _Failed:
    missing: MissingBlob
    reason: str
    tries: int
    next_at: float
    """Unix seconds."""


@attrs.define(eq=False)
class FailedBlobs:
    """Blobs that could not be fetched: why, how often, and when they are tried again."""

    _known: dict[Key, _Failed] = attrs.field(factory=dict)

    def note(self, missing: MissingBlob, reason: str, now: float) -> float | None:
        """Note that ``missing`` failed at ``now``.  Return when to try again (Unix seconds), or None: it is not remembered."""
        before = self._known.get(missing.key)
        if before is None and len(self._known) >= _MOST_FAILED:
            return None
        tries = 1 if before is None else before.tries + 1
        next_at = now + backoff_delay(tries, _FIRST_RETRY, _LONGEST_RETRY)
        self._known[missing.key] = _Failed(missing, reason, tries, next_at)
        return next_at

    def reason(self, key: Key) -> str | None:
        """Return why a blob failed last; None for one that did not."""
        failed = self._known.get(key)
        return None if failed is None else failed.reason

    def put_off(self, key: Key, now: float) -> None:
        """Try again later, without counting a failure: nobody could be asked."""
        self._known[key].next_at = now + _FIRST_RETRY

    def forget(self, key: Key) -> None:
        """The blob was fetched, or is not named any more."""
        self._known.pop(key, None)

    def due(self, now: float) -> list[MissingBlob]:
        """Return some of those that are to be tried again at ``now``."""
        return [failed.missing for failed in self._known.values() if failed.next_at <= now][:_RETRIED_AT_ONCE]

    def next_at(self) -> float | None:
        """Return when the next one is due, in Unix seconds; None without any."""
        return min((failed.next_at for failed in self._known.values()), default=None)

    def facts(self, *, with_names: bool) -> list[Json]:
        """Return the first of them, for the status: ``path`` below ``+f/``, ``reason``, ``tries`` and ``next-at`` (Unix seconds).

        File names are included only ``with_names``: who may not read an index need not learn what is in it.
        """
        return [_facts(failed, with_names=with_names) for failed in list(self._known.values())[:_SHOWN]]

    def __contains__(self, key: object) -> bool:
        return key in self._known

    def __len__(self) -> int:
        return len(self._known)


def _facts(failed: _Failed, *, with_names: bool) -> dict[str, Json]:
    digits, filename = failed.missing.key
    path, reason = BlobAddress(digits, filename).relative, failed.reason
    if not with_names:
        path, reason = path.replace(filename, _HIDDEN), reason.replace(filename, _HIDDEN)
    return {"path": path, "reason": reason, "tries": failed.tries, "next-at": failed.next_at}

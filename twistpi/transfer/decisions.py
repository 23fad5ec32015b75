"""What an import changes, given what the view has.  Pure: the same records again change nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import attrs

from twistpi.auth.passwords import BLANK
from twistpi.model.changes import Change, FileCached, IndexCreated, IndexModified, LinksChanged, UserCreated, UserModified
from twistpi.model.errors import BadRequest
from twistpi.model.records import NOTHING, ROOT, Index, Json, KnownFile, KnownProject, Link, User
from twistpi.model.releases import (
    DOCZIP,
    TOXRESULT,
    AttachmentAdded,
    AttachmentRemoved,
    FileRemoved,
    FileUploaded,
    Release,
    ReleaseDescribed,
    ReleaseRemoved,
)
from twistpi.rules.attachments import docs_of
from twistpi.rules.json_bodies import differing
from twistpi.rules.upload_checks import described, every_field
from twistpi.rules.uploads import file_of, uploaded_path
from twistpi.transfer.records import (
    FileRecord,
    IndexRecord,
    ReleaseRecord,
    Remark,
    RemovalRecord,
    UserRecord,
    file_key,
    release_key,
)

BY_IMPORT: Final = "+import"
"""The author of imported entries."""
_LAST_NUMBER: Final = 1000
_VERIFIED: Final = frozenset({"sha256"})


@attrs.frozen
class Stored:
    """The bytes of a file, which are a blob by now; in a trial run they were only read."""

    sha256: str
    size: int
    metadata_sha256: str | None = None
    metadata_size: int | None = None
    described: Mapping[str, Json] = NOTHING
    """The fields of the core metadata in the file, where it describes the release."""


Decision = tuple[Sequence[Change], Sequence[Remark]]
"""What to change, and what to say about it."""


def decide_user(existing: User | None, record: UserRecord) -> Decision:
    """Create a user, or root as a new server has it; settings that an existing user has stay, and are named."""
    is_untouched = existing is not None and existing == attrs.evolve(
        existing, name=ROOT, config={}, password_hash=BLANK, modified=None
    )
    if existing is None or is_untouched:
        return (UserCreated(record.name, record.config, record.password_hash, record.created, record.modified),), ()
    if record.former is not None:
        return (UserModified(record.name, *_modified(record.config, record.former)),), ()
    return (), _kept(record.subject, _different(record.config, existing.config))


def decide_index(existing: Index | None, record: IndexRecord) -> Decision:
    """Create an index; settings that an existing one has stay, and are named.  Raise ``BadRequest`` for one of another type."""
    if existing is None:
        return (IndexCreated(record.name, record.config),), ()
    if existing.config.get("type") != record.config["type"]:
        raise BadRequest(f"there is a {existing.config.get('type')} of that name here already")
    if record.former is not None:
        return (IndexModified(record.name, *_modified(record.config, record.former)),), ()
    return (), _kept(record.subject, _different(record.config, existing.config))


def _different(given: Mapping[str, Json], here: Mapping[str, Json]) -> list[str]:
    return sorted({*differing(given, here), *(key for key in here if key not in given)})


def _modified(given: Mapping[str, Json], former: Mapping[str, Json]) -> tuple[Mapping[str, Json], tuple[str, ...]]:
    """Return what changed, and which settings are none any more: others that were changed here stay."""
    return differing(given, former), tuple(sorted(former.keys() - given.keys()))


def _kept(subject: str, keys: Sequence[str]) -> Sequence[Remark]:
    return (Remark(subject, f"is here already, and keeps its {', '.join(keys)}, which differ", is_loss=False),) if keys else ()


def decide_release(release: Release | None, record: ReleaseRecord) -> Sequence[ReleaseDescribed]:
    """Give a release the metadata of ``record``; ``release`` is the one whose version is written alike."""
    return described(release, record.index, record.project, every_field(record.metadata))


def decide_removal(releases: Sequence[Release], record: RemovalRecord) -> Sequence[Change]:
    """Remove what the source has no more from the ``releases`` of its project; what else is here stays."""
    changes: list[Change] = []
    for release in releases:
        files = [file for file in release.files if file_key(file.known.path) in record.gone]
        if len(files) == len(release.files) and release_key(release.version) in record.gone:
            changes.append(ReleaseRemoved(record.index, record.project, release.version))
            continue
        names = [file.known.link.filename for file in files]
        changes += [FileRemoved(record.index, record.project, name) for name in names]
        for one in release.attachments:
            if file_key(one.path) in record.gone and one.for_filename not in names:
                changes.append(AttachmentRemoved(record.index, record.project, one.path))
    return changes


# Distributions -------------------------------------------------------------------------------------------------------


def is_there(record: FileRecord, release: Release | None) -> bool:
    """Whether a private ``release``, that with a file of this name or else of the version, has the file with the same digest."""
    digest = record.hashes.get("sha256")
    if record.kind == DOCZIP:
        docs = docs_of(release)
        return docs is not None and (docs.sha256 == digest or docs.path == record.path)
    if record.kind == TOXRESULT:
        results = () if release is None else release.attachments
        if record.path is not None:
            return any(one.path == record.path for one in results)
        return any(
            one.sha256 == digest and one.for_filename == record.for_filename and one.kind == TOXRESULT and one.log == record.log
            for one in results
        )
    file = file_of(release, record.filename)
    if file is not None and file.known.path == record.path:
        return True
    here = {} if file is None else {**file.known.link.hashes, "sha256": file.known.sha256}
    shared = record.hashes.keys() & here.keys()
    return bool(shared) and all(record.hashes[name] == here[name] for name in shared)


def decide_file(release: Release | None, holder: Release | None, record: FileRecord, stored: Stored) -> Sequence[Change]:
    """Add a distribution; ``holder`` is the release with a file of this name.  Raise ``BadRequest`` when it has other bytes."""
    existing = file_of(holder, record.filename)
    if existing is not None and existing.known.sha256 == stored.sha256:
        return ()
    if existing is not None:
        raise BadRequest(f"a file of that name is here with other bytes, {existing.known.sha256}, and stays")
    named = {"name": record.project, "version": record.version}
    requires = None if release is None else release.metadata.get("requires_python")
    upload = FileUploaded(
        record.index,
        record.project,
        record.version,
        record.filename,
        stored.sha256,
        stored.size,
        {name: digest for name, digest in record.hashes.items() if name not in _VERIFIED},
        record.requires_python or requires or None,
        stored.metadata_sha256,
        stored.metadata_size,
        uploaded_at=record.uploaded_at,
        yanked=record.yanked,
        log=record.log,
    )
    if release is None or stored.described:
        metadata = {"requires_python": record.requires_python, **stored.described, **named}
        return (*described(release, record.index, record.project, every_field(metadata)), upload)
    return (upload,)


def decide_cached(project: KnownProject | None, record: FileRecord, stored: Stored) -> Sequence[Change]:
    """Add the file of a mirror to its cache, and to its page where that does not list it yet."""
    known = next((file for file in project.files if file.link.filename == record.filename), None) if project else None
    if known is not None and known.sha256 == stored.sha256:
        return ()
    hashes = {**record.hashes, "sha256": stored.sha256}
    link = Link(
        record.filename, record.url or "", hashes, stored.size, record.requires_python, yanked=record.yanked
    )  # fmt: skip
    changes: list[Change] = []
    if known is None or known.link.sha256 != stored.sha256:
        if known is not None and known.link.sha256 is not None:
            raise BadRequest(f"the upstream lists other bytes under that name: {known.link.sha256}")
        versions = () if project is not None and record.version in project.versions else (record.version,)
        added, changed = ((link,), ()) if known is None else ((), (link,))
        changes.append(LinksChanged(record.index, record.project, added, changed, versions_added=versions))
    return (*changes, FileCached(record.index, record.project, record.filename, stored.sha256, stored.size))


# Attachments ---------------------------------------------------------------------------------------------------------


def tested_file(release: Release | None, record: FileRecord) -> KnownFile:
    """Return the file that a test result is about; raise ``BadRequest`` when it is not here."""
    file = file_of(release, record.for_filename or "")
    if file is None:
        raise BadRequest(f"the tested file {record.for_filename} is not in {record.index}")
    return file.known


def result_names(record: FileRecord) -> Sequence[str]:
    """Return the names that a test result may have: its own, and others for where that is taken by another result."""
    head, dash, number = record.filename.rpartition("-")
    first = int(number) + 1 if dash and number.isdecimal() and number.isascii() and len(number) < 6 else 0
    return (record.filename, *(f"{head or record.filename}-{other}" for other in range(first, first + _LAST_NUMBER)))


def decide_attachment(
    release: Release | None, record: FileRecord, stored: Stored, path: str, is_taken: Callable[[str], bool]
) -> Sequence[Change]:
    """Add a test result at ``path``, or documentation.  Raise ``BadRequest`` for other documentation than is here."""
    version = record.version if release is None else release.version
    filename = path.rpartition("/")[2]
    docs = docs_of(release) if record.kind == DOCZIP else None
    if docs is not None and docs.sha256 != stored.sha256:
        raise BadRequest("other documentation of this release is here, and stays")
    if docs is not None or is_taken(path):
        return ()
    change = AttachmentAdded(
        record.index,
        record.project,
        version,
        record.kind,
        filename,
        stored.sha256,
        stored.size,
        path,
        record.for_filename,
        log=record.log,
    )
    named = {"name": record.project, "version": version}
    return (*(described(None, record.index, record.project, named) if release is None else ()), change)


def attachment_path(record: FileRecord, tested: KnownFile | None, filename: str, sha256: str) -> str:
    """Return the path below its index of a test result of ``tested``, or of documentation (None)."""
    return uploaded_path(filename, sha256) if tested is None else f"{tested.path.rpartition('/')[0]}/{filename}"

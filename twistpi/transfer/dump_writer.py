"""Writes an export that devpi-server 6 or 7 imports, from one snapshot of the view: ``twistpi export``.

``dataindex.json`` is written as it grows and gets its name last: without it a folder is no export.  Memory holds one release.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from itertools import groupby
from typing import Any, BinaryIO, Final

import attrs
import orjson

from twistpi.blobs.address import path_address
from twistpi.blobs.interfaces import IBlobs
from twistpi.model.errors import BadRequest
from twistpi.model.names import version_of_filename
from twistpi.model.records import Index, Json, KnownFile
from twistpi.model.releases import DOCZIP, Attachment, Release, UploadedFile
from twistpi.transfer.devpi_dialect import (
    Dialect,
    attached_at,
    foreign_settings,
    hashes_of,
    own_facts,
    own_password,
)
from twistpi.transfer.dump_file import DATA, OWN, OWN_KEY
from twistpi.transfer.records import Remark
from twistpi.transfer.report import REFUSED, TAKEN, Report
from twistpi.view.read import Reader

_CHUNK: Final = 1024 * 1024


@attrs.define(eq=False)
class DumpWriter:
    """Writes everything that ``reader`` sees into a folder."""

    _reader: Reader
    _blobs: IBlobs
    _folder: str
    _dialect: Dialect
    report: Report
    _progress: Callable[[int], object] = lambda done: None
    """Called with the number of files that are done."""
    _hard_links: bool = False
    _with_mirrored: bool = False
    _done: int = attrs.field(default=0, init=False)

    def write(self) -> None:
        """Write the export.  Raise ``BadRequest`` unless the folder is empty or missing, and ``OSError``."""
        if os.path.isdir(self._folder) and os.listdir(self._folder):
            raise BadRequest(f"{self._folder} is not empty; name another folder for the export")
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        with self._reader.snapshot():
            self._write_own()
            with self._open(DATA + ".new") as out:
                self._write_data(out)
                out.flush()
                os.fsync(out.fileno())
        os.rename(os.path.join(self._folder, DATA + ".new"), os.path.join(self._folder, DATA))

    def _open(self, name: str) -> BinaryIO:
        """Open a new file for its owner only: it holds passwords."""
        path = os.path.join(self._folder, name)
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")

    def _write_own(self) -> None:
        """Write what devpi-server does not know, and note it."""
        users: dict[str, Json] = {}
        for user in self._reader.users():
            if (kept := own_password(user)) is not None:
                users[user.name] = kept
                text = f"the password is in {OWN} alone: devpi-server cannot verify its hash, and needs a new password"
                self._note(f"user {user.name}", text)
            if self._reader.api_tokens(user.name):
                self._note(f"user {user.name}", "API tokens are not exported")
        indexes: dict[str, Json] = {}
        for index in self._reader.indexes():
            has_project = partial(self._reader.has_project, index.name)
            if foreign := foreign_settings(index, self._dialect, has_project):
                indexes[index.name] = dict(index.config)
                open_now = "; devpi-server lets everybody read the index" if "acl_read" in foreign else ""
                self._note(f"index {index.name}", f"{', '.join(foreign)}: in {OWN} alone{open_now}")
        if users or indexes:
            with self._open(OWN) as own:
                own.write(orjson.dumps({"users": users, "indexes": indexes}, option=orjson.OPT_INDENT_2))

    def _write_data(self, out: BinaryIO) -> None:
        out.write(b'{"dumpversion": "%s",\n"users": ' % self._dialect.dump_version.encode())
        users = self._reader.users()
        out.write(_dumps({user.name: self._dialect.user(user) for user in users}))
        self.report.counts["users"][TAKEN] += len(users)
        out.write(b',\n"indexes": {')
        for number, index in enumerate(self._reader.indexes()):
            out.write(b"%s\n%s: {" % (b"," if number else b"", _dumps(index.name)))
            out.write(b'"indexconfig": %s' % _dumps(self._dialect.index_config(index)))
            if not index.is_mirror or self._with_mirrored:
                out.write(b',\n"projects": {')
                self._write_projects(out, index)
                out.write(b'},\n"files": [')
                _write_all(out, self._files(index))
                out.write(b"]")
            out.write(b"}")
            self.report.count("indexes", TAKEN)
        out.write(b"}}\n")

    # Projects ------------------------------------------------------------------------------------------------------

    def _names(self, index: Index) -> list[str]:
        return self._reader.cached_projects(index.name) if index.is_mirror else self._reader.projects(index.name)

    def _write_projects(self, out: BinaryIO, index: Index) -> None:
        for number, project in enumerate(self._names(index)):
            before, after = self._dialect.around_versions(index, project)
            out.write(b"%s\n%s: %s" % (b"," if number else b"", _dumps(project), before))
            _write_all(out, self._mirrored_versions(index, project) if index.is_mirror else self._versions(index, project))
            out.write(after)

    def _versions(self, index: Index, project: str) -> Iterator[bytes]:
        for release in self._releases(index, project):
            self.report.count("releases", TAKEN)
            yield b"%s: %s" % (_dumps(release.version), _dumps({**release.metadata, "version": release.version}))
        status = self._reader.header(index.name, project)
        if status is not None and status[0] is not None:
            self._note(f"{index.name} {project}", f"its status, {status[0]}, is not exported")

    def _mirrored_versions(self, index: Index, project: str) -> Iterator[bytes]:
        for version, files in self._cached(index, project):
            yield b"%s: %s" % (_dumps(version), _dumps(_mirrored_metadata(project, version, files[0])))

    def _releases(self, index: Index, project: str) -> Iterator[Release]:
        """Yield releases one by one: the descriptions of all of a project may take hundreds of megabytes."""
        for version in self._reader.release_versions(index.name, project):
            release = self._reader.release_written(index.name, project, version)
            if release is not None:
                yield release

    def _cached(self, index: Index, project: str) -> Iterator[tuple[str, list[KnownFile]]]:
        """Yield the versions of a mirrored project with the files that are here."""
        files = [file for file in self._reader.files_here(index.name, project) if file.cached]
        versions = {file.link.filename: version_of_filename(file.link.filename, project) or "" for file in files}
        files.sort(key=lambda file: versions[file.link.filename])
        for version, group in groupby(files, lambda file: versions[file.link.filename]):
            if version:
                yield version, list(group)

    # Files ---------------------------------------------------------------------------------------------------------

    def _files(self, index: Index) -> Iterator[bytes]:
        if index.is_mirror:
            for project in self._names(index):
                for version, files in self._cached(index, project):
                    for file in files:
                        yield from self._cached_entry(index, project, version, file)
            return
        for project in self._names(index):
            for release in self._releases(index, project):
                for uploaded in release.files:
                    yield from self._uploaded_entry(release, uploaded)
                for attachment in release.attachments:
                    yield from self._attached_entry(release, attachment)

    def _cached_entry(self, index: Index, project: str, version: str, file: KnownFile) -> Iterator[bytes]:
        mapping = self._dialect.mapping(project, version, hashes_of(file), file.size, file.link.upload_time or _EPOCH)
        place = f"{index.name}/{project}/{version}/{file.link.filename}"
        blob = f"+f/{str(file.sha256)[:3]}/{str(file.sha256)[3:16]}/{file.link.filename}"
        if self._copy("files", blob, str(file.sha256), place):
            yield _entry("releasefile", project, version, place, {**mapping, "url": file.link.url}, [])

    def _uploaded_entry(self, release: Release, uploaded: UploadedFile) -> Iterator[bytes]:
        known = uploaded.known
        place = f"{release.index}/{release.project}/{release.version}/{known.link.filename}"
        when = known.link.upload_time or _EPOCH
        mapping = self._dialect.mapping(release.project, release.version, hashes_of(known), known.size, when)
        own = own_facts(uploaded, release)
        if uploaded.provenance_sha256 is not None:
            self._note(f"{release.index} {known.link.filename}", "its attestations are not exported")
        if self._copy("files", known.path, str(known.sha256), place):
            log = self._dialect.log(uploaded.log)
            more = {OWN_KEY: own} if own else {}
            yield _entry("releasefile", release.project, release.version, place, mapping, log, **more)

    def _attached_entry(self, release: Release, attached: Attachment) -> Iterator[bytes]:
        mapping = self._dialect.mapping(
            release.project, release.version, {"sha256": attached.sha256}, attached.size, attached_at(attached) or _EPOCH
        )
        more: dict[str, Json] = {}
        if attached.kind == DOCZIP:
            place, kind = f"{release.index}/{release.project}-{release.version}.doc.zip", "documentation"
        else:
            tested = next(file.known for file in release.files if file.known.link.filename == attached.for_filename)
            place = f"{release.index}/{release.project}/sha256={tested.sha256}/{attached.filename}"
            kind, more["for_entrypath"] = "test results", f"{release.index}/{tested.path}"
        if self._copy(kind, attached.path, attached.sha256, place):
            log = self._dialect.log(attached.log)
            yield _entry(attached.kind, release.project, release.version, place, mapping, log, **more)

    def _copy(self, kind: str, path: str, sha256: str, place: str) -> bool:
        """Copy or link a blob to ``place``; return whether it is there, and report it."""
        target = os.path.join(self._folder, place)
        try:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            size = self._place(path, sha256, target)
        except FileNotFoundError:
            reason = "its bytes are not here; twistpi check tells more"
        except BadRequest as refusal:
            reason = str(refusal)
        else:
            self.report.bytes_taken += size
            self.report.count(kind, TAKEN)
            self._advance()
            return True
        self.report.remark(Remark(place, reason))
        self.report.count(kind, REFUSED)
        self._advance()
        return False

    def _place(self, path: str, sha256: str, target: str) -> int:
        """Return the size."""
        address = path_address(path)
        if self._hard_links:
            try:
                os.link(self._blobs.path(address), target)
            except OSError:
                pass  # another file system, or one without links, or a bucket has it: copied as without the option
            else:
                return os.stat(target).st_size
        digest, size = hashlib.sha256(), 0
        with self._blobs.open(address) as blob, open(target, "xb") as copy:
            while chunk := blob.read(_CHUNK):
                digest.update(chunk)
                copy.write(chunk)
                size += len(chunk)
        if digest.hexdigest() != sha256:
            os.remove(target)
            raise BadRequest(f"its sha256 is {digest.hexdigest()} instead of {sha256}; twistpi check tells more")
        return size

    def _note(self, subject: str, text: str) -> None:
        self.report.remark(Remark(subject, text, is_loss=False))

    def _advance(self) -> None:
        self._done += 1
        self._progress(self._done)


_EPOCH: Final = "1970-01-01T00:00:00Z"
"""When something was uploaded of which that is not known."""


def _entry(kind: str, project: str, version: str, place: str, mapping: Mapping[str, Json], log: list[Json], **more: Any) -> bytes:
    """Return an entry of the list ``files``."""
    return _dumps(
        {
            "type": kind,
            "projectname": project,
            "version": version,
            "relpath": place,
            "entrymapping": mapping,
            "log": log,
            **more,
        }
    )


def _mirrored_metadata(project: str, version: str, file: KnownFile) -> dict[str, Json]:
    facts: dict[str, Json] = {"name": project, "version": version}
    if file.link.requires_python:
        facts["requires_python"] = file.link.requires_python
    return facts if file.link.yanked is False else {**facts, "yanked": file.link.yanked}


def _write_all(out: BinaryIO, parts: Iterable[bytes]) -> None:
    for number, part in enumerate(parts):
        out.write(b"%s\n%s" % (b"," if number else b"", part))


def _dumps(value: Json) -> bytes:
    return orjson.dumps(value)

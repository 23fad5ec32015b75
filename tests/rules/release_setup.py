"""Two private indexes and a mirror in a real view, for rules about releases: what they decide is folded at once."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Any

import attrs

from tests.view.small_world import LOG, fold
from twistpi.model.changes import Change
from twistpi.model.records import Index
from twistpi.model.releases import DOCZIP, TOXRESULT, AttachmentAdded, FileUploaded, Release
from twistpi.rules.attachments import (
    decide_docs_uploaded,
    decide_toxresult,
    docs_filename,
)
from twistpi.rules.pushes import ActionLog, PushSource, PushTarget, Selection, decide_push
from twistpi.rules.uploads import decide_file_uploaded, is_volatile, uploaded_path
from twistpi.view.database import ViewDatabase, open_view

MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None
"""No disk needs to sync the databases of a property."""
DEV, PROD = Index("alice/dev", {"type": "stage", "volatile": True}), Index("alice/prod", {"type": "stage", "volatile": False})
SECOND = Index("bob/dev", {"type": "stage", "volatile": True})
PYPI = Index("root/pypi", {"type": "mirror", "volatile": False})
WHEEL, SDIST = "demo-1.0-py3-none-any.whl", "demo-1.0.tar.gz"


def digest(content: str) -> str:
    """The SHA-256 of ``content``."""
    return sha256(content.encode()).hexdigest()


@attrs.frozen
class Upload:
    """A distribution whose blobs are on disk, and the metadata of its release."""

    file: FileUploaded
    metadata: dict[str, str]

    @property
    def path(self) -> str:
        return uploaded_path(self.file.filename, self.file.sha256)


def upload(filename: str = WHEEL, content: str = "one", version: str = "1.0", **more: Any) -> Upload:
    """An upload of the project ``demo``."""
    metadata = {"name": "Demo", "version": version, **more.pop("metadata", {})}
    return Upload(FileUploaded("", "demo", version, filename, digest(content), len(content), **more), metadata)


def toxresult(index: Index, tested: str, filename: str, content: str) -> AttachmentAdded:
    """The result of testing the distribution at ``tested``."""
    folder, _, name = tested.rpartition("/")
    size, path = len(content), f"{folder}/{filename}"
    return AttachmentAdded(index.name, "demo", "1.0", TOXRESULT, filename, digest(content), size, path, name)


@attrs.frozen
class Setup:
    """A view, and decisions that are made as the handlers have them made."""

    view: ViewDatabase

    def fold(self, *changes: Change) -> tuple[Change, ...]:
        """One more entry, unless there is nothing to say."""
        if changes:
            fold(self.view, *changes)
        return changes

    def status(self, index: Index) -> str | None:
        header = self.view.reader.header(index.name, "demo")
        return None if header is None else header[0]

    def release(self, index: Index, version: str = "1.0") -> Release:
        found = self.view.reader.release(index.name, "demo", version)
        assert found is not None
        return found

    def versions(self, index: Index) -> list[str]:
        return [release.version for release in self.view.reader.releases(index.name, "demo")]

    def upload(self, index: Index, upload: Upload) -> tuple[Change, ...]:
        reader, file = self.view.reader, attrs.evolve(upload.file, index=index.name)
        changes = decide_file_uploaded(
            index,
            reader.release(index.name, file.project, file.version),
            self.status(index),
            file,
            upload.metadata,
            holder=reader.release_of_file(index.name, file.project, file.filename),
            gone=() if is_volatile(index) else reader.removed_paths(index.name, file.filename),
        )
        return self.fold(*changes)

    def test(self, index: Index, filename: str, content: str, name: str = "now-0") -> tuple[Change, ...]:
        """A test result of a file that is there."""
        release = self.view.reader.release_of_file(index.name, "demo", filename)
        assert release is not None
        (path,) = (file.known.path for file in release.files if file.known.link.filename == filename)
        result = toxresult(index, path, f"{filename}.toxresult-{name}", content)
        return self.fold(*decide_toxresult(index, release, result))

    def document(self, index: Index, content: str, version: str = "1.0") -> tuple[Change, ...]:
        filename, sha256 = docs_filename("demo", version), digest(content)
        path = uploaded_path(filename, sha256)
        docs = AttachmentAdded(index.name, "demo", version, DOCZIP, filename, sha256, len(content), path)
        release = self.view.reader.release(index.name, "demo", version)
        return self.fold(*decide_docs_uploaded(index, release, self.status(index), docs, "Demo", "docs.zip"))

    def push(self, source: Index, target: Index, version: str = "1.0", **how: bool) -> tuple[tuple[Change, ...], ActionLog]:
        reader = self.view.reader
        release = reader.release(source.name, "demo", version)
        names = [] if release is None else [file.known.link.filename for file in release.files]
        changes, lines = decide_push(
            PushSource(source, release, self.status(source)),
            PushTarget(
                target,
                reader.releases(target.name, "demo"),
                self.status(target),
                {name: reader.removed_paths(target.name, name) for name in names},
            ),
            Selection("Demo", version, **how),
        )
        return self.fold(*changes), lines


@contextlib.contextmanager
def make_setup() -> Iterator[Setup]:
    """An empty one."""
    with (
        tempfile.TemporaryDirectory(dir=MEMORY) as folder,
        contextlib.closing(open_view(os.path.join(folder, "view.sqlite"), LOG)) as view,
    ):
        yield Setup(view)


def kinds(changes: Sequence[Change]) -> list[str]:
    """How the classes of ``changes`` are called."""
    return [type(change).__name__ for change in changes]

"""Files for an index: wheels, and source distributions."""

from __future__ import annotations

import hashlib
from pathlib import Path

import attrs

from tests.archives.made_archives import packed, tar_of
from tests.fakes.wheels import make_wheel, metadata, wheel_name


@attrs.frozen
class Distribution:
    """A file for an index."""

    project: str
    version: str
    filename: str
    content: bytes

    @property
    def sha256(self) -> str:
        """Hexadecimal."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def path(self) -> str:
        """Where it is in an index."""
        return f"+f/{self.sha256[:3]}/{self.sha256[3:16]}/{self.filename}"

    def write(self, folder: Path) -> Path:
        """Put it into ``folder``; the file.  Blocking."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / self.filename).write_bytes(self.content)
        return folder / self.filename


def wheel_of(project: str, version: str, payload: bytes = b"") -> Distribution:
    """A wheel."""
    return Distribution(project, version, wheel_name(project, version), make_wheel(project, version, payload=payload))


def sdist_of(project: str, version: str, payload: bytes = b"") -> Distribution:
    """A source distribution."""
    top = f"{project.replace('-', '_')}-{version}"
    filename = f"{top}.tar.gz"
    tar = tar_of({f"{top}/PKG-INFO": metadata(project, version), f"{top}/payload.bin": payload})
    return Distribution(project, version, filename, packed(filename, tar))

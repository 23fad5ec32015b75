"""Server directories with files to back up, and what is compared afterwards."""

from __future__ import annotations

import json
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest

from tests.cli.commands import now, run, settings, write
from twistpi.blobs.address import BlobAddress, blob_address, metadata_address
from twistpi.blobs.tree import Tree, open_tree
from twistpi.changelog.disk import Disk
from twistpi.changelog.files import FileChangelog
from twistpi.model.changes import ADVISORY_SET, AdvisoriesAccepted, Change, FileCached, LinksChanged, MetadataCached, UserModified
from twistpi.model.codec import encode_content
from twistpi.model.records import Link
from twistpi.model.releases import DOCZIP, AttachmentAdded, FileRemoved, FileUploaded
from twistpi.server.storage import Storage
from twistpi.view.database import dump

STAGE, MIRROR = "carol/dev", "root/pypi"


def content_of(name: str) -> bytes:
    """What is in the file ``name``."""
    return f"the bytes of {name}".encode() * 50


def digest_of(name: str) -> str:
    return sha256(content_of(name)).hexdigest()


def keep(serverdir: Path, address: BlobAddress, name: str) -> None:
    """Store the bytes of ``name`` at an address."""
    with open_tree(str(serverdir)).incoming() as incoming:
        incoming.write(content_of(name))
        Tree(str(serverdir)).keep(incoming, address, digest_of(name))


def upload(serverdir: Path, *names: str) -> None:
    """Upload distributions ``demo-1.0.zip`` of a release each, in one entry."""
    changes: list[Change] = []
    for name in names:
        keep(serverdir, blob_address(digest_of(name), name), name)
        version = name.removesuffix(".zip").partition("-")[2]
        changes.append(FileUploaded(STAGE, "demo", version, name, digest_of(name), len(content_of(name))))
    write(serverdir, *changes)


def cache(serverdir: Path, name: str) -> None:
    """Have the mirror cache a file with core metadata."""
    file, about = blob_address(digest_of(name), name), f"about {name}"
    keep(serverdir, file, name)
    keep(serverdir, metadata_address(file), about)
    link = Link(name, f"https://files.upstream.example/{name}", {"sha256": digest_of(name)})
    write(
        serverdir,
        LinksChanged(MIRROR, "cached", added=(link,)),
        FileCached(MIRROR, "cached", name, digest_of(name), len(content_of(name))),
        MetadataCached(MIRROR, "cached", name, digest_of(about), len(content_of(about))),
    )


def age(serverdir: Path, year: int = 2027) -> None:
    """Have much happen that means little, in segments of about ten entries."""
    happened = [UserModified("carol", {"title": f"Carol {number}", "description": "long " * 40}) for number in range(30)]
    with closing(FileChangelog.open(str(serverdir / "changelog"), Disk(), segment_limit=3000)) as log:
        bodies = [encode_content(f"{year}-03-01T00:{n:02d}:00.000000Z", "carol", [one]) for n, one in enumerate(happened)]
        log.append(bodies, log.last.serial)
    Storage.open(settings(serverdir), now, Disk()).close()


def compact(serverdir: Path) -> int:
    """Have a summary of all entries but those of the last segment; return the last serial that it stands for."""
    done = run(serverdir, "compact", "--before", "2200-01-01", "--json")
    assert done.exit_code == 0, done.output
    return int(json.loads(done.stdout)["last"])


def document(serverdir: Path, name: str) -> None:
    """Add documentation to the release 1.0."""
    address = blob_address(digest_of(name), name)
    keep(serverdir, address, name)
    path = f"+f/{address.relative}"
    write(serverdir, AttachmentAdded(STAGE, "demo", "1.0", DOCZIP, name, digest_of(name), len(content_of(name)), path))


def accept(serverdir: Path, name: str) -> None:
    """Have a set of advisories accepted."""
    keep(serverdir, blob_address(digest_of(name), ADVISORY_SET), name)
    write(serverdir, AdvisoriesAccepted(digest_of(name), len(content_of(name)), 1, "https://feed.example/all.zip"))


def remove(serverdir: Path, name: str) -> None:
    """Remove an uploaded file, and have garbage collection take its bytes."""
    write(serverdir, FileRemoved(STAGE, "demo", name))
    (serverdir / "+files" / blob_address(digest_of(name), name).relative).unlink()


def blobs_in(folder: Path) -> dict[str, bytes]:
    """Every blob by its path."""
    root = folder / "+files"
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def log_in(folder: Path) -> dict[str, bytes]:
    """Every segment of the log by its name."""
    return {path.name: path.read_bytes() for path in (folder / "changelog").iterdir()}


def dump_of(serverdir: Path) -> list[tuple[object, ...]]:
    """All that the view says."""
    return list(dump(str(serverdir / "view.sqlite")))


def serial_of(serverdir: Path) -> int:
    storage = Storage.open(settings(serverdir), now, Disk())
    storage.close()
    return storage.changelog.last.serial


@pytest.fixture
def filled(made: Path) -> Path:
    """A server directory with uploads, documentation and cached files."""
    upload(made, "demo-1.0.zip", "demo-1.1.zip")
    document(made, "demo.doc.zip")
    cache(made, "cached-1.0.zip")
    return made


@pytest.fixture
def remote_shell(tmp_path: Path) -> str:
    """A command in place of ssh, which runs what it is told on this machine, whatever the host."""
    script = tmp_path / "shell"
    script.write_text('#!/bin/sh\nwhile [ "${1#-}" != "$1" ]; do shift 2; done\nshift\nexec sh -c "$*"\n')
    script.chmod(0o755)
    return str(script)

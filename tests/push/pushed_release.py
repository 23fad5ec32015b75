"""A release that is on its way to other servers, with its files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, ClassVar

import attrs

from tests.in_reactor import PATIENCE, offload
from tests.push.fake_repository import FakeRepository, reactor
from tests.web.world_storage import DirectoryStorage, MakeStorage, WorldStorage
from twistpi.blobs.address import blob_address, sha256_of
from twistpi.http.agent import make_agent
from twistpi.http.client import HTTPClient
from twistpi.model.records import KnownFile, Link
from twistpi.model.releases import DOCZIP, Attachment, Release, UploadedFile
from twistpi.push.releases import Line, Pusher
from twistpi.push.repository import read_repository

WHEEL, SDIST = "demo_pkg-1.0-py3-none-any.whl", "demo_pkg-1.0.tar.gz"


@attrs.define
class Source:
    """A release in an index, with its blobs."""

    make_storage: ClassVar[MakeStorage] = DirectoryStorage
    """Makes what the blobs are kept in: a directory, or with ``pytest --cluster`` a bucket that a node brings them from."""
    storage: WorldStorage
    pusher: Pusher
    release: Release
    docs: Attachment

    async def push(self, to: FakeRepository | str, *, docs: bool = False, register: bool = False) -> list[Line]:
        url = to if isinstance(to, str) else to.url
        repository = read_repository(url, "jane", "secret")
        return await self.pusher.push(
            self.release, self.release.files, self.docs if docs else None, repository, register=register
        )

    @property
    def paths(self) -> list[str]:
        return [f"alice/dev/{file.known.path}" for file in self.release.files]


def keep(storage: WorldStorage, filename: str, body: bytes, *, size: int | None = None) -> tuple[str, str]:
    """Keep a blob, which is made longer with zeros when ``size`` says so; its path below an index, and its SHA-256."""
    with storage.elsewhere.incoming() as incoming:
        incoming.write(body)
        if size is not None:
            incoming.truncate(size)
            incoming.size = size
        with open(incoming.path, "rb") as file:
            sha256 = sha256_of(file)
        storage.elsewhere.keep(incoming, blob_address(sha256, filename), sha256)
    return f"+f/{blob_address(sha256, filename).relative}", sha256


def uploaded(storage: WorldStorage, filename: str, body: bytes, *, size: int | None = None) -> UploadedFile:
    path, sha256 = keep(storage, filename, body, size=size)
    return UploadedFile(KnownFile(Link(filename, ""), path, sha256, size or len(body)), ())


def make_source(
    folder: Path, *, size: int | None = None, patience: float = PATIENCE, clock: Any = reactor, **options: Any
) -> Source:
    storage = Source.make_storage(str(folder))
    files = (uploaded(storage, SDIST, b"sdist", size=size), uploaded(storage, WHEEL, b"wheel\r\n--"))
    metadata = {"name": "Demo.Pkg", "version": "1.0", "summary": "Ein Käse", "classifiers": ["A :: B", "C"], "license": ""}
    docs = b"zip"
    path, sha256 = keep(storage, "demo-pkg-1.0.doc.zip", docs)
    attachment = Attachment(DOCZIP, "demo-pkg-1.0.doc.zip", path, sha256, 3, ())
    agent = make_agent(reactor, {}, connections_per_host=0, **options)
    client = HTTPClient(agent, clock, offload, reactor.callFromThread, timeout=None)
    pusher = Pusher(client, storage.served, os.urandom, patience=patience)
    return Source(storage, pusher, Release("alice/dev", "demo-pkg", "1.0", metadata, files, (attachment,)), attachment)

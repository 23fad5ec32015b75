"""A server directory after ten busy years: a log and a cache of any size, written directly and without a server.

A project has twenty files, each of which is cached.  Later its files are evicted, fetched again and yanked, round after round.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import count, islice
from pathlib import Path

import attrs
import orjson

from bench.servers import Twistpi
from twistpi.blobs.address import blob_address
from twistpi.blobs.tree import Tree
from twistpi.changelog.catch_up import catch_up
from twistpi.changelog.disk import Disk
from twistpi.changelog.files import FileChangelog
from twistpi.model.changes import Change, FileCached, LinksChanged
from twistpi.model.codec import encode_content
from twistpi.model.records import Link
from twistpi.model.releases import FileRemoved
from twistpi.view.database import ViewDatabase, open_view

INDEX = "root/pypi"
OF_PROJECT = 20
_SIZE = 100
"""Bytes of a file; the disk takes more."""
_BATCH = 5000


@attrs.frozen
class ScaleHistory:
    """Of ``files`` files, and at least as many entries as it takes to list and cache them."""

    serverdir: Path
    entries: int
    files: int

    def make(self, upstream: str, say: Callable[[str], None]) -> None:
        """Write log and cache of a mirror of ``upstream``; the view is left behind."""
        Twistpi.start(self.serverdir, upstream).stop()
        say(f"writing {self.files:,} files")
        tree = Tree(str(self.serverdir))
        for number in range(self.files):
            path = Path(tree.path(blob_address(_link(number).sha256 or "", _link(number).filename)))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(_content(number))  # without a sync: nobody needs these files tomorrow
        say(f"writing {self.entries:,} entries")
        changelog = FileChangelog.open(str(self.serverdir / "changelog"), Disk())
        bodies = (encode_content(_moment(number), "+mirror", [change]) for number, change in enumerate(self._changes()))
        missing = islice(bodies, self.entries - changelog.last.serial)
        while batch := list(islice(missing, _BATCH)):
            changelog.append(batch, changelog.last.serial)
        changelog.close()

    def missing(self) -> int:
        """How many entries the view lacks."""
        with closing(self._open_view()) as view:
            return self.entries - view.position.serial

    def build(self) -> float:
        """Fold what the view lacks; entries a second."""
        with closing(self._open_view()) as view:
            changelog = FileChangelog.open(str(self.serverdir / "changelog"), Disk(), trusted=view.position)
            started = time.perf_counter()
            count = catch_up(changelog, view)
            changelog.close()
            return count / (time.perf_counter() - started)

    def _open_view(self) -> ViewDatabase:
        log_id = orjson.loads((self.serverdir / "node.json").read_bytes())["log_id"]
        return open_view(str(self.serverdir / "view.sqlite"), log_id)

    def _changes(self) -> Iterator[Change]:
        """Without end."""
        for first in range(0, self.files, OF_PROJECT):
            links = tuple(map(_link, range(first, first + OF_PROJECT)))
            versions = tuple(f"{number}.0" for number in range(OF_PROJECT))
            yield LinksChanged(INDEX, project(first), added=links, versions_added=versions)
            yield from map(_cached, links)
        for turn in count():
            for first in range(0, self.files, OF_PROJECT):
                links = tuple(map(_link, range(first, first + OF_PROJECT)))
                yield LinksChanged(INDEX, project(first), changed=(attrs.evolve(links[turn % OF_PROJECT], yanked=f"no. {turn}"),))
                for link in links:
                    yield FileRemoved(INDEX, project(first), link.filename)
                    yield _cached(link)


def project(number: int) -> str:
    """The name of the project that file ``number`` belongs to."""
    return f"made-up-{number // OF_PROJECT}"


def _cached(link: Link) -> FileCached:
    name = link.filename.rpartition("-")[0].replace("_", "-")
    return FileCached(INDEX, name, link.filename, link.sha256 or "", _SIZE)


def _link(number: int) -> Link:
    filename = f"{project(number).replace('-', '_')}-{number % OF_PROJECT}.0.tar.gz"
    sha256 = hashlib.sha256(_content(number)).hexdigest()
    url = f"https://files.upstream.example/packages/{sha256[:2]}/{filename}"
    return Link(filename, url, {"sha256": sha256}, _SIZE, requires_python=">=3.9", upload_time=_moment(number))


def _content(number: int) -> bytes:
    return f"file {number} of a made-up project".encode().ljust(_SIZE, b".")


def _moment(number: int) -> str:
    """Half a minute after the one before: ten million of them are ten years."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime(1_400_000_000 + 30 * number))

"""A large cache: how long others wait while half of it is evicted, and how long it takes to tell where the bytes are."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

import orjson

from bench.client import INSTALLER_ACCEPT, get, seconds_to_get
from bench.corpus import MEGABYTE
from bench.figures import Figure, Target
from bench.servers import Twistpi
from bench.stage import Stage
from twistpi.blobs.address import blob_address
from twistpi.blobs.tree import Tree
from twistpi.changelog.disk import Disk
from twistpi.changelog.files import FileChangelog
from twistpi.model.changes import Change, FileCached, IndexModified, LinksChanged
from twistpi.model.codec import encode_content
from twistpi.model.records import Link

FILES = 100_000
_QUICK = 20_000
_OF_PROJECT = 100
_LISTED = 1_000_000
"""Files of the view that ``du`` reads."""
_SIZE = 100
"""Bytes of a file; the disk takes more."""
_MIRROR = "root/pypi"
_AT = "2026-03-14T09:26:53.589793Z"
_LONG_AGO = 1_700_000_000
_BATCH = 1000
_BETWEEN_SECONDS = 0.002
_MOST_MILLISECONDS = 50


def measure(stage: Stage) -> list[Figure]:
    """Both on server directories of their own."""
    return [*_evicted(stage), _eviction_figure(stage)]


def _evicted(stage: Stage) -> Iterator[Figure]:
    project, files = stage.corpus.add_project("asked-for", 50), stage.rounds(FILES, _QUICK)
    serverdir = stage.folder / "eviction"
    Twistpi.start(serverdir, stage.corpus.simple_url).stop()
    stage.say(f"making a cache of {files:,} files")
    _fill(serverdir, files)
    twistpi = Twistpi.start(serverdir, stage.corpus.simple_url)
    try:
        twistpi.wait_for_view()
        while orjson.loads(get(f"{twistpi.url}/+search.json", "application/json").body)["result"]["building"]:
            time.sleep(0.5)
        page = twistpi.page_url(project)
        get(page, INSTALLER_ACCEPT)
        until = time.perf_counter() + stage.rounds(30, 10)
        usual, before = _watch(twistpi, page, lambda: time.perf_counter() > until)
        started = time.perf_counter()
        evicting = subprocess.Popen(_command("evict", serverdir), stdout=subprocess.PIPE)
        slowest, most = _watch(twistpi, page, lambda: evicting.poll() is not None)
        seconds = time.perf_counter() - started
        evicted = orjson.loads(evicting.communicate()[0])["evicted"]
    finally:
        twistpi.stop()
    assert evicted == files // 2, evicted
    yield Figure("slowest answer to others while files are evicted", slowest * 1e3, "ms", usual * 1e3, "without that",
                 target=Target("below", _MOST_MILLISECONDS, of="value"), note=f"{evicted:,} of {files:,} files")  # fmt: skip
    yield Figure("files evicted", evicted / seconds, "files/s", note=f"in {seconds:.0f} s")
    yield Figure("memory more for that", (most - before) / MEGABYTE, "MB", target=Target("below", 50, of="value"))


def _eviction_figure(stage: Stage) -> Figure:
    serverdir = stage.folder / "usage"
    Twistpi.start(serverdir, stage.corpus.simple_url).stop()
    _fill_view(serverdir / "view.sqlite")
    took = []
    for _ in range(stage.rounds(3, 1)):
        started = time.perf_counter()
        done = subprocess.run(_command("du", serverdir), capture_output=True, check=True)
        took.append(time.perf_counter() - started)
        assert orjson.loads(done.stdout)["indexes"][0]["files"] == _LISTED
    return Figure(f"twistpi du, {_LISTED:,} files", min(took), "s", target=Target("below", 2, of="value"))


def _command(name: str, serverdir: Path) -> list[str]:
    return [str(Path(sys.executable).with_name("twistpi")), name, "--serverdir", str(serverdir), "--json"]


def _watch(twistpi: Twistpi, page: str, is_over: Callable[[], bool]) -> tuple[float, int]:
    """Return the longest time that an answer took until ``is_over``, and the bytes that were resident at most."""
    slowest, most = 0.0, 0
    while not is_over():
        slowest, most = max(slowest, _delays(twistpi, page)), max(most, twistpi.server.memory()["VmRSS"])
        time.sleep(_BETWEEN_SECONDS)
    return slowest, most


def _delays(twistpi: Twistpi, page: str) -> float:
    """The longer one of the times that a page and the state of the server take."""
    return max(seconds_to_get(page, INSTALLER_ACCEPT), seconds_to_get(f"{twistpi.url}/+health", "application/json"))


def _fill(serverdir: Path, files: int) -> None:
    """Write the entries and blobs of the cache, and the budget that is half of it."""
    changelog = FileChangelog.open(str(serverdir / "changelog"), Disk())
    entries = (encode_content(_AT, "root", changes) for changes in _projects(Tree(str(serverdir)), files))
    while batch := list(islice(entries, _BATCH)):
        changelog.append(batch, changelog.last.serial)
    budget = encode_content(_AT, "root", [IndexModified(_MIRROR, {"cache_max_bytes": _SIZE * files // 2})])
    changelog.append([budget], changelog.last.serial)
    changelog.close()


def _projects(tree: Tree, files: int) -> Iterator[list[Change]]:
    for project in range(files // _OF_PROJECT):
        name, links = f"cached-{project}", list[Link]()
        for number in range(_OF_PROJECT):
            filename = f"cached_{project}-{number}.0.tar.gz"
            content = filename.encode().ljust(_SIZE, b".")
            sha256 = hashlib.sha256(content).hexdigest()
            path = Path(tree.path(blob_address(sha256, filename)))
            path.parent.mkdir(parents=True)
            path.write_bytes(content)  # without a sync: nobody needs these files tomorrow
            os.utime(path, (_LONG_AGO + (project * 7919 + number * 104729) % 10_000_000, _LONG_AGO))
            links.append(Link(filename, f"https://files.upstream.example/{filename}", {"sha256": sha256}, _SIZE))
        yield [
            LinksChanged(_MIRROR, name, added=tuple(links)),
            *(FileCached(_MIRROR, name, link.filename, link.sha256 or "", _SIZE) for link in links),
        ]


def _fill_view(path: Path) -> None:
    """Put cached files into a view; they are in no changelog, which only a server would mind."""
    digits = (hashlib.sha256(str(number).encode()).hexdigest() for number in range(_LISTED))
    rows = (
        (number, number // _OF_PROJECT + 1, f"cached_{number // _OF_PROJECT}-{number % _OF_PROJECT}.0.tar.gz", digest)
        for number, digest in enumerate(digits, 1)
    )
    with closing(sqlite3.connect(path)) as view:
        projects = ((number, _MIRROR, f"cached-{number}") for number in range(1, _LISTED // _OF_PROJECT + 2))
        view.executemany("INSERT INTO project (id, index_name, name) VALUES (?, ?, ?)", projects)
        insert = (
            "INSERT INTO file (id, project, filename, link_sha256, url) VALUES (?, ?, ?, ?, 'https://files.upstream.example/f')"
        )
        view.executemany(insert, rows)
        view.execute("INSERT INTO kept SELECT id, link_sha256, 1000 + id % 5000, link_sha256, 500, 0 FROM file")
        view.commit()

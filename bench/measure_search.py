"""Search on a server with many names, own files and used projects: the making of the index, its cost, and how fast it answers."""

from __future__ import annotations

import hashlib
import random
import re
import statistics
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final
from urllib.parse import quote

import orjson

from bench.client import INSTALLER_ACCEPT, get, seconds_to_get
from bench.corpus import MEGABYTE, NAMES
from bench.figures import Figure, Target
from bench.load import CONNECTIONS, load
from bench.servers import Twistpi
from bench.stage import Stage
from twistpi.blobs.address import blob_address, metadata_address
from twistpi.blobs.tree import Tree, open_tree
from twistpi.changelog.disk import Disk
from twistpi.changelog.files import FileChangelog
from twistpi.model.changes import Change, FileCached, IndexCreated, LinksChanged, MetadataCached
from twistpi.model.codec import encode_content
from twistpi.model.records import Link
from twistpi.model.releases import FileUploaded, ReleaseDescribed

OWN_PROJECTS = 2_500
FILES = 4
"""Of each own project, one a release."""
USED_PROJECTS = 5_000
_OWN, _MIRROR = "made/dev", "root/pypi"
_AT = "2026-03-14T09:26:53.589793Z"
_BATCH = 1000
_WORDS = 8_000
"""Different words in all texts, of which the common ones are as common as in any language."""
_SYLLABLES = (
    "ba",
    "ce",
    "di",
    "fo",
    "gu",
    "ha",
    "je",
    "ki",
    "lo",
    "mu",
    "na",
    "pe",
    "qui",
    "ro",
    "su",
    "ta",
    "ve",
    "wi",
    "xo",
    "yu",
)
_QUERIES = (
    *("made", "made-00ff", "own-17", "used-4999", "nothing-has-this"),
    *("{20}", "{300}", "{3000}", "{50} {400}", "'{1} {2}'", "{200} NOT {201}", "{900} OR {1800}", "summary:{70}"),
    *("path:/made/dev/* {600}", "{7} {5000}", "name:used-12*"),
)
"""Numbers are those of words, the common ones first."""
_STALL: Final = 0.05
"""Seconds that no request may wait for the reactor."""
_JSON, _HTML = "application/json", "text/html"


def measure(stage: Stage) -> list[Figure]:
    """A server of its own: everything is there before its index."""
    stage.corpus.add_names()
    serverdir = stage.folder / "search"
    Twistpi.start(serverdir, stage.corpus.simple_url).stop()
    fill(serverdir)
    (serverdir / "search.sqlite").unlink(missing_ok=True)
    twistpi = Twistpi.start(serverdir, stage.corpus.simple_url)
    try:
        twistpi.wait_for_view()
        return _figures(stage, twistpi)
    finally:
        twistpi.stop()


def _figures(stage: Stage, twistpi: Twistpi) -> list[Figure]:
    documents, of_documents = _built(twistpi)
    get(f"{twistpi.url}/{_MIRROR}/+simple/", INSTALLER_ACCEPT)
    before = twistpi.server.memory()["VmRSS"]
    names, of_names = _built(twistpi)
    idle = _health_delays(twistpi, time.perf_counter() + documents + names)
    urls = [f"{twistpi.url}/+search.json?query={quote(query)}" for query in queries()]
    delays = [seconds_to_get(url, _JSON) for _ in range(stage.rounds(30, 10)) for url in urls]
    pages = [url.replace("+search.json", "+search") for url in urls]
    page_delays = [seconds_to_get(url, _HTML) for _ in range(stage.rounds(10, 3)) for url in pages]
    rates = [load(url, 2, {"Accept": accept}).answers_per_second for url, accept in ((urls[2], _JSON), (pages[2], _HTML))]
    size = sum(path.stat().st_size for path in twistpi.serverdir.glob("search.sqlite*"))
    more = twistpi.server.memory()["VmRSS"] - before
    busy = [*of_documents, *of_names]
    note = f"requests for /+health meanwhile: {_slow(busy)}; of the same server without work: {_slow(idle)}"
    return [
        Figure(f"search index of {OWN_PROJECTS * FILES:,} own files and {USED_PROJECTS:,} used projects, made", documents, "s"),
        Figure(f"the same of {NAMES:,} names, added", names, "s", target=Target("below", 60, of="value"), note=note),
        Figure("search index on disk", size / MEGABYTE, "MB"),
        Figure("memory more for it", more / MEGABYTE, "MB", target=Target("below", 25, of="value")),
        _latency("search, JSON", delays),
        _latency("search, page", page_delays),
        Figure(f"searches, JSON, {CONNECTIONS} clients", rates[0], "answers/s", target=Target("at least", 300, of="value")),
        Figure(f"searches, pages, {CONNECTIONS} clients", rates[1], "answers/s", target=Target("at least", 300, of="value")),
    ]


def _latency(name: str, delays: list[float]) -> Figure:
    note = f"slowest of {len(delays)}: {max(delays) * 1e3:.1f} ms"
    return Figure(f"{name}, median", statistics.median(delays) * 1e3, "ms", target=Target("below", 15, of="value"), note=note)


def _built(twistpi: Twistpi) -> tuple[float, list[float]]:
    """Seconds until the index is complete, and how long each of many other requests took meanwhile."""
    started, delays = time.perf_counter(), list[float]()
    time.sleep(0.3)  # so that it has begun
    while orjson.loads(get(f"{twistpi.url}/+search.json", _JSON).body)["result"]["building"]:
        delays += _health_delays(twistpi, time.perf_counter() + 0.1)
    return time.perf_counter() - started, delays


def _health_delays(twistpi: Twistpi, until: float) -> list[float]:
    """Seconds of each of the requests that were sent one after the other until that time, with short pauses."""
    delays = list[float]()
    while time.perf_counter() < until:
        delays.append(seconds_to_get(f"{twistpi.url}/+health", _JSON))
        time.sleep(0.002)
    return delays


def _slow(delays: list[float]) -> str:
    slow = sum(delay >= _STALL for delay in delays)
    return f"{slow} of {len(delays)} took {_STALL * 1e3:.0f} ms or longer, the slowest {max(delays, default=0) * 1e3:.0f} ms"


def fill(serverdir: Path) -> None:
    """Write what own and used projects consist of, with the core metadata of the latter."""
    words = random.Random(42)
    blobs = open_tree(str(serverdir))
    changelog = FileChangelog.open(str(serverdir / "changelog"), Disk())
    entries = (encode_content(_AT, "root", [change]) for change in (*_own(words), *_used(words, blobs)))
    while batch := list(islice(entries, _BATCH)):
        changelog.append(batch, changelog.last.serial)
    changelog.close()


def _own(words: random.Random) -> Iterator[Change]:
    yield IndexCreated(_OWN, {"type": "stage", "volatile": True, "bases": [_MIRROR]})
    for number in range(OWN_PROJECTS):
        for release in range(FILES):
            name, version = f"own-{number}", f"1.{release}"
            described = {"name": name, "version": version, "summary": _text(words, 8), "description": _text(words, 400)}
            filename = f"own_{number}-{version}-py3-none-any.whl"
            yield ReleaseDescribed(_OWN, name, version, described)
            yield FileUploaded(_OWN, name, version, filename, hashlib.sha256(filename.encode()).hexdigest(), 10_000)


def _used(words: random.Random, blobs: Tree) -> Iterator[Change]:
    for number in range(USED_PROJECTS):
        name, filename = f"used-{number}", f"used_{number}-1.0-py3-none-any.whl"
        digest = hashlib.sha256(filename.encode()).hexdigest()
        text = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nSummary: {_text(words, 8)}\n\n{_text(words, 300)}\n".encode()
        sha256 = hashlib.sha256(text).hexdigest()
        with blobs.incoming() as incoming:
            incoming.write(text)
            blobs.keep(incoming, metadata_address(blob_address(digest, filename)), sha256)
        yield LinksChanged(
            _MIRROR, name, (Link(filename, f"https://files.upstream.example/{filename}", {"sha256": digest}, 10_000),),
            versions_added=("1.0",),
        )  # fmt: skip
        yield FileCached(_MIRROR, name, filename, digest, 10_000)
        yield MetadataCached(_MIRROR, name, filename, sha256, len(text))


def queries() -> list[str]:
    """What people look for."""
    return [re.sub(r"\{(\d+)\}", lambda found: _word(int(found[1])), query) for query in _QUERIES]


def _word(number: int) -> str:
    """A made-up word; the most common ones are the shortest."""
    syllables: list[str] = []
    while number or not syllables:
        number, syllable = divmod(number, len(_SYLLABLES))
        syllables.append(_SYLLABLES[syllable])
    return "".join(syllables)


def _text(words: random.Random, count: int) -> str:
    """A text whose words are as common as in any language: the second is half as common as the first (Zipf's law)."""
    return " ".join(_word(int(_WORDS ** words.random())) for _ in range(count))

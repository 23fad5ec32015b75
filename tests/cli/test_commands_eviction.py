"""``twistpi evict``, ``pin`` and ``unpin`` on a server directory without a server."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest

from tests.cli.commands import entries, looking, run, write
from tests.gc.gc_setup import LONG_AGO, put
from twistpi.blobs.tree import open_tree
from twistpi.model.changes import Change, FileCached, IndexModified, LinksChanged
from twistpi.model.records import Link

MIRROR = "root/pypi"
NAMES = ("demo-1.0.zip", "demo-2.0.zip", "demo-3.0.zip")


@pytest.fixture
def cache(made: Path) -> Path:
    """Three files of 1,000 bytes, and room for one; the first was not asked for the longest."""
    tree, cached = open_tree(str(made)), list[Change]()
    links = [Link(name, f"https://files.example/{name}", {"sha256": sha256(_content(name)).hexdigest()}) for name in NAMES]
    for number, link in enumerate(links):
        tree.note_access(tree.path(put(tree, link.filename, _content(link.filename), age=True)), LONG_AGO + number * 3600)
        cached.append(FileCached(MIRROR, "demo", link.filename, link.sha256 or "", 1000))
    write(made, LinksChanged(MIRROR, "demo", added=tuple(links)), *cached, IndexModified(MIRROR, {"cache_max_bytes": 1000}))
    return made


def _content(name: str) -> bytes:
    return name.encode().ljust(1000, b".")


def cached(path: Path) -> list[str]:
    """The names of the cached files, according to the view and to the disk, which agree."""
    with looking(path) as reader:
        known = reader.project(MIRROR, "demo")
    assert known is not None
    names = [file.link.filename for file in known.files if file.cached]
    assert len(known.files) == len(NAMES)
    assert sorted(address.filename for address, _ in open_tree(str(path)).walk()) == sorted(names)
    return names


def test_evict_takes_the_longest_not_asked_for_and_says_how_much(cache: Path) -> None:
    before = len(entries(cache, 0))
    told = run(cache, "evict", "--dry-run")
    assert told.stdout.splitlines() == [
        "root/pypi: demo-1.0.zip (1,000 bytes)",
        "root/pypi: demo-2.0.zip (1,000 bytes)",
        "Of 3 files with 2.9 KiB that mirrors cached, 2 files with 2 KiB would go; nothing was changed.",
    ]
    assert cached(cache) == list(NAMES)
    assert len(entries(cache, 0)) == before
    done = json.loads(run(cache, "evict", "--json").stdout)
    assert done == {"dry-run": False, "examined": 3, "cached-bytes": 3000, "evicted": 2, "bytes": 2000, "files": []}
    assert cached(cache) == ["demo-3.0.zip"]
    (entry,) = entries(cache, before)
    assert entry["by"] == "+eviction"
    assert run(cache, "evict").stdout == "Nothing has to go: mirrors cached 1 file with 1000 bytes.\n"


def test_what_is_pinned_stays_until_the_pin_is_taken_back(cache: Path) -> None:
    assert run(cache, "pin", MIRROR, "Demo == 1").stdout == "Demo == 1 on root/pypi is pinned: its files are not evicted.\n"
    assert run(cache, "pin", MIRROR, "demo==1.0").exit_code == 0
    run(cache, "evict")
    assert cached(cache) == ["demo-1.0.zip"]
    assert run(cache, "unpin", MIRROR, "demo==1").exit_code == 0
    assert run(cache, "unpin", MIRROR, "demo==1.0").exit_code == 0
    refused = run(cache, "unpin", MIRROR, "demo==1.0")
    assert (refused.exit_code, "demo==1.0" in refused.output) == (1, True)
    assert run(cache, "pin", "carol/dev", "demo").exit_code == 1, "only a mirror has pins"
    assert "no/such" in run(cache, "pin", "no/such", "demo").output


def test_the_servers_own_budget_is_for_all_mirrors_and_offline_nothing_goes(cache: Path) -> None:
    run(cache, "pin", MIRROR, "nothing")
    offline = {"TWISTPI_OFFLINE": "true", "TWISTPI_CACHE_MAX_BYTES": "0"}
    assert "Nothing has to go" in run(cache, "evict", **offline).stdout
    assert json.loads(run(cache, "evict", "--json", TWISTPI_CACHE_MAX_AGE="30").stdout)["evicted"] == 3

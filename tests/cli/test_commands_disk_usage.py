"""``twistpi du``: every byte is told once, by what it is for."""

from __future__ import annotations

import json
import os
from hashlib import sha256
from pathlib import Path

import pytest

from tests.cli.commands import run, write
from twistpi.model.changes import FileCached, IndexCreated, LinksChanged, MetadataCached
from twistpi.model.records import Link
from twistpi.model.releases import DOCZIP, TOXRESULT, AttachmentAdded, FileUploaded

OTHER = "carol/copy"
SHA256 = sha256(b"demo").hexdigest()


@pytest.fixture
def filled(made: Path) -> Path:
    """One file in two mirrors, with metadata in one; a release with all that it can have."""
    link = Link("demo-1.0.zip", "https://files.example/demo-1.0.zip", {"sha256": SHA256})
    write(
        made,
        IndexCreated(OTHER, {"type": "mirror"}),
        *(LinksChanged(name, "demo", added=(link,)) for name in ("root/pypi", OTHER)),
        *(FileCached(name, "demo", link.filename, SHA256, 5000) for name in ("root/pypi", OTHER)),
        MetadataCached("root/pypi", "demo", link.filename, "1" * 64, 70),
        LinksChanged("root/pypi", "other", added=(Link("other-1.zip", "https://files.example/other-1.zip"),)),
        FileUploaded(
            "carol/dev", "own", "1.0", "own-1.0.zip", "2" * 64, 300, metadata_sha256="3" * 64, metadata_size=20,
            provenance_sha256="4" * 64, provenance_size=7,
        ),
        AttachmentAdded("carol/dev", "own", "1.0", DOCZIP, "own.doc.zip", "5" * 64, 900, "+f/555/5555555555555/own.doc.zip"),
        AttachmentAdded("carol/dev", "own", "1.0", TOXRESULT, "own.json", "6" * 64, 40, "+f/666/6666666666666/own.json"),
    )  # fmt: skip
    return made


def test_du_tells_where_the_bytes_are_as_a_table_and_as_json(filled: Path) -> None:
    told = json.loads(run(filled, "du", "--json").stdout)
    nothing = dict.fromkeys(("cached", "own", "metadata", "tests", "docs"), 0)
    assert told["indexes"] == [
        {"index": OTHER, "files": 1, **nothing, "cached": 5000, "total": 5000},
        {"index": "carol/dev", "files": 1, "cached": 0, "own": 300, "metadata": 27, "tests": 40, "docs": 900, "total": 1267},
        {"index": "root/pypi", "files": 1, **nothing, "cached": 5000, "metadata": 70, "total": 5070},
    ]
    assert [one["project"] for one in told["projects"]] == ["demo", "own", "demo"]
    assert told["shared"] == [{"indexes": [OTHER, "root/pypi"], "files": 1, "saved": 5000}]
    log = sum(os.path.getsize(entry.path) for entry in os.scandir(filled / "changelog"))
    assert told["changelog"] == log
    other = sum(told[name] for name in ("changelog", "view", "search", "statistics", "name-lists"))
    assert told["total"] == 5000 + 70 + 1267 + other
    lines = run(filled, "du").stdout.splitlines()
    assert lines[0].split() == ["INDEX", "FILES", "CACHED", "OWN", "METADATA", "TESTS", "DOCS", "TOTAL"]
    assert [line.split()[0] for line in lines[1:4]] == ["root/pypi", OTHER, "carol/dev"], "the largest first"
    assert lines[4] == f"1 file of {OTHER}, root/pypi is stored once, which saves 4.9 KiB."


def test_du_tells_the_projects_of_one_index(filled: Path) -> None:
    assert run(filled, "du", "--index", "carol/dev").stdout.splitlines() == [
        "PROJECT  FILES  CACHED        OWN  METADATA     TESTS       DOCS    TOTAL",
        "own          1       -  300 bytes  27 bytes  40 bytes  900 bytes  1.2 KiB",
        "total 1.2 KiB",
    ]
    refused = run(filled, "du", "--index", "no/such")
    assert (refused.exit_code, "no/such" in refused.output) == (1, True)

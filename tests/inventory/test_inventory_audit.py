"""Which versions here an advisory affects."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import attrs
import pytest

from tests.inventory.advisories import ADVISORIES, HIGH, store_of
from tests.inventory.test_inventory_uses import apply
from twistpi.advisories.store import AdvisoryStore
from twistpi.inventory.audit import COLUMNS, AffectedVersion, audit_csv, audit_fields, find_affected
from twistpi.model.changes import FileCached, IndexCreated, LinksChanged
from twistpi.model.records import Link
from twistpi.model.releases import FileRemoved, FileUploaded, ReleaseDescribed
from twistpi.rules.osv import Range
from twistpi.statistics.database import StatisticsFile
from twistpi.statistics.download_tables import add_rows
from twistpi.statistics.downloads import Downloads
from twistpi.view.database import ViewDatabase, open_view

CACHED = (
    "hello-1.0.tar.gz",
    "hello-1.0-py3-none-any.whl",
    "hello-1.5.tar.gz",
    "evil-6.6.tar.gz",
    "evil-7.tar.gz",
    "fine-1.tar.gz",
)
LISTED = ("hello-0.9.tar.gz",)


def digest(filename: str) -> str:
    return sha256(filename.encode()).hexdigest()


@pytest.fixture
def view(tmp_path: Path) -> Iterator[ViewDatabase]:
    """A mirror with cached files and one that is only listed, and a private index."""
    with closing(open_view(str(tmp_path / "view.sqlite"), "1" * 32)) as view:
        apply(view, IndexCreated("root/pypi", {"type": "mirror"}), IndexCreated("ann/dev", {"type": "stage"}))
        for filename in (*CACHED, *LISTED):
            link, project = Link(filename, "https://files.example/", {"sha256": digest(filename)}), filename.partition("-")[0]
            apply(view, LinksChanged("root/pypi", project, added=(link,)))
        for filename in CACHED:
            apply(view, FileCached("root/pypi", filename.partition("-")[0], filename, digest(filename), 10))
        yield view


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AdvisoryStore]:
    with closing(store_of(tmp_path)[0]) as store:
        yield store


@pytest.fixture
def downloads(tmp_path: Path) -> Downloads:
    file = StatisticsFile(str(tmp_path / "statistics.sqlite"))
    counts = {"hello-1.0.tar.gz": 2, "hello-1.0-py3-none-any.whl": 3, "hello-1.5.tar.gz": 9, "hello-0.9.tar.gz": 99}
    rows = [("root/pypi", "hello", name, "pip", "24.0", "3.12", number) for name, number in counts.items()]
    file.write(lambda connection: add_rows(connection, "2026-11-20", rows))
    return Downloads(file)


def upload(view: ViewDatabase, filename: str, sha256: str) -> None:
    project, version = filename.removesuffix(".tar.gz").split("-")
    described = ReleaseDescribed("ann/dev", project, version, {"name": project, "version": version})
    apply(view, described, FileUploaded("ann/dev", project, version, filename, sha256, 10))


def named(found: Sequence[AffectedVersion]) -> list[str]:
    return [f"{one.index} {one.project} {one.version}" for one in found]


def test_what_mirrors_cached_is_audited_and_what_is_downloaded_most_comes_first(
    view: ViewDatabase, store: AdvisoryStore, downloads: Downloads
) -> None:
    found = find_affected(view.reader, store, downloads)
    assert named(found) == ["root/pypi hello 1.5", "root/pypi hello 1.0", "root/pypi evil 6.6"]
    first, second, third = found
    assert [(one.downloads, one.files) for one in (first, second)] == [(9, CACHED[2:3]), (5, CACHED[:2])]
    assert [finding.advisory for finding in first.findings] == ["GHSA-1", "PYSEC-2"]
    assert (first.severity, first.findings[0].fixed, first.is_malware, third.is_malware) == ("high", "2.0", False, True)


def test_own_uploads_that_only_share_the_name_are_not_affected_and_copies_of_public_files_are(
    view: ViewDatabase, store: AdvisoryStore
) -> None:
    upload(view, "evil-6.6.tar.gz", digest("our own"))
    upload(view, "hello-1.0.tar.gz", digest("hello-1.0.tar.gz"))
    found = find_affected(view.reader, store, Downloads(), lambda index: index == "ann/dev")
    assert named(found) == ["ann/dev hello 1.0"]


def test_only_the_indexes_are_looked_at_that_are_included(view: ViewDatabase, store: AdvisoryStore) -> None:
    assert find_affected(view.reader, store, Downloads(), lambda index: index == "ann/dev") == []


def test_what_was_evicted_or_removed_is_not_here(view: ViewDatabase, store: AdvisoryStore) -> None:
    apply(view, FileRemoved("root/pypi", "evil", "evil-6.6.tar.gz"))
    assert "root/pypi evil 6.6" not in named(find_affected(view.reader, store, Downloads()))


def test_without_advisories_nothing_is_affected(view: ViewDatabase, tmp_path: Path) -> None:
    assert find_affected(view.reader, AdvisoryStore(str(tmp_path / "none.sqlite")), Downloads()) == []


@pytest.mark.parametrize(("least", "number"), [("any", 3), ("low", 3), ("high", 3), ("critical", 1), ("malware", 1)])
def test_findings_are_told_apart_by_how_bad_they_are(view: ViewDatabase, store: AdvisoryStore, least: str, number: int) -> None:
    found = find_affected(view.reader, store, Downloads())
    assert sum(one.is_as_bad_as(least) for one in found) == number


def test_a_finding_of_unknown_severity_counts_as_any_alone(view: ViewDatabase, tmp_path: Path) -> None:
    unknown = attrs.evolve(HIGH, severity="", ranges=(Range("0"),))
    with closing(store_of(tmp_path, [unknown])[0]) as store:
        (one, *_) = find_affected(view.reader, store, Downloads())
    assert [one.is_as_bad_as(least) for least in ("any", "low")] == [True, False]


def test_tables_have_a_row_for_each_advisory_and_json_has_one_object_for_each_version(
    view: ViewDatabase, store: AdvisoryStore, downloads: Downloads
) -> None:
    found = find_affected(view.reader, store, downloads)
    header, *rows = csv.reader(io.StringIO(audit_csv(found)))
    assert tuple(header) == COLUMNS
    assert len(rows) == sum(len(one.findings) for one in found) == 4
    assert rows[0] == [
        *("root/pypi", "hello", "1.5", "1", "9", "GHSA-1", "no", "high", "2.0", "2026-01-02T00:00:00Z", "it leaks")
    ]
    fields = audit_fields(found)
    assert [len(one["advisories"]) for one in fields] == [2, 1, 1]
    assert fields[2]["malware"] is True
    assert fields[2]["severity"] is None
    assert {one["project"] for one in fields} < {one.project for one in ADVISORIES}

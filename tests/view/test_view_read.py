"""Queries of the view."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.view.small_world import DIGESTS, FILENAMES, INDEX, cached, changed, fold, kept_blobs, link, listed, removed
from twistpi.model.changes import EpochBegan, IndexCreated, LinksChanged, MetadataCached, MetadataMissing, ProjectVanished
from twistpi.model.records import Link, PageHeader
from twistpi.rules.mirrors import file_path
from twistpi.view.database import ViewDatabase
from twistpi.view.read import KeptBlob, Reader, Readers

WHEEL, SDIST = FILENAMES[:2]


def test_a_file_is_found_by_its_path_in_its_index_only(view: ViewDatabase) -> None:
    fold(view, listed(link(), link(SDIST)))
    path = file_path(link(SDIST))
    found = view.reader.file_by_path(INDEX, path)
    assert found is not None
    assert (found[0], found[1].link) == ("demo", link(SDIST))
    for index, other in (("alice/mirror", path), (INDEX, f"{path}x"), (INDEX, f"+f/000/0000000000000/{SDIST}"), (INDEX, "")):
        assert view.reader.file_by_path(index, other) is None


@pytest.mark.parametrize("digests", [{}, {"sha256": DIGESTS[0]}])
def test_a_file_is_found_by_a_path_of_another_digest_while_its_link_has_that(view: ViewDatabase, digests: dict[str, str]) -> None:
    path = f"+f/012/3456789abcdef/{WHEEL}"
    first = Link(WHEEL, "https://one.example/x", {**digests, "md5": "0123456789abcdef" * 2})
    fold(view, listed(first))
    found = view.reader.file_by_path(INDEX, path)
    assert found is not None
    assert (found[1].link, found[1].path) == (first, file_path(first))
    fold(view, listed(Link(WHEEL, "https://one.example/x", {**digests, "md5": "f" * 32})))
    assert view.reader.file_by_path(INDEX, path) is None


def test_of_two_projects_that_list_the_same_file_the_cached_one_is_found(view: ViewDatabase) -> None:
    fold(view, LinksChanged(INDEX, "another", (link(),)), listed(link()), cached())
    found = view.reader.file_by_path(INDEX, file_path(link()))
    assert found is not None
    assert (found[0], found[1].cached) == ("demo", True)
    assert [project for project, _ in view.reader.files_by_filename(INDEX, WHEEL)] == ["demo", "another"]
    assert view.reader.files_by_filename(INDEX, "nothing.zip") == []


def test_epochs_are_counted_from_one(view: ViewDatabase) -> None:
    fold(view, listed(link()))
    assert (view.reader.epoch(), view.reader.epochs()) == (1, [])
    fold(view, EpochBegan(2, "a" * 32))
    fold(view, EpochBegan(3, "b" * 32))
    assert (view.reader.epoch(), view.reader.epochs()) == (3, [(2, "a" * 32, 2), (3, "b" * 32, 3)])


def test_the_names_of_projects(view: ViewDatabase) -> None:
    fold(view, *(LinksChanged(INDEX, name, (link(),)) for name in ("zebra", "demo", "ant")), LinksChanged("a/b", "other"))
    fold(view, cached())
    assert view.reader.projects(INDEX) == ["ant", "demo", "zebra"]
    assert view.reader.cached_projects(INDEX) == ["demo"]
    assert (view.reader.has_project(INDEX, "ant"), view.reader.has_project(INDEX, "other")) == (True, False)


def test_header_and_number_of_links_without_loading_them(view: ViewDatabase) -> None:
    fold(view, listed(link(), link(SDIST), header=PageHeader("quarantined")), removed(SDIST))
    assert [view.reader.header(INDEX, name) for name in ("demo", "other")] == [("quarantined", False), None]
    assert [view.reader.link_count(INDEX, name) for name in ("demo", "other")] == [2, 0]


def test_kept_blobs_are_those_that_files_need_with_the_digits_of_their_paths(view: ViewDatabase) -> None:
    bare = link(SDIST, sha256=None)
    fold(view, listed(link(), bare, link("demo-9.zip")), cached(), cached(SDIST, DIGESTS[1], 6))
    fold(view, MetadataCached(INDEX, "demo", WHEEL, DIGESTS[2], 7), MetadataCached(INDEX, "demo", SDIST, DIGESTS[2], 7))
    assert kept_blobs(view.reader) == [
        KeptBlob(DIGESTS[0][:16], WHEEL, DIGESTS[0], 5),
        KeptBlob(DIGESTS[0][:16], f"{WHEEL}.metadata", DIGESTS[2], 7),
        KeptBlob(DIGESTS[1][:16], SDIST, DIGESTS[1], 6),
        KeptBlob(DIGESTS[2][:16], f"{SDIST}.metadata", DIGESTS[2], 7),
    ]


def test_kept_metadata_lies_where_its_known_file_says(view: ViewDatabase) -> None:
    fold(view, listed(link(sha256=None)), MetadataCached(INDEX, "demo", WHEEL, DIGESTS[2], 7), cached())
    known = view.reader.project(INDEX, "demo")
    assert known is not None
    digits = {(blob.filename, blob.digits) for blob in kept_blobs(view.reader)}
    file = known.files[0]
    assert digits == {(WHEEL, str(file.blob_sha256)[:16]), (f"{WHEEL}.metadata", str(file.metadata_blob_sha256)[:16])}


def test_every_thread_has_a_reader_of_its_own(view: ViewDatabase, view_path: str) -> None:
    fold(view, IndexCreated(INDEX, {}))
    seen: list[Reader] = []
    with contextlib.closing(Readers(view_path)) as readers:

        def work() -> None:
            seen.append(readers.get())
            assert readers.get() is seen[-1]
            assert readers.get().serial() == 1

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len({id(reader) for reader in seen}) == 3


def test_a_reader_cannot_write(view: ViewDatabase, view_path: str) -> None:
    with contextlib.closing(Readers(view_path)) as readers, pytest.raises(Exception, match="readonly"):
        readers.get()._execute("DELETE FROM stamp")


QUESTIONS: dict[str, Callable[[Reader], Any]] = {
    "index": lambda reader: reader.index(INDEX),
    "project": lambda reader: reader.project(INDEX, "demo"),
    "has_project": lambda reader: reader.has_project(INDEX, "demo"),
    "header": lambda reader: reader.header(INDEX, "demo"),
    "link_count": lambda reader: reader.link_count(INDEX, "demo"),
    "projects": lambda reader: reader.projects(INDEX),
    "file_by_path": lambda reader: reader.file_by_path(INDEX, file_path(link())),
    "files_by_filename": lambda reader: reader.files_by_filename(INDEX, WHEEL),
    "freshness": lambda reader: reader.freshness(INDEX, "demo"),
}


@contextlib.contextmanager
def plans(view: ViewDatabase, *kinds: str) -> Iterator[list[tuple[str, list[str]]]]:
    """Fills a list with the statements that are run inside, and how SQLite goes about each."""
    asked: list[str] = []
    found: list[tuple[str, list[str]]] = []
    connection = view.reader._connection
    connection.set_trace_callback(asked.append)
    yield found
    connection.set_trace_callback(None)
    for statement in asked:
        if statement.split()[0] in kinds:
            found.append((statement, [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}")]))


@pytest.mark.parametrize("question", QUESTIONS)
def test_no_question_reads_a_whole_table(view: ViewDatabase, question: str) -> None:
    fold(view, listed(link()))
    with plans(view, "SELECT") as found:
        QUESTIONS[question](view.reader)
    assert found
    assert not [step for _, plan in found for step in plan if step.startswith("SCAN")]


def test_no_fold_searches_more_than_the_files_of_one_name(view: ViewDatabase) -> None:
    fold(view, listed(link()), ProjectVanished(INDEX, "demo"))
    new, path = link(sha256=DIGESTS[1]), file_path(link())
    with plans(view, "SELECT", "INSERT", "UPDATE", "DELETE") as found:
        fold(view, listed(new, link(SDIST), versions_added=("1",), versions_removed=("2",)), changed(link()), removed(SDIST))
        fold(view, cached(), cached(path=path), MetadataMissing(INDEX, "demo", WHEEL, "none"), ProjectVanished(INDEX, "demo"))
        fold(view, *(MetadataCached(INDEX, "demo", WHEEL, DIGESTS[2], 7, at) for at in (None, path)))
    assert len(found) > 10
    for statement, plan in found:
        scans = [step for step in plan if "SCAN" in step or "file_by_project" in step]
        assert not scans or "stamp" in statement, (statement, plan)

"""What uploads, test results, documentation and removals do to the view."""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from types import SimpleNamespace
from typing import Any, cast

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.view.small_world import AT, DIGESTS, FILENAMES, LOG, TWIN, fold, fold_history, histories, kept_blobs
from tests.view.test_view_fold_property import MEMORY
from twistpi.model.changes import ADVISORY_SET, AdvisoriesAccepted, Change, FileCached, IndexCreated, IndexDeleted, LinksChanged
from twistpi.model.records import KnownFile, Link
from twistpi.model.releases import (
    Attachment,
    AttachmentAdded,
    AttachmentRemoved,
    FileRemoved,
    FileUploaded,
    FileYanked,
    LogLine,
    ProjectMarked,
    ProjectRemoved,
    Release,
    ReleaseDescribed,
    ReleaseRemoved,
    UploadedFile,
)
from twistpi.replication.missing_blobs import named_by
from twistpi.rules.mirrors import file_path
from twistpi.view.database import ViewDatabase, open_view
from twistpi.view.read import KeptBlob, NamedBlob
from twistpi.view.read_releases import BEGINNING, ReleaseReader

INDEX, OTHER = "alice/dev", "alice/prod"
WHEEL, SDIST = FILENAMES[:2]
SECOND = "2026-11-22T17:00:00Z"
UPLOAD = LogLine("upload", "+mirror", SECOND, INDEX)
"""What the log says of an upload; the author is that of ``fold``."""


def uploaded(filename: str = WHEEL, sha256: str = DIGESTS[0], version: str = "1.0", **more: object) -> FileUploaded:
    return attrs.evolve(FileUploaded(INDEX, "demo", version, filename, sha256, 1), **more)  # type: ignore[arg-type]


def path_of(filename: str, sha256: str) -> str:
    return file_path(Link(filename, "", {"sha256": sha256}))


def toxresult(number: int = 0, for_filename: str = WHEEL, sha256: str = DIGESTS[0]) -> AttachmentAdded:
    name = f"{for_filename}.toxresult-20261122170000-{number}"
    path = f"+f/{sha256[:3]}/{sha256[3:16]}/{name}"
    return AttachmentAdded(INDEX, "demo", "1.0", "toxresult", name, DIGESTS[2], 5, path, for_filename)


def doczip(sha256: str = DIGESTS[1], version: str = "1.0") -> AttachmentAdded:
    name = f"demo-{version}.doc.zip"
    return AttachmentAdded(INDEX, "demo", version, "doczip", name, sha256, 7, path_of(name, sha256))


def release(view: ViewDatabase, version: str = "1.0") -> Release:
    found = view.reader.release(INDEX, "demo", version)
    assert found is not None
    return found


def test_an_uploaded_file_is_one_that_pages_list(view: ViewDatabase) -> None:
    fold(view, uploaded(requires_python=">=3.8", metadata_sha256=DIGESTS[2], metadata_size=3, hashes={"md5": "0" * 32}))
    known = view.reader.project(INDEX, "demo")
    assert known is not None
    hashes = {"md5": "0" * 32, "sha256": DIGESTS[0]}
    link = Link(WHEEL, "", hashes, 1, ">=3.8", AT, core_metadata={"sha256": DIGESTS[2]})
    file = KnownFile(link, path_of(WHEEL, DIGESTS[0]), DIGESTS[0], 1, DIGESTS[2], 3)
    assert known.files == (file,)
    assert known.versions == ("1.0",)
    assert release(view).files == (UploadedFile(file, (UPLOAD,)),)


def test_a_release_may_have_no_files_and_its_metadata_is_changed_field_by_field(view: ViewDatabase) -> None:
    fold(view, ReleaseDescribed(INDEX, "demo", "1.0", {"name": "Demo", "summary": "old", "license": "MIT"}))
    fold(view, ReleaseDescribed(INDEX, "demo", "1.0", {"summary": "new"}, ("license", "never there")))
    assert view.reader.has_project(INDEX, "demo")
    assert view.reader.releases(INDEX, "demo") == [Release(INDEX, "demo", "1.0", {"name": "Demo", "summary": "new"})]


def test_two_spellings_of_a_version_are_two_releases(view: ViewDatabase) -> None:
    fold(view, uploaded(), uploaded(SDIST, DIGESTS[1], "1.00"))
    assert [(one.version, len(one.files)) for one in view.reader.releases(INDEX, "demo")] == [("1.0", 1), ("1.00", 1)]


def test_a_release_that_is_removed_while_it_is_read_is_none(view: ViewDatabase) -> None:
    class Connection:
        """Has the release removed after each statement."""

        def execute(self, *statement: object) -> sqlite3.Cursor:
            execute: Any = view.reader._connection.execute
            rows = execute(*statement).fetchall()
            fold(view, ReleaseRemoved(INDEX, "demo", "1.0"))
            return cast(sqlite3.Cursor, SimpleNamespace(fetchall=lambda: rows, fetchone=lambda: rows[0] if rows else None))

    fold(view, IndexCreated(INDEX, {}), ReleaseDescribed(INDEX, "demo", "1.0", {"name": "demo", "version": "1.0"}))
    assert ReleaseReader(cast(sqlite3.Connection, Connection())).release(INDEX, "demo", "1.0") is None


def test_an_overwritten_file_is_gone_and_counted(view: ViewDatabase) -> None:
    fold(view, uploaded(), toxresult())
    fold(view, uploaded(sha256=DIGESTS[1]))
    fold(view, uploaded(sha256=DIGESTS[2]))
    (file,) = release(view).files
    assert file.known.sha256 == DIGESTS[2]
    assert file.log == (LogLine("overwrite", None, SECOND, INDEX, count=2), UPLOAD)
    assert release(view).attachments == ()
    assert view.reader.was_removed(INDEX, path_of(WHEEL, DIGESTS[0]))
    assert view.reader.was_removed(INDEX, toxresult().path)
    assert view.reader.file_by_path(INDEX, path_of(WHEEL, DIGESTS[0])) is None
    fold(view, uploaded(sha256=DIGESTS[0]))
    assert not view.reader.was_removed(INDEX, path_of(WHEEL, DIGESTS[0])), "the same bytes again revive the address"


def test_a_pushed_file_keeps_its_history_and_its_time(view: ViewDatabase) -> None:
    history = (LogLine("overwrite", None, SECOND, OTHER, count=1), LogLine("upload", "bob", SECOND, OTHER))
    fold(view, uploaded(pushed_from=OTHER, log=history, uploaded_at="2026-01-01T00:00:00.000000Z", yanked="broken"))
    (file,) = release(view).files
    assert file.log == (history[1], LogLine("push", "+mirror", SECOND, INDEX, OTHER))
    assert (file.known.link.upload_time, file.known.link.yanked) == ("2026-01-01T00:00:00.000000Z", "broken")


def test_an_imported_file_has_the_log_that_it_came_with_and_no_other(view: ViewDatabase) -> None:
    history = (LogLine("overwrite", None, SECOND, INDEX, count=1), LogLine("upload", "bob", SECOND, INDEX))
    fold(view, uploaded(log=history), attrs.evolve(toxresult(), log=history[1:]))
    assert release(view).files[0].log == history
    assert release(view).attachments[0].log == history[1:]


def test_test_results_and_documentation_belong_to_their_release(view: ViewDatabase) -> None:
    fold(view, uploaded(), toxresult(), doczip())
    tox, docs = release(view).attachments
    assert tox == Attachment("toxresult", toxresult().filename, toxresult().path, DIGESTS[2], 5, (UPLOAD,), WHEEL)
    assert (docs.kind, docs.sha256, docs.for_filename) == ("doczip", DIGESTS[1], None)
    assert view.reader.attachment_by_path(INDEX, tox.path) == ("demo", "1.0", tox)
    assert view.reader.attachment_by_path(OTHER, tox.path) is None


def test_documentation_takes_the_place_of_that_before_it(view: ViewDatabase) -> None:
    fold(view, doczip(), doczip(DIGESTS[2]))
    (docs,) = release(view).attachments
    assert (docs.sha256, docs.log[0]) == (DIGESTS[2], LogLine("overwrite", None, SECOND, INDEX, count=1))
    assert view.reader.was_removed(INDEX, doczip().path)


@pytest.mark.parametrize(
    ("removal", "left"),
    [
        (FileRemoved(INDEX, "demo", WHEEL), ["1.0", "2.0"]),
        (FileRemoved(INDEX, "demo", "demo-2.0.tar.gz"), ["1.0"]),
        (FileRemoved(INDEX, "demo", "never there"), ["1.0", "2.0"]),
        (ReleaseRemoved(INDEX, "demo", "1.0"), ["2.0"]),
        (ReleaseRemoved(INDEX, "demo", "3.0"), ["1.0", "2.0"]),
        (ProjectRemoved(INDEX, "demo"), []),
        (AttachmentRemoved(INDEX, "demo", toxresult().path), ["1.0", "2.0"]),
        (IndexDeleted(INDEX), []),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_a_removal_takes_what_is_empty_along_and_nothing_else(view: ViewDatabase, removal: Change, left: list[str]) -> None:
    fold(view, IndexCreated(INDEX, {}), uploaded(), uploaded(SDIST, DIGESTS[1]), toxresult())
    fold(view, uploaded("demo-2.0.tar.gz", DIGESTS[2], "2.0"), FileUploaded(OTHER, "demo", "1.0", WHEEL, DIGESTS[0], 1))
    elsewhere = view.reader.release(OTHER, "demo", "1.0")
    fold(view, removal)
    assert [one.version for one in view.reader.releases(INDEX, "demo")] == left
    known = view.reader.project(INDEX, "demo")
    assert sorted(() if known is None else known.versions) == left
    assert view.reader.has_project(INDEX, "demo") == bool(left)
    assert view.reader.release(OTHER, "demo", "1.0") == elsewhere
    assert {blob.sha256 for blob in kept_blobs(view.reader)} >= {DIGESTS[0]}


def test_what_was_removed_is_remembered_as_gone(view: ViewDatabase) -> None:
    fold(view, uploaded(), toxresult(), doczip())
    fold(view, ProjectRemoved(INDEX, "demo"))
    paths = (path_of(WHEEL, DIGESTS[0]), toxresult().path, doczip().path)
    assert all(view.reader.was_removed(INDEX, path) and not view.reader.was_removed(OTHER, path) for path in paths)
    assert kept_blobs(view.reader) == []


def test_a_yanked_file_says_so_until_it_is_not_any_more(view: ViewDatabase) -> None:
    fold(view, uploaded())
    for yanked in ("broken", True, False):
        fold(view, FileYanked(INDEX, "demo", WHEEL, yanked))
        assert release(view).files[0].known.link.yanked == yanked


def test_a_project_has_the_status_it_was_marked_with(view: ViewDatabase) -> None:
    fold(view, uploaded(), ProjectMarked(INDEX, "demo", "archived", "moved"))
    known = view.reader.project(INDEX, "demo")
    assert known is not None
    assert (known.header.status, known.header.status_reason) == ("archived", "moved")
    fold(view, ProjectMarked(INDEX, "demo"))
    assert view.reader.header(INDEX, "demo") == (None, False)


def test_every_blob_of_a_release_is_known_to_be_needed(view: ViewDatabase) -> None:
    beside = uploaded(metadata_sha256=DIGESTS[1], metadata_size=2, provenance_sha256=DIGESTS[2], provenance_size=3)
    fold(view, beside, toxresult(), doczip(DIGESTS[1]))
    digits = DIGESTS[0][:16]
    assert {(blob.digits, blob.filename) for blob in kept_blobs(view.reader)} == {
        (digits, WHEEL),
        (digits, f"{WHEEL}.metadata"),
        (DIGESTS[2][:16], f"{WHEEL}.provenance"),
        (digits, toxresult().filename),
        (DIGESTS[1][:16], doczip().filename),
    }


def test_a_walk_through_what_is_named_comes_by_uploads_first_and_says_for_which_index(view: ViewDatabase) -> None:
    mirror, digest = "root/mirror", DIGESTS[2]
    fold(view, IndexCreated(mirror, {"type": "mirror"}), LinksChanged(mirror, "demo", (Link(SDIST, "https://one.example/x"),)))
    fold(view, FileCached(mirror, "demo", SDIST, digest, 9), uploaded(), toxresult(), AdvisoriesAccepted(DIGESTS[1], 7, 1))
    first, mark = view.reader.named_blobs(BEGINNING, 10)
    assert [(named.index, named.is_private, named.blob.filename) for named in first] == [(INDEX, True, WHEEL)]
    assert mark is not None
    second, mark = view.reader.named_blobs(mark, 10)
    assert [(named.is_private, named.blob.filename) for named in second] == [(True, toxresult().filename)]
    assert mark is not None
    third, mark = view.reader.named_blobs(mark, 10)
    assert third == [NamedBlob(mirror, False, KeptBlob(digest[:16], SDIST, digest, 9))]
    assert mark is not None
    advisories = KeptBlob(DIGESTS[1][:16], ADVISORY_SET, DIGESTS[1], 7)
    assert view.reader.named_blobs(mark, 10) == ([NamedBlob("", False, advisories)], None)


def test_only_the_newest_set_of_advisories_is_named(view: ViewDatabase) -> None:
    old, new = (
        AdvisoriesAccepted(digest, 7, 1, "https://feed.example/all.zip", "2026-11-30T00:00:00Z") for digest in DIGESTS[:2]
    )
    fold(view, old, new)
    assert [blob.sha256 for blob in kept_blobs(view.reader)] == [new.sha256]
    assert view.reader.count_files() == 1
    found = view.reader.advisory_set()
    assert found is not None
    assert (found.sha256, found.count, found.source, found.modified) == (new.sha256, 1, new.source, new.modified)
    assert [list(named_by(change, view.reader)) for change in (old, new)] == [
        [],
        [NamedBlob("", False, KeptBlob(new.sha256[:16], ADVISORY_SET, new.sha256, 7))],
    ]


def test_what_a_mirror_lists_is_known_by_its_digits_before_it_is_here(view: ViewDatabase) -> None:
    listed = Link(WHEEL, "https://one.example/x", {"sha256": DIGESTS[0]})
    fold(view, IndexCreated("root/mirror", {"type": "mirror"}), LinksChanged("root/mirror", "demo", (listed,)))
    for filename in (WHEEL, f"{WHEEL}.metadata"):
        assert view.reader.lists_blob(DIGESTS[0][:16], filename)
        assert not view.reader.names_blob(DIGESTS[0][:16], filename)
        assert not view.reader.lists_blob(DIGESTS[1][:16], filename)
    assert not view.reader.lists_blob(DIGESTS[0][:16], SDIST)


@given(histories(), st.lists(st.tuples(st.sampled_from([*DIGESTS, TWIN]), st.sampled_from(FILENAMES)), max_size=3))
@settings(max_examples=30)
def test_a_blob_is_named_exactly_when_it_is_among_those_that_are_needed(
    history: list[tuple[Change, ...]], pushed: list[tuple[str, str]]
) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder, closing(open_view(f"{folder}/view.sqlite", LOG)) as view:
        fold_history(view, history)
        for sha256, filename in pushed:
            change = uploaded(filename, metadata_sha256=DIGESTS[1], metadata_size=1, provenance_sha256=sha256, provenance_size=2)
            fold(view, change)
        needed = {(blob.digits, blob.filename) for blob in kept_blobs(view.reader)}
        known = {filename for _, filename in needed} | {*FILENAMES, ADVISORY_SET}
        endings = ("", ".metadata", ".provenance")
        filenames = {filename.removesuffix(ending) + more for filename in known for ending in endings for more in endings}
        digits = {one for one, _ in needed} | {one[:16] for one in DIGESTS}
        named = {(one, filename) for one in digits for filename in filenames if view.reader.names_blob(one, filename)}
        assert named == needed
        told = {view.reader.kept_blob(*one) for one in needed}
        assert told <= set(kept_blobs(view.reader))
        assert {(blob.digits, blob.filename) for blob in told if blob is not None} == needed
        assert sorted(map(str, kept_blobs(view.reader, 1))) == sorted(map(str, kept_blobs(view.reader)))


def test_a_file_leads_to_its_release_and_a_removed_name_to_its_former_paths(view: ViewDatabase) -> None:
    fold(view, uploaded(), uploaded(SDIST, DIGESTS[1], "1.00"), FileUploaded(OTHER, "demo", "2.0", SDIST, DIGESTS[1], 1))
    found = view.reader.release_of_file(INDEX, "demo", SDIST)
    assert found == view.reader.release(INDEX, "demo", "1.00")
    assert view.reader.release_of_file(INDEX, "demo", "never there") is None
    assert view.reader.release_of_file(INDEX, "other", SDIST) is None
    fold(view, FileRemoved(INDEX, "demo", SDIST), uploaded(sha256=DIGESTS[2]))
    assert view.reader.release_of_file(INDEX, "demo", SDIST) is None
    assert view.reader.removed_paths(INDEX, SDIST) == [path_of(SDIST, DIGESTS[1])]
    assert view.reader.removed_paths(INDEX, WHEEL) == [path_of(WHEEL, DIGESTS[0])]
    assert view.reader.removed_paths(INDEX, WHEEL[1:]) == view.reader.removed_paths(OTHER, SDIST) == []


def test_the_provenance_of_a_file_is_known_by_digest_and_size(view: ViewDatabase) -> None:
    fold(view, uploaded(provenance_sha256=DIGESTS[2], provenance_size=3))
    (file,) = release(view).files
    assert (file.provenance_sha256, file.provenance_size) == (DIGESTS[2], 3)

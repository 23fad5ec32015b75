"""Which releases an index has of a project."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.rules.release_setup import DEV, PROD, PYPI, SDIST, SECOND, WHEEL, Setup, digest, kinds, make_setup, upload
from tests.rules.test_rules_accounts import JSON_VALUES, result_or_refusal
from tests.view.small_world import cached, kept_blobs, listed
from tests.view.small_world import link as mirrored
from twistpi.model.changes import Change, LinksChanged
from twistpi.model.errors import TwistpiError, UnknownFile
from twistpi.model.records import Index, KnownFile, KnownProject, Link, PageHeader
from twistpi.model.releases import AttachmentRemoved, FileRemoved, FileYanked, ProjectMarked, ProjectRemoved, ReleaseRemoved
from twistpi.rules.releases import (
    STATUSES,
    Found,
    decide_file_removed,
    decide_project_removed,
    decide_release_removed,
    decide_status,
    decide_yank,
    find_release,
    read_status,
    read_yank,
    releases,
)


def known(*filenames: str, **more: object) -> KnownProject:
    files = tuple(KnownFile(Link(name, f"https://files.example/{name}"), f"+e/x/{name}") for name in filenames)
    return KnownProject("root/pypi", "demo", files, **more)  # type: ignore[arg-type]


def shown(project: KnownProject) -> dict[str, list[str]]:
    return {version: [file.link.filename for file in files] for version, files in releases(project).items()}


def test_files_are_gathered_by_version_in_their_order() -> None:
    assert shown(known("demo-2.0.tar.gz", "demo-1.0-py3-none-any.whl", "demo-1.0.tar.gz")) == {
        "2.0": ["demo-2.0.tar.gz"],
        "1.0": ["demo-1.0-py3-none-any.whl", "demo-1.0.tar.gz"],
    }


def test_spellings_of_one_version_are_one_release_spelled_as_the_index_does() -> None:
    assert shown(known("demo-1.0.tar.gz", "demo-1.0.0.zip")) == {"1.0": ["demo-1.0.tar.gz", "demo-1.0.0.zip"]}
    assert shown(known("demo-1.0.tar.gz", versions=("1",))) == {"1": ["demo-1.0.tar.gz"]}
    assert shown(known("demo-1.0_1-py3-none-any.whl", versions=("1.0-1",))) == {"1.0-1": ["demo-1.0_1-py3-none-any.whl"]}


def test_versions_the_index_keeps_apart_stay_apart() -> None:
    assert list(shown(known("demo-1.0.tar.gz", "demo-1.00.tar.gz", versions=("1.0", "1.00")))) == ["1.0", "1.00"]


def test_what_tells_no_version_or_is_not_offered_belongs_to_no_release() -> None:
    assert shown(known("demo.txt", "other-1.0.tar.gz")) == {}
    assert shown(known("demo-1.0.tar.gz", header=PageHeader("quarantined"))) == {}
    assert shown(known("demo-1.0.tar.gz", vanished=True)) == {}, "nothing of it is cached"


@pytest.mark.parametrize(("asked", "found"), [("1.0", "1.0"), ("1.00", "1.0"), ("1", "1.0"), ("v1.0", "1.0"), ("2", None)])
def test_a_release_is_found_by_any_spelling(asked: str, found: str | None) -> None:
    release = find_release(asked, known("demo-1.0.tar.gz"))
    assert (None if release is None else release[0]) == found


def test_the_very_spelling_is_found_first() -> None:
    project = known("demo-1.0.tar.gz", "demo-1.00.tar.gz", versions=("1.0", "1.00"))
    release = find_release("1.00", project)
    assert release is not None
    assert [file.link.filename for file in release[1]] == ["demo-1.00.tar.gz"]


def test_versions_that_are_none_are_compared_as_text() -> None:
    assert find_release("2010a-final", known("demo-2010a-final.zip")) is not None


# Removals ------------------------------------------------------------------------------------------------------------


MIRROR = Index("root/pypi", {"type": "mirror", "volatile": True})


@pytest.fixture
def setup() -> Iterator[Setup]:
    with make_setup() as setup:
        yield setup


def remove_file(setup: Setup, index: Index, path: str, *, force: bool = False) -> tuple[Change, ...]:
    reader = setup.view.reader
    file, attachment = reader.file_by_path(index.name, path), reader.attachment_by_path(index.name, path)
    found = Found(path, file, attachment, reader.was_removed(index.name, path))
    return setup.fold(*decide_file_removed(index, found, force=force))


def remove_release(setup: Setup, index: Index, project: str, version: str, *, force: bool = False) -> tuple[Change, ...]:
    reader = setup.view.reader
    release, known = reader.release(index.name, project, version), reader.project(index.name, project)
    return setup.fold(*decide_release_removed(index, project, version, release, known, force=force))


def remove_project(setup: Setup, index: Index, project: str, *, force: bool = False) -> tuple[Change, ...]:
    exists = setup.view.reader.has_project(index.name, project)
    return setup.fold(*decide_project_removed(index, project, exists=exists, force=force))


# Files -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("index", "force"), [(DEV, False), (DEV, True), (PROD, True)], ids=["volatile", "both", "forced"])
def test_distributions_test_results_and_documentation_can_be_removed(setup: Setup, index: Index, force: bool) -> None:
    setup.upload(index, upload())
    setup.upload(index, upload(SDIST, "sdist"))
    setup.test(index, WHEEL, "result")
    setup.document(index, "docs")
    tox, docs = setup.release(index).attachments
    assert remove_file(setup, index, tox.path, force=force) == (AttachmentRemoved(index.name, "demo", tox.path),)
    assert remove_file(setup, index, docs.path, force=force) == (AttachmentRemoved(index.name, "demo", docs.path),)
    assert remove_file(setup, index, upload().path, force=force) == (FileRemoved(index.name, "demo", WHEEL),)
    assert [file.known.link.filename for file in setup.release(index).files] == [SDIST]
    remove_file(setup, index, upload(SDIST, "sdist").path, force=force)
    assert not setup.view.reader.has_project(index.name, "demo"), "the last file takes all along"


def refused_file(setup: Setup, index: Index, path: str, *, force: bool = False) -> tuple[int, str]:
    with pytest.raises(TwistpiError) as refused:
        remove_file(setup, index, path, force=force)
    return refused.value.status, str(refused.value)


def test_nothing_goes_from_an_index_that_is_not_volatile_whether_it_is_there_or_not(setup: Setup) -> None:
    setup.upload(PROD, upload())
    for path in (upload().path, "+f/000/0000000000000/none.zip"):
        assert refused_file(setup, PROD, path) == (403, "cannot delete version on non-volatile index")


def test_what_is_not_there_or_not_any_more_cannot_be_removed(setup: Setup) -> None:
    path = upload().path
    assert refused_file(setup, DEV, path) == (404, f"package 'alice/dev/{path}' doesn't exist")
    setup.upload(PROD, upload())
    assert refused_file(setup, DEV, path)[0] == 404, "it is there on another index only"
    setup.upload(DEV, upload())
    remove_file(setup, DEV, path)
    assert refused_file(setup, DEV, path) == (410, f"file 'alice/dev/{path}' existed, deleted in later serial")
    assert setup.release(PROD).files


def test_a_file_that_was_overwritten_is_not_there_any_more(setup: Setup) -> None:
    setup.upload(DEV, upload())
    setup.upload(DEV, upload(content="two"))
    assert refused_file(setup, DEV, upload().path)[0] == 410
    assert setup.release(DEV).files


def test_of_a_mirrors_file_the_bytes_go_and_it_stays_listed(setup: Setup) -> None:
    setup.fold(listed(mirrored(WHEEL, digest("one")), mirrored(SDIST, digest("two"))), cached(WHEEL, digest("one")))
    here, elsewhere = upload().path, upload(SDIST, "two").path
    assert refused_file(setup, PYPI, here)[0] == 403
    assert refused_file(setup, MIRROR, "+f/none") == (404, "package 'root/pypi/+f/none' doesn't exist")
    for index, force in ((MIRROR, False), (PYPI, True)):
        assert refused_file(setup, index, elsewhere, force=force) == (404, f"entry has no file data root/pypi/{elsewhere}")
    for index, force in ((MIRROR, False), (PYPI, True)):
        assert remove_file(setup, index, here, force=force) == (FileRemoved(PYPI.name, "demo", WHEEL),)
        known = setup.view.reader.project(PYPI.name, "demo")
        assert known is not None
        assert [(file.link.filename, file.cached, file.vanished) for file in known.files] == [
            (WHEEL, False, False),
            (SDIST, False, False),
        ]
        setup.fold(cached(WHEEL, digest("one")))
    setup.fold(LinksChanged(PYPI.name, "demo", removed=(WHEEL,)))
    told = (
        "what a mirror's upstream does not list cannot be removed one by one, remove the project demo from root/pypi as a whole"
    )
    assert refused_file(setup, MIRROR, here) == (403, told)


# Releases ----------------------------------------------------------------------------------------------------------


def refused_release(setup: Setup, index: Index, project: str, version: str) -> tuple[int, str]:
    with pytest.raises(TwistpiError) as refused:
        remove_release(setup, index, project, version)
    return refused.value.status, str(refused.value)


def test_a_release_goes_with_all_that_belongs_to_it(setup: Setup) -> None:
    for index in (DEV, PROD):
        setup.upload(index, upload())
        setup.test(index, WHEEL, "result")
        setup.document(index, "docs")
        setup.upload(index, upload("demo-2.0.tar.gz", "two", "2.0"))
    assert remove_release(setup, DEV, "demo", "1.0") == (ReleaseRemoved(DEV.name, "demo", "1.0"),)
    assert remove_release(setup, PROD, "demo", "1.0", force=True) == (ReleaseRemoved(PROD.name, "demo", "1.0"),)
    assert (setup.versions(DEV), setup.versions(PROD)) == (["2.0"], ["2.0"])
    remove_release(setup, DEV, "demo", "2.0")
    assert not setup.view.reader.has_project(DEV.name, "demo")


def test_a_release_that_cannot_go_is_refused_in_the_words_of_the_protocol(setup: Setup) -> None:
    setup.upload(PROD, upload())
    for version in ("1.0", "9.9"):
        assert refused_release(setup, PROD, "demo", version) == (403, "cannot delete version on non-volatile index")
    assert refused_release(setup, DEV, "demo", "1.0") == (404, "project 'demo' not found on stage 'alice/dev'")
    setup.upload(DEV, upload())
    told = "version '9.9' of project 'demo' not found on stage 'alice/dev'"
    assert refused_release(setup, DEV, "demo", "9.9") == (404, told)


def test_a_release_is_removed_by_any_spelling_of_its_version(setup: Setup) -> None:
    setup.upload(DEV, upload())
    remove_release(setup, DEV, "demo", "v1.00")
    assert setup.versions(DEV) == []


def test_of_a_version_of_a_mirror_the_stored_files_are_thrown_away(setup: Setup) -> None:
    setup.fold(listed(mirrored(WHEEL, digest("one"))))
    assert remove_release(setup, MIRROR, "demo", "1.0") == ()
    assert remove_release(setup, MIRROR, "demo", "9.9") == ()
    setup.fold(cached(WHEEL, digest("one")))
    assert remove_release(setup, MIRROR, "demo", "9.9") == ()
    assert remove_release(setup, MIRROR, "demo", "1.0") == (FileRemoved(MIRROR.name, "demo", WHEEL),)
    assert refused_release(setup, PYPI, "demo", "9.9") == (403, "cannot delete version on non-volatile index")
    assert refused_release(setup, MIRROR, "other", "1.0")[0] == 404


# Projects ----------------------------------------------------------------------------------------------------------


def test_a_project_goes_with_all_its_releases(setup: Setup) -> None:
    for index, force in ((DEV, False), (PROD, True)):
        setup.upload(index, upload())
        setup.upload(index, upload("demo-2.0.tar.gz", "two", "2.0"))
        assert remove_project(setup, index, "demo", force=force) == (ProjectRemoved(index.name, "demo"),)
        assert setup.versions(index) == []


def test_a_project_of_a_mirror_goes_with_its_cached_files(setup: Setup) -> None:
    setup.fold(listed(mirrored(WHEEL, digest("one"))), cached(WHEEL, digest("one")))
    with pytest.raises(TwistpiError, match="project 'demo' is on non-volatile index root/pypi"):
        remove_project(setup, PYPI, "demo")
    assert remove_project(setup, MIRROR, "demo")
    assert kept_blobs(setup.view.reader) == []


@pytest.mark.parametrize(
    ("index", "status", "message"),
    [
        (PROD, 403, "project 'newdoc' is on non-volatile index alice/prod"),
        (DEV, 404, "project not found"),
        (MIRROR, 404, "project not found"),
    ],
    ids=["not volatile", "volatile", "mirror"],
)
def test_a_project_that_cannot_go_is_refused(setup: Setup, index: Index, status: int, message: str) -> None:
    setup.upload(SECOND, upload())
    with pytest.raises(TwistpiError) as refused:
        remove_project(setup, index, "newdoc")
    assert (refused.value.status, str(refused.value)) == (status, message)


# Yanks ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def two_files() -> Iterator[Setup]:
    with make_setup() as setup:
        setup.upload(DEV, upload())
        setup.upload(DEV, upload(SDIST))
        yield setup


def yanked(two_files: Setup) -> dict[str, bool | str]:
    return {file.known.link.filename: file.known.link.yanked for file in two_files.release(DEV).files}


# Yanking -----------------------------------------------------------------------------------------------------------


def test_a_file_is_yanked_with_a_reason_and_not_any_more(two_files: Setup) -> None:
    assert two_files.fold(*decide_yank(DEV, two_files.release(DEV), [WHEEL], "broken")) == (
        FileYanked(DEV.name, "demo", WHEEL, "broken"),
    )
    assert yanked(two_files) == {WHEEL: "broken", SDIST: False}
    two_files.fold(*decide_yank(DEV, two_files.release(DEV), [WHEEL], "worse"))
    assert yanked(two_files) == {WHEEL: "worse", SDIST: False}
    two_files.fold(*decide_yank(DEV, two_files.release(DEV), [WHEEL], False))
    assert yanked(two_files) == {WHEEL: False, SDIST: False}


@pytest.mark.parametrize("mark", [True, "broken", ""])
def test_a_release_is_yanked_as_a_whole_and_what_is_so_already_is_left_alone(two_files: Setup, mark: bool | str) -> None:
    two_files.fold(*decide_yank(DEV, two_files.release(DEV), [SDIST], mark))
    assert kinds(two_files.fold(*decide_yank(DEV, two_files.release(DEV), None, mark))) == ["FileYanked"]
    assert yanked(two_files) == {WHEEL: mark or True, SDIST: mark or True}
    assert decide_yank(DEV, two_files.release(DEV), None, mark) == ()
    assert len(decide_yank(DEV, two_files.release(DEV), None, False)) == 2


def test_a_file_of_another_release_cannot_be_yanked_with_this_one(two_files: Setup) -> None:
    with pytest.raises(UnknownFile):
        decide_yank(DEV, two_files.release(DEV), [WHEEL, "demo-2.0.tar.gz"], True)


@pytest.mark.parametrize(
    ("body", "mark"),
    [(None, True), ({}, True), ({"reason": ""}, True), ({"reason": None}, True), ({"reason": " a\n b\t"}, "a b")],
    ids=repr,
)
def test_a_reason_is_one_line_or_none(body: Any, mark: bool | str) -> None:
    assert read_yank(body) == mark


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ([], "the body must be a JSON object"),
        ({"reason": 1}, "the reason must be text"),
        ({"reason": "x" * 1001}, "the reason is longer than 1000 characters"),
        ({"why": "x", "how": "y"}, "unknown keys: how, why"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_body_that_says_something_else_is_refused(body: Any, message: str) -> None:
    for read in (read_yank, read_status):
        with pytest.raises(TwistpiError) as refused:
            read(body)
        assert (refused.value.status, str(refused.value)) == (400, message)


# The status of a project -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", STATUSES)
def test_a_project_has_the_status_that_was_set(two_files: Setup, status: str) -> None:
    change = decide_status(DEV, "demo", PageHeader(), *read_status({"status": status, "reason": "moved"}))
    assert two_files.fold(*change) == (ProjectMarked(DEV.name, "demo", status, "moved"),)
    known = two_files.view.reader.project(DEV.name, "demo")
    assert known is not None
    assert decide_status(DEV, "demo", known.header, status, "moved") == ()
    two_files.fold(*decide_status(DEV, "demo", known.header, *read_status({"status": None})))
    assert two_files.status(DEV) is None


def test_a_status_needs_a_project_that_is_there() -> None:
    with pytest.raises(TwistpiError) as refused:
        decide_status(DEV, "nope", None, "archived")
    assert (refused.value.status, str(refused.value)) == (404, "The project nope does not exist on alice/dev.")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            {"status": "gone"},
            "unknown project status 'gone', it must be one of active, archived, deprecated, quarantined",
        ),
        ({"status": []}, "unknown project status [], it must be one of active, archived, deprecated, quarantined"),
        ({"reason": "x"}, "a reason needs a project status"),
    ],
    ids=repr,
)
def test_a_status_that_does_not_exist_is_refused(body: Any, message: str) -> None:
    with pytest.raises(TwistpiError) as refused:
        read_status(body)
    assert (refused.value.status, str(refused.value)) == (400, message)


@given(body=JSON_VALUES | st.dictionaries(st.sampled_from(["status", "reason"]), JSON_VALUES | st.sampled_from(STATUSES)))
def test_any_body_is_understood_or_refused(body: Any) -> None:
    status = result_or_refusal(lambda: read_status(body))
    if not isinstance(status, TwistpiError):
        assert status[0] is None or status[0] in STATUSES
        assert status[1] is None or status[1].isprintable()
    mark = result_or_refusal(lambda: read_yank(body))
    assert mark is True or isinstance(mark, TwistpiError) or (mark and mark.isprintable())


def test_what_a_mirror_shows_is_marked_upstream(two_files: Setup) -> None:
    message = "root/pypi is a mirror: its upstream says which files are yanked and which status projects have"
    decisions: list[Callable[[], object]] = [
        lambda: decide_yank(PYPI, two_files.release(DEV), None, True),
        lambda: decide_status(PYPI, "demo", PageHeader(), "archived"),
    ]
    for decide in decisions:
        with pytest.raises(TwistpiError) as refused:
            decide()
        assert (refused.value.status, str(refused.value)) == (400, message)

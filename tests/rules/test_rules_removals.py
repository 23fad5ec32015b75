from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.rules.release_setup import DEV, PROD, PYPI, SDIST, SECOND, WHEEL, Setup, digest, make_setup, upload
from tests.view.small_world import cached, listed
from tests.view.small_world import link as mirrored
from twistpi.model.changes import Change
from twistpi.model.errors import TwistpiError
from twistpi.model.records import Index
from twistpi.model.releases import AttachmentRemoved, FileRemoved, ProjectRemoved, ReleaseRemoved
from twistpi.rules.releases import (
    Found,
    decide_file_removed,
    decide_project_removed,
    decide_release_removed,
)

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


def test_files_of_a_mirror_stay(setup: Setup) -> None:
    setup.fold(listed(mirrored(WHEEL, digest("one")), mirrored(SDIST, digest("two"))), cached(WHEEL, digest("one")))
    here, elsewhere = upload().path, upload(SDIST, "two").path
    assert refused_file(setup, PYPI, here)[0] == 403
    assert refused_file(setup, MIRROR, "+f/none") == (404, "package 'root/pypi/+f/none' doesn't exist")
    for index, force in ((MIRROR, False), (PYPI, True)):
        assert refused_file(setup, index, elsewhere, force=force) == (404, f"entry has no file data root/pypi/{elsewhere}")
        assert refused_file(setup, index, here, force=force) == (
            403,
            "the files of a mirror cannot be removed one by one, remove the project demo from root/pypi as a whole",
        )


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
    for version in ("9.9", "1.00"):
        told = f"version {version!r} of project 'demo' not found on stage 'alice/dev'"
        assert refused_release(setup, DEV, "demo", version) == (404, told)


def test_a_version_of_a_mirror_is_removed_when_there_is_nothing_to_remove(setup: Setup) -> None:
    setup.fold(listed(mirrored(WHEEL, digest("one"))))
    assert remove_release(setup, MIRROR, "demo", "1.0") == ()
    assert remove_release(setup, MIRROR, "demo", "9.9") == ()
    setup.fold(cached(WHEEL, digest("one")))
    assert remove_release(setup, MIRROR, "demo", "9.9") == ()
    assert refused_release(setup, MIRROR, "demo", "1.0")[0] == 403
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
    assert list(setup.view.reader.kept_blobs()) == []


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

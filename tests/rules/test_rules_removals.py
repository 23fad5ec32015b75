from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.rules.release_house import DEV, PROD, PYPI, SDIST, SECOND, WHEEL, House, a_house, digest, upload
from tests.view.small_world import cached, listed
from tests.view.small_world import link as mirrored
from twistpi.model.changes import Change
from twistpi.model.errors import TwistpiError
from twistpi.model.records import Index
from twistpi.model.release_changes import AttachmentRemoved, FileRemoved, ProjectRemoved, ReleaseRemoved
from twistpi.rules.removals import (
    Found,
    decide_file_removed,
    decide_project_removed,
    decide_release_removed,
    file_removed_message,
    project_removed_message,
    release_removed_message,
)

MIRROR = Index("root/pypi", {"type": "mirror", "volatile": True})


@pytest.fixture
def house() -> Iterator[House]:
    with a_house() as house:
        yield house


def remove_file(house: House, index: Index, path: str, *, force: bool = False) -> tuple[Change, ...]:
    reader = house.view.reader
    file, attachment = reader.file_by_path(index.name, path), reader.attachment_by_path(index.name, path)
    found = Found(path, file, attachment, reader.was_removed(index.name, path))
    return house.fold(*decide_file_removed(index, found, force=force))


def remove_release(house: House, index: Index, project: str, version: str, *, force: bool = False) -> tuple[Change, ...]:
    reader = house.view.reader
    release, known = reader.release(index.name, project, version), reader.project(index.name, project)
    return house.fold(*decide_release_removed(index, project, version, release, known, force=force))


def remove_project(house: House, index: Index, project: str, *, force: bool = False) -> tuple[Change, ...]:
    exists = house.view.reader.has_project(index.name, project)
    return house.fold(*decide_project_removed(index, project, exists=exists, force=force))


# Files -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("index", "force"), [(DEV, False), (DEV, True), (PROD, True)], ids=["volatile", "both", "forced"])
def test_distributions_test_results_and_documentation_can_be_removed(house: House, index: Index, force: bool) -> None:
    house.upload(index, upload())
    house.upload(index, upload(SDIST, "sdist"))
    house.test(index, WHEEL, "result")
    house.document(index, "docs")
    tox, docs = house.release(index).attachments
    assert remove_file(house, index, tox.path, force=force) == (AttachmentRemoved(index.name, "demo", tox.path),)
    assert remove_file(house, index, docs.path, force=force) == (AttachmentRemoved(index.name, "demo", docs.path),)
    assert remove_file(house, index, upload().path, force=force) == (FileRemoved(index.name, "demo", WHEEL),)
    assert [file.known.link.filename for file in house.release(index).files] == [SDIST]
    remove_file(house, index, upload(SDIST, "sdist").path, force=force)
    assert not house.view.reader.has_project(index.name, "demo"), "the last file takes all along"


def refused_file(house: House, index: Index, path: str, *, force: bool = False) -> tuple[int, str]:
    with pytest.raises(TwistpiError) as refused:
        remove_file(house, index, path, force=force)
    return refused.value.status, str(refused.value)


def test_nothing_goes_from_an_index_that_is_not_volatile_whether_it_is_there_or_not(house: House) -> None:
    house.upload(PROD, upload())
    for path in (upload().path, "+f/000/0000000000000/none.zip"):
        assert refused_file(house, PROD, path) == (403, "cannot delete version on non-volatile index")


def test_what_is_not_there_or_not_any_more_cannot_be_removed(house: House) -> None:
    path = upload().path
    assert refused_file(house, DEV, path) == (404, f"package 'alice/dev/{path}' doesn't exist")
    house.upload(PROD, upload())
    assert refused_file(house, DEV, path)[0] == 404, "it is there on another index only"
    house.upload(DEV, upload())
    remove_file(house, DEV, path)
    assert refused_file(house, DEV, path) == (410, f"file 'alice/dev/{path}' existed, deleted in later serial")
    assert house.release(PROD).files


def test_a_file_that_was_overwritten_is_not_there_any_more(house: House) -> None:
    house.upload(DEV, upload())
    house.upload(DEV, upload(content="two"))
    assert refused_file(house, DEV, upload().path)[0] == 410
    assert house.release(DEV).files


def test_files_of_a_mirror_stay(house: House) -> None:
    house.fold(listed(mirrored(WHEEL, digest("one")), mirrored(SDIST, digest("two"))), cached(WHEEL, digest("one")))
    here, elsewhere = upload().path, upload(SDIST, "two").path
    assert refused_file(house, PYPI, here)[0] == 403
    assert refused_file(house, MIRROR, "+f/none") == (404, "package 'root/pypi/+f/none' doesn't exist")
    for index, force in ((MIRROR, False), (PYPI, True)):
        assert refused_file(house, index, elsewhere, force=force) == (404, f"entry has no file data root/pypi/{elsewhere}")
        assert refused_file(house, index, here, force=force) == (
            403,
            "the files of a mirror cannot be removed one by one, remove the project demo from root/pypi as a whole",
        )


# Releases ----------------------------------------------------------------------------------------------------------


def refused_release(house: House, index: Index, project: str, version: str) -> tuple[int, str]:
    with pytest.raises(TwistpiError) as refused:
        remove_release(house, index, project, version)
    return refused.value.status, str(refused.value)


def test_a_release_goes_with_all_that_belongs_to_it(house: House) -> None:
    for index in (DEV, PROD):
        house.upload(index, upload())
        house.test(index, WHEEL, "result")
        house.document(index, "docs")
        house.upload(index, upload("demo-2.0.tar.gz", "two", "2.0"))
    assert remove_release(house, DEV, "demo", "1.0") == (ReleaseRemoved(DEV.name, "demo", "1.0"),)
    assert remove_release(house, PROD, "demo", "1.0", force=True) == (ReleaseRemoved(PROD.name, "demo", "1.0"),)
    assert (house.versions(DEV), house.versions(PROD)) == (["2.0"], ["2.0"])
    remove_release(house, DEV, "demo", "2.0")
    assert not house.view.reader.has_project(DEV.name, "demo")


def test_a_release_that_cannot_go_is_refused_in_the_words_of_the_protocol(house: House) -> None:
    house.upload(PROD, upload())
    for version in ("1.0", "9.9"):
        assert refused_release(house, PROD, "demo", version) == (403, "cannot delete version on non-volatile index")
    assert refused_release(house, DEV, "demo", "1.0") == (404, "project 'demo' not found on stage 'alice/dev'")
    house.upload(DEV, upload())
    for version in ("9.9", "1.00"):
        told = f"version {version!r} of project 'demo' not found on stage 'alice/dev'"
        assert refused_release(house, DEV, "demo", version) == (404, told)


def test_a_version_of_a_mirror_is_removed_when_there_is_nothing_to_remove(house: House) -> None:
    house.fold(listed(mirrored(WHEEL, digest("one"))))
    assert remove_release(house, MIRROR, "demo", "1.0") == ()
    assert remove_release(house, MIRROR, "demo", "9.9") == ()
    house.fold(cached(WHEEL, digest("one")))
    assert remove_release(house, MIRROR, "demo", "9.9") == ()
    assert refused_release(house, MIRROR, "demo", "1.0")[0] == 403
    assert refused_release(house, PYPI, "demo", "9.9") == (403, "cannot delete version on non-volatile index")
    assert refused_release(house, MIRROR, "other", "1.0")[0] == 404


# Projects ----------------------------------------------------------------------------------------------------------


def test_a_project_goes_with_all_its_releases(house: House) -> None:
    for index, force in ((DEV, False), (PROD, True)):
        house.upload(index, upload())
        house.upload(index, upload("demo-2.0.tar.gz", "two", "2.0"))
        assert remove_project(house, index, "demo", force=force) == (ProjectRemoved(index.name, "demo"),)
        assert house.versions(index) == []


def test_a_project_of_a_mirror_goes_with_its_cached_files(house: House) -> None:
    house.fold(listed(mirrored(WHEEL, digest("one"))), cached(WHEEL, digest("one")))
    with pytest.raises(TwistpiError, match="project 'demo' is on non-volatile index root/pypi"):
        remove_project(house, PYPI, "demo")
    assert remove_project(house, MIRROR, "demo")
    assert list(house.view.reader.kept_blobs()) == []


@pytest.mark.parametrize(
    ("index", "status", "message"),
    [
        (PROD, 403, "project 'newdoc' is on non-volatile index alice/prod"),
        (DEV, 404, "project not found"),
        (MIRROR, 404, "project not found"),
    ],
    ids=["not volatile", "volatile", "mirror"],
)
def test_a_project_that_cannot_go_is_refused(house: House, index: Index, status: int, message: str) -> None:
    house.upload(SECOND, upload())
    with pytest.raises(TwistpiError) as refused:
        remove_project(house, index, "newdoc")
    assert (refused.value.status, str(refused.value)) == (status, message)


def test_a_success_is_told_in_the_words_of_the_protocol() -> None:
    path = "+f/97d/7c2b5f84f1745/pkg-a-0.1.tar.gz"
    assert file_removed_message("alice/nv", path) == f"package 'alice/nv/{path}' deleted"
    assert release_removed_message("pkg-a", "0.1") == "project 'pkg-a' version '0.1' deleted"
    assert project_removed_message("alice/nv", "newdoc") == "project newdoc deleted from stage alice/nv"

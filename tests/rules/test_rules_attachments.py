from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.rules.release_setup import DEV, PROD, PYPI, SDIST, WHEEL, Setup, digest, kinds, make_setup, toxresult, upload
from twistpi.model.errors import TwistpiError
from twistpi.model.records import Index
from twistpi.model.releases import AttachmentAdded, FileRemoved, Release, ReleaseDescribed
from twistpi.rules.attachments import (
    decide_toxresult,
    docs_filename,
    docs_of,
    latest_version,
    read_docs,
    toxresult_filename,
    toxresults_of,
)
from twistpi.rules.uploads import uploaded_path

NOON = datetime(2026, 11, 22, 17, 25, 41, 999999, tzinfo=UTC)


@pytest.fixture
def setup() -> Iterator[Setup]:
    with make_setup() as setup:
        yield setup


def releases(*versions: str) -> list[Release]:
    return [Release(DEV.name, "no-docs", version) for version in versions]


# Documentation -----------------------------------------------------------------------------------------------------


def test_documentation_is_for_the_version_of_the_form_or_the_latest() -> None:
    assert read_docs({"name": ["No.Docs"], "version": ["0.1"]}, releases("1.0")) == ("No.Docs", "0.1")
    assert read_docs({"name": ["No.Docs"]}, releases("1.0", "2.0rc1", "1.10", "legacy")) == ("No.Docs", "2.0rc1")


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"name": ["No.Docs"]}, "doczip has no version and 'no-docs' has no releases to derive one from"),
        ({"name": ["nodocs"], "version": [""]}, 'invalid metadata: Missing required field "version"'),
        ({"version": ["1.0"]}, 'invalid metadata: Missing required field "name"'),
        ({}, 'invalid metadata: Missing required field "name"'),
        ({"name": ["a"], "version": ["../1"]}, "invalid metadata: Invalid package name or version (URL safety)"),
    ],
    ids=repr,
)
def test_documentation_that_is_for_nothing_is_refused(form: dict[str, list[str]], message: str) -> None:
    with pytest.raises(TwistpiError) as refused:
        read_docs(form, ())
    assert (refused.value.status, str(refused.value)) == (400, message)


def test_the_latest_version_is_the_newest_by_pep_440() -> None:
    assert latest_version([]) is None
    assert latest_version(["zzz", "aaa"]) == "zzz"
    assert latest_version(["zzz", "0.1"]) == "0.1"
    assert latest_version(["1.1", "1.1_3", "1.2"]) == "1.2"
    assert latest_version(["1.1_3", "1.1"]) == "1.1_3"  # 1.1-3 as a wheel's name has it, which is 1.1.post3


@given(versions=st.lists(st.from_regex(r"[0-9]{1,2}(\.[0-9]{1,2}){0,2}((a|rc)[0-9])?|[a-z]{1,3}", fullmatch=True), min_size=1))
def test_the_latest_version_does_not_depend_on_the_order(versions: list[str]) -> None:
    latest = latest_version(versions)
    assert latest in versions
    again = latest_version(versions[::-1])
    assert latest_version([latest or "", again or ""]) == latest
    assert latest_version([again or "", latest or ""]) == again


def test_documentation_of_a_new_version_registers_it(setup: Setup) -> None:
    path = uploaded_path("demo-1.0.doc.zip", digest("docs"))
    assert setup.document(PROD, "docs") == (
        ReleaseDescribed(PROD.name, "demo", "1.0", {"name": "Demo", "version": "1.0"}),
        AttachmentAdded(PROD.name, "demo", "1.0", "doczip", "demo-1.0.doc.zip", digest("docs"), 4, path),
    )
    assert path == f"+f/{digest('docs')[:3]}/{digest('docs')[3:16]}/demo-1.0.doc.zip"


def test_documentation_of_a_release_leaves_its_metadata_alone(setup: Setup) -> None:
    setup.upload(DEV, upload(metadata={"summary": "s"}))
    assert kinds(setup.document(DEV, "docs")) == ["AttachmentAdded"]
    assert setup.release(DEV).metadata["summary"] == "s"


@pytest.mark.parametrize("index", [DEV, PROD], ids=["volatile", "not volatile"])
def test_R80_the_same_documentation_again_changes_nothing(setup: Setup, index: Index) -> None:
    assert setup.document(index, "docs")
    assert setup.document(index, "docs") == ()


def test_other_documentation_takes_its_place_only_on_a_volatile_index(setup: Setup) -> None:
    for index in (DEV, PROD):
        setup.document(index, "docs")
    assert kinds(setup.document(DEV, "other")) == ["AttachmentAdded"]
    (docs,) = setup.release(DEV).attachments
    assert (docs.sha256, docs.log[0].count) == (digest("other"), 1)
    with pytest.raises(TwistpiError) as refused:
        setup.document(PROD, "other")
    assert (refused.value.status, str(refused.value)) == (409, "docs.zip already exists in non-volatile index")
    assert kinds(setup.document(PROD, "other", "2.0")) == ["ReleaseDescribed", "AttachmentAdded"]


def test_a_mirror_takes_no_documentation(setup: Setup) -> None:
    with pytest.raises(TwistpiError, match="cannot submit to mirror index"):
        setup.document(PYPI, "docs")


def test_the_documentation_of_a_release_is_found(setup: Setup) -> None:
    assert docs_of(None) is None
    setup.upload(DEV, upload())
    setup.test(DEV, WHEEL, "result")
    assert docs_of(setup.release(DEV)) is None
    setup.document(DEV, "docs")
    found = docs_of(setup.release(DEV))
    assert found is not None
    assert found.sha256 == digest("docs")


def test_a_name_too_long_for_a_disk_is_refused() -> None:
    makers: list[Callable[[], object]] = [
        lambda: docs_filename("a", "1" * 240),
        lambda: toxresult_filename("a" * 220, NOON, 0),
    ]
    for make in makers:
        with pytest.raises(TwistpiError) as refused:
            make()
        assert refused.value.status == 400


# Test results ------------------------------------------------------------------------------------------------------


def test_a_test_result_is_called_after_its_file_and_the_time_in_utc() -> None:
    assert toxresult_filename(SDIST, NOON, 0) == f"{SDIST}.toxresult-20261122172541-0"
    assert toxresult_filename(SDIST, NOON.astimezone(timezone(timedelta(hours=9))), 12) == f"{SDIST}.toxresult-20261122172541-12"


def test_a_test_result_lies_beside_its_file(setup: Setup) -> None:
    setup.upload(PROD, upload())
    (added,) = setup.test(PROD, WHEEL, "result")
    folder, name = f"+f/{digest('one')[:3]}/{digest('one')[3:16]}", f"{WHEEL}.toxresult-now-0"
    assert added == AttachmentAdded(PROD.name, "demo", "1.0", "toxresult", name, digest("result"), 6, f"{folder}/{name}", WHEEL)


def test_a_file_has_as_many_test_results_as_came(setup: Setup) -> None:
    setup.upload(DEV, upload())
    setup.upload(DEV, upload(SDIST, "sdist"))
    setup.test(DEV, WHEEL, "result", "now-0")
    setup.test(DEV, WHEEL, "result", "now-1")
    setup.test(DEV, SDIST, "result", "now-0")
    found = toxresults_of(setup.release(DEV), WHEEL)
    assert [one.filename for one in found] == [f"{WHEEL}.toxresult-now-{number}" for number in range(2)]
    assert toxresults_of(None, WHEEL) == ()


def test_a_test_result_that_comes_twice_is_there_once_and_another_is_not_taken_for_it(setup: Setup) -> None:
    setup.upload(DEV, upload())
    assert setup.test(DEV, WHEEL, "result")
    assert setup.test(DEV, WHEEL, "result") == ()
    with pytest.raises(TwistpiError) as refused:
        setup.test(DEV, WHEEL, "other")
    assert refused.value.status == 409


def test_a_test_result_needs_the_very_file_that_was_tested(setup: Setup) -> None:
    setup.upload(DEV, upload())
    setup.document(DEV, "docs")
    release = setup.release(DEV)
    (docs,) = release.attachments
    tested = [upload(content="two").path, upload(SDIST).path, docs.path]
    for index, release_then, path in [
        *((DEV, release, path) for path in tested),
        (DEV, None, upload().path),
        (PYPI, release, upload().path),
    ]:
        with pytest.raises(TwistpiError) as refused:
            decide_toxresult(index, release_then, toxresult(index, path, "x", "x"))
        assert (refused.value.status, str(refused.value)) == (404, f"no release file found at {index.name}/{path}")


def test_a_test_result_of_a_file_that_is_gone_is_gone(setup: Setup) -> None:
    setup.upload(DEV, upload())
    setup.test(DEV, WHEEL, "result")
    setup.fold(FileRemoved(DEV.name, "demo", WHEEL))
    setup.upload(DEV, upload())
    assert setup.release(DEV).attachments == ()


def test_who_may_not_upload_test_results_hears_how_to_do_without() -> None:
    refusal = TwistpiError(
        "No permission to upload tox results. You can use the devpi test --no-upload option to skip the upload.", 403
    )
    assert (refusal.status, str(refusal)) == (
        403,
        "No permission to upload tox results. You can use the devpi test --no-upload option to skip the upload.",
    )

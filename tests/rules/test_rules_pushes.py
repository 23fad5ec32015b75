from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from tests.rules.release_setup import DEV, PROD, PYPI, SDIST, SECOND, WHEEL, Setup, digest, kinds, make_setup, upload
from tests.rules.test_rules_accounts import JSON_VALUES, result_or_refusal
from tests.view.small_world import cached, listed
from tests.view.small_world import link as mirrored
from twistpi.model.changes import LinksChanged, MetadataCached
from twistpi.model.errors import LoginNeeded, TwistpiError
from twistpi.model.records import Index, PageHeader
from twistpi.model.releases import (
    Attachment,
    FileRemoved,
    FileYanked,
    LogLine,
    ProjectMarked,
    Release,
    ReleaseDescribed,
    UploadedFile,
)
from twistpi.rules.pushes import (
    ExternalPush,
    InternalPush,
    PushSource,
    PushTarget,
    Selection,
    checked_release,
    decide_push,
    mirrored_release,
    read_push,
    selected_docs,
    selected_files,
)

AT = "2026-11-22T17:00:00Z"


@pytest.fixture
def setup() -> Iterator[Setup]:
    with make_setup() as setup:
        yield setup


def furnish(setup: Setup, index: Index = DEV) -> None:
    """A release with everything."""
    setup.upload(index, upload(SDIST, "sdist", metadata={"summary": "s"}))
    wheel = upload(
        hashes={"md5": "0" * 32}, requires_python=">=3.9", metadata_sha256="a" * 64, metadata_size=4,
        provenance_sha256="b" * 64, provenance_size=5,
    )  # fmt: skip
    setup.upload(index, wheel)
    setup.test(index, SDIST, "result", "x-0")
    setup.test(index, WHEEL, "result", "x-0")
    setup.test(index, SDIST, "other result", "x-1")
    setup.document(index, "docs")
    setup.fold(FileYanked(index.name, "demo", WHEEL, "broken"))


def refusal(setup: Setup, source: Index, target: Index, version: str = "1.0", **how: bool) -> tuple[int, str]:
    before = setup.view.reader.releases(target.name, "demo")
    with pytest.raises(TwistpiError) as refused:
        setup.push(source, target, version, **how)
    assert setup.view.reader.releases(target.name, "demo") == before
    return refused.value.status, str(refused.value)


def without_logs(release: Release) -> tuple[object, ...]:
    """What is to be equal in source and target; files and what belongs to them by name."""
    files = [attrs.evolve(file, log=()) for file in sorted(release.files, key=filename_of)]
    attachments = [attrs.evolve(one, log=()) for one in sorted(release.attachments, key=path_of)]
    return release.project, release.version, release.metadata, files, attachments


def filename_of(file: UploadedFile) -> str:
    return file.known.link.filename


def path_of(attachment: Attachment) -> str:
    return attachment.path


# What is pushed ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [SECOND, PROD], ids=["volatile", "not volatile"])
def test_a_release_is_pushed_with_all_that_belongs_to_it(setup: Setup, target: Index) -> None:
    furnish(setup)
    changes, lines = setup.push(DEV, target)
    assert kinds(changes) == [
        "ReleaseDescribed", "FileUploaded", "AttachmentAdded", "FileUploaded", "AttachmentAdded", "AttachmentAdded",
        "AttachmentAdded",
    ]  # fmt: skip
    assert without_logs(setup.release(target)) == without_logs(setup.release(DEV))
    wheel, sdist, tox = upload().path, upload(SDIST, "sdist").path, "toxresult-x"
    assert lines == [
        [200, "register", "Demo", "1.0", "->", target.name],
        [200, "store_releasefile", f"{target.name}/{wheel}"],
        [200, "store_toxresult", f"{target.name}/{wheel}.{tox}-0"],
        [200, "store_releasefile", f"{target.name}/{sdist}"],
        [200, "store_toxresult", f"{target.name}/{sdist}.{tox}-0"],
        [200, "store_toxresult", f"{target.name}/{sdist}.{tox}-1"],
        [200, "store_doczip", "Demo", "1.0", "->", target.name],
    ]


def test_the_log_of_a_pushed_file_tells_where_it_was_before(setup: Setup) -> None:
    setup.upload(DEV, upload(content="zero"))
    furnish(setup)
    setup.push(DEV, SECOND)
    setup.push(SECOND, PROD)
    (log,) = (file.log for file in setup.release(PROD).files if filename_of(file) == WHEEL)
    assert log == (
        LogLine("upload", "+mirror", AT, DEV.name),
        LogLine("push", "+mirror", AT, SECOND.name, DEV.name),
        LogLine("push", "+mirror", AT, PROD.name, SECOND.name),
    )
    assert setup.release(PROD).attachments[-1].log == log


def test_a_pushed_file_keeps_the_time_of_its_upload(setup: Setup) -> None:
    setup.upload(DEV, upload())
    (file,) = setup.release(DEV).files
    early = attrs.evolve(file.known, link=attrs.evolve(file.known.link, upload_time="2020-01-01T00:00:00.000000Z"))
    release = attrs.evolve(setup.release(DEV), files=(attrs.evolve(file, known=early),))
    changes, _ = decide_push(PushSource(DEV, release), PushTarget(PROD), Selection("demo", "1.0"))
    setup.fold(*changes)
    assert setup.release(PROD).files[0].known.link.upload_time == "2020-01-01T00:00:00.000000Z"


def test_documentation_can_be_left_out(setup: Setup) -> None:
    furnish(setup)
    changes, lines = setup.push(DEV, PROD, no_docs=True)
    assert "store_doczip" not in {line[1] for line in lines}
    assert {one.kind for one in setup.release(PROD).attachments} == {"toxresult"}
    assert len(setup.release(PROD).files) == 2
    assert changes


def test_documentation_can_be_pushed_alone(setup: Setup) -> None:
    furnish(setup)
    changes, lines = setup.push(DEV, PROD, only_docs=True)
    assert kinds(changes) == ["ReleaseDescribed", "AttachmentAdded"]
    assert [line[1] for line in lines] == ["register", "store_doczip"]
    assert setup.release(PROD).metadata == setup.release(DEV).metadata


def test_what_an_external_push_sends_is_selected_alike(setup: Setup) -> None:
    furnish(setup)
    release = setup.release(DEV)
    all_of_it, no_docs, only_docs = (Selection("Demo", "1.0", *how) for how in ((), (True, False), (False, True)))
    assert [filename_of(file) for file in selected_files(release, all_of_it)] == [WHEEL, SDIST]
    assert selected_files(release, only_docs) == ()
    assert selected_docs(release, no_docs) is None
    assert selected_docs(release, all_of_it) == selected_docs(release, only_docs) == release.attachments[-1]


# What is there before ----------------------------------------------------------------------------------------------


def test_the_metadata_of_the_source_is_that_of_the_target_from_then_on(setup: Setup) -> None:
    furnish(setup)
    setup.upload(SECOND, upload("demo-1.0.zip", "zip", metadata={"license": "MIT", "import_names": ["demo"]}))
    setup.push(DEV, SECOND)
    assert setup.release(SECOND).metadata == setup.release(DEV).metadata
    assert "demo-1.0.zip" in {filename_of(file) for file in setup.release(SECOND).files}


def test_what_the_target_has_already_stays_as_it_is(setup: Setup) -> None:
    furnish(setup)
    setup.upload(SECOND, upload())
    setup.test(SECOND, WHEEL, "result of its own", "own-0")
    setup.fold(FileYanked(SECOND.name, "demo", WHEEL, "worse"))
    setup.push(DEV, SECOND)
    (wheel,) = (file for file in setup.release(SECOND).files if filename_of(file) == WHEEL)
    assert (wheel.known.link.yanked, [line.what for line in wheel.log]) == ("worse", ["upload"])
    tested = [one.filename for one in setup.release(SECOND).attachments if one.for_filename == WHEEL]
    assert tested == [f"{WHEEL}.toxresult-own-0", f"{WHEEL}.toxresult-x-0"]
    assert setup.push(DEV, SECOND)[0] == ()


def test_other_bytes_are_replaced_on_a_volatile_target(setup: Setup) -> None:
    furnish(setup)
    setup.upload(SECOND, upload(content="two"))
    setup.test(SECOND, WHEEL, "result of its own", "own-0")
    setup.document(SECOND, "other docs")
    setup.push(DEV, SECOND)
    assert without_logs(setup.release(SECOND)) == without_logs(setup.release(DEV))
    assert setup.view.reader.was_removed(SECOND.name, upload(content="two").path)


@pytest.mark.parametrize("content", ["one", "two"], ids=["identical", "other"])
def test_nothing_is_pushed_over_anything_on_a_target_that_is_not_volatile(setup: Setup, content: str) -> None:
    furnish(setup)
    setup.upload(PROD, upload(SDIST, content if content == "two" else "sdist"))
    assert refusal(setup, DEV, PROD) == (409, f"{SDIST} already exists in non-volatile index")
    setup.push(DEV, PROD, only_docs=True)
    assert refusal(setup, DEV, PROD, only_docs=True) == (409, "demo-1.0.doc.zip already exists in non-volatile index")


def test_R89_a_push_brings_no_other_bytes_under_the_name_of_a_removed_file(setup: Setup) -> None:
    setup.upload(PROD, upload(content="two"))
    setup.fold(FileRemoved(PROD.name, "demo", WHEEL))
    setup.upload(DEV, upload())
    assert refusal(setup, DEV, PROD)[0] == 409
    setup.upload(DEV, upload(content="two"))
    assert setup.push(DEV, PROD)[0]


@pytest.mark.parametrize("content", ["one", "two"], ids=["identical", "other"])
def test_a_release_comes_to_the_one_of_its_version_there_however_that_is_written(setup: Setup, content: str) -> None:
    furnish(setup)
    setup.upload(SECOND, upload(content=content, version="1.00"))
    setup.push(DEV, SECOND, "1")
    assert setup.versions(SECOND) == ["1.00"]
    source, target = setup.release(DEV), setup.release(SECOND)
    assert target.metadata == {**source.metadata, "version": "1.00"}
    assert {file.known.path for file in target.files} == {file.known.path for file in source.files}
    assert {one.path for one in target.attachments} == {one.path for one in source.attachments}


def test_the_same_documentation_stays_under_the_name_it_has_there(setup: Setup) -> None:
    setup.document(DEV, "docs", "1.00")
    setup.document(SECOND, "docs", "1.0")
    assert setup.push(DEV, SECOND)[0] == ()
    setup.document(DEV, "other docs", "1.00")
    setup.push(DEV, SECOND)
    assert setup.versions(SECOND) == ["1.0"]
    (docs,) = setup.release(SECOND).attachments
    assert (docs.filename, docs.sha256) == ("demo-1.00.doc.zip", digest("other docs"))


def test_a_push_to_where_it_came_from_changes_nothing(setup: Setup) -> None:
    furnish(setup)
    assert setup.push(DEV, DEV)[0] == ()


# Refusals ----------------------------------------------------------------------------------------------------------


def test_what_is_not_there_cannot_be_pushed(setup: Setup) -> None:
    assert refusal(setup, DEV, PROD, "9.9") == (400, "there are no files for Demo 9.9 on stage alice/dev")
    setup.fold(ReleaseDescribed(DEV.name, "demo", "1.0", {"name": "Demo"}))
    assert refusal(setup, DEV, PROD) == (404, "no release/files found for Demo 1.0")
    setup.document(DEV, "docs")
    assert refusal(setup, DEV, PROD, no_docs=True) == (404, "no release/files found for Demo 1.0")
    setup.upload(DEV, upload("demo-2.0.tar.gz", version="2.0"))
    assert refusal(setup, DEV, PROD, "2.0", only_docs=True) == (404, "no release/files found for Demo 2.0")


def test_R90_closed_projects_are_not_pushed_to_and_quarantined_ones_not_from(setup: Setup) -> None:
    furnish(setup)
    setup.upload(SECOND, upload("demo-2.0.tar.gz", version="2.0"))
    setup.fold(ProjectMarked(SECOND.name, "demo", "archived"))
    told = "project demo is archived on bob/dev, nothing can be uploaded to it"
    assert refusal(setup, DEV, SECOND) == (403, told)
    assert setup.push(SECOND, PROD, "2.0")[0], "what is archived may be taken elsewhere"
    setup.fold(ProjectMarked(DEV.name, "demo", "quarantined"))
    assert refusal(setup, DEV, PROD) == (403, "project demo is quarantined on alice/dev, nothing can be pushed from it")


def test_nothing_is_pushed_to_a_mirror(setup: Setup) -> None:
    furnish(setup)
    assert refusal(setup, DEV, PYPI) == (404, "cannot submit to mirror index")


# From a mirror -----------------------------------------------------------------------------------------------------


def mirror(setup: Setup, *, version: str = "1.0", metadata: dict[str, tuple[str, int]] | None = None) -> Release | None:
    return mirrored_release(setup.view.reader.project(PYPI.name, "demo"), version, metadata or {})


def push_from_mirror(setup: Setup, target: Index, release: Release | None) -> tuple[object, ...]:
    releases = setup.view.reader.releases(target.name, "demo")
    changes, lines = decide_push(PushSource(PYPI, release), PushTarget(target, releases), Selection("demo", "1.0"))
    setup.fold(*changes)
    return tuple(lines)


def test_a_release_of_a_mirror_is_pushed_with_what_the_mirror_knows(setup: Setup) -> None:
    more = {"requires_python": ">=3.9", "upload_time": "2020-01-01T00:00:00Z", "yanked": "broken"}
    setup.fold(listed(mirrored(WHEEL, digest("one"), **more), versions_added=("1.0",)))
    setup.fold(cached(WHEEL, digest("one"), 3), MetadataCached(PYPI.name, "demo", WHEEL, "a" * 64, 4))
    lines = push_from_mirror(setup, PROD, mirror(setup))
    release = setup.release(PROD)
    assert release.metadata == {"name": "demo", "version": "1.0", "requires_python": ">=3.9"}
    (file,) = release.files
    link = file.known.link
    assert (link.requires_python, link.upload_time, link.yanked) == (">=3.9", "2020-01-01T00:00:00Z", "broken")
    assert (link.url, file.known.sha256, file.known.metadata_sha256) == ("", digest("one"), "a" * 64)
    assert file.log == (LogLine("push", "+mirror", AT, PROD.name, PYPI.name),)
    assert lines[1] == [200, "store_releasefile", f"alice/prod/{upload().path}"]


def test_metadata_of_a_release_that_is_there_survives_a_push_from_a_mirror(setup: Setup) -> None:
    setup.fold(listed(mirrored(WHEEL, digest("one"))), cached(WHEEL, digest("one"), 3))
    setup.upload(DEV, upload(SDIST, metadata={"summary": "s"}))
    push_from_mirror(setup, DEV, mirror(setup))
    assert setup.release(DEV).metadata == {"name": "demo", "version": "1.0", "summary": "s"}


def test_metadata_that_lies_elsewhere_than_beside_its_wheel_is_not_promised(setup: Setup) -> None:
    setup.fold(listed(mirrored(WHEEL, None)), cached(WHEEL, digest("one"), 3))
    setup.fold(MetadataCached(PYPI.name, "demo", WHEEL, "a" * 64, 4))
    push_from_mirror(setup, DEV, mirror(setup))
    assert setup.release(DEV).files[0].known.metadata_sha256 is None
    assert setup.release(DEV).files[0].known.path == upload().path
    push_from_mirror(setup, SECOND, mirror(setup, metadata={WHEEL: ("c" * 64, 9)}))
    assert setup.release(SECOND).files[0].known.metadata_sha256 == "c" * 64


def test_a_file_of_a_mirror_must_be_here_before(setup: Setup) -> None:
    setup.fold(listed(mirrored(WHEEL, digest("one")), mirrored(SDIST, digest("two"))), cached(WHEEL, digest("one"), 3))
    with pytest.raises(TwistpiError) as refused:
        push_from_mirror(setup, DEV, mirror(setup))
    told = f"the file {upload(SDIST, 'two').path} of root/pypi was removed while it was pushed, try again"
    assert (refused.value.status, str(refused.value)) == (503, told)


def test_a_mirror_has_only_the_releases_it_offers(setup: Setup) -> None:
    assert mirror(setup) is None
    setup.fold(listed(mirrored(WHEEL, digest("one")), versions_added=("1.0",)))
    assert mirror(setup, version="9.9") is None
    assert mirror(setup, version="1.00") == mirror(setup)
    setup.fold(LinksChanged(PYPI.name, "demo", header=PageHeader("quarantined")))
    assert mirror(setup) is None
    with pytest.raises(TwistpiError, match=r"there are no files for demo 1\.0 on stage root/pypi"):
        checked_release(PushSource(PYPI, None), Selection("demo", "1.0"))


# Everything at once ------------------------------------------------------------------------------------------------

Step = Callable[[Setup], object]
FILES = [WHEEL, SDIST, "demo-1.0.zip"]


def has(setup: Setup, index: Index, filename: str) -> bool:
    return setup.view.reader.release_of_file(index.name, "demo", filename) is not None


def steps() -> SearchStrategy[list[tuple[str, Index, str, str, str]]]:
    """What happens on two volatile indexes before something is pushed from one to the other."""
    step = st.tuples(
        st.sampled_from(["upload", "upload", "test", "document", "yank", "push"]),
        st.sampled_from([DEV, SECOND]),
        st.sampled_from(FILES),
        st.sampled_from(["one", "two"]),
        st.sampled_from(["1.0", "1.0", "1.00"]),
    )
    return st.lists(step, max_size=10)


def live(setup: Setup, steps: list[tuple[str, Index, str, str, str]]) -> None:
    for what, index, filename, content, version in steps:
        if what == "upload":
            metadata = {"summary": content, "license": content if filename == WHEEL else ""}
            setup.upload(index, upload(filename, content, version, metadata=metadata))
        elif what == "document":
            setup.document(index, content, version)
        elif what == "test" and has(setup, index, filename):
            setup.test(index, filename, content, f"{content}-0")
        elif what == "yank" and has(setup, index, filename):
            setup.fold(FileYanked(index.name, "demo", filename, content))
        elif what == "push" and setup.view.reader.release(index.name, "demo", version) is not None:
            setup.push(index, SECOND if index is DEV else DEV, version)


@settings(max_examples=80, deadline=None)
@given(steps=steps(), version=st.sampled_from(["1.0", "1.00"]))
def test_a_push_to_where_nothing_was_makes_equal_releases(steps: list[tuple[str, Index, str, str, str]], version: str) -> None:
    with make_setup() as setup:
        live(setup, steps)
        if setup.view.reader.release(DEV.name, "demo", version) is not None:
            setup.push(DEV, PROD, version)
            assert without_logs(setup.release(PROD, version)) == without_logs(setup.release(DEV, version))


OTHER_NAME = [("document", DEV, WHEEL, "one", "1.00"), ("document", SECOND, WHEEL, "one", "1.0")]
"""The same documentation under two names, since the version is written in two ways."""


def identity(one: Attachment) -> tuple[str | None, ...]:
    """What says that an attachment is there: the name of documentation follows the version, and does not count."""
    return one.kind, one.sha256, one.path if one.kind == "toxresult" else None, one.for_filename


@settings(max_examples=80, deadline=None)
@given(steps=steps(), version=st.sampled_from(["1.0", "1.00"]), no_docs=st.booleans())
@example(steps=OTHER_NAME, version="1.0", no_docs=False)
def test_after_a_push_the_target_has_all_of_the_source_and_lost_nothing_else(
    steps: list[tuple[str, Index, str, str, str]], version: str, no_docs: bool
) -> None:
    with make_setup() as setup:
        live(setup, steps)
        source = setup.view.reader.release(DEV.name, "demo", version)
        if source is None or (no_docs and not source.files):
            return
        before = {filename_of(file) for release in setup.view.reader.releases(SECOND.name, "demo") for file in release.files}
        setup.push(DEV, SECOND, version, no_docs=no_docs)
        target = setup.release(SECOND, version)
        assert target.metadata == {**source.metadata, "version": target.version}
        bytes_there = {file.known.path: file.known.sha256 for file in target.files}
        assert {file.known.path: file.known.sha256 for file in source.files}.items() <= bytes_there.items()
        wanted = [one for one in source.attachments if one.kind == "toxresult" or not no_docs]
        assert {identity(one) for one in target.attachments} >= {identity(one) for one in wanted}
        after = [filename_of(file) for release in setup.view.reader.releases(SECOND.name, "demo") for file in release.files]
        assert sorted(after) == sorted(before | {filename_of(file) for file in source.files})
        assert setup.push(DEV, SECOND, version, no_docs=no_docs)[0] == (), "once is enough"


# Push requests -------------------------------------------------------------------------------------------------------


WHAT = {"name": "Demo.Pkg", "version": "1.0"}


def test_a_push_to_an_index_here_names_it() -> None:
    told = read_push({**WHAT, "targetindex": "alice/prod", "no_docs": False})
    assert told == InternalPush(Selection("Demo.Pkg", "1.0"), "alice/prod")
    assert told.selection.project == "demo-pkg"
    only = read_push({**WHAT, "targetindex": "/alice/prod/", "only_docs": True, "no_docs": None})
    assert only == InternalPush(Selection("Demo.Pkg", "1.0", only_docs=True), "alice/prod")


def test_a_push_elsewhere_says_where_and_who() -> None:
    body = {
        **WHAT, "posturl": "https://upload.example/legacy/", "username": "alice", "password": "secret",
        "register_project": True, "no_docs": True, "whatever": "else",
    }  # fmt: skip
    told = read_push(body)
    where = "https://upload.example/legacy/"
    assert told == ExternalPush(Selection("Demo.Pkg", "1.0", no_docs=True), where, "alice", "secret", register_project=True)
    assert "secret" not in repr(told)
    assert read_push({**WHAT, "posturl": where}) == ExternalPush(Selection("Demo.Pkg", "1.0"), where, "", "")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ([], "the body must be a JSON object"),
        ({**WHAT, "targetindex": "a/b", "foo": 1, "bar": 2}, "unknown additional options: bar, foo"),
        ({**WHAT, "targetindex": "a/b", "posturl": "x"}, "unknown additional options: posturl"),
        ({**WHAT, "targetindex": "prod"}, "targetindex not in format user/index"),
        ({**WHAT, "targetindex": "a/b/c"}, "targetindex not in format user/index"),
        ({**WHAT, "targetindex": ""}, "targetindex not in format user/index"),
        ({**WHAT, "targetindex": None}, "targetindex not in format user/index"),
        ({**WHAT, "targetindex": {}}, "targetindex not in format user/index"),
        (
            {**WHAT, "targetindex": "a/b", "no_docs": True, "only_docs": True},
            "can't use 'no_docs' and 'only_docs' together",
        ),
        ({**WHAT, "posturl": "x", "no_docs": True, "only_docs": True}, "can't use 'no_docs' and 'only_docs' together"),
        ({"version": "1.0", "targetindex": "a/b"}, "name must be given as text"),
        ({"name": "demo", "targetindex": "a/b"}, "version must be given as text"),
        ({"name": "demo", "version": 1, "targetindex": "a/b"}, "version must be given as text"),
        ({"name": "demo", "version": "", "targetindex": "a/b"}, "version must be given as text"),
        ({**WHAT, "targetindex": "a/b", "no_docs": "yes"}, "no_docs must be true or false"),
        (WHAT, "posturl must be given as text"),
        ({**WHAT, "posturl": "x", "password": 1}, "password must be given as text"),
        (
            {"name": "../x", "version": "1", "targetindex": "a/b"},
            "'../x' is not a project name: use letters, digits, '-', '_' and '.', beginning and ending with a letter or digit.",
        ),
    ],
    ids=repr,
)
def test_a_push_that_makes_no_sense_is_refused(body: Any, message: str) -> None:
    with pytest.raises(TwistpiError) as refused:
        read_push(body)
    assert (refused.value.status, str(refused.value)) == (400, message)


KEYS = ["name", "version", "targetindex", "posturl", "username", "password", "no_docs", "only_docs", "register_project"]


@given(body=JSON_VALUES | st.dictionaries(st.sampled_from(KEYS), JSON_VALUES | st.sampled_from(["demo", "a/b", True])))
def test_any_body_is_understood_or_refused(body: Any) -> None:
    told = result_or_refusal(lambda: read_push(body))
    if not isinstance(told, TwistpiError):
        assert told.selection.project
        assert isinstance(told, ExternalPush) or told.target.count("/") == 1


def test_who_may_not_upload_to_the_target_is_told_so() -> None:
    assert (
        LoginNeeded("user 'alice' cannot upload to 'bob/b'").status,
        str(LoginNeeded("user 'alice' cannot upload to 'bob/b'")),
    ) == (
        401,
        "user 'alice' cannot upload to 'bob/b'",
    )
    assert str(LoginNeeded("user None cannot upload to 'bob/b'")) == "user None cannot upload to 'bob/b'"

from __future__ import annotations

import io
from collections.abc import Iterator

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multipart import MultipartParser  # type: ignore[import-untyped]

from tests.rules.release_setup import DEV, PROD, PYPI, SDIST, WHEEL, Setup, Upload, digest, kinds, make_setup, upload
from twistpi.model.errors import TwistpiError
from twistpi.model.records import Index
from twistpi.model.releases import (
    FileRemoved,
    FileUploaded,
    FileYanked,
    ProjectMarked,
    ProjectRemoved,
    ReleaseDescribed,
)
from twistpi.rules.uploads import IDENTICAL, decide_registered, encode_form, file_fields, file_type, metadata_fields


@pytest.fixture
def setup() -> Iterator[Setup]:
    with make_setup() as setup:
        yield setup


def refusal(setup: Setup, index: Index, uploaded: Upload) -> tuple[int, str]:
    before = setup.view.reader.releases(index.name, "demo")
    with pytest.raises(TwistpiError) as refused:
        setup.upload(index, uploaded)
    assert setup.view.reader.releases(index.name, "demo") == before
    return refused.value.status, str(refused.value)


def register(setup: Setup, index: Index = DEV, version: str = "1.0", **metadata: str) -> list[str]:
    release = setup.view.reader.release(index.name, "demo", version)
    given = {"name": "Demo", "version": version, **metadata}
    return kinds(setup.fold(*decide_registered(index, release, "demo", setup.status(index), given)))


# Files -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("index", [DEV, PROD], ids=["volatile", "not volatile"])
def test_an_upload_makes_project_release_and_file(setup: Setup, index: Index) -> None:
    one = upload(
        metadata={"summary": "s", "license": ""}, hashes={"md5": "0" * 32}, requires_python=">=3.9", metadata_sha256="m" * 64,
        metadata_size=5, provenance_sha256="p" * 64, provenance_size=7,
    )  # fmt: skip
    described, file = setup.upload(index, one)
    assert described == ReleaseDescribed(index.name, "demo", "1.0", {"name": "Demo", "version": "1.0", "summary": "s"})
    assert file == FileUploaded(
        index.name, "demo", "1.0", WHEEL, digest("one"), 3, {"md5": "0" * 32}, ">=3.9", "m" * 64, 5, "p" * 64, 7
    )
    (uploaded,) = setup.release(index).files
    assert (uploaded.provenance_sha256, uploaded.provenance_size, uploaded.known.path) == ("p" * 64, 7, one.path)


@pytest.mark.parametrize("index", [DEV, PROD], ids=["volatile", "not volatile"])
def test_R80_the_same_bytes_again_change_nothing(setup: Setup, index: Index) -> None:
    setup.upload(index, upload(metadata={"summary": "s"}))
    assert setup.upload(index, upload(metadata={"summary": "another"})) == ()
    assert setup.release(index).metadata["summary"] == "s"
    assert IDENTICAL == "Upload of identical file to non volatile index."


def test_other_bytes_take_the_place_of_those_that_were_there(setup: Setup) -> None:
    setup.upload(DEV, upload())
    setup.upload(DEV, upload(SDIST, "sdist"))
    setup.test(DEV, WHEEL, "result")
    assert kinds(setup.upload(DEV, upload(content="two"))) == ["FileUploaded"]
    sdist, wheel = setup.release(DEV).files
    assert (sdist.known.sha256, wheel.known.sha256) == (digest("sdist"), digest("two"))
    assert wheel.log[0].what == "overwrite"
    assert wheel.log[0].count == 1
    assert setup.release(DEV).attachments == ()
    assert setup.view.reader.was_removed(DEV.name, upload().path)


def test_R81_other_bytes_are_refused_on_an_index_that_is_not_volatile(setup: Setup) -> None:
    setup.upload(PROD, upload(metadata={"summary": "s"}))
    conflict = upload(content="two", metadata={"summary": "changed"})
    assert refusal(setup, PROD, conflict) == (409, f"{WHEEL} already exists in non-volatile index")


def test_the_metadata_of_a_release_is_what_its_uploads_said_last(setup: Setup) -> None:
    setup.upload(PROD, upload(metadata={"summary": "s", "license": "MIT", "author": "a"}))
    setup.upload(PROD, upload(SDIST, "sdist", metadata={"summary": "t", "license": ""}))
    assert setup.release(PROD).metadata == {"name": "Demo", "version": "1.0", "summary": "t", "author": "a"}


@pytest.mark.parametrize("spelled", ["1.00", "v1.0", "1", "1.0.0"])
def test_all_spellings_of_a_version_are_one_release_called_as_at_first(setup: Setup, spelled: str) -> None:
    setup.upload(DEV, upload(SDIST, metadata={"summary": "s"}))
    setup.upload(DEV, upload(WHEEL, "wheel", spelled, metadata={"summary": "t"}))
    assert setup.versions(DEV) == ["1.0"]
    assert setup.release(DEV, spelled) == setup.release(DEV)
    assert (setup.release(DEV).metadata["version"], setup.release(DEV).metadata["summary"]) == ("1.0", "t")
    assert [file.known.link.filename for file in setup.release(DEV).files] == [SDIST, WHEEL]
    assert setup.upload(DEV, upload(WHEEL, "wheel", spelled, metadata={"summary": "t"})) == ()


def two_spellings(setup: Setup) -> None:
    """Two releases of one version, as older servers made them."""
    for one in (upload(SDIST), upload(WHEEL, "wheel", "1.00")):
        told = ReleaseDescribed(DEV.name, "demo", one.file.version, one.metadata)
        setup.fold(told, attrs.evolve(one.file, index=DEV.name))


def test_where_an_older_server_made_two_releases_a_file_name_belongs_to_one_of_them(setup: Setup) -> None:
    two_spellings(setup)
    setup.fold(ProjectMarked(DEV.name, "demo", "deprecated", "old"))
    assert setup.versions(DEV) == ["1.0", "1.00"]
    assert setup.upload(DEV, upload(WHEEL, "wheel", "1.0")) == (), "these very bytes are there"
    assert kinds(setup.upload(DEV, upload(WHEEL, "other", "1.0"))) == ["FileRemoved", "FileUploaded"]
    assert setup.versions(DEV) == ["1.0"], "a release that lost its only file is gone"
    assert [file.known.sha256 for file in setup.release(DEV).files] == [digest("one"), digest("other")]
    assert setup.status(DEV) == "deprecated"


def test_another_spelling_of_the_version_is_no_way_around_a_refusal(setup: Setup) -> None:
    setup.upload(PROD, upload())
    assert refusal(setup, PROD, upload(content="two", version="1.00"))[0] == 409


def test_an_upload_leaves_a_yanked_twin_yanked(setup: Setup) -> None:
    setup.upload(DEV, upload())
    setup.fold(FileYanked(DEV.name, "demo", WHEEL, "broken"))
    assert setup.upload(DEV, upload()) == ()
    assert setup.release(DEV).files[0].known.link.yanked == "broken"


def test_a_mirror_takes_no_uploads(setup: Setup) -> None:
    assert refusal(setup, PYPI, upload()) == (404, "cannot submit to mirror index")


# Names of removed files --------------------------------------------------------------------------------------------


def test_R89_the_name_of_a_removed_file_is_not_for_other_bytes(setup: Setup) -> None:
    setup.upload(PROD, upload())
    setup.fold(FileRemoved(PROD.name, "demo", WHEEL))
    message = f"{WHEEL} existed in non-volatile index alice/prod with other bytes; build a new version instead"
    assert refusal(setup, PROD, upload(content="two")) == (409, message)
    assert kinds(setup.upload(PROD, upload())) == ["ReleaseDescribed", "FileUploaded"], "what was there may come back"
    assert not setup.view.reader.was_removed(PROD.name, upload().path)


def test_R89_names_can_be_used_again_where_an_index_allows_it(setup: Setup) -> None:
    setup.upload(PROD, upload())
    setup.fold(ProjectRemoved(PROD.name, "demo"))
    lenient = attrs.evolve(PROD, config={**PROD.config, "reuse_filenames": True})
    assert refusal(setup, PROD, upload(content="two"))[0] == 409
    assert kinds(setup.upload(lenient, upload(content="two"))) == ["ReleaseDescribed", "FileUploaded"]


def test_R89_names_can_be_used_again_on_a_volatile_index_and_elsewhere(setup: Setup) -> None:
    setup.upload(DEV, upload())
    setup.fold(ProjectRemoved(DEV.name, "demo"))
    assert setup.upload(DEV, upload(content="two"))
    assert setup.upload(PROD, upload(content="two"))
    assert setup.view.reader.removed_paths(PROD.name, WHEEL) == []
    assert setup.view.reader.removed_paths(DEV.name, WHEEL) == [upload().path]
    assert setup.view.reader.removed_paths(DEV.name, WHEEL[1:]) == []


# Projects with a status --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["archived", "quarantined"])
def test_R90_a_closed_project_takes_no_uploads(setup: Setup, status: str) -> None:
    setup.upload(DEV, upload())
    setup.fold(ProjectMarked(DEV.name, "demo", status))
    message = f"project demo is {status} on alice/dev, nothing can be uploaded to it"
    for uploaded in (upload(), upload(content="two"), upload(SDIST), upload("demo-2.0.tar.gz", version="2.0")):
        assert refusal(setup, DEV, uploaded) == (403, message)
    with pytest.raises(TwistpiError, match=message):
        register(setup, summary="changed")
    with pytest.raises(TwistpiError, match=message):
        setup.document(DEV, "docs")


@pytest.mark.parametrize("status", [None, "active", "deprecated"])
def test_R90_other_projects_do(setup: Setup, status: str | None) -> None:
    setup.upload(DEV, upload())
    setup.fold(ProjectMarked(DEV.name, "demo", status))
    assert setup.upload(DEV, upload(SDIST))
    assert register(setup, summary="changed") == ["ReleaseDescribed"]


# Registering -------------------------------------------------------------------------------------------------------


def test_registering_makes_a_release_without_files(setup: Setup) -> None:
    assert register(setup, PROD, summary="s") == ["ReleaseDescribed"]
    assert setup.release(PROD).metadata == {"name": "Demo", "version": "1.0", "summary": "s"}
    assert register(setup, PROD, summary="s") == []


def test_registering_replaces_all_metadata_and_no_files(setup: Setup) -> None:
    setup.upload(PROD, upload(metadata={"summary": "s", "import_names": ["demo"], "classifiers": ["A"]}))
    assert register(setup, PROD, license="MIT") == ["ReleaseDescribed"]
    assert setup.release(PROD).metadata == {"name": "Demo", "version": "1.0", "license": "MIT"}
    assert [file.known.link.filename for file in setup.release(PROD).files] == [WHEEL]


def test_nothing_is_registered_on_a_mirror(setup: Setup) -> None:
    with pytest.raises(TwistpiError, match="cannot submit to mirror index"):
        register(setup, PYPI)


# Everything at once ------------------------------------------------------------------------------------------------

UPLOADS = st.builds(
    upload,
    st.sampled_from([WHEEL, SDIST]),
    st.sampled_from(["one", "two"]),
    st.sampled_from(["1.0", "1.00"]),
    metadata=st.dictionaries(st.sampled_from(["summary", "license"]), st.sampled_from(["", "a", "b"])),
)


@settings(max_examples=60, deadline=None)
@given(uploads=st.lists(UPLOADS, max_size=8))
def test_on_a_volatile_index_every_upload_ends_with_its_bytes_there(uploads: list[Upload]) -> None:
    with make_setup() as setup:
        for one in uploads:
            setup.upload(DEV, one)
            holders = [
                file.known.sha256
                for release in setup.view.reader.releases(DEV.name, "demo")
                for file in release.files
                if file.known.link.filename == one.file.filename
            ]
            assert holders == [one.file.sha256]
            assert len(setup.versions(DEV)) == 1
            assert all(release.files for release in setup.view.reader.releases(DEV.name, "demo"))
            assert setup.upload(DEV, one) == ()


@settings(max_examples=60, deadline=None)
@given(uploads=st.lists(UPLOADS, max_size=8), removals=st.lists(st.sampled_from([WHEEL, SDIST]), max_size=2))
def test_on_an_index_that_is_not_volatile_a_name_never_means_other_bytes(uploads: list[Upload], removals: list[str]) -> None:
    first: dict[str, str] = {}
    with make_setup() as setup:
        for position, one in enumerate(uploads):
            if position < len(removals):
                setup.fold(FileRemoved(PROD.name, "demo", removals[position]))
            if one.file.sha256 == first.setdefault(one.file.filename, one.file.sha256):
                setup.upload(PROD, one)
            else:
                assert refusal(setup, PROD, one)[0] == 409


# Forms for other servers ---------------------------------------------------------------------------------------------


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        ("pkg-1.0-py3-none-any.whl", ("bdist_wheel", "py3")),
        ("pkg-1.0-1-cp311-cp311-linux_x86_64.whl", ("bdist_wheel", "cp311")),
        ("pkg-1.0-py2.py3-none-any.whl", ("bdist_wheel", "py2.py3")),
        ("pkg-1.0-7-py3-none-any.whl", ("bdist_wheel", "py3")),
        ("pkg-1.0-7-py3-none-any-cu128.whl", ("bdist_wheel", "py3")),
        ("pkg-1.0-py3-none-any-cu128.whl", ("bdist_wheel", "py3")),
        ("pkg-1.0.tar.gz", ("sdist", "source")),
        ("pkg-1.0.zip", ("sdist", "source")),
        ("pkg-1.0-py3.11.egg", ("bdist_egg", "3.11")),
        ("pkg-1.0-py3.11-linux-x86_64.egg", ("bdist_egg", "3.11")),
        ("pkg-1.0.win32-py2.7.exe", ("bdist_wininst", "2.7")),
        ("pkg-1.0.win32.msi", ("bdist_msi", "any")),
        ("pkg-1.0.noarch.rpm", ("bdist_rpm", "any")),
        ("pkg-1.0.dmg", ("bdist_dmg", "any")),
        ("pkg-1.0.linux-x86_64.tar.gz", ("bdist_dumb", "any")),
        ("x.whl", ("bdist_wheel", "any")),
    ],
)
def test_the_name_of_a_file_tells_its_type(filename: str, expected: tuple[str, str]) -> None:
    assert file_type(filename) == expected


def test_a_file_is_announced_with_its_digest() -> None:
    told = dict(file_fields("pkg-1.0.tar.gz", "ab" * 32))
    assert told == {":action": "file_upload", "filetype": "sdist", "pyversion": "source", "sha256_digest": "ab" * 32}


def test_empty_text_is_sent_and_empty_lists_are_not() -> None:
    told = {"name": "Pkg", "version": "1.0", "classifiers": ["A :: B", "C :: D"], "metadata_version": "2.4"}
    fields = metadata_fields({**told, "summary": "", "requires_dist": []})
    assert ("summary", "") in fields
    assert [value for name, value in fields if name == "classifiers"] == ["A :: B", "C :: D"]
    assert not [name for name, _value in fields if name == "requires_dist"]
    assert ("metadata_version", "2.4") in fields


def test_fields_that_others_call_otherwise_go_under_both_names() -> None:
    fields = metadata_fields({"name": "p", "version": "1", "provides_extras": ["x"], "import_names": ["a"]})
    for name, value in (("provides_extras", "x"), ("provides_extra", "x"), ("import_names", "a"), ("import_name", "a")):
        assert (name, value) in fields


def test_what_tells_no_metadata_version_gets_one() -> None:
    assert ("metadata_version", "2.1") in metadata_fields({"name": "p", "version": "1"})


@given(fields=st.lists(st.tuples(st.from_regex(r"[a-z_:]{1,20}", fullmatch=True), TEXT), max_size=5), content=st.binary())
def test_what_is_encoded_is_what_arrives(fields: list[tuple[str, str]], content: bytes) -> None:
    form = encode_form(fields, "b" * 32, "näme.whl")
    stream = io.BytesIO(form.head + content + form.tail)
    *texts, file = MultipartParser(stream, form.content_type.partition("boundary=")[2], strict=True)
    assert [(part.name, part.value) for part in texts] == fields
    assert (file.name, file.filename, file.raw) == ("content", "näme.whl", content)


def test_a_file_name_cannot_break_out_of_its_header() -> None:
    head = encode_form([], "b", 'a"\r\nX: y').head
    assert b'filename="a%22%0D%0AX: y"' in head

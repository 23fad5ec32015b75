from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from twistpi.model.errors import BadRequest, InvalidName, TwistpiError
from twistpi.model.names import normalize_project
from twistpi.rules.upload_checks import LENIENT, NONE, check_form, check_upload_filename


def refusal(filename: str, project: str, version: str) -> str:
    with pytest.raises(TwistpiError) as caught:
        check_upload_filename(filename, project, version)
    assert caught.value.status == 400
    return str(caught.value)


# The words of the devpi protocol -----------------------------------------------------------------------------------


def test_the_messages_are_those_of_the_devpi_protocol() -> None:
    assert refusal("pkg-a-0.1.tar.gz", "pkg-a", "0.9") == "filename 'pkg-a-0.1.tar.gz' does not contain version '0.9'"
    assert refusal("pkg-a-0.1.tar.xz", "pkg-a", "0.1") == "'pkg-a-0.1.tar.xz' is not a valid archive name"
    assert refusal("pkg-a-0.1.tar.gz", "other", "0.1") == "filename 'pkg-a-0.1.tar.gz' does not match project name 'other'"


def test_version_archive_name_and_project_are_checked_in_this_order() -> None:
    assert "does not contain version" in refusal("pkg-0.1.tar.xz", "other", "0.9")
    assert "not a valid archive name" in refusal("pkg-0.1.tar.xz", "other", "0.1")


@pytest.mark.parametrize(
    "filename",
    [
        "pkg_a-0.1-py3-none-any.whl",
        "pkg-a-0.1.tar.gz",
        "pkg-a-0.1.tgz",
        "pkg-a-0.1.tar.bz2",
        "pkg-a-0.1.zip",
        "PKG-A-0.1.TAR.GZ",
        "pkg_a-0.1-py3.8.egg",
        "pkg-a-0.1.win32-py2.7.exe",
        "pkg-a-0.1-1.noarch.rpm",
        "pkg_a_0.1_all.deb",
        "pkg-a-0.1.dmg",
        "pkg-a-0.1.win-amd64-py3.8.msi",
        "pkg-a-0.1.linux-x86_64.tar.gz",
        "pkg-a-0.1.bz2",
    ],
)
def test_every_archive_of_the_protocol_is_taken(filename: str) -> None:
    check_upload_filename(filename, "pkg-a", "0.1")


@pytest.mark.parametrize("ending", [".tar", ".tar.xz", ".tar.gz.asc", ".asc", ".tar.Z", ".py", "", ".whl.metadata", ".tar.zst"])
def test_R87_what_is_no_archive_of_the_protocol_is_refused(ending: str) -> None:
    with pytest.raises(BadRequest):
        check_upload_filename(f"pkg-0.1{ending}", "pkg", "0.1")


def test_what_is_neither_wheel_nor_sdist_need_only_contain_name_and_version() -> None:
    check_upload_filename("pkg-a-0.1.win32.exe", "pkg", "0.1")
    check_upload_filename("pkg-11.deb", "pkg", "1")
    for filename, project, version in [
        ("pkg-0.1.deb", "other", "0.1"),
        ("pkg-0.1.deb", "pkg", "0.2"),
        ("pkg-0.1.deb", "pkg", ""),
    ]:
        refusal(filename, project, version)


# Exactly -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("project", ["My.Pkg", "my_pkg", "my-pkg", "MY--PKG", "my._.pkg"])
@pytest.mark.parametrize("version", ["1.0", "1.00", "1", "v1.0", "1.0.0"])
@pytest.mark.parametrize(
    "filename", ["My.Pkg-1.0.tar.gz", "my_pkg-1.0-py3-none-any.whl", "my-pkg-1.00.zip", "My_Pkg-1-7-py2.py3-none-any.whl"]
)
def test_R87_spellings_of_a_name_and_of_a_version_are_one_name_and_one_version(filename: str, project: str, version: str) -> None:
    check_upload_filename(filename, project, version)


@pytest.mark.parametrize(
    "filename",
    ["pkg-1.0-cp313-cp313-linux_x86_64-x86_64_v3.whl", "pkg-1.0-2-py3-none-any-cu128.whl", "pkg-1.0-variants.json"],
)
def test_variants_of_wheels_are_left_to_lenient_checks(filename: str) -> None:
    check_upload_filename(filename, "pkg", "1.0", LENIENT)
    with pytest.raises((BadRequest, InvalidName)):
        check_upload_filename(filename, "pkg", "1.0")
    for project, version in (("other", "1.0"), ("pkg", "2.0")):
        with pytest.raises((BadRequest, InvalidName)):
            check_upload_filename(filename, project, version, LENIENT)


@pytest.mark.parametrize("filename", ["pkg-1.0.whl", "Pkg-1.0.foo.tar.gz", "pkg-1.0-py3-none-any.whl", "pkg-1.0-variants.json"])
def test_without_checks_project_and_version_are_enough(filename: str) -> None:
    check_upload_filename(filename, "pkg", "1.0", NONE)
    for project, version in (("other", "1.0"), ("pkg", "2.0")):
        with pytest.raises((BadRequest, InvalidName)):
            check_upload_filename(filename, project, version, NONE)


@pytest.mark.parametrize("filename", ["pkg-1.0-py3-none-any-.whl", "pkg-1.0-py3-none-any-A.whl", "pkg-1.0-py3-none-any-a-b.whl"])
def test_a_label_has_its_own_grammar(filename: str) -> None:
    with pytest.raises(InvalidName):
        check_upload_filename(filename, "pkg", "1.0", LENIENT)


@pytest.mark.parametrize(
    ("filename", "version"),
    [
        ("pkg-1.0rc1.tar.gz", "1.0-rc.1"),
        ("pkg-1.0.post1.tar.gz", "1.0-1"),
        ("pkg-1.0-1.tar.gz", "1.0.post1"),
        ("pkg-1.0_custom-py3-none-any.whl", "1.0-custom"),
        ("pkg-1.0+cpu-cp311-cp311-linux_x86_64.whl", "1.0+cpu"),
        ("pkg-1!2.0.tar.gz", "1!2.0"),
        ("pkg-2004d.tar.gz", "2004d"),
        ("pkg-1.0-dev-r12.tar.gz", "1.0-dev-r12"),
    ],
)
def test_R87_versions_are_compared_as_installers_compare_them(filename: str, version: str) -> None:
    check_upload_filename(filename, "pkg", version)


@pytest.mark.parametrize(
    ("filename", "project", "version", "error"),
    [
        ("pkg-a-0.1.tar.gz", "pkg", "0.1", BadRequest),
        ("pkg_a-0.1-py3-none-any.whl", "pkg", "0.1", BadRequest),
        ("pkg-0.1.tar.gz", "pkg-a", "0.1", BadRequest),
        ("pkg-1.0.tar.gz", "pkg-1", "0", BadRequest),
        ("x-11.zip", "x", "1", BadRequest),
        ("x-1.0.1.tar.gz", "x", "1.0", BadRequest),
        ("x-1.0-py3-none-any.whl", "x", "3", BadRequest),
        ("x-1.0.post1.tar.gz", "x", "1.0", BadRequest),
        ("x-1.0.tar.gz", "x", "", BadRequest),
        ("x-1.0.tar.gz", "x", "gz", BadRequest),
        ("x-1.0.tar.gz", "x", "9" * 5000, BadRequest),
        ("pkg-1.0.whl", "pkg", "1.0", InvalidName),
        ("pkg-1.0-py3-none.whl", "pkg", "1.0", InvalidName),
        ("pkg-1.0-x-py3-none-any.whl", "pkg", "1.0", InvalidName),
        ("pkg-1.0.tar.gz", "p/kg", "1.0", InvalidName),
        ("pkg-1.0.tar.gz", "", "1.0", InvalidName),
    ],
)
def test_R87_a_wheel_or_sdist_of_something_else_is_refused(
    filename: str, project: str, version: str, error: type[TwistpiError]
) -> None:
    with pytest.raises(error):
        check_upload_filename(filename, project, version)


@pytest.mark.parametrize(
    "filename",
    [
        "../pkg-1.0.tar.gz",
        "a/pkg-1.0.tar.gz",
        "pkg-1.0/../../x.tar.gz",
        "..\\pkg-1.0.tar.gz",
        "C:\\pkg-1.0.tar.gz",
        "/pkg-1.0.tar.gz",
        ".pkg-1.0.tar.gz",
        "",
        "..",
        "pkg-1.0\n.tar.gz",
        "pkg-1.0.tar.gz\n",
        "pkg-1.0\0.tar.gz",
        "pkg-1.0\r\nX: y.tar.gz",
        "pkg-1.0\x7f.tar.gz",
        "pkg-1.0\x85.tar.gz",
        "pkg-1.0\u2028.tar.gz",
        "pkg-1.0\ud800.tar.gz",
        f"pkg-1.0{'x' * 300}.tar.gz",
    ],
)
def test_R87_a_name_that_is_more_than_a_name_is_refused(filename: str) -> None:
    with pytest.raises(InvalidName):
        check_upload_filename(filename, "pkg", "1.0")


@given(st.text(max_size=40), st.text(max_size=20), st.text(max_size=20))
def test_any_texts_are_taken_or_refused_with_400(filename: str, project: str, version: str) -> None:
    status = 400
    try:
        check_upload_filename(filename, project, version)
    except TwistpiError as refused:
        status = refused.status
    assert status == 400


PROJECTS = st.from_regex(r"[A-Za-z]([._-]{0,2}[a-z0-9]){0,5}", fullmatch=True)
VERSIONS = st.from_regex(
    r"([1-9]!)?[0-9]{1,3}(\.[0-9]{1,3}){0,3}((a|b|rc)[0-9])?(\.post[0-9])?(\.dev[0-9])?(\+[a-z0-9]+)?", fullmatch=True
)


@given(PROJECTS, PROJECTS, VERSIONS, VERSIONS, st.booleans())
def test_R87_what_a_builder_names_after_a_release_is_of_that_release_alone(
    project: str, other: str, version: str, another: str, is_wheel: bool
) -> None:
    stem = f"{re.sub(r'[-_.]+', '_', project).lower()}-{version}"
    filename = f"{stem}-py3-none-any.whl" if is_wheel else f"{stem}.tar.gz"
    check_upload_filename(filename, project, version)
    if normalize_project(other) != normalize_project(project):
        refusal(filename, other, version)
    if Version(another) != Version(version):
        refusal(filename, project, another)


# The form against the file -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "found"),
    [
        (("My.Pkg", "1.0"), ("my_pkg", "1.00")),
        (("my-pkg", "1"), ("My.Pkg", "1.0")),
        (("DEMO", "v1"), ("demo", "1.00")),
        (("pkg", "1.0-1"), ("pkg", "1.0.post1")),
        (("pkg", "2004d"), ("pkg", "2004d")),
        (("pkg", "anything at all"), ("pkg", "anything at all")),
    ],
)
def test_R77_form_and_file_may_spell_a_release_differently(form: tuple[str, str], found: tuple[str, str]) -> None:
    check_form("pkg-1.0.tar.gz", named(*form), named(*found))


@pytest.mark.parametrize(("field", "other", "held"), [("name", "other", "pkg"), ("version", "1.1", "1.0")])
def test_R77_a_form_that_says_another_release_is_refused_naming_the_field(field: str, other: str, held: str) -> None:
    with pytest.raises(BadRequest) as caught:
        check_form("pkg-1.0.tar.gz", {**named("pkg", "1.0"), field: other}, named("pkg", "1.0"))
    assert str(caught.value) == f"the form says {field} {other!r}, but 'pkg-1.0.tar.gz' holds {held!r}"
    assert caught.value.status == 400


def named(name: str, version: str) -> dict[str, str]:
    return {"name": name, "version": version}

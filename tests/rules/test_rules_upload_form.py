"""Forms for other servers."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multipart import MultipartParser  # type: ignore[import-untyped]

from twistpi.rules.uploads import encode_form, file_fields, file_type, metadata_fields

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        ("pkg-1.0-py3-none-any.whl", ("bdist_wheel", "py3")),
        ("pkg-1.0-1-cp311-cp311-linux_x86_64.whl", ("bdist_wheel", "cp311")),
        ("pkg-1.0-py2.py3-none-any.whl", ("bdist_wheel", "py2.py3")),
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
    fields = metadata_fields({"name": "Pkg", "version": "1.0", "classifiers": ["A :: B", "C :: D"], "metadata_version": "2.4"})
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
